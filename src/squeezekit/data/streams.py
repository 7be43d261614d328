"""Batches of a set of images, whatever it lies in."""

from typing import Any

import tensorflow as tf

from squeezekit.data import pipeline
from squeezekit.data.array_batches import array_batches
from squeezekit.data.dataset import Images
from squeezekit.data.shard_batches import shard_batches
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ArraySet, ShardSet

__all__ = ["batches"]


def batches(
    images: Images, preprocess: Preprocess, *, cache_bytes: int = pipeline.CACHE_BYTES, **options: Any
) -> tf.data.Dataset:
    """Stream images as batches, epoch after epoch: by `pipeline.batches` files, and what fits into memory.

    Arrays and shards whose resized pictures need more than `cache_bytes` are read anew each epoch by `array_batches` or
    `shard_batches`, in the order of a windowed shuffle. What fits gives the batches of the same pictures in files.

    Args:
        images: a `Split` of files, an `ArraySet` or a `ShardSet`.
        preprocess: size, resize and crop.
        cache_bytes: largest memory for decoded pictures; 0 never keeps any.
        **options: `batch_size` and whatever else the two take: `training`, `seed`, `start_epoch`, `epochs`, `augment`.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, or in training there is not one whole batch.
    """
    if len(images) * preprocess.resize_height * preprocess.resize_width * 3 > cache_bytes:
        if isinstance(images, ArraySet):
            return array_batches(images, preprocess, **options)
        if isinstance(images, ShardSet):
            return shard_batches(images, preprocess, **options)
    return pipeline.batches(images, preprocess, cache_bytes=cache_bytes, **options)
