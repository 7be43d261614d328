"""Random changes of training images: which part is cut out, mirrored or not, in which colours."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.options import option
from squeezekit.preprocess import Preprocess

__all__ = ["Augment", "changing", "choose_cuts", "cut_batch"]

# Rec. 601 luma, as Pillow's mode L.
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
# Brings a colour to grey by the product that mixes pixels.
_TO_GREY = np.repeat(_LUMA[:, np.newaxis], 3, axis=1)
# Pixels that are mixed at once: they stay in a core's cache, and NumPy's BLAS starts no threads for so few.
_BAND = 16384
# An image without a margin is shifted by at most this part of its side.
_SHIFT = 8
# Columns of an image's row of random numbers.
_ROW, _COLUMN, _FLIP, _BRIGHTNESS, _CONTRAST, _SATURATION, _HIDE_ROW, _HIDE_COLUMN = range(8)
# The colour of a hidden place: zero, as the networks scale pixels.
_GREY = np.float32(127.5)
# Shares of a batch that is cut in threads.
_SHARES = 32


@dataclasses.dataclass(frozen=True, slots=True)
class Augment:
    """Mild random changes of a training image; each can be turned off.

    Args:
        crop: cut the input at a random place of the resized image, not at its centre. An image without a margin is
            shifted by up to an eighth of its side, and its border repeated.
        flip: mirror half of the images left to right. Not for text or other things with a handedness.
        brightness: largest shift as a share of full scale, in [0, 1].
        contrast: largest relative change of the distance from the image's mean luma, in [0, 1].
        saturation: largest relative change of the distance from grey, in [0, 1].
        cutout: side of a grey square that hides a part of each image, its centre anywhere, as a share of the image's
            shorter side, in [0, 1] (DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with
            Cutout", 2017). For long trainings that overfit.

    Raises:
        ValueError: an amount is out of range.

    Example:
        >>> Augment(flip=False).brightness
        0.1
    """

    crop: bool = True
    flip: bool = True
    brightness: float = 0.1
    contrast: float = 0.2
    saturation: float = 0.2
    cutout: float = option(
        0.0,
        "Side of a grey square that hides a part of each training image, as a share of the image's; try 0.25 or more "
        "where a long training knows its own images far better than others.",
        least=0,
        most=1,
    )

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "cutout"):
            amount = getattr(self, name)
            if not 0 <= amount <= 1:
                raise ValueError(f"Expected an amount in [0, 1]. Received: {name}={amount}.")

    @property
    def draws(self) -> int:
        """Random numbers that an image takes."""
        # No more than are used: with more, the streams of others would change.
        return _HIDE_COLUMN + 1 if self.cutout else _HIDE_ROW


def choose_cuts(draws: tf.Tensor, preprocess: Preprocess, augment: Augment | None) -> tuple[Any, Any, Any]:
    """The row and the column where the cut of each image begins, and whether it is mirrored left to right.

    Args:
        draws: float32 (batch, `augment.draws`) in [0, 1).
        preprocess: resize and crop.
        augment: the random changes; None for the centre, not mirrored.
    """
    count = tf.shape(draws)[:1]
    if augment is None or not augment.crop:
        top, left = (tf.fill(count, start) for start in preprocess.crop_offset)
    else:
        top, left = (
            _begin(draws[:, _ROW], preprocess.height, preprocess.resize_height),
            _begin(draws[:, _COLUMN], preprocess.width, preprocess.resize_width),
        )
    flip = draws[:, _FLIP] < 0.5 if augment is not None and augment.flip else tf.zeros(count, tf.bool)
    return top, left, flip


def _begin(draw: tf.Tensor, side: int, whole: int) -> tf.Tensor:
    # Beyond the resized image where that has no margin.
    reach = 0 if whole > side else side // _SHIFT
    return tf.cast(draw * (whole - side + 2 * reach + 1), tf.int32) - reach


def cut_batch(
    picture: Callable[[int], np.ndarray],
    chosen: Sequence[np.ndarray],
    draws: np.ndarray,
    preprocess: Preprocess,
    augment: Augment | None,
    threads: ThreadPoolExecutor | None = None,
) -> np.ndarray:
    """Cut, mirror and change the images of a batch.

    Args:
        picture: place to the resized image, uint8 (resize_height, resize_width, 3).
        chosen: int (batch,) places and what `choose_cuts` returned.
        draws: float32 (batch, `augment.draws`) in [0, 1).
        preprocess: resize and crop.
        augment: the random changes; None for none.
        threads: for images that take long to get.

    Returns:
        float32 (batch, height, width, 3) in [0, 255].
    """
    height, width = preprocess.height, preprocess.width
    pixels = np.empty((len(draws), height, width, 3), np.float32)
    change = changing(draws, augment)
    rows, columns = np.arange(height), np.arange(width)
    backwards = columns[::-1].copy()
    beyond = preprocess.resize_height == height or preprocess.resize_width == width

    def cut_some(some: Iterable[tuple[int, tuple[int, int, int, bool]]]) -> None:
        for number, (place, top, left, flip) in some:
            part = picture(place)
            if beyond:
                # Beyond the image its border is repeated.
                part = part.take(rows + top, axis=0, mode="clip").take(columns + left, axis=1, mode="clip")
            else:
                part = part[top : top + height, left : left + width]
            # Twice as fast as a copy of the mirrored view.
            part = part.take(backwards, axis=1, mode="clip") if flip else part
            change(number, part, pixels[number])

    every = list(enumerate(zip(*(numbers.tolist() for numbers in chosen), strict=True)))
    if threads is None:
        cut_some(every)
    else:
        # Images are of unequal size, hence more shares than threads. Read to the end, for the error of any of them.
        list(threads.map(cut_some, (every[share::_SHARES] for share in range(_SHARES))))
    return pixels


def changing(draws: np.ndarray, augment: Augment | None) -> Callable[[int, np.ndarray, np.ndarray], None]:
    """Make the function that changes the colours of an image of a batch and hides a part of it, for any thread.

    It takes the number in the batch, pixels (height, width, 3) in [0, 255], and a contiguous float32 array of that
    shape that gets the changed pixels. Draws are float32 (batch, `augment.draws`) in [0, 1).
    """
    colour = _colouring(draws, augment)
    if augment is None or not augment.cutout:
        return colour

    def change(number: int, pixels: np.ndarray, target: np.ndarray) -> None:
        colour(number, pixels, target)
        height, width, _ = target.shape
        side = round(augment.cutout * min(height, width))
        top = int(draws[number, _HIDE_ROW] * height) - side // 2
        left = int(draws[number, _HIDE_COLUMN] * width) - side // 2
        target[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = _GREY

    return change


def _colouring(draws: np.ndarray, augment: Augment | None) -> Callable[[int, np.ndarray, np.ndarray], None]:
    """`changing` of brightness, contrast and saturation.

    With c and s the factors of contrast and saturation, and m the mean luma: c (luma + s (pixel - luma) - m) + m +
    shift, which is one 3 x 3 matrix and one offset an image. NumPy is twice as fast at it as TensorFlow.
    """
    if augment is None or not (augment.brightness or augment.contrast or augment.saturation):
        return lambda number, pixels, target: np.copyto(target, pixels)
    draw = 2 * draws - 1  # in [-1, 1)
    shift = np.float32(255 * augment.brightness) * draw[:, _BRIGHTNESS]
    contrast = 1 + np.float32(augment.contrast) * draw[:, _CONTRAST]
    saturation = (1 + np.float32(augment.saturation) * draw[:, _SATURATION])[:, np.newaxis, np.newaxis]
    grey = (1 - saturation) * _LUMA[:, np.newaxis]
    # (batch, 3, 3)
    mix = contrast[:, np.newaxis, np.newaxis] * (saturation * np.eye(3, dtype=np.float32) + grey)

    def colour(number: int, pixels: np.ndarray, target: np.ndarray) -> None:
        height, width, channels = pixels.shape
        exact = pixels.astype(np.float32, order="C")
        # Sums of whole rows first: three columns at a time do not fill vector units.
        sums = exact.reshape(height, width * channels).sum(axis=0)
        means = sums.reshape(width, channels).sum(axis=0) / np.float32(height * width)
        offset = (1 - contrast[number]) * (means[np.newaxis] @ _TO_GREY)[0, 0] + shift[number]
        exact, flat = exact.reshape(-1, channels), target.reshape(-1, channels)
        for start in range(0, len(flat), _BAND):
            band = flat[start : start + _BAND]
            np.matmul(exact[start : start + _BAND], mix[number], out=band)
            band += offset
            np.clip(band, 0, 255, out=band)

    return colour
