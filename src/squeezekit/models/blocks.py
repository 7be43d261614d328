"""What every network here is made of: input scaling, convolution blocks, softmax, checks of arguments."""

import keras
from keras import layers

__all__ = [
    "PIXEL_SCALING",
    "SMALLEST_SIDE",
    "check_arguments",
    "convolution",
    "image_input",
    "probabilities",
    "scaled_width",
]

# (scale, offset) from [0, 255] to [-2, 2). A power of two is exact in every float format, and a full-integer export
# loses nothing on its input.
PIXEL_SCALING = (1 / 64, -2.0)

# Side of an input, in pixels, that leaves two rows of features after all pools.
SMALLEST_SIDE = 32


def image_input(input_shape: tuple[int, int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of [0, 255] RGB pixels (b, height, width, 3), and these pixels scaled to [-2, 2)."""
    pixels = keras.Input(input_shape, name="image", dtype="float32")
    return pixels, layers.Rescaling(*PIXEL_SCALING, name="scale")(pixels)


def convolution(
    x: keras.KerasTensor,
    filters: int,
    size: int,
    *,
    name: str,
    strides: int = 1,
    padding: str = "same",
    batch_norm: bool = False,
    activation: bool = True,
) -> keras.KerasTensor:
    """Convolution, BatchNorm if asked for, ReLU if asked for: (b, h, w, c) -> (b, h', w', filters)."""
    x = layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        # BatchNorm's own offset makes a bias redundant; folding brings one back.
        use_bias=not batch_norm,
        # He et al. 2015: without it a SqueezeNet without BatchNorm does not start to learn.
        kernel_initializer="he_normal",
        name=name,
    )(x)
    if batch_norm:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def probabilities(logits: keras.KerasTensor) -> keras.KerasTensor:
    """Softmax in float32 whatever the precision of the rest: (b, classes) -> (b, classes)."""
    return layers.Softmax(name="probabilities", dtype="float32")(logits)


def scaled_width(channels: int, width: float) -> int:
    """`channels` times the width multiplier, in multiples of 4 (at least 4) so that kernels stay aligned.

    A multiplier of 1 leaves the published number as it is.

    Raises:
        ValueError: `width` is not in (0, 4].
    """
    if not 0 < width <= 4:
        raise ValueError(f"Expected a width multiplier in (0, 4]. Received: width={width}.")
    return channels if width == 1 else max(4, round(channels * width / 4) * 4)


def check_arguments(input_shape: tuple[int, int, int], classes: int, network: str) -> None:
    """Raise a `ValueError` unless `network` can have such an input and so many classes."""
    if len(input_shape) != 3 or input_shape[2] != 3:
        raise ValueError(f"Expected an input shape (height, width, 3). Received: input_shape={input_shape}.")
    if min(input_shape[:2]) < SMALLEST_SIDE:
        raise ValueError(
            f"Expected an input of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} for {network}. "
            f"Received: input_shape={input_shape}."
        )
    if classes < 2:
        raise ValueError(f"Expected at least 2 classes. Received: classes={classes}.")
