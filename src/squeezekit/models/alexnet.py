"""AlexNet, the baseline: Krizhevsky et al. 2012, in the one-tower form of Krizhevsky 2014."""

import keras
from keras import layers

from squeezekit.models import blocks

__all__ = ["alexnet"]


def alexnet(
    input_shape: tuple[int, int, int] = (227, 227, 3),
    classes: int = 1000,
    *,
    width: float = 1.0,
    dropout: float = 0.5,
    batch_norm: bool = False,
) -> keras.Model:
    """AlexNet with one tower: five convolutions, two hidden layers of 4,096, softmax.

    It has 61,100,840 parameters at 227x227 and 1,000 classes. Smaller inputs keep every layer: below 227 pixels the
    first convolution pads, below 64 its stride is 2 instead of 4, and the first hidden layer has fewer inputs.

    Args:
        input_shape: (height, width, 3) in pixels, each side at least 32.
        classes: number of classes, at least 2.
        width: multiplies every number of channels, in (0, 4].
        dropout: rate before each hidden layer, in [0, 1).
        batch_norm: normalise after each convolution (the original has none).

    Returns:
        A functional model: float pixels in [0, 255], shape (b, height, width, 3), to probabilities (b, classes).

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> alexnet((227, 227, 3), 1000).count_params()
        61100840

    Paper: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """
    blocks.check_arguments(input_shape, classes, "AlexNet")
    side = min(input_shape[:2])
    pixels, x = blocks.image_input(input_shape)

    def convolve(
        x: keras.KerasTensor, filters: int, size: int, name: str, strides: int = 1, padding: str = "same"
    ) -> keras.KerasTensor:
        channels = blocks.scaled_width(filters, width)
        return blocks.convolution(
            x, channels, size, name=name, strides=strides, padding=padding, batch_norm=batch_norm
        )

    x = convolve(x, 64, 11, "conv1", 4 if side >= 64 else 2, "valid" if side >= 227 else "same")
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = convolve(x, 192, 5, "conv2")
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = convolve(x, 384, 3, "conv3")
    x = convolve(x, 256, 3, "conv4")
    x = convolve(x, 256, 3, "conv5")
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        units = blocks.scaled_width(4096, width)
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=name)(x)
    small = keras.initializers.RandomNormal(stddev=0.01)
    logits = layers.Dense(classes, kernel_initializer=small, name="fc8")(x)
    return keras.Model(pixels, blocks.probabilities(logits), name="alexnet")
