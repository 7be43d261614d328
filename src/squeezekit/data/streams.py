"""Batches of a set of images, whatever it lies in."""

from typing import Any

import tensorflow as tf

from squeezekit.data import pipeline
from squeezekit.data.array_batches import array_batches
from squeezekit.data.dataset import Images
from squeezekit.data.pictures import CACHE_BYTES
from squeezekit.data.shard_batches import shard_batches
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ArraySet, ShardSet

__all__ = ["batches"]

# Options of `pipeline.batches` without meaning for arrays and shards that are read anew each epoch.
_OF_FILES = ("cache_folder", "fused")


def batches(
    images: Images, preprocess: Preprocess, *, cache_bytes: int = CACHE_BYTES, **options: Any
) -> tf.data.Dataset:
    """Stream images as batches, epoch after epoch: by `pipeline.batches` files, and what fits into memory.

    Arrays and shards whose resized pictures need more than `cache_bytes` are read anew each epoch by `array_batches` or
    `shard_batches`, in the order of a windowed shuffle. What fits gives the batches of the same pictures in files.

    Args:
        images: a `Split` of files, an `ArraySet` or a `ShardSet`.
        preprocess: size, resize and crop.
        cache_bytes: largest memory for decoded pictures; 0 never keeps any.
        **options: `batch_size` and whatever else the two take: `training`, `seed`, `start_epoch`,
            `start_step`, `epochs`, `augment`, and of files `shard`, `cache_folder`, `fused`.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, in training there is not one whole batch, or workers are to share a set
            that is read anew each epoch.
    """
    if len(images) * preprocess.resize_height * preprocess.resize_width * 3 > cache_bytes and isinstance(
        images, ArraySet | ShardSet
    ):
        if options.pop("shard", (0, 1)) != (0, 1):
            raise ValueError("Expected files, or a set that fits into memory, to share among workers.")
        # There is nothing to keep and little to decode.
        streamed = {name: option for name, option in options.items() if name not in _OF_FILES}
        if isinstance(images, ArraySet):
            return array_batches(images, preprocess, **streamed)
        return shard_batches(images, preprocess, **streamed)
    return pipeline.batches(images, preprocess, cache_bytes=cache_bytes, **options)
