"""Arrays as a set of images: found, split as their names or a hash says, and the same batches as of a folder."""

import numpy as np
import pytest
from PIL import Image

from squeezekit.data import Split, batches, find_folder, open_dataset
from squeezekit.errors import DataError
from squeezekit.preprocess import Preprocess
from squeezekit.readers import find_files, open_arrays, open_parts

SAVERS = {"stored": np.savez, "deflated": np.savez_compressed}


def pictures(count, seed=0, side=8):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def medmnist_file(root):
    parts = {"train": slice(0, 12), "val": slice(0, 6), "test": slice(0, 4)}
    arrays = {f"{name}_images": X[rows, ..., 0] for name, rows in parts.items()}
    labels = {f"{name}_labels": Y[rows, np.newaxis] for name, rows in parts.items()}
    np.savez(root / "a.npz", **arrays, **labels)


def imagenet_files(root):
    flat = X.transpose(0, 3, 1, 2).reshape(len(X), -1)
    np.savez(root / "train_data_batch_1.npz", data=flat[:6], labels=Y[:6] + 1, mean=flat[0])
    np.savez(root / "train_data_batch_2.npz", data=flat[6:], labels=Y[6:] + 1, mean=flat[0])
    # Without the first class: numbers are those of all files together.
    np.savez(root / "val_data.npz", data=flat[1:2], labels=Y[1:2] + 1)


X, Y = pictures(12), np.arange(12) % 3
NAMES = ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("write", "counts", "names", "held_out"),
    [
        (medmnist_file, (12, 6, 4), ("0", "1", "2"), X[:4]),
        (imagenet_files, (12, 1, 0), ("1", "2", "3"), X[1:2]),
    ],
    ids=["MedMNIST", "ImageNet"],
)
def test_names_tell_the_parts(tmp_path, write, counts, names, held_out):
    write(tmp_path)
    parts = open_parts(find_files(tmp_path))
    found = [parts.images.take(places) for places in (parts.train, parts.validation, parts.test)]
    assert tuple(map(len, found)) == counts
    assert parts.images.class_names == names
    last = found[2] if counts[2] else found[1]
    pixels = np.concatenate([block for block, _ in last.blocks()])
    np.testing.assert_array_equal(pixels[..., 0], held_out[..., 0])
    assert last.labels.tolist() == ([0, 1, 2, 0] if counts[2] else [1])


@pytest.mark.parametrize("saver", SAVERS)
def test_some_images_of_a_set_are_a_set(tmp_path, saver):
    images = pictures(700)
    for number in (0, 1):
        rows = slice(350 * number, 350 * number + 350)
        SAVERS[saver](tmp_path / f"{number}.npz", x=images[rows], y=np.arange(350))
    arrays = open_arrays(tmp_path / "0.npz", tmp_path / "1.npz")
    places = np.sort(np.concatenate([np.random.default_rng(1).choice(700, 90, replace=False), [3, 3, 699]]))
    some = arrays.take(places)
    np.testing.assert_array_equal(np.concatenate([pixels for pixels, _ in some.blocks(40)]), images[places])
    assert some.labels.tolist() == (places % 350).tolist()
    named = [(f"{place // 350}.npz/x/{place % 350}", images[place].tobytes()) for place in places]
    assert [(name, pixels.tobytes()) for name, pixels in some.pictures()] == named
    again = some.take(np.array([0, 5, 5]))
    np.testing.assert_array_equal([pixels for _, pixels in again.pictures()], images[places[[0, 5, 5]]])
    assert len(list(again.take(again.labels[:0]).blocks())) == 0
    seen = []
    for pixels, labels, numbers in some.shuffled(seed=2, window_bytes=30 * 8 * 8 * 3):
        np.testing.assert_array_equal(pixels, images[places[numbers]])
        np.testing.assert_array_equal(labels, some.labels[numbers])
        seen += numbers.tolist()
    assert sorted(seen) == list(range(len(some))) != seen
    with pytest.raises(ValueError, match="ascending"):
        arrays.take(np.array([2, 1]))


def test_what_no_name_tells_is_split_by_a_hash(tmp_path):
    x, y = pictures(100), np.repeat([0, 1, 2], [10, 30, 60])
    np.savez(tmp_path / "set.npz", x=x, y=y, class_names=np.array(NAMES))
    (tmp_path / "moved").mkdir()
    np.savez_compressed(tmp_path / "moved" / "set.npz", x=x.transpose(0, 3, 1, 2), y=y, classes=NAMES)
    dataset = open_dataset(tmp_path / "set.npz")
    parts = (dataset.train, dataset.validation, dataset.test)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[7, 22, 43], [1, 2, 5], [2, 6, 12]]
    assert len(set().union(*(part.names() for part in parts))) == 100
    moved, other = open_dataset(tmp_path / "moved" / "*.npz"), open_dataset(tmp_path / "set.npz", seed=1)
    assert moved.test.names() == dataset.test.names() != other.test.names()
    assert moved.fingerprint == dataset.fingerprint == other.fingerprint
    x[17, 0, 0, 0] ^= 1
    np.savez(tmp_path / "set.npz", x=x, y=y, class_names=np.array(NAMES))
    few = open_dataset(tmp_path / "set.npz", train_per_class=8, validation=0.25)
    assert few.fingerprint != dataset.fingerprint
    parts = (few.train, few.validation, few.test)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[6, 6, 6], [2, 2, 2], [2, 22, 52]]


def test_batches_are_those_of_the_same_pictures_in_files(tmp_path):
    x, y = pictures(40, side=12), (np.arange(40) % 2).astype(np.int32)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    paths = [str(tmp_path / f"{number}.png") for number in range(40)]
    for picture, path in zip(x, paths, strict=True):
        Image.fromarray(picture).save(path)
    arrays, split, preprocess = open_arrays(tmp_path / "a.npz"), Split(paths, y), Preprocess(8, 8, 10, 10)
    for options in ({}, {"training": True, "seed": 3, "epochs": 2}):
        ours, theirs = (batches(part, preprocess, batch_size=16, **options) for part in (arrays, split))
        for (pixels, labels), (expected, right) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(pixels, expected)
            np.testing.assert_array_equal(labels, right)
    streamed = batches(arrays, preprocess, batch_size=16, training=True, cache_bytes=0)
    assert sum(len(labels) for _, labels in streamed) == 32
    assert arrays.sides(9) == [(12, 12)] * 9
    assert split.sides(9) == [(12, 12)] * 10


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"x": X}, "which array holds the 12 labels"),
        ({"x": X, "y": Y * 0}, "at least two classes, found 1"),
        ({"x": X, "y": Y * 2}, "'1' has too few images to split off a test part: 0"),
        ({"x": X[:5], "y": Y[:5]}, "'2' has too few images"),
        ({"x_train": X, "y_train": Y * 2, "x_test": X, "y_test": Y}, "'1' has too few"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": np.maximum(Y, 1)},
            "no readable images in class '0'",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :5], "y_test": Y}, "does not go with"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b", "b"])}, "two classes with one name"),
    ],
)
def test_arrays_that_cannot_serve(tmp_path, arrays, line):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=line):
        open_dataset(tmp_path / "a.npz")


def test_names_of_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SQUEEZEKIT_DATA", raising=False)
    with pytest.raises(
        DataError, match="No such folder: imagenette, nor data/imagenette; to get it: squeezekit"
    ):
        open_dataset("imagenette")
    (tmp_path / "data" / "imagenette").mkdir(parents=True)
    assert find_folder("imagenette").is_dir()
    np.savez("data/a.npz", x_train=X, y_train=Y, x_test=X, y_test=Y)
    assert len(open_dataset("a.npz").test) == len(open_dataset("?.npz").test) == 12
    with pytest.raises(DataError, match="fits"):
        open_dataset("b*.npz")
    np.save("x.npy", X)
    with pytest.raises(DataError, match="Name the folder"):
        open_dataset("x.npy")
    # A folder with class folders is one of images, whatever else lies in it.
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    np.savez("photos/a.npz", x=X, y=Y)
    assert find_files("photos") == []
    (tmp_path / "photos" / "cat").rename(tmp_path / "cat")
    (tmp_path / "photos" / "train" / "cat").mkdir(parents=True)
    assert find_files("photos") == []
    (tmp_path / "photos" / "train" / "cat").rmdir()
    assert len(find_files("photos")) == 1
