"""From images to a stream of batches: decode, resize, augment, in TensorFlow's own threads.

The same call with the same seed gives the same stream bit for bit, whatever the number of cores. A stream that starts
at batch s of epoch k is the tail of the one that starts at 0, and reads nothing of what comes before.
"""

import os

import tensorflow as tf

from squeezekit.data.augment import Augment
from squeezekit.data.cache import CACHE_BYTES, Cutter, as_written, cutter, kept_bytes, tuned
from squeezekit.data.labelled_images import Images
from squeezekit.data.streamed import streamed
from squeezekit.preprocess import Preprocess
from squeezekit.readers import ArrayImages, ShardImages

__all__ = ["batches", "steps_per_epoch"]


def steps_per_epoch(images: Images, batch_size: int, workers: int = 1) -> int:
    """Batches in one training epoch, of each worker; the images of an incomplete last batch wait for another epoch.

    Example:
        >>> import numpy as np
        >>> from squeezekit.data import Split
        >>> steps_per_epoch(Split(["a.jpg"] * 70, np.zeros(70, np.int32)), 32)
        2
    """
    return len(images) // (batch_size * workers)


def batches(
    images: Images,
    preprocess: Preprocess,
    *,
    batch_size: int,
    training: bool = False,
    seed: int = 0,
    start_epoch: int = 0,
    start_step: int = 0,
    epochs: int = 1,
    worker: tuple[int, int] = (0, 1),
    augment: Augment | None = None,
    cache_bytes: int = CACHE_BYTES,
    cache_folder: str | os.PathLike[str] | None = None,
) -> tf.data.Dataset:
    """Stream images as batches, epoch after epoch.

    In training each epoch is a random permutation of all images, changed as `augment` says, in `steps_per_epoch` whole
    batches. Otherwise every image comes once an epoch, in order, as the runtime sees it.

    When all resized images fit into `cache_bytes` they are decoded once, in this call, and kept as long as `images`
    live. Otherwise image files are kept in a file in `cache_folder`, if there is room, or decoded anew each epoch: the
    pixels and the order are the same. Arrays and shards that do not fit are read anew each epoch, in the order of
    their own `shuffled`. Only what is kept in memory takes memory that grows with the number of images.

    Of several workers each gets its own images of every epoch, and all get equally many batches. In training the
    workers' batches s together are the batch s of a single worker whose `batch_size` is all of theirs together.

    Args:
        images: a part of a dataset.
        preprocess: size, resize and crop.
        batch_size: images a batch, at least 1.
        training: shuffle, augment and drop an incomplete last batch.
        seed: chooses order and changes in training, in [0, 2**31).
        start_epoch: the first epoch of the stream, to resume: the epochs after it are the same as ever.
        start_step: batches of that epoch to skip unread, to resume in its middle.
        epochs: the stream ends before this epoch.
        worker: (number of this worker from 0 on, number of workers).
        augment: the random changes in training; the default is `Augment()`.
        cache_bytes: largest memory for decoded images; 0 keeps none there.
        cache_folder: where a file of decoded images may take half of the free space.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, there are too few images for the workers to get equally many batches, in
            training not one whole batch, or workers are to share arrays or shards that do not fit into memory.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> from squeezekit.data import Split
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "red.png"
        >>> Image.new("RGB", (40, 30), "red").save(path)
        >>> images = Split([str(path)] * 3, np.array([0, 1, 0], np.int32))
        >>> for pixels, labels in batches(images, Preprocess(8, 8), batch_size=2):
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
    number, workers = worker
    if not 0 <= number < workers:
        raise ValueError(
            f"Expected worker=(number, workers) with 0 <= number < workers. Received: {worker=}."
        )
    steps = steps_per_epoch(images, batch_size, workers)
    if not training:
        steps = -(-len(images) // (batch_size * workers))
    if training and not steps:
        raise ValueError(
            f"Expected at least one whole batch. Received: {len(images)} images, {batch_size=}, {worker=}."
        )
    if start_step and not (0 <= start_step < steps and start_epoch < epochs):
        raise ValueError(
            f"Expected a step of the {steps} of an epoch. Received: {start_step=}, {start_epoch=}."
        )
    augment = augment or Augment()
    if isinstance(images, ArrayImages | ShardImages) and kept_bytes(images, preprocess) > cache_bytes:
        if workers > 1:
            raise ValueError("Expected image files, or images that fit into memory, to share among workers.")
        return streamed(
            images,
            preprocess,
            batch_size=batch_size,
            steps=steps,
            training=training,
            seed=seed,
            start_epoch=start_epoch,
            start_step=start_step,
            epochs=epochs,
            augment=augment,
        )
    cut = cutter(images, preprocess, cache_bytes, cache_folder, augment if training else None)
    if not training:
        return _in_order(images, cut, batch_size, start_step, epochs - start_epoch, worker)

    labels = tf.constant(images.labels)

    @as_written
    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.cast(seed, tf.int64), epoch * 2])
        # Ties keep their order, so equal draws do no harm.
        ranks = tf.random.stateless_uniform([len(images)], key, alg="philox")
        places = tf.argsort(ranks, stable=True)[: steps * workers * batch_size]
        places = tf.reshape(places, [steps, workers, batch_size])[:, number]
        # One row an image: its changes depend on seed, epoch and place alone.
        draws = tf.random.stateless_uniform([len(images), augment.draws], key + [0, 1], alg="philox")
        # Every epoch gives whole batches only, so that no batch mixes two epochs.
        places = places[tf.where(epoch == start_epoch, start_step, 0) :]
        chosen = (tf.cast(places, tf.int64), tf.gather(draws, places), tf.gather(labels, places))
        return tf.data.Dataset.from_tensor_slices(chosen)

    return tuned(cut(tf.data.Dataset.range(start_epoch, epochs).flat_map(order)))


def _in_order(
    images: Images,
    cut: Cutter,
    batch_size: int,
    start_step: int,
    epochs: int,
    worker: tuple[int, int],
) -> tf.data.Dataset:
    """Every image once an epoch, unchanged; of n workers each has every n-th."""
    number, workers = worker
    labels = tf.constant(images.labels)
    places = range(number, len(images), workers)
    steps = -(-len(images) // (batch_size * workers))
    # A worker with one batch fewer than others makes two of its last.
    short = -(-len(places) // batch_size) < steps
    if short and (batch_size < 2 or not places):
        raise ValueError(
            f"Expected images for equally many batches of each worker. Received: {len(images)} images, "
            f"{batch_size=}, {worker=}."
        )

    @as_written
    def undrawn(places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return places, tf.zeros([tf.shape(places)[0], 1]), tf.gather(labels, places)

    def some(chosen: range, size: int) -> tf.data.Dataset:
        stream = tf.data.Dataset.range(chosen.start, chosen.stop, chosen.step).batch(size)
        return cut(stream.map(undrawn))

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
