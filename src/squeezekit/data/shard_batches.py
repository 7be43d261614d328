"""From encoded images in shards to a stream of batches, with memory that does not grow with them."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from squeezekit.data.array_batches import finished, require_possible
from squeezekit.data.augment import Augment
from squeezekit.data.pictures import as_written
from squeezekit.imaging import open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.sources import ShardSet

__all__ = ["shard_batches"]

# Places handed to TensorFlow at once; the images are read and decoded there, one by one.
_BLOCK = 256


def shard_batches(
    shards: ShardSet,
    preprocess: Preprocess,
    *,
    batch_size: int,
    training: bool = False,
    seed: int = 0,
    start_epoch: int = 0,
    start_step: int = 0,
    epochs: int = 1,
    augment: Augment | None = None,
) -> tf.data.Dataset:
    """Stream images that lie in shards as batches, epoch after epoch; each is decoded anew each epoch.

    The same pairs as `batches` gives of image files, but the order of a training epoch is `ShardSet.shuffled`'s.

    Args:
        shards: of `sources.open_parts`.
        preprocess: size, resize and crop.
        batch_size: images a batch, at least 1.
        training: shuffle, augment and drop an incomplete last batch.
        seed: chooses order and changes, in training.
        start_epoch: the first epoch of the stream.
        start_step: batches of that epoch to pass over.
        epochs: the stream ends before this epoch.
        augment: what may change in training; the default is `Augment()`.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, or in training there is not one whole batch.
    """
    require_possible(batch_size, seed, start_epoch, start_step, epochs)
    images = len(shards) // batch_size * batch_size if training else len(shards)
    if training and not images:
        raise ValueError(f"Expected at least one whole batch. Received: {len(shards)} images, {batch_size=}.")
    augment = augment or Augment()

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for epoch in range(start_epoch, epochs):
            order = shards.shuffled(seed, epoch) if training else np.arange(len(shards))
            # Drawn for all, so that an epoch that begins in its middle draws the same.
            draws = np.random.default_rng([seed, epoch, 1]).random((images, augment.draws), np.float32)
            first = start_step * batch_size if epoch == start_epoch else 0
            for start in range(first, images, _BLOCK):
                places = order[start : min(start + _BLOCK, images)]
                yield places, draws[start : start + len(places)], shards.labels[places]

    def look(place: np.int64) -> np.ndarray:
        return resized(open_rgb(shards.read(int(place))), preprocess)

    @as_written
    def decoded(
        place: tf.Tensor, draws: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = tf.numpy_function(look, [place], tf.uint8, stateful=False)
        pixels.set_shape([preprocess.resize_height, preprocess.resize_width, 3])
        return pixels, draws, label

    stream = tf.data.Dataset.from_generator(
        blocks,
        output_signature=(
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None, augment.draws), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ),
    )
    stream = stream.unbatch().map(decoded, num_parallel_calls=tf.data.AUTOTUNE)
    return finished(stream, preprocess, batch_size, augment if training else None)
