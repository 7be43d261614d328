"""From images in `.npz` or `.npy` files to a stream of batches, with memory that does not grow with them."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from squeezekit.data.augment import Augment, changed, corner, cut_at, flipped, perhaps_flipped
from squeezekit.data.pictures import as_written, tuned
from squeezekit.imaging import all_resized
from squeezekit.preprocess import Preprocess
from squeezekit.sources import WINDOW_BYTES, ArraySet

__all__ = ["array_batches", "finished", "require_possible"]


def array_batches(
    arrays: ArraySet,
    preprocess: Preprocess,
    *,
    batch_size: int,
    training: bool = False,
    seed: int = 0,
    start_epoch: int = 0,
    start_step: int = 0,
    epochs: int = 1,
    augment: Augment | None = None,
    window_bytes: int = WINDOW_BYTES,
) -> tf.data.Dataset:
    """Stream images that lie in `.npz` or `.npy` files as batches, epoch after epoch, with flat memory.

    The same pairs as `batches` gives of image files, but the order of a training epoch is `ArraySet.shuffled`'s.
    Each process reads the files once an epoch, in order, so that they need not fit into memory.

    Args:
        arrays: of `open_arrays`.
        preprocess: size, resize and crop; fastest when the resize is to the size that the images have.
        batch_size: images a batch, at least 1.
        training: shuffle, augment and drop an incomplete last batch.
        seed: chooses order and changes, in training.
        start_epoch: the first epoch of the stream.
        start_step: batches of that epoch to pass over, to resume in its middle: what follows is the same as ever.
        epochs: the stream ends before this epoch.
        augment: what may change in training; the default is `Augment()`.
        window_bytes: memory of the shuffle.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.

    Raises:
        ValueError: a number is out of range, or in training there is not one whole batch.

    Example:
        >>> import os, tempfile
        >>> from squeezekit.data import open_arrays
        >>> path = os.path.join(tempfile.mkdtemp(), "a.npz")
        >>> np.savez(path, images=np.zeros((5, 8, 8, 3), np.uint8), labels=np.array([0, 1, 0, 1, 1]))
        >>> for pixels, labels in array_batches(open_arrays(path), Preprocess(8, 8), batch_size=3):
        ...     print(pixels.shape, labels.numpy())
        (3, 8, 8, 3) [0 1 0]
        (2, 8, 8, 3) [1 1]
    """
    require_possible(batch_size, seed, start_epoch, start_step, epochs)
    images = len(arrays) // batch_size * batch_size if training else len(arrays)
    if not images:
        raise ValueError(f"Expected at least one whole batch. Received: {len(arrays)} images, {batch_size=}.")
    augment = augment or Augment()
    skipped = start_step * batch_size

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for epoch in range(start_epoch, epochs):
            skip = min(skipped, images) if epoch == start_epoch else 0
            left = images - skip
            # Drawn by an image's turn, so that a resumed epoch draws on where it was left.
            generator = np.random.default_rng([seed, epoch, 1])
            generator.random((skip, augment.draws), np.float32)
            if training:
                source = arrays.shuffled(seed, epoch, window_bytes=window_bytes, skip=skip)
            else:
                source = ((*block, block[1]) for block in arrays.blocks())
            for pixels, labels, _ in source:
                if not training and skip:
                    passed = min(skip, len(labels))
                    pixels, labels, skip = pixels[passed:], labels[passed:], skip - passed
                pixels, labels = pixels[:left], labels[:left]
                left -= len(labels)
                if len(labels):
                    draws = generator.random((len(labels), augment.draws), np.float32)
                    yield all_resized(pixels, preprocess), draws, labels

    size = (None, preprocess.resize_height, preprocess.resize_width, 3)
    stream = tf.data.Dataset.from_generator(
        blocks,
        output_signature=(
            tf.TensorSpec(size, tf.uint8),
            tf.TensorSpec((None, augment.draws), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ),
    )
    return finished(stream.unbatch(), preprocess, batch_size, augment if training else None)


def require_possible(batch_size: int, seed: int, start_epoch: int, start_step: int, epochs: int) -> None:
    """Refuse numbers of a stream that cannot be.

    Raises:
        ValueError: one is out of range.
    """
    if batch_size < 1:
        raise ValueError(f"Expected at least one image a batch. Received: batch_size={batch_size}.")
    if not 0 <= start_epoch <= epochs or start_step < 0 or seed < 0:
        raise ValueError(
            f"Expected 0 <= start_epoch <= epochs and no negative start_step or seed. "
            f"Received: {start_epoch=}, {epochs=}, {start_step=}, {seed=}."
        )


def finished(
    stream: tf.data.Dataset, preprocess: Preprocess, batch_size: int, augment: Augment | None
) -> tf.data.Dataset:
    """From resized pictures to batches as the network takes them.

    Args:
        stream: uint8 (resize_height, resize_width, 3), its float32 (`augment.draws`,) random numbers, its int32 label.
        preprocess: says where to cut.
        batch_size: images a batch.
        augment: what may change, in training, where an incomplete last batch is left out; None for none.

    Returns:
        Pairs of float32 (batch, height, width, 3) RGB in [0, 255] and int32 (batch,) labels.
    """

    @as_written
    def cut(pixels: tf.Tensor, draws: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        top, left = corner(draws, preprocess, augment) if augment else preprocess.crop_offset
        pixels = cut_at(pixels, top, left, preprocess)
        return perhaps_flipped(pixels, flipped(draws, augment)) if augment else pixels, draws, label

    @as_written
    def change(pixels: tf.Tensor, draws: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (changed(pixels, draws, augment) if augment else tf.cast(pixels, tf.float32)), label

    stream = stream.map(cut, num_parallel_calls=tf.data.AUTOTUNE)
    stream = stream.batch(batch_size, drop_remainder=augment is not None)
    return tuned(stream.map(change, num_parallel_calls=tf.data.AUTOTUNE))
