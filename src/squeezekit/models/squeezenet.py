"""SqueezeNet 1.0 and 1.1, with bypass, and with SegFast's depthwise-separable fire modules.

Papers: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016 (sections 3 and 6);
Pal et al., "SegFast: A Faster SqueezeNet Based Semantic Image Segmentation Technique", 2018 (the spark module).
"""

import enum

import keras
from keras import layers

from squeezekit.models import blocks

__all__ = ["TINY_SIDE", "Bypass", "Fire", "Head", "Norm", "squeezenet"]


class Fire(enum.Enum):
    """What the 3x3 branch of a fire module is made of."""

    STANDARD = "standard"
    """One 3x3 convolution, as published."""

    SEPARABLE = "separable"
    """A depthwise 3x3, then a 1x1 convolution: about a third of the parameters, less than half of the MACs."""


class Bypass(enum.Enum):
    """Connections around fire modules (SqueezeNet, section 6)."""

    NONE = "none"
    SIMPLE = "simple"
    """Identity around every fire module that keeps its number of channels."""

    COMPLEX = "complex"
    """Identity where it fits, a 1x1 convolution around the others."""


class Norm(enum.Enum):
    """Where BatchNorm stands while the network trains; `fold_batch_norm` takes it out again."""

    NONE = "none"
    """Nowhere, as published."""

    SQUEEZE = "squeeze"
    """Behind the squeeze convolutions, the narrowest of all: a fifth of the cost of `ALL`."""

    ALL = "all"
    """Behind every convolution. Halves the speed of training on a CPU."""


class Head(enum.Enum):
    """What surrounds the last 1x1 convolution, which gives a map of scores for each class."""

    PLAIN = "plain"
    """Nothing: on small sets the published ReLU kills classes at the start of a training."""

    PUBLISHED = "published"
    """A border of zeros before it and a ReLU behind it, as in the authors' own files."""


# (squeeze channels, channels of each expand branch) of fire2 to fire9; the same in both versions.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))

# version: (filters of conv1, its size, fire modules that are followed by a pool)
_VERSIONS = {"1.0": (96, 7, (4, 8)), "1.1": (64, 3, (3, 5))}

# Shorter sides, in pixels, lose too much to the published stride.
_SMALL_SIDE = 64
TINY_SIDE = 48
"""Shorter sides, in pixels, lose too much to borders that are cut off as well."""


def squeezenet(
    input_shape: tuple[int, int, int] = (227, 227, 3),
    classes: int = 1000,
    *,
    version: str = "1.1",
    fire: Fire | str = Fire.STANDARD,
    bypass: Bypass | str = Bypass.NONE,
    norm: Norm | str = Norm.NONE,
    width: float = 1.0,
    dropout: float = 0.5,
    head: Head | str = Head.PLAIN,
) -> keras.Model:
    """SqueezeNet: a convolution, eight fire modules, a 1x1 classifier, the global mean, softmax.

    At 1,000 classes version 1.0 has 1,248,424 parameters and 1.1 has 1,235,496, with 2.4 times fewer MACs.
    Inputs under 64 pixels keep their resolution in the first convolution (stride 1); under 48 the first convolution and
    the pools also reach over the border, so that of 32 pixels 4 x 4 places are left at the end instead of 2 x 2.

    Args:
        input_shape: (height, width, 3) in pixels, each side at least 32.
        classes: number of classes, at least 2.
        version: "1.0" or "1.1".
        fire: `Fire.STANDARD` or `Fire.SEPARABLE` (or their names).
        bypass: `Bypass.NONE`, `SIMPLE` or `COMPLEX` (or their names).
        norm: `Norm.NONE`, `SQUEEZE` or `ALL` (or their names). The network trains without, but slowly: on some
            thousand images 6 epochs with `SQUEEZE` and simple bypass came as far as 30 with neither.
        width: multiplies every number of channels, in (0, 4].
        dropout: rate before the classifier, in [0, 1). On a few thousand images 0.2 is plenty.
        head: `Head.PLAIN`, or `PUBLISHED` for weights that were trained with it (or their names).

    Returns:
        A functional model: float pixels in [0, 255], shape (b, height, width, 3), to probabilities (b, classes).

    Raises:
        ValueError: an argument is out of range or unknown.

    Example:
        >>> squeezenet((227, 227, 3), 1000, version="1.0").count_params()
        1248424
    """
    blocks.check_classes(classes)
    if version not in _VERSIONS:
        raise ValueError(f"Expected a version in {sorted(_VERSIONS)}. Received: version={version!r}.")
    fire, bypass, norm, head = Fire(fire), Bypass(bypass), Norm(norm), Head(head)
    filters, size, pooled = _VERSIONS[version]
    blocks.check_sides(input_shape, "SqueezeNet")

    side = min(input_shape[:2])
    padding = "same" if side < TINY_SIDE else "valid"
    pixels, x = blocks.image_input(input_shape)
    x = blocks.convolution(
        x,
        blocks.scaled_width(filters, width),
        size,
        strides=2 if side >= _SMALL_SIDE else 1,
        padding=padding,
        batch_norm=norm is Norm.ALL,
        name="conv1",
    )
    x = layers.MaxPooling2D(3, 2, padding=padding, name="pool1")(x)
    for index, (squeeze, expand) in enumerate(_FIRES, start=2):
        x = _bypassed_fire(
            x,
            blocks.scaled_width(squeeze, width),
            blocks.scaled_width(expand, width),
            fire=fire,
            bypass=bypass,
            norm=norm,
            name=f"fire{index}",
        )
        if index in pooled:
            x = layers.MaxPooling2D(3, 2, padding=padding, name=f"pool{index}")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    small = keras.initializers.RandomNormal(stddev=0.01)
    if head is Head.PUBLISHED:
        x = layers.ZeroPadding2D(1, name="conv10_padding")(x)
    x = layers.Conv2D(classes, 1, kernel_initializer=small, name="conv10")(x)
    if head is Head.PUBLISHED:
        x = layers.ReLU(name="conv10_relu")(x)
    logits = layers.GlobalAveragePooling2D(name="mean")(x)
    name = f"squeezenet_{version.replace('.', '_')}"
    return keras.Model(pixels, blocks.probabilities(logits), name=name)


def _bypassed_fire(
    x: keras.KerasTensor,
    squeeze: int,
    expand: int,
    *,
    fire: Fire,
    bypass: Bypass,
    norm: Norm,
    name: str,
) -> keras.KerasTensor:
    """A fire module and what goes around it: (b, h, w, c) -> (b, h, w, 2 * expand)."""
    y = _fire(x, squeeze, expand, fire=fire, norm=norm, name=name)
    if bypass is Bypass.NONE:
        return y
    if x.shape[-1] != y.shape[-1]:
        if bypass is Bypass.SIMPLE:
            return y
        x = blocks.convolution(
            x, y.shape[-1], 1, batch_norm=norm is Norm.ALL, activation=False, name=f"{name}_bypass1x1"
        )
    return layers.Add(name=f"{name}_bypass")([x, y])


def _fire(
    x: keras.KerasTensor, squeeze: int, expand: int, *, fire: Fire, norm: Norm, name: str
) -> keras.KerasTensor:
    """Squeeze to few channels, expand by 1x1 and 3x3 side by side, concatenate (SqueezeNet, section 3.2)."""
    everywhere = norm is Norm.ALL
    x = blocks.convolution(x, squeeze, 1, batch_norm=norm is not Norm.NONE, name=f"{name}_squeeze1x1")
    ones = blocks.convolution(x, expand, 1, batch_norm=everywhere, name=f"{name}_expand1x1")
    if fire is Fire.SEPARABLE:
        x = layers.DepthwiseConv2D(
            3,
            padding="same",
            use_bias=False,
            depthwise_initializer="he_normal",
            name=f"{name}_expand3x3_depthwise",
        )(x)
    size = 1 if fire is Fire.SEPARABLE else 3
    threes = blocks.convolution(x, expand, size, batch_norm=everywhere, name=f"{name}_expand3x3")
    return layers.Concatenate(name=f"{name}_concat")([ones, threes])
