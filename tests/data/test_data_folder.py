import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pictures import make_classes, picture, save
from squeezekit.data import open_dataset
from squeezekit.errors import DataError


def names(split, root):
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in split.paths]


@pytest.fixture
def flat(tmp_path):
    return make_classes(tmp_path / "flat", {"b": 20, "a": 30, "c": 10})


@pytest.fixture
def parted(tmp_path):
    root = tmp_path / "parted"
    make_classes(root / "train", {"a": 20, "b": 10})
    make_classes(root / "test", {"a": 4, "b": 3})
    return root


def test_flat_folder_is_split_in_exact_shares(flat):
    dataset = open_dataset(flat, validation=0.1, test=0.2)
    assert dataset.class_names == ("a", "b", "c")
    assert np.bincount(dataset.test.labels).tolist() == [6, 4, 2]
    assert np.bincount(dataset.validation.labels).tolist() == [2, 2, 1]
    assert np.bincount(dataset.train.labels).tolist() == [22, 14, 7]
    everything = names(dataset.train, flat) + names(dataset.validation, flat) + names(dataset.test, flat)
    assert len(set(everything)) == len(everything) == 60
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.labels.dtype == np.int32
        assert [name.split("/")[0] for name in names(split, flat)] == [
            dataset.class_names[label] for label in split.labels
        ]


def test_train_folder_alone_is_split(parted):
    shutil.rmtree(parted / "test")
    dataset = open_dataset(parted)
    assert np.bincount(dataset.test.labels).tolist() == [4, 2]


def test_split_is_seeded_and_does_not_depend_on_where_the_folder_lies(flat, tmp_path):
    moved = shutil.copytree(flat, tmp_path / "elsewhere" / "data")
    first, again, other = open_dataset(flat), open_dataset(moved), open_dataset(flat, seed=1)
    assert names(first.test, flat) == names(again.test, moved)
    assert names(first.validation, flat) == names(again.validation, moved)
    assert names(first.test, flat) != names(other.test, flat)
    assert names(first.validation, flat) != names(other.validation, flat)
    assert first.fingerprint == again.fingerprint == other.fingerprint


def test_split_is_stable_when_files_are_added(flat):
    before = set(names(open_dataset(flat, test=0.2, validation=0).test, flat))
    for number in range(100, 110):
        save(flat / "a" / f"{number}.jpg", number=number)
    after = set(names(open_dataset(flat, test=0.2, validation=0).test, flat))
    # Six of 30 became eight of 40: the hash order stays, so at most a newcomer pushes one over the edge.
    old = {f"a/{number:03d}.jpg" for number in range(30)}
    ranked_out = (before - after) & old
    assert len(ranked_out) <= 2
    assert {name for name in before if name[0] != "a"} == {name for name in after if name[0] != "a"}


def test_fingerprint_knows_content_name_and_class(flat):
    before = open_dataset(flat).fingerprint
    (flat / "a" / "000.jpg").rename(flat / "b" / "x.jpg")
    moved = open_dataset(flat).fingerprint
    save(flat / "a" / "001.jpg", number=5)
    assert len({before, moved, open_dataset(flat).fingerprint}) == 3


def test_shares_of_nothing(flat):
    dataset = open_dataset(flat, validation=0, test=0)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (60, 0, 0)


@pytest.mark.parametrize("share", [{"validation": 1.0}, {"test": -0.1}])
def test_share_out_of_range(flat, share):
    with pytest.raises(ValueError, match="Expected a share"):
        open_dataset(flat, **share)


def test_name_in_the_data_folder(flat, monkeypatch):
    monkeypatch.chdir(flat)
    monkeypatch.setenv("SQUEEZEKIT_DATA", str(flat.parent))
    assert open_dataset("flat").class_names == ("a", "b", "c")
    with pytest.raises(DataError, match=r"No such folder: nothing, nor .*nothing"):
        open_dataset("nothing")
    monkeypatch.delenv("SQUEEZEKIT_DATA")
    with pytest.raises(DataError, match="No such folder: flat"):
        open_dataset("flat")


def test_hidden_and_foreign_files_are_ignored_and_suffixes_have_no_case(flat):
    save(flat / "a" / ".hidden.jpg")
    save(flat / ".cache" / "x.jpg")
    (flat / "a" / "notes.txt").write_text("no image")
    (flat / "README.md").write_text("no class")
    (flat / "a" / "sub").mkdir()
    (flat / "c" / "000.jpg").rename(flat / "c" / "000.JPG")
    Image.fromarray(picture(9, 9)).save(flat / "b" / "x.PNG")
    dataset = open_dataset(flat, test=0, validation=0)
    assert dataset.class_names == ("a", "b", "c")
    assert len(dataset.train) == 61
    assert not dataset.skipped


def test_progress(flat):
    calls = []
    open_dataset(flat, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 60) for number in range(1, 61)]


def one_line(caught):
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "No such folder"),
        (lambda root: root.rmdir() or save(root.with_suffix(".jpg")).rename(root), "received a file"),
        (lambda root: make_classes(root, {}), "at least two class folders with images, found none"),
        (lambda root: make_classes(root, {"a": 5}), "at least two class folders with images, found only 'a'"),
        (lambda root: make_classes(root, {"a": 5, "b": 1}), "'b' has too few images to split"),
        (lambda root: make_classes(root, {"a": 5, "b": 2}), "'b' has too few images to split"),
        (
            lambda root: (make_classes(root, {"a": 5}) / "empty").mkdir(),
            "empty: no images in this class folder",
        ),
        (
            lambda root: (
                make_classes(root / "train", {"a": 5, "b": 5}),
                make_classes(root / "test", {"a": 5, "z": 5}),
            ),
            "only in train: b; only in test: z",
        ),
    ],
)
def test_folders_that_cannot_serve(tmp_path, make, message):
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path / "set")
    one_line(caught)


def test_three_images_a_class_are_enough(tmp_path):
    dataset = open_dataset(make_classes(tmp_path / "set", {"a": 3, "b": 3}))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (2, 2, 2)


def break_files(root):
    """Six ways for a file to be no picture."""
    folder = root / "a"
    whole = (folder / "000.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("These are not the pixels you are looking for.\n" * 9)
    (folder / "header.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "cut.png").write_bytes(save(folder / "whole.png").read_bytes()[:-200])
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return {"truncated.jpg", "empty.jpg", "text.jpg", "header.png", "cut.png"}


def test_broken_images_are_skipped_and_named(tmp_path):
    root = make_classes(tmp_path / "set", {"a": 60, "b": 60})
    clean = open_dataset(root)
    broken = break_files(root)
    (root / "a" / "whole.png").unlink()
    dataset = open_dataset(root)
    assert {os.path.basename(path) for path, _ in dataset.skipped} == broken
    assert all(reason and "\n" not in reason for _, reason in dataset.skipped)
    everything = dataset.train.paths + dataset.validation.paths + dataset.test.paths
    assert not {os.path.basename(path) for path in everything} & broken
    assert dataset.fingerprint == clean.fingerprint


def test_too_many_broken_images(tmp_path):
    root = make_classes(tmp_path / "set", {"a": 40, "b": 40})
    break_files(root)
    with pytest.raises(DataError, match=r"5 of 86 images are unreadable; the first: .*cut\.png") as caught:
        open_dataset(root)
    one_line(caught)


def test_class_with_only_broken_images(tmp_path):
    root = make_classes(tmp_path / "set", {"a": 60, "b": 60})
    (root / "c").mkdir()
    (root / "c" / "x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="'c'") as caught:
        open_dataset(root, test=0, validation=0)
    one_line(caught)


def test_neither_folder_nor_shapes_need_tensorflow():
    code = (
        "import sys, types, pathlib, squeezekit\n"
        "room = types.ModuleType('squeezekit.data')\n"
        "room.__path__ = [str(pathlib.Path(squeezekit.__file__).parent / 'data')]\n"
        "sys.modules['squeezekit.data'] = room\n"
        "import squeezekit.data.dataset, squeezekit.curate.shapes\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
