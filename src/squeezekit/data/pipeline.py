"""From a split to a stream of batches: decode, resize, augment, in TensorFlow's own threads.

The same call with the same seed gives the same stream bit for bit, whatever the number of cores, and
a stream that starts at epoch k is the tail of the one that starts at 0.
"""

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.data.augment import DRAWS, Augment, coloured, corner, perhaps_flipped
from squeezekit.data.dataset import Images
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import all_resized, open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ArraySet, ShardSet

__all__ = ["batches", "lost_images", "steps_per_epoch"]

# Decoded pictures are kept in memory when a whole split of them needs no more than this.
CACHE_BYTES = 1 << 30

# No Python branch hangs on a tensor here; without this each stream costs a second of rewriting these functions.
as_written = tf.autograph.experimental.do_not_convert

_pillow_lock = threading.Lock()
# What TensorFlow's threads could not open, for `lost_images`.
_lost: list[str] = []
# The pictures of each split that is still in use, at the last size asked for.
_cached: "weakref.WeakKeyDictionary[Images, tuple[Any, tf.Tensor]]" = weakref.WeakKeyDictionary()


def steps_per_epoch(split: Images, batch_size: int) -> int:
    """Batches in one training epoch; the images of an incomplete last batch wait for another epoch.

    Args:
        split: the training images.
        batch_size: images a batch, at least 1.

    Returns:
        The number of whole batches.

    Example:
        >>> from squeezekit.data import Split
        >>> steps_per_epoch(Split(["a.jpg"] * 70, np.zeros(70, np.int32)), 32)
        2
    """
    return len(split) // batch_size


def batches(
    split: Images,
    preprocess: Preprocess,
    *,
    batch_size: int,
    training: bool = False,
    seed: int = 0,
    start_epoch: int = 0,
    epochs: int = 1,
    augment: Augment | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """Stream a split as batches, epoch after epoch.

    In training each epoch is a fresh permutation of all images, changed at random as `augment` says, in
    `steps_per_epoch` whole batches. Otherwise every image comes once an epoch, in order, as the runtime
    sees it. When the split's resized pictures fit into `cache_bytes` they are decoded once, in this call,
    and kept for as long as the split lives; otherwise they are decoded anew each epoch and memory
    does not grow with the number of images.

    Args:
        split: the images.
        preprocess: size, resize and crop.
        batch_size: images a batch, at least 1.
        training: shuffle, augment and drop an incomplete last batch.
        seed: chooses permutations and changes, in training.
        start_epoch: the first epoch of the stream, to resume: the epochs after it are the same as ever.
        epochs: the stream ends before this epoch.
        augment: what may change in training; the default is `Augment()`.
        cache_bytes: largest memory for decoded pictures; 0 never keeps any.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, or in training there is not one whole batch.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from squeezekit.data import Split
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "red.png"
        >>> Image.new("RGB", (40, 30), "red").save(path)
        >>> split = Split([str(path)] * 3, np.array([0, 1, 0], np.int32))
        >>> for pixels, labels in batches(split, Preprocess(8, 8), batch_size=2):
        ...     print(pixels.shape, labels.numpy())
        (2, 8, 8, 3) [0 1]
        (1, 8, 8, 3) [0]
    """
    if batch_size < 1:
        raise ValueError(f"Expected at least one image a batch. Received: batch_size={batch_size}.")
    if not 0 <= start_epoch <= epochs:
        raise ValueError(f"Expected 0 <= start_epoch <= epochs. Received: {start_epoch=}, {epochs=}.")
    if not 0 <= seed < 2**31:
        raise ValueError(f"Expected a seed in [0, 2**31). Received: seed={seed}.")
    if training and not steps_per_epoch(split, batch_size):
        raise ValueError(f"Expected at least one whole batch. Received: {len(split)} images, {batch_size=}.")
    picture = _picture_source(split, preprocess, cache_bytes)
    labels = tf.constant(split.labels)

    if not training:
        top, left = preprocess.crop_offset

        @as_written
        def look(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return picture(index, top, left), labels[index]

        stream = tf.data.Dataset.range(len(split)).map(look, num_parallel_calls=tf.data.AUTOTUNE)
        stream = stream.batch(batch_size).map(_as_float)
        return tuned(stream.repeat(epochs - start_epoch))

    augment = augment or Augment()
    images = steps_per_epoch(split, batch_size) * batch_size

    @as_written
    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.cast(seed, tf.int64), epoch * 2])
        # Ties keep their order, so equal draws do no harm.
        ranks = tf.random.stateless_uniform([len(split)], key, alg="philox")
        indices = tf.argsort(ranks, stable=True)[:images]
        # One row an image, by its place in the split: its fate hangs on seed, epoch and place alone.
        draws = tf.random.stateless_uniform([len(split), DRAWS], key + [0, 1], alg="philox")
        return tf.data.Dataset.from_tensor_slices((tf.cast(indices, tf.int64), tf.gather(draws, indices)))

    @as_written
    def cut(index: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = picture(index, *corner(draws, preprocess, augment))
        return perhaps_flipped(pixels, draws, augment), draws, labels[index]

    @as_written
    def change(pixels: tf.Tensor, draws: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return coloured(pixels, draws, augment), label

    # Every epoch gives whole batches only, so that no batch mixes two epochs.
    stream = tf.data.Dataset.range(start_epoch, epochs).flat_map(order)
    stream = stream.map(cut, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True)
    return tuned(stream.map(change, num_parallel_calls=tf.data.AUTOTUNE))


@contextlib.contextmanager
def lost_images() -> Iterator[None]:
    """Within it batches are taken: an image that is gone by then is said in a line, not in TensorFlow's hundred.

    Raises:
        DataError: an image is gone or was changed since `open_dataset` looked at it.
    """
    _lost.clear()
    try:
        yield
    except tf.errors.OpError as error:
        if not _lost:
            raise
        raise DataError(f"{_lost[0]}; run it again on the images as they are") from error


@as_written
def _as_float(pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(pixels, tf.float32), labels


def tuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    """Set what every stream here has in common: a fixed order, one thread an image, two batches ahead."""
    options = tf.data.Options()
    options.deterministic = True
    # Each picture or batch on one thread: the sums do not depend on the number of cores, and splitting costs.
    options.threading.max_intra_op_parallelism = 1
    return stream.prefetch(2).with_options(options)


def _picture_source(split: Images, preprocess: Preprocess, cache_bytes: int) -> Any:
    """Make a function of (index, top, left): a uint8 (height, width, 3) cut of a resized picture."""
    size = (preprocess.height, preprocess.width, 3)
    needed_bytes = len(split) * preprocess.resize_height * preprocess.resize_width * 3
    if 0 < needed_bytes <= cache_bytes:
        pixels = _decoded(split, preprocess)

        def kept(index: tf.Tensor, top: Any, left: Any) -> tf.Tensor:
            begin = tf.stack([tf.cast(index, tf.int32), top, left, 0])
            return tf.reshape(tf.slice(pixels, begin, [1, *size]), size)

        return kept
    source = _resized_source(split, preprocess)

    def fresh(index: tf.Tensor, top: Any, left: Any) -> tf.Tensor:
        return tf.slice(source(index), tf.stack([top, left, 0]), size)

    return fresh


def _decoded(split: Images, preprocess: Preprocess) -> tf.Tensor:
    """Decode a whole split, once for as long as it lives: uint8 (images, resize_height, resize_width, 3)."""
    key = (preprocess.resize_height, preprocess.resize_width, preprocess.fit)
    if split not in _cached or _cached[split][0] != key:
        pixels = np.empty((len(split), preprocess.resize_height, preprocess.resize_width, 3), np.uint8)
        done = 0
        with lost_images():
            for batch in _resized_in_order(split, preprocess):
                pixels[done : done + len(batch)] = batch
                done += len(batch)
        _cached[split] = (key, tf.convert_to_tensor(pixels))
    return _cached[split][1]


def _resized_in_order(split: Images, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """All pictures of a split, some at a time: uint8 (some, resize_height, resize_width, 3)."""
    if isinstance(split, ArraySet):
        return (all_resized(pixels, preprocess) for pixels, _ in split.blocks())
    if isinstance(split, ShardSet):
        return (resized(open_rgb(data), preprocess)[np.newaxis] for _, data in split.pictures())
    stream = tf.data.Dataset.range(len(split))
    stream = stream.map(_resized_source(split, preprocess), num_parallel_calls=tf.data.AUTOTUNE)
    return tuned(stream.batch(64)).as_numpy_iterator()


def _resized_source(split: Images, preprocess: Preprocess) -> Any:
    """Make a function of an index that decodes and resizes: uint8 (resize_height, resize_width, 3)."""
    # As bytes: a name need not be Unicode.
    paths = tf.constant(np.array([os.fsencode(path) for path in split.files()], dtype=object))

    def look(path: bytes) -> np.ndarray:
        # Decoding sets the process's warning filters aside for a moment, which two threads may not do at once.
        try:
            with _pillow_lock:
                picture = open_rgb(os.fsdecode(path))
        except (FormatError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            _lost.append(f"{os.fsdecode(path)}: gone or changed since it was checked ({reason})")
            raise
        return resized(picture, preprocess)

    @as_written
    def source(index: tf.Tensor) -> tf.Tensor:
        pixels = tf.numpy_function(look, [paths[index]], tf.uint8, stateful=False)
        pixels.set_shape([preprocess.resize_height, preprocess.resize_width, 3])
        return pixels

    return source
