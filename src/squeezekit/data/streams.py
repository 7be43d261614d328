"""Batches of a set of images, whatever it lies in."""

from typing import Any

import tensorflow as tf

from squeezekit.data import pipeline
from squeezekit.data.array_batches import array_batches
from squeezekit.data.dataset import Images
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ArraySet

__all__ = ["batches"]


def batches(
    images: Images, preprocess: Preprocess, *, cache_bytes: int = pipeline.CACHE_BYTES, **options: Any
) -> tf.data.Dataset:
    """Stream images as batches, epoch after epoch: `pipeline.batches` of files, and of arrays that fit into memory.

    Arrays whose resized pictures need more than `cache_bytes` are read anew each epoch by `array_batches`, in the order
    of a windowed shuffle. Of the same pictures in the same order the other two give the same batches, bit for bit.

    Args:
        images: a `Split` of files, or an `ArraySet`.
        preprocess: size, resize and crop.
        cache_bytes: largest memory for decoded pictures; 0 never keeps any.
        **options: `batch_size` and whatever else the two take: `training`, `seed`, `start_epoch`, `epochs`, `augment`.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, or in training there is not one whole batch.
    """
    if isinstance(images, ArraySet):
        needed_bytes = len(images) * preprocess.resize_height * preprocess.resize_width * 3
        if needed_bytes > cache_bytes:
            return array_batches(images, preprocess, **options)
    return pipeline.batches(images, preprocess, cache_bytes=cache_bytes, **options)
