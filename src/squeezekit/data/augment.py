"""Random changes of training images: drawn by NumPy or TensorFlow, made by TensorFlow."""

import dataclasses
from typing import Any

import tensorflow as tf

from squeezekit.preprocess import Preprocess

__all__ = ["DRAWS", "Augment", "coloured", "corner", "flipped", "perhaps_flipped"]

# Rec. 601 luma, as Pillow's mode L.
_LUMA = (0.299, 0.587, 0.114)
# Columns of an image's row of random numbers.
_ROW, _COLUMN, _FLIP, _BRIGHTNESS, _CONTRAST, _SATURATION, DRAWS = range(7)


@dataclasses.dataclass(frozen=True, slots=True)
class Augment:
    """Mild random changes of a training image; each can be turned off.

    Args:
        crop: cut the input at a random place of the resized picture, not at its centre.
        flip: mirror half of the images left to right. Not for text or other things with a handedness.
        brightness: largest shift as a share of full scale, in [0, 1].
        contrast: largest relative change of the distance from the picture's mean luma, in [0, 1].
        saturation: largest relative change of the distance from grey, in [0, 1].

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

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            amount = getattr(self, name)
            if not 0 <= amount <= 1:
                raise ValueError(f"Expected an amount in [0, 1]. Received: {name}={amount}.")


def corner(draws: tf.Tensor, preprocess: Preprocess, augment: Augment) -> tuple[Any, Any]:
    """Row and column where an image's cut begins, or those of several."""
    if not augment.crop:
        return preprocess.crop_offset
    top = tf.cast(draws[..., _ROW] * (preprocess.resize_height - preprocess.height + 1), tf.int32)
    left = tf.cast(draws[..., _COLUMN] * (preprocess.resize_width - preprocess.width + 1), tf.int32)
    return top, left


def flipped(draws: tf.Tensor, augment: Augment) -> tf.Tensor:
    """Whether an image is mirrored left to right, or which of several."""
    return (draws[..., _FLIP] < 0.5) & augment.flip


def perhaps_flipped(pixels: tf.Tensor, flip: tf.Tensor) -> tf.Tensor:
    """Mirror an image left to right if that is to be."""
    # One picture at a time: mirroring a batch and choosing costs ten times as much.
    return tf.cond(flip, lambda: tf.reverse(pixels, [1]), lambda: pixels)


def coloured(pixels: tf.Tensor, draws: tf.Tensor, augment: Augment) -> tf.Tensor:
    """Shift brightness, contrast and saturation of a batch of uint8 pictures; float32 in [0, 255].

    With c and s the factors of contrast and saturation, contrast is around the mean luma m:
    c (luma + s (pixel - luma) - m) + m + shift, which is one 3 x 3 matrix and one offset a picture.
    """
    batch, height, width, channels = pixels.shape
    pixels = tf.cast(pixels, tf.float32)
    if not (augment.brightness or augment.contrast or augment.saturation):
        return pixels
    draw = tf.transpose(2.0 * draws - 1.0)[:, :, tf.newaxis, tf.newaxis]  # (draws, batch, 1, 1), in [-1, 1)
    shift = 255.0 * augment.brightness * draw[_BRIGHTNESS]
    contrast = 1.0 + augment.contrast * draw[_CONTRAST]
    saturation = 1.0 + augment.saturation * draw[_SATURATION]
    luma = tf.constant(_LUMA)[:, tf.newaxis]  # (channels, 1)
    pixels = tf.reshape(pixels, [batch, height * width, channels])
    mean = tf.matmul(tf.reduce_mean(pixels, axis=1, keepdims=True), luma)  # (batch, 1, 1)
    mix = contrast * (
        saturation * tf.eye(channels) + (1.0 - saturation) * luma
    )  # (batch, channels, channels)
    changed = tf.matmul(pixels, mix) + (1.0 - contrast) * mean + shift
    # One pass over the batch; tf.clip_by_value makes two.
    changed = tf.raw_ops.ClipByValue(t=changed, clip_value_min=0.0, clip_value_max=255.0)
    return tf.reshape(changed, [batch, height, width, channels])
