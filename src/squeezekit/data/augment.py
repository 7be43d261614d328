"""Random changes of training images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from squeezekit.preprocess import Preprocess

__all__ = [
    "Augment",
    "changed",
    "changing",
    "corner",
    "cut_at",
    "flipped",
    "perhaps_flipped",
    "reaches_beyond",
]

# Rec. 601 luma, as Pillow's mode L.
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
# Brings a colour to grey by the product that mixes pixels.
_TO_GREY = np.repeat(_LUMA[:, np.newaxis], 3, axis=1)
# Pixels that are mixed at once: they stay in a core's cache, and NumPy's BLAS starts no threads for so few.
_BAND = 16384
# The part of its side by which a picture without a margin is shifted at most.
_SHIFT = 8
# Columns of an image's row of random numbers.
_ROW, _COLUMN, _FLIP, _BRIGHTNESS, _CONTRAST, _SATURATION, _HIDE_ROW, _HIDE_COLUMN = range(8)
# What is seen of a hidden place: nothing, as the networks scale pixels.
_GREY = np.float32(127.5)


@dataclasses.dataclass(frozen=True, slots=True)
class Augment:
    """Mild random changes of a training image; each can be turned off.

    Args:
        crop: cut the input at a random place of the resized picture, not at its centre. One without a margin is shifted
            by up to an eighth of its side, and its border repeated.
        flip: mirror half of the images left to right. Not for text or other things with a handedness.
        brightness: largest shift as a share of full scale, in [0, 1].
        contrast: largest relative change of the distance from the picture's mean luma, in [0, 1].
        saturation: largest relative change of the distance from grey, in [0, 1].
        cutout: side of a grey square that hides a part of each image, its centre anywhere, as a share of the image's
            shorter side, in [0, 1] (DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with
            Cutout", 2017). For long trainings that know their own images far better than others.

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
    cutout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "cutout"):
            amount = getattr(self, name)
            if not 0 <= amount <= 1:
                raise ValueError(f"Expected an amount in [0, 1]. Received: {name}={amount}.")

    @property
    def draws(self) -> int:
        """Random numbers that an image takes."""
        # No more than are used: of more, the others would be others.
        return _HIDE_COLUMN + 1 if self.cutout else _HIDE_ROW


def corner(draws: tf.Tensor, preprocess: Preprocess, augment: Augment) -> tuple[Any, Any]:
    """Row and column where an image's cut begins, or those of several; beyond the picture if that has no margin."""
    if not augment.crop:
        return preprocess.crop_offset

    def begin(draw: tf.Tensor, side: int, whole: int) -> tf.Tensor:
        reach = 0 if whole > side else side // _SHIFT
        return tf.cast(draw * (whole - side + 2 * reach + 1), tf.int32) - reach

    top = begin(draws[..., _ROW], preprocess.height, preprocess.resize_height)
    left = begin(draws[..., _COLUMN], preprocess.width, preprocess.resize_width)
    return top, left


def reaches_beyond(preprocess: Preprocess) -> bool:
    """Whether a cut may begin beyond the resized picture: where a side has no margin."""
    return preprocess.resize_height == preprocess.height or preprocess.resize_width == preprocess.width


def cut_at(pixels: tf.Tensor, top: Any, left: Any, preprocess: Preprocess) -> tf.Tensor:
    """The cut of a picture (height', width', 3) that begins at a corner; beyond the picture its border is repeated."""
    if not reaches_beyond(preprocess):
        return tf.slice(pixels, tf.stack([top, left, 0]), (preprocess.height, preprocess.width, 3))
    for axis, (begin, side) in enumerate(((top, preprocess.height), (left, preprocess.width))):
        places = tf.clip_by_value(begin + tf.range(side), 0, pixels.shape[axis] - 1)
        pixels = tf.gather(pixels, places, axis=axis)
    return pixels


def flipped(draws: tf.Tensor, augment: Augment) -> tf.Tensor:
    """Whether an image is mirrored left to right, or which of several."""
    return (draws[..., _FLIP] < 0.5) & augment.flip


def perhaps_flipped(pixels: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """Mirror an image left to right if that is to be."""
    # One picture at a time: mirroring a batch and choosing costs ten times as much.
    return tf.cond(flip, lambda: tf.reverse(pixels, [1]), lambda: pixels)


def changed(pixels: tf.Tensor, draws: tf.Tensor, augment: Augment) -> tf.Tensor:
    """What `changing` does, to a batch of pictures (batch, height, width, 3); float32 in [0, 255]."""

    def change_all(pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
        targets = np.empty(pixels.shape, np.float32)
        change = changing(draws, augment)
        for number, (picture, target) in enumerate(zip(pixels, targets, strict=True)):
            change(number, picture, target)
        return targets

    after = tf.numpy_function(change_all, [pixels, draws], tf.float32, stateful=False)
    after.set_shape(pixels.shape)
    return after


def changing(draws: np.ndarray, augment: Augment | None) -> Callable[[int, np.ndarray, np.ndarray], None]:
    """Make what changes the colours of the pictures of a batch and hides a part of each, one at a time.

    Args:
        draws: float32 (batch, `augment.draws`) in [0, 1).
        augment: what may change; None for nothing.

    Returns:
        A function of (number in the batch, pixels (height, width, 3) in [0, 255], a whole float32 array of that shape
        that gets the changed ones), for any thread.
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
    """Make what shifts brightness, contrast and saturation; arguments and result are those of `changing`.

    With c and s the factors of contrast and saturation, contrast is around the mean luma m:
    c (luma + s (pixel - luma) - m) + m + shift, which is one 3 x 3 matrix and one offset a picture. NumPy takes
    half as long for that as TensorFlow does, whose products of such narrow matrices and sums of columns are slow.
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
        # Of whole rows first: three columns at a time are no work for vector units.
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
