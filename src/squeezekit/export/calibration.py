"""Calibration images: they set the range of every activation in a full-integer export."""

from collections.abc import Iterator

import numpy as np

from squeezekit.data import Images, batches
from squeezekit.preprocess import Preprocess

__all__ = ["calibration_batches"]


def calibration_batches(
    split: Images, preprocess: Preprocess, *, images: int = 100, seed: int = 0, batch_size: int = 25
) -> Iterator[np.ndarray]:
    """Read a random sample of a split's images as the network will see them, without augmentation.

    Use the training split: on the test split the ranges would be fitted to the test images.

    Args:
        split: the images to choose from.
        preprocess: the network's.
        images: how many, at least 1; all of a smaller split.
        seed: chooses which.
        batch_size: images in memory at once.

    Yields:
        float32 (batch, height, width, 3) RGB in [0, 255], for `litert(calibration=...)`.

    Raises:
        ValueError: `images` is not positive.
    """
    if images < 1:
        raise ValueError(f"Expected at least one calibration image. Received: images={images}.")
    chosen = np.random.default_rng(seed).permutation(len(split))[:images]
    chosen.sort()
    for pixels, _ in batches(split.take(chosen), preprocess, batch_size=batch_size):
        yield pixels.numpy()
