"""Batches of arrays and shards that are read anew each epoch, with memory that does not grow with them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.data.augment import Augment, choose_cuts, cut_batch
from squeezekit.data.cache import as_written, tuned
from squeezekit.imaging import all_resized, open_rgb, resized
from squeezekit.preprocess import Preprocess
from squeezekit.readers import ArrayImages, ShardImages

__all__ = ["streamed"]

# Places handed to TensorFlow at once; their images are read and decoded there, one by one.
_BLOCK = 256

# (epoch, images to skip) to blocks of (resized pixels or places, labels), in the order of that epoch.
_Reader = Callable[[int, int], Iterator[tuple[np.ndarray, np.ndarray]]]


def streamed(
    images: ArrayImages | ShardImages,
    preprocess: Preprocess,
    *,
    batch_size: int,
    steps: int,
    training: bool,
    seed: int,
    start_epoch: int,
    start_step: int,
    epochs: int,
    augment: Augment,
) -> tf.data.Dataset:
    """Stream `steps` batches an epoch in the order of `shuffled`; arguments and result are those of `batches`."""
    total = min(len(images), steps * batch_size)
    decode: Callable[..., Any] | None = None
    if isinstance(images, ArrayImages):
        read = _array_reader(images, preprocess, training, seed)
        size = (None, preprocess.resize_height, preprocess.resize_width, 3)
        kind = tf.TensorSpec(size, tf.uint8)
    else:
        read, decode = _shard_reader(images, training, seed), _decoder(images, preprocess)
        kind = tf.TensorSpec((None,), tf.int64)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for epoch in range(start_epoch, epochs):
            skip = start_step * batch_size if epoch == start_epoch else 0
            left = total - skip
            # Drawn by an image's turn, so that a resumed epoch goes on drawing where it was left.
            generator = np.random.default_rng([seed, epoch, 1])
            generator.random((skip, augment.draws), np.float32)
            for found, labels in read(epoch, skip):
                found, labels = found[:left], labels[:left]
                left -= len(labels)
                if len(labels):
                    yield found, generator.random((len(labels), augment.draws), np.float32), labels

    stream = tf.data.Dataset.from_generator(
        blocks,
        output_signature=(
            kind,
            tf.TensorSpec((None, augment.draws), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ),
    ).unbatch()
    if decode is not None:
        stream = stream.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    changes = augment if training else None

    def cut(draws: np.ndarray, pixels: np.ndarray, *chosen: np.ndarray) -> np.ndarray:
        return cut_batch(pixels.__getitem__, (np.arange(len(pixels)), *chosen), draws, preprocess, changes)

    @as_written
    def cut_all(pixels: tf.Tensor, draws: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = choose_cuts(draws, preprocess, changes)
        after = tf.numpy_function(cut, [draws, pixels, *chosen], tf.float32, stateful=False)
        after.set_shape([pixels.shape[0], preprocess.height, preprocess.width, 3])
        return after, labels

    stream = stream.batch(batch_size, drop_remainder=training)
    return tuned(stream.map(cut_all, num_parallel_calls=tf.data.AUTOTUNE))


def _array_reader(images: ArrayImages, preprocess: Preprocess, training: bool, seed: int) -> _Reader:
    def read(epoch: int, skip: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if training:
            for pixels, labels, _ in images.shuffled(seed, epoch, skip=skip):
                yield all_resized(pixels, preprocess), labels
        else:
            for pixels, labels in images.take(np.arange(skip, len(images))).blocks():
                yield all_resized(pixels, preprocess), labels

    return read


def _shard_reader(images: ShardImages, training: bool, seed: int) -> _Reader:
    def read(epoch: int, skip: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = images.shuffled(seed, epoch) if training else np.arange(len(images))
        for start in range(skip, len(order), _BLOCK):
            places = order[start : start + _BLOCK]
            yield places, images.labels[places]

    return read


def _decoder(images: ShardImages, preprocess: Preprocess) -> Callable[..., Any]:
    def picture(place: np.int64) -> np.ndarray:
        return resized(open_rgb(images.read(int(place))), preprocess)

    @as_written
    def decode(
        place: tf.Tensor, draws: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels = tf.numpy_function(picture, [place], tf.uint8, stateful=False)
        pixels.set_shape([preprocess.resize_height, preprocess.resize_width, 3])
        return pixels, draws, label

    return decode
