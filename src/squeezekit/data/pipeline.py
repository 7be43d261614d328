"""From a split to a stream of batches: decode, resize, augment, in TensorFlow's own threads.

The same call with the same seed gives the same stream bit for bit, whatever the number of cores, and a
stream that starts at batch s of epoch k is the tail of the one that starts at 0, without what comes before being read.
"""

import os
from typing import Any

import tensorflow as tf

from squeezekit.data.augment import Augment, corner, flipped
from squeezekit.data.dataset import Images
from squeezekit.data.folder import Split
from squeezekit.data.fused import fused_source
from squeezekit.data.pictures import CACHE_BYTES, Cutter, as_written, cutter, one_by_one, tuned
from squeezekit.preprocess import Preprocess

__all__ = ["batches", "steps_per_epoch"]


def steps_per_epoch(split: Images, batch_size: int, workers: int = 1) -> int:
    """Batches in one training epoch; the images of an incomplete last batch wait for another epoch.

    Args:
        split: the training images.
        batch_size: images a batch, at least 1.
        workers: that share the epoch; each has as many batches.

    Returns:
        The number of whole batches, of each worker.

    Example:
        >>> import numpy as np
        >>> from squeezekit.data import Split
        >>> steps_per_epoch(Split(["a.jpg"] * 70, np.zeros(70, np.int32)), 32)
        2
    """
    return len(split) // (batch_size * workers)


def batches(
    split: Images,
    preprocess: Preprocess,
    *,
    batch_size: int,
    training: bool = False,
    seed: int = 0,
    start_epoch: int = 0,
    start_step: int = 0,
    epochs: int = 1,
    shard: tuple[int, int] = (0, 1),
    augment: Augment | None = None,
    cache_bytes: int = CACHE_BYTES,
    cache_folder: str | os.PathLike[str] | None = None,
    fused: bool = False,
) -> tf.data.Dataset:
    """Stream a split as batches, epoch after epoch.

    In training each epoch is a fresh permutation of all images, changed at random as `augment` says, in
    `steps_per_epoch` whole batches. Otherwise every image comes once an epoch, in order, as the runtime
    sees it. When the split's resized pictures fit into `cache_bytes` they are decoded once, in this call,
    and kept for as long as the split lives; else, where there is a `cache_folder` with room, in a file there
    that is gone with the split or the process; else they are decoded anew each epoch. Only the first of these
    takes memory that grows with the number of images. The pixels are the same in all three.

    Of several workers each gets its own part of every epoch, and all get equally many batches. In training the workers'
    batches s together are the batch s of a single worker whose `batch_size` is all of theirs together, changes and all.

    Args:
        split: the images.
        preprocess: size, resize and crop.
        batch_size: images a batch, at least 1.
        training: shuffle, augment and drop an incomplete last batch.
        seed: chooses permutations and changes, in training.
        start_epoch: the first epoch of the stream, to resume: the epochs after it are the same as ever.
        start_step: batches of that epoch to pass over unread, to resume in its middle.
        epochs: the stream ends before this epoch.
        shard: (number of this worker from 0 on, number of workers).
        augment: what may change in training; the default is `Augment()`.
        cache_bytes: largest memory for decoded pictures; 0 never keeps any there.
        cache_folder: where a file of decoded pictures may take half of the room that is left.
        fused: in training decode of each JPEG only what the crop needs, no finer than needed, and keep nothing.
            For large photos in sets too large for a cache: pixels are a little rougher than the runtime's.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, there are too few images for the workers to get equally many
            batches, or in training not one whole batch.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
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
    worker, workers = shard
    if not 0 <= worker < workers:
        raise ValueError(f"Expected shard=(worker, workers) with 0 <= worker < workers. Received: {shard=}.")
    if fused and not training:
        raise ValueError(
            "Expected fused=False: only in training may pixels differ from those of the runtime."
        )
    steps = (
        steps_per_epoch(split, batch_size, workers) if training else -(-len(split) // (batch_size * workers))
    )
    if training and not steps:
        raise ValueError(
            f"Expected at least one whole batch. Received: {len(split)} images, {batch_size=}, {shard=}."
        )
    if start_step and not (0 <= start_step < steps and start_epoch < epochs):
        raise ValueError(
            f"Expected a step of the {steps} of an epoch. Received: {start_step=}, {start_epoch=}."
        )
    augment = augment or Augment()
    # Arrays have nothing to decode.
    if fused and isinstance(split, Split):
        cut = one_by_one(fused_source(split, preprocess), preprocess, augment)
    else:
        cut = cutter(split, preprocess, cache_bytes, cache_folder, augment if training else None)
    if not training:
        return _in_order(split, preprocess, cut, batch_size, start_step, epochs - start_epoch, shard)

    labels = tf.constant(split.labels)

    @as_written
    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.cast(seed, tf.int64), epoch * 2])
        # Ties keep their order, so equal draws do no harm.
        ranks = tf.random.stateless_uniform([len(split)], key, alg="philox")
        places = tf.argsort(ranks, stable=True)[: steps * workers * batch_size]
        places = tf.reshape(places, [steps, workers, batch_size])[:, worker]
        # One row an image, by its place in the split: its fate hangs on seed, epoch and place alone.
        draws = tf.random.stateless_uniform([len(split), augment.draws], key + [0, 1], alg="philox")
        # Every epoch gives whole batches only, so that no batch mixes two epochs.
        places = places[tf.where(epoch == start_epoch, start_step, 0) :]
        return tf.data.Dataset.from_tensor_slices((tf.cast(places, tf.int64), tf.gather(draws, places)))

    @as_written
    def choose(places: tf.Tensor, draws: tf.Tensor) -> tuple[Any, ...]:
        top, left = (tf.broadcast_to(start, places.shape) for start in corner(draws, preprocess, augment))
        return places, top, left, flipped(draws, augment), draws, tf.gather(labels, places)

    return tuned(cut(tf.data.Dataset.range(start_epoch, epochs).flat_map(order).map(choose), batch_size))


def _in_order(
    split: Images,
    preprocess: Preprocess,
    cut: Cutter,
    batch_size: int,
    start_step: int,
    epochs: int,
    shard: tuple[int, int],
) -> tf.data.Dataset:
    """Every image once an epoch, unchanged; a worker has each n-th."""
    worker, workers = shard
    labels = tf.constant(split.labels)
    places = range(worker, len(split), workers)
    steps = -(-len(split) // (batch_size * workers))
    # A worker with a batch less than others makes two of its last one.
    short = -(-len(places) // batch_size) < steps
    if short and (batch_size < 2 or not places):
        raise ValueError(
            f"Expected images for equally many batches of each worker. Received: {len(split)} images, "
            f"{batch_size=}, {shard=}."
        )

    @as_written
    def look(places: tf.Tensor) -> tuple[Any, ...]:
        top, left = (tf.fill(tf.shape(places), start) for start in preprocess.crop_offset)
        straight = tf.zeros_like(places, tf.bool)
        return places, top, left, straight, tf.zeros_like(places, tf.float32), tf.gather(labels, places)

    def some(chosen: range, size: int) -> tf.data.Dataset:
        stream = tf.data.Dataset.range(chosen.start, chosen.stop, chosen.step).batch(size)
        return cut(stream.map(look), size)

    def one_pass(first: int) -> tf.data.Dataset:
        if not short:
            return some(places[first * batch_size :], batch_size)
        whole, half = (steps - 2) * batch_size, (batch_size + 1) // 2
        rest = places[whole + max(0, first - steps + 2) * half :]
        return some(places[first * batch_size : whole], batch_size).concatenate(some(rest, half))

    stream = one_pass(0).repeat(epochs)
    if start_step:
        stream = one_pass(start_step).concatenate(one_pass(0).repeat(epochs - 1))
    return tuned(stream)
