"""Unequal classes, and the protocol that the Caltech sets are reported with."""

import numpy as np
import pytest

from data_pictures import make_classes
from squeezekit.data import Split, class_weights, open_dataset, oversampled
from squeezekit.errors import DataError


def split(*counts):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return Split([f"{number:03d}" for number in range(len(labels))], labels)


def test_weights_are_those_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    some = split(1, 7, 30)
    expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=some.labels)
    np.testing.assert_allclose(class_weights(some, 3), expected, rtol=1e-6)
    assert class_weights(some, 4)[3] == 0
    assert class_weights(some, 4)[some.labels].mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="labels below 2"):
        class_weights(some, 2)


def test_oversampling_levels_the_classes_and_keeps_every_image():
    some = split(1, 7, 30)
    level = oversampled(some, seed=3)
    assert np.bincount(level.labels).tolist() == [30, 30, 30]
    assert set(level.paths) == set(some.paths)
    often = np.unique(level.paths, return_counts=True)[1]
    assert sorted(set(often[1:8].tolist())) == [4, 5]
    assert level.paths == sorted(level.paths)
    assert level.paths == oversampled(some, seed=3).paths != oversampled(some, seed=4).paths
    assert all(some.labels[int(path)] == label for path, label in zip(level.paths, level.labels, strict=True))


def test_so_many_images_a_class_for_training(tmp_path):
    root = make_classes(tmp_path / "set", {"a": 9, "b": 30, "c": 14})
    dataset = open_dataset(root, train_per_class=8, validation=0.25)
    assert np.bincount(dataset.train.labels).tolist() == [6, 6, 6]
    assert np.bincount(dataset.validation.labels).tolist() == [2, 2, 2]
    assert np.bincount(dataset.test.labels).tolist() == [1, 22, 6]
    everything = dataset.train.paths + dataset.validation.paths + dataset.test.paths
    assert len(set(everything)) == len(everything) == 53
    fewer = open_dataset(root, train_per_class=4, validation=0)
    assert set(fewer.train.paths) <= set(dataset.train.paths + dataset.validation.paths)
    assert fewer.fingerprint == dataset.fingerprint
    assert open_dataset(root, train_per_class=4, validation=0, seed=1).train.paths != fewer.train.paths
    with pytest.raises(DataError, match="Class 'a' has 9 images, none of them left to test on after 9"):
        open_dataset(root, train_per_class=9)
    make_classes(tmp_path / "parted" / "train", {"a": 9, "b": 9})
    make_classes(tmp_path / "parted" / "test", {"a": 2, "b": 2})
    parted = open_dataset(tmp_path / "parted", train_per_class=5, validation=0)
    assert np.bincount(parted.train.labels).tolist() == [5, 5]
    assert np.bincount(parted.test.labels).tolist() == [2, 2]
    with pytest.raises(ValueError, match="train_per_class=-1"):
        open_dataset(root, train_per_class=-1)
