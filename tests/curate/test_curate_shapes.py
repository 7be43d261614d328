import json

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from squeezekit.curate import shapes
from squeezekit.curate.shapes import SHAPE_CLASSES, write_shapes
from squeezekit.data import open_dataset
from squeezekit.errors import DataError

# Sum of all levels of picture 0 of each class at 32 x 32, seed 0.
GOLDEN_SUMS = [219832, 265857, 345818, 310877, 354852, 383526, 217624, 289572]


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def pixels(folder, part):
    paths = sorted((folder / part).glob("*/*.jpg"))
    return np.stack([np.asarray(Image.open(path)) for path in paths]), [path.parent.name for path in paths]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The set that the difficulty is judged by: 60 + 25 images a class."""
    return write_shapes(tmp_path_factory.mktemp("shapes") / "set", per_class_train=60, per_class_test=25)


def test_it_is_a_dataset(made):
    dataset = open_dataset(made)
    assert dataset.class_names == SHAPE_CLASSES
    assert len(SHAPE_CLASSES) >= 8
    assert len(dataset.train) + len(dataset.validation) == 60 * len(SHAPE_CLASSES)
    assert len(dataset.test) == 25 * len(SHAPE_CLASSES)
    assert not dataset.skipped
    assert pixels(made, "test")[0].shape[1:] == (64, 64, 3)


def test_a_linear_classifier_fails(made):
    train, labels = pixels(made, "train")
    test, expected = pixels(made, "test")
    # Averaged over 4 x 4 pixels, which helps a linear model: it has fewer weights to get wrong.
    train, test = (
        x.reshape(-1, 16, 4, 16, 4, 3).mean(axis=(2, 4)).reshape(len(x), -1) / 127.5 - 1
        for x in (train, test)
    )
    accuracy = LogisticRegression(C=1e-3, max_iter=500).fit(train, labels).score(test, expected)
    assert 1.2 / len(SHAPE_CLASSES) < accuracy < 0.6


def test_colour_says_nothing_of_the_class(made):
    train, labels = pixels(made, "train")
    test, expected = pixels(made, "test")
    # Mean, spread and extremes of each channel: all that remains when outlines are gone.
    train, test = (
        np.concatenate([x.mean((1, 2)), x.std((1, 2)), x.min((1, 2)), x.max((1, 2))], axis=1) / 127.5
        for x in (train, test)
    )
    accuracy = LogisticRegression(max_iter=2000).fit(train, labels).score(test, expected)
    # Not chance: a square covers more than a ring, so a picture with one is brighter.
    assert accuracy < 0.35


def test_same_parameters_same_bytes(tmp_path):
    first = write_shapes(tmp_path / "a", per_class_train=3, per_class_test=2, size=24, seed=5)
    again = write_shapes(tmp_path / "b", per_class_train=3, per_class_test=2, size=24, seed=5)
    assert contents(first) == contents(again)
    other = write_shapes(tmp_path / "c", per_class_train=3, per_class_test=2, size=24, seed=6)
    assert contents(first) != contents(other)


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path):
    few = contents(write_shapes(tmp_path / "a", per_class_train=2, per_class_test=1, size=16))
    many = contents(write_shapes(tmp_path / "b", per_class_train=20, per_class_test=3, size=16))
    few.pop("shapes.json")
    assert {name: many[name] for name in few} == few
    assert len(set(many.values())) == len(many)


def test_the_pixels_are_what_they_always_were():
    # Golden sums: a change of any picture must raise the version in the manifest, and these with it.
    generators = [np.random.default_rng([0, 0, label, 0]) for label in range(len(SHAPE_CLASSES))]
    sums = [
        int(shapes._render(shapes._DISTANCES[name], [generator], 32).sum(dtype=np.int64))
        for name, generator in zip(SHAPE_CLASSES, generators, strict=True)
    ]
    assert (shapes._VERSION, sums) == (1, GOLDEN_SUMS)


def test_a_complete_folder_is_reused(tmp_path):
    options = {"per_class_train": 2, "per_class_test": 1, "size": 16}
    folder = write_shapes(tmp_path / "set", **options)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    calls = []
    assert write_shapes(folder, progress=lambda *call: calls.append(call), **options) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert not calls


def test_other_folders_are_refused(tmp_path):
    options = {"per_class_train": 2, "per_class_test": 1, "size": 16}
    folder = write_shapes(tmp_path / "set", **options)
    with pytest.raises(DataError, match="other parameters"):
        write_shapes(folder, **{**options, "seed": 1})
    next(folder.glob("train/*/*.jpg")).unlink()
    with pytest.raises(DataError, match="no longer holds its 2 images"):
        write_shapes(folder, **options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="something other"):
        write_shapes(tmp_path / "mine", **options)
    with pytest.raises(DataError, match="something other"):
        write_shapes(tmp_path / "mine" / "thesis.txt", **options)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    options = {"per_class_train": 1, "per_class_test": 1, "size": 16}
    assert write_shapes(tmp_path / "empty", **options).joinpath("shapes.json").exists()
    assert (
        json.loads(write_shapes(tmp_path / "x" / "y", **options).joinpath("shapes.json").read_text())["size"]
        == 16
    )


def test_a_stop_leaves_nothing(tmp_path):
    def stop(done, total):
        assert total == 2 * len(SHAPE_CLASSES)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "set", per_class_train=1, per_class_test=1, size=16, progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [{"per_class_train": 0}, {"per_class_test": 0}, {"size": 15}, {"size": 2000}, {"seed": -1}]
)
def test_refuses(tmp_path, wrong):
    with pytest.raises(ValueError, match="Expected"):
        write_shapes(tmp_path / "set", **{"per_class_train": 1, "per_class_test": 1, **wrong})
    assert not list(tmp_path.iterdir())
