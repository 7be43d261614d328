"""A plain class folder gives the same fingerprint, splits, order and pixels in every version: caches hang on them."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from squeezekit.data import Augment, batches, open_dataset
from squeezekit.preprocess import Preprocess


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("golden")
    for label in "abc":
        (root / label).mkdir()
        for number in range(20):
            # Whatever NumPy's generators do next, and uncompressed: the bytes are the same everywhere.
            pixels = (np.arange(12 * 14 * 3) * (7 * number + ord(label)) % 251).astype(np.uint8)
            Image.fromarray(pixels.reshape(12, 14, 3)).save(root / label / f"{number}.bmp")
    return root, open_dataset(root, seed=3)


def test_fingerprint_and_splits(dataset):
    root, opened = dataset
    assert opened.fingerprint == "79b7595d87514320f0c742c1a69625a67445cd7e55de6d8bd26fce978835ed14"
    names = [
        [path[len(str(root)) + 1 :].replace("\\", "/") for path in split.paths]
        for split in (opened.train, opened.validation, opened.test)
    ]
    assert [len(part) for part in names] == [42, 6, 12]
    assert (
        hashlib.sha256(repr(names).encode()).hexdigest()
        == "875f06e3d6cdcda43974386d7f24f4d26462c779d6d14ee4f344d36b6c5ce293"
    )


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_order_and_pixels_of_training(dataset, cache_bytes):
    # Resized to their own size and without colour changes, so that every value is a whole number of the file's.
    augment = Augment(brightness=0, contrast=0, saturation=0)
    digest = hashlib.sha256()
    for pixels, labels in batches(
        dataset[1].train,
        Preprocess(10, 10, 12, 14),
        batch_size=8,
        training=True,
        seed=5,
        epochs=2,
        augment=augment,
        cache_bytes=cache_bytes,
    ):
        digest.update(pixels.numpy().astype(np.uint8).tobytes() + labels.numpy().astype("<i4").tobytes())
    assert digest.hexdigest() == "581f87a90ad517fee41285e0fd3291b0c79de05325704e76f33d8d462d229d66"
