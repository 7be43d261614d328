"""What a stranger may have put into a folder of images: it ends in a picture or in a line, at every verb."""

import io
import json
import os
import re
import shutil

import numpy as np
import pytest

import hostile
import tiny_classifiers
from squeezekit import data, files, imaging
from squeezekit.data import dataset as data_dataset


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Two class folders: one sound, and one with everything that means harm."""
    root = tmp_path_factory.mktemp("hostile") / "photos"
    made = hostile.make(root / "red")
    assert len({each.name for each in made}) == len(made) == hostile.COUNT
    (root / "blue").mkdir()
    for number in range(10):
        hostile.picture(500 + number).rotate(90, expand=True).save(root / "blue" / f"{number}.png")
    yield root, made
    # Nothing was written beside the folder, nor into what its links lead to.
    assert sorted(entry.name for entry in root.parent.iterdir()) == ["outside", "photos"]
    outside = sorted(path.name for path in (root.parent / "outside").rglob("*"))
    assert outside == ["buried.png", "deep", "secret.png"]


@pytest.fixture
def told(squeezekit, monkeypatch):
    """Run a verb: what it writes is free of control characters and of tracebacks; gives (status, out, err)."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words):
        status, out, err = squeezekit(*words)
        for text in (out, err):
            assert "Traceback" not in text
            # No terminal obeys them, nor does anything pretend to be a line of ours.
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert all(line.startswith(("squeezekit: ", "skipped: ")) for line in err.splitlines())
        return status, out, err

    return run


def named(made, *fates):
    return {os.fsdecode(each.name) for each in made if each.fate in fates}


def test_check_names_each(classes, told, tmp_path):
    root, made = classes
    status, out, err = told("data", "check", root, "--json", "--page", tmp_path / "page.html")
    assert (status, err) == (1, "")
    found = json.loads(out)
    wrong = {os.path.basename(file["image"]): file for file in found["files"]}
    bad = {name for name, file in wrong.items() if file["problem"] != "wrong_suffix"}
    assert named(made, hostile.REFUSED) <= bad
    assert not named(made, hostile.READ) & bad
    assert all(file["reason"] and "\n" not in file["reason"] for file in wrong.values())
    links = {"dangling.png", "dangling far.png", "loop.png", "loop one.png", "loop two.png"}
    assert bad & named(made, hostile.NO_FILE) == links
    # A directory that is called like an image is looked into, links are not.
    assert found["strays"]["images"] == ["red/directory.png/inner.png"]
    assert hostile.ESCAPE not in (tmp_path / "page.html").read_text("utf-8")
    assert "<img src=x" not in (tmp_path / "page.html").read_text("utf-8")
    status, out, err = told("data", "check", root, "--no-near")
    assert (status, err) == (1, "")


def test_training_opens_what_a_viewer_shows(classes, monkeypatch):
    root, made = classes
    monkeypatch.setattr(data_dataset, "MAX_SKIPPED_SHARE", 1.0)
    dataset = data.open_dataset(root, validation=0, test=0)
    opened = {os.path.basename(path) for path in dataset.train.paths}
    skipped = {os.path.basename(path): reason for path, reason in dataset.skipped}
    assert named(made, hostile.READ) <= opened
    assert named(made, hostile.REFUSED) <= set(skipped)
    assert not named(made, hostile.NO_FILE) & (opened | set(skipped))
    assert all(reason and "\n" not in reason for reason in skipped.values())


def test_train_says_it_in_a_line(classes, told, tmp_path):
    status, out, err = told("train", classes[0], "-o", tmp_path / "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "images are unreadable; the first: " in err


def test_train_on_what_is_left(classes, told, small_squeezenet, monkeypatch, tmp_path):
    monkeypatch.setattr(data_dataset, "MAX_SKIPPED_SHARE", 1.0)
    words = ["--epochs", "1", "--size", "32", "--batch-size", "32"]
    status, _, err = told("train", classes[0], "-o", tmp_path / "out", *words)
    assert (status, err) == (0, "")
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    skipped = {os.path.basename(item["path"]) for item in run["data"]["skipped"]}
    assert named(classes[1], hostile.REFUSED) <= skipped


def test_predict_a_folder_and_each_file(classes, told, model):
    root, made = classes
    status, out, err = told("predict", model, root / "red", "--json")
    assert status == 2
    labelled = {os.path.basename(answer["image"]) for answer in json.loads(out)}
    # Links to folders are not followed, and a folder's images are its own.
    within = {"directory.png", "here.png", "up.png", "root.png"}
    assert named(made, hostile.READ) <= labelled
    assert not named(made, hostile.REFUSED, hostile.NO_FILE) & labelled
    assert len(labelled) + err.count("\n") == len(made) - len(within) + 1
    colours = {os.path.basename(answer["image"]): answer["label"] for answer in json.loads(out)}
    coloured = [
        name for name in colours if name.startswith(("turn ", "really ", "film", "to outside", "ink"))
    ]
    assert len(coloured) == 30
    assert {colours[name] for name in coloured} == {"red"}
    paths = [root / "red" / os.fsdecode(each.name) for each in made if os.fsdecode(each.name) not in within]
    status, out, again = told("predict", model, *paths)
    assert status == 2
    assert sorted(again.splitlines()) == sorted(err.splitlines())
    bad = [path for path in paths if path.name in named(made, hostile.REFUSED)]
    status, out, err = told("predict", model, *bad)
    assert (status, out, err.count("\n")) == (2, "", len(bad))


def test_predict_standard_input(classes, told, model, monkeypatch):
    root, made = classes
    for name in sorted(named(made, hostile.REFUSED) - {"empty.png", "sparse.png"}):
        stream = io.BytesIO((root / "red" / name).read_bytes())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        status, out, err = told("predict", model, "-")
        assert (status, out) == (2, ""), name
        assert err.count("\n") == 1, name


def test_evaluate(classes, told, model):
    status, out, err = told("evaluate", model, classes[0])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "images are unreadable; the first: " in err


@pytest.mark.parametrize("name", ["new\nline", "\x1b[2J", os.fsdecode(b"\xff"), " blank"])
def test_a_class_that_no_label_can_name(name, photos, told, tmp_path):
    shutil.move(photos / "red", photos / name)
    status, out, err = told("train", photos, "-o", tmp_path / "out")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "has a name that no label can have; rename it" in err
    assert told("data", "check", photos)[0] in (0, 1)


def test_a_class_that_leads_elsewhere(photos, told, tmp_path):
    shutil.move(photos / "red", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep").mkdir()
    shutil.copy(tmp_path / "elsewhere" / "one.png", tmp_path / "elsewhere" / "deep" / "two.png")
    (photos / "red").symlink_to(tmp_path / "elsewhere")
    (photos / "loop").symlink_to("loop")
    found = json.loads(told("data", "check", photos, "--json")[1])
    # Its images are ours, for training reads them; what else lies there is not.
    assert found["classes"] == {"blue": {"": 1}, "red": {"": 1}}
    assert found["strays"] == {"files": 1, "images": []}


@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_an_image_that_vanishes_while_training(kept, photos, told, small_squeezenet, monkeypatch, tmp_path):
    for number in range(8):
        shutil.copy(photos / "red" / "one.png", photos / "red" / f"{number}.png")
        shutil.copy(photos / "blue" / "one.png", photos / "blue" / f"{number}.png")
    monkeypatch.setitem(data.batches.__kwdefaults__, "cache_bytes", kept)
    opened = data_dataset.open_dataset

    def opened_then_gone(*words, **options):
        dataset = opened(*words, **options)
        os.unlink(dataset.train.paths[3])
        return dataset

    monkeypatch.setattr("squeezekit.experiment.runner.open_dataset", opened_then_gone)
    status, out, err = told("train", photos, "-o", tmp_path / "out", "--epochs", "1", "--size", "32")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "gone or changed since it was checked (No such file or directory)" in err


def test_an_image_that_vanishes_while_predicting(photos, told, model, monkeypatch):
    real = imaging.read_image

    def read_then_gone(path):
        read = real(path)
        (photos / "red" / "one.png").unlink(missing_ok=True)
        return read

    monkeypatch.setattr(imaging, "read_image", read_then_gone)
    status, out, err = told("predict", model, photos)
    assert (status, len(out.splitlines()), err.count("\n")) == (2, 2, 1)
    assert "one.png: No such file or directory" in err


@pytest.mark.parametrize("what", ["open", "scandir"])
def test_what_may_not_be_read(what, photos, told, model, monkeypatch, tmp_path):
    """Refused by the system: by hand, for whoever runs the tests as root may read everything."""
    place = files if what == "open" else os
    real = open if what == "open" else os.scandir
    secret = str(photos / "red" / "one.png") if what == "open" else str(photos / "red")

    def refused(path, *words, **options):
        if os.fspath(path) == secret:
            raise PermissionError(13, "Permission denied", secret)
        return real(path, *words, **options)

    monkeypatch.setattr(place, what, refused, raising=False)
    status, out, err = told("data", "check", photos)
    assert f"{'red/one.png' if what == 'open' else secret}: Permission denied" in out + err
    assert status == (1 if what == "open" else 2)
    for verb in (
        ["predict", model, photos],
        ["train", photos, "-o", tmp_path / "out"],
        ["evaluate", model, photos],
    ):
        status, _, err = told(*verb)
        assert (status, err.count("\n")) == (2, 1)
        assert "Permission denied" in err


@pytest.mark.parametrize("verb", ["predict", "info", "evaluate", "unpack"])
def test_a_model_that_is_no_file(verb, photos, told, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
    more = {"predict": [photos], "evaluate": [photos], "unpack": ["-o", tmp_path / "out"]}.get(verb, [])
    for name in ("pipe", "zero", "sparse"):
        status, out, err = told(verb, tmp_path / name, *more)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert ("not a file" if name != "sparse" else "more than the") in err


def test_a_damaged_model_is_a_line_or_an_answer(model, photos, told, tmp_path):
    """A .tflite has no checksum: damage within its weights is not seen, any other is refused."""
    whole, generator = model.read_bytes(), np.random.default_rng(1)
    path = tmp_path / "damaged.tflite"
    assert tiny_classifiers.LABELS
    for _ in range(20):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            damaged[place] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        for words in (["info", path], ["predict", path, photos]):
            status, _, err = told(*words)
            assert (status, err.count("\n")) in ((0, 0), (2, 1), (2, 2))
