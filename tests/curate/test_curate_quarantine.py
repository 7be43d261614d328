"""Quarantine: which files go, that none is lost, and that a kill or an undo at any point leaves all in order."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from data_pictures import make_classes, save
from squeezekit.curate import (
    audit_folder,
    finish_moves,
    make_moves,
    plan_moves,
    quarantine_folder,
    undo_moves,
)
from squeezekit.errors import DataError, FormatError


@pytest.fixture
def damaged(tmp_path):
    """Something wrong of every kind."""
    root = tmp_path / "photos"
    make_classes(root / "train", {"a": 5, "b": 5})
    make_classes(root / "test", {"a": 0, "b": 0})
    for number, name in enumerate(("a", "b")):
        save(root / "test" / name / "t.jpg", number=500 + number)
    train = root / "train"
    shutil.copy(train / "a" / "000.jpg", train / "a" / "again.jpg")
    shutil.copy(train / "a" / "001.jpg", train / "b" / "mine.jpg")
    shutil.copy(root / "test" / "b" / "t.jpg", train / "a" / "seen.jpg")
    shutil.copy(root / "test" / "a" / "t.jpg", root / "test" / "b" / "both.jpg")
    save(train / "a" / "liar.png", number=60)
    os.rename(train / "a" / "liar.png", train / "a" / "liar.jpg")
    (train / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    return root


GONE = {
    "train/a/again.jpg",
    "train/a/001.jpg",
    "train/b/mine.jpg",
    "train/a/seen.jpg",
    "test/a/t.jpg",
    "test/b/both.jpg",
    "train/b/broken.jpg",
}


def contents(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def fix(root, **options):
    return make_moves(root, plan_moves(audit_folder(root, near=False)), quarantine_folder(root), **options)


def test_what_goes_and_that_nothing_is_lost(damaged):
    before = contents(damaged)
    assert fix(damaged) == []
    after, moved = contents(damaged), contents(quarantine_folder(damaged))
    assert before.keys() - after.keys() == GONE | {"train/a/liar.jpg"}
    assert after["train/a/liar.png"] == before["train/a/liar.jpg"]
    record = json.loads(moved.pop("moves.json"))
    assert moved == {name: before[name] for name in GONE}
    assert {move["source"] for move in record["moves"]} == GONE | {"train/a/liar.jpg"}
    assert not audit_folder(damaged, near=False).has_problems
    assert fix(damaged) == []


def test_of_an_image_in_several_parts_the_last_part_keeps_it(tmp_path):
    root = tmp_path / "photos"
    for number, part in enumerate(("train", "val", "test")):
        make_classes(root / part, {"a": 2, "b": 2})
        for path in root.joinpath(part).rglob("*.jpg"):
            save(path, number=10 * number + int(path.stem) + 100 * (path.parent.name == "a"))
        if number:
            shutil.copy(root / "train" / "a" / "000.jpg", root / part / "a" / "again.jpg")
    shutil.copy(root / "train" / "b" / "000.jpg", root / "val" / "b" / "again.jpg")
    audit = audit_folder(root, near=False)
    assert audit.parts == ("train", "validation", "test")
    assert audit.classes()["a"] == {"train": 2, "validation": 3, "test": 3}
    assert [group.train_and_test for group in audit.groups] == [True, True]
    assert [(move.source, move.reason.split(", ")[1]) for move in plan_moves(audit)] == [
        ("train/a/000.jpg", "which is in the test part"),
        ("train/b/000.jpg", "which is in the validation part"),
        ("val/a/again.jpg", "which is in the test part"),
    ]


def test_near_duplicates_go_only_when_asked(tmp_path):
    root = make_classes(tmp_path / "photos", {"a": 3, "b": 3})
    save(root / "a" / "one.png", 96, 96, number=9)
    save(root / "a" / "two.jpg", 96, 96, number=9)
    audit = audit_folder(root)
    assert plan_moves(audit) == []
    assert [move.source for move in plan_moves(audit, near=True)] == ["a/two.jpg"]


def test_what_cannot_be_put_back_stays_in_quarantine_and_is_named(damaged):
    fix(damaged)
    shutil.copy(damaged / "train" / "a" / "000.jpg", damaged / "train" / "a" / "again.jpg")
    fix(damaged)  # again.jpg goes a second time, under another name
    assert sorted(path.name for path in quarantine_folder(damaged).glob("train/a/again*")) == [
        "again-2.jpg",
        "again.jpg",
    ]
    back, notes = undo_moves(damaged, quarantine_folder(damaged))
    assert (back, len(notes)) == (len(GONE) + 1, 1)
    assert "train/a/again.jpg: left alone" in notes[0]
    assert sorted(contents(quarantine_folder(damaged))) == ["moves.json", "train/a/again.jpg"]


KILLED = """
import os, signal, sys
from squeezekit.curate import *
root = sys.argv[1]
def progress(done, total):
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "undo":
    undo_moves(root, quarantine_folder(root), progress=progress)
else:
    make_moves(root, plan_moves(audit_folder(root, near=False)), quarantine_folder(root), progress=progress)
"""


def test_killed_in_the_middle_of_fix_and_of_undo(damaged, tmp_path):
    before = contents(damaged)
    whole = shutil.copytree(damaged, tmp_path / "whole" / "photos")
    fix(whole)

    def kill(verb):
        done = subprocess.run([sys.executable, "-c", KILLED, str(damaged), verb], check=False, timeout=300)
        assert done.returncode == -signal.SIGKILL
        record = contents(quarantine_folder(damaged))
        record.pop("moves.json")
        assert sorted([*contents(damaged).values(), *record.values()]) == sorted(before.values())

    kill("fix")
    with pytest.raises(DataError, match="finish it first"):
        fix(damaged)
    assert finish_moves(damaged, quarantine_folder(damaged)) == len(GONE) + 1
    assert contents(damaged) == contents(whole)
    assert finish_moves(damaged, quarantine_folder(damaged)) == 0
    kill("undo")
    with pytest.raises(DataError, match="finish it with --undo"):
        finish_moves(damaged, quarantine_folder(damaged))
    undo_moves(damaged, quarantine_folder(damaged))
    assert contents(damaged) == before
    assert not quarantine_folder(damaged).exists()
    with pytest.raises(DataError, match="nothing is in quarantine"):
        undo_moves(damaged, quarantine_folder(damaged))


def test_a_folder_that_is_a_link_out_of_the_dataset_is_left_alone(tmp_path):
    root = make_classes(tmp_path / "photos", {"a": 2})
    elsewhere = tmp_path / "elsewhere"
    save(elsewhere / "b" / "1.jpg", number=70)
    shutil.copy(elsewhere / "b" / "1.jpg", elsewhere / "b" / "copy.jpg")
    (root / "b").symlink_to(elsewhere / "b", target_is_directory=True)
    (note,) = fix(root)
    assert "b/copy.jpg: left alone" in note
    assert (elsewhere / "b" / "copy.jpg").exists()


def test_a_right_name_that_is_too_long_is_left_alone(tmp_path):
    """The right suffix has a letter more than the wrong one, and the name is as long as names may be."""
    root = make_classes(tmp_path / "set", {"a": 2})
    path = root / "a" / ("l" * 251 + ".jpg")
    Image.linear_gradient("L").save(path, "WEBP")
    notes = [f"a/{path.name}: left alone, because its new name is longer than the file system allows"]
    assert fix(root) == notes
    assert path.exists()
    # Nor does it stand in the way of a later fix.
    assert fix(root) == notes


def test_the_quarantine_lies_outside(damaged):
    moves = plan_moves(audit_folder(damaged, near=False))
    with pytest.raises(DataError, match="where training does not look"):
        make_moves(damaged, moves, damaged / "train" / "quarantine")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["moves"][0].update(target="../../escaped.jpg"),
        lambda record: record["moves"][0].update(source="/etc/hostname"),
        lambda record: record["moves"][0].update(renamed="yes"),
        lambda record: record["moves"][0].pop("reason"),
        lambda record: record.update(finished=99),
        lambda record: record.update(version=2),
        lambda record: record.update(moves="all"),
    ],
)
def test_a_list_of_moves_that_lies_is_refused(damaged, change):
    fix(damaged)
    path = quarantine_folder(damaged) / "moves.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    before = contents(damaged)
    with pytest.raises(FormatError, match=r"moves\.json"):
        undo_moves(damaged, quarantine_folder(damaged))
    assert contents(damaged) == before
