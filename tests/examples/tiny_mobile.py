"""How to add a network: a small one in the style of MobileNetV3, in one function and one line.

Paper: Howard et al., "Searching for MobileNetV3", 2019, section 4 (inverted bottlenecks, squeeze-and-excite).
"""

import keras
from keras import layers

from squeezekit import models
from squeezekit.models import blocks

# (kernel size, expanded channels, output channels, stride, squeeze-and-excite) of each bottleneck.
BOTTLENECKS = ((3, 32, 16, 2, True), (3, 72, 24, 2, False), (5, 96, 40, 2, True), (5, 120, 40, 1, True))


def tiny_mobile(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
    dropout: float = 0.2,
    norm: models.Norm | str = models.Norm.ALL,
) -> keras.Model:
    """Pixels in [0, 255], (b, height, width, 3), to probabilities (b, classes).

    Layers with weights have names of their own, so that `--init` finds them again in a file.
    """
    blocks.check_arguments(input_shape, classes, "TinyMobile")
    batch_norm = models.Norm(norm) is not models.Norm.NONE

    def convolve(x, channels, size, name, *, strides=1, activation=True):
        return blocks.convolution(
            x, channels, size, name=name, strides=strides, batch_norm=batch_norm, activation=activation
        )

    def depthwise(x, size, strides, name):
        use_bias = not batch_norm
        x = layers.DepthwiseConv2D(size, strides, padding="same", use_bias=use_bias, name=name)(x)
        if batch_norm:
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def excite(x, name):
        """Weigh each channel by what the means of all channels say."""
        channels = x.shape[-1]
        y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
        y = layers.Conv2D(max(8, channels // 4), 1, activation="relu", name=f"{name}_reduce")(y)
        y = layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_weigh")(y)
        return layers.Multiply(name=f"{name}_multiply")([x, y])

    pixels, x = blocks.image_input(input_shape)
    x = convolve(x, blocks.scaled_width(16, width), 3, "stem", strides=2)
    for index, (size, expanded, channels, strides, excited) in enumerate(BOTTLENECKS, start=1):
        name, entry = f"bottleneck{index}", x
        x = convolve(x, blocks.scaled_width(expanded, width), 1, f"{name}_expand")
        x = depthwise(x, size, strides, f"{name}_depthwise")
        if excited:
            x = excite(x, f"{name}_excite")
        x = convolve(x, blocks.scaled_width(channels, width), 1, f"{name}_project", activation=False)
        if entry.shape == x.shape:
            x = layers.Add(name=f"{name}_add")([entry, x])
    x = convolve(x, blocks.scaled_width(128, width), 1, "last")
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(
        pixels, blocks.probabilities(layers.Dense(classes, name="classifier")(x)), name="tiny_mobile"
    )


ENTRY = models.Entry(tiny_mobile, "TinyMobile", defaults={"norm": "all"})
