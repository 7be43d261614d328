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
    """Where the network has BatchNorm while it trains; `fold_batch_norm` removes it."""

    NONE = "none"
    """Nowhere, as published."""

    SQUEEZE = "squeeze"
    """Behind the squeeze convolutions, the narrowest ones: a fifth of the cost of `ALL`."""

    ALL = "all"
    """Behind every convolution. Halves the speed of training on a CPU."""


class Head(enum.Enum):
    """What surrounds the last 1x1 convolution, which computes a map of scores for each class."""

    PLAIN = "plain"
    """Nothing. On small sets the published ReLU stops some classes from learning at the start of a training."""

    PUBLISHED = "published"
    """Zero padding before it and a ReLU after it, as in the authors' own files."""


# (squeeze channels, channels of each expand branch) of fire2 to fire9; the same in both versions.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))

# version: (filters of conv1, its size, fire modules that are followed by a pool)
_VERSIONS = {"1.0": (96, 7, (4, 8)), "1.1": (64, 3, (3, 5))}

# Of a shorter side, in pixels, the published stride leaves too few features.
_SMALL_SIDE = 64
TINY_SIDE = 48
"""Of a shorter side, in pixels, convolutions and pools without padding leave too few features."""


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
    Inputs under 64 pixels keep their resolution in the first convolution (stride 1). Under 48 pixels the first
    convolution and the pools also pad: an input of 32 pixels ends as 4x4 features instead of 2x2.

    Args:
        input_shape: (height, width, 3) in pixels, each side at least 32.
        classes: number of classes, at least 2.
        version: "1.0" or "1.1".
        fire: `Fire.STANDARD` or `Fire.SEPARABLE` (or their names).
        bypass: `Bypass.NONE`, `SIMPLE` or `COMPLEX` (or their names).
        norm: `Norm.NONE`, `SQUEEZE` or `ALL` (or their names). Without it the network learns slowly: on some
            thousand images 6 epochs with `SQUEEZE` and simple bypass were as good as 30 with neither.
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
    blocks.check_arguments(input_shape, classes, "SqueezeNet")
    if version not in _VERSIONS:
        raise ValueError(f"Expected a version in {sorted(_VERSIONS)}. Received: version={version!r}.")
    fire, bypass, norm, head = Fire(fire), Bypass(bypass), Norm(norm), Head(head)
    filters, size, pooled = _VERSIONS[version]
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
    for index, channels in enumerate(_FIRES, start=2):
        squeeze, expand = (blocks.scaled_width(count, width) for count in channels)
        y = _fire(x, squeeze, expand, fire=fire, norm=norm, name=f"fire{index}")
        x = y if bypass is Bypass.NONE else _bypassed(x, y, bypass, norm, f"fire{index}_bypass")
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


def _bypassed(
    x: keras.KerasTensor, y: keras.KerasTensor, bypass: Bypass, norm: Norm, name: str
) -> keras.KerasTensor:
    """The output y of a fire module plus its input x, if these fit or a convolution makes them fit."""
    if x.shape[-1] != y.shape[-1]:
        if bypass is Bypass.SIMPLE:
            return y
        x = blocks.convolution(
            x, y.shape[-1], 1, batch_norm=norm is Norm.ALL, activation=False, name=f"{name}1x1"
        )
    return layers.Add(name=name)([x, y])


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
