"""Networks by name, as the command line and a recipe name them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from squeezekit.models import blocks
from squeezekit.models.alexnet import alexnet
from squeezekit.models.squeezenet import squeezenet

__all__ = ["MODELS", "build", "name_of"]

MODELS: dict[str, Callable[..., keras.Model]] = {
    "alexnet": alexnet,
    "squeezenet-1.0": partial(squeezenet, version="1.0"),
    "squeezenet-1.0-bypass": partial(squeezenet, version="1.0", bypass="simple"),
    "squeezenet-1.0-separable": partial(squeezenet, version="1.0", fire="separable"),
    "squeezenet-1.0-separable-bypass": partial(squeezenet, version="1.0", fire="separable", bypass="simple"),
    "squeezenet-1.1": partial(squeezenet, version="1.1"),
    "squeezenet-1.1-bypass": partial(squeezenet, version="1.1", bypass="simple"),
    "squeezenet-1.1-separable": partial(squeezenet, version="1.1", fire="separable"),
    "squeezenet-1.1-separable-bypass": partial(squeezenet, version="1.1", fire="separable", bypass="simple"),
}


def build(name: str, input_shape: tuple[int, int, int], classes: int, **options: Any) -> keras.Model:
    """Build a network of the catalogue.

    Args:
        name: one of `MODELS`.
        input_shape: (height, width, 3) in pixels.
        classes: number of classes.
        **options: what the network's own function takes (`width`, `dropout`, ...).

    Returns:
        An untrained model.

    Raises:
        ValueError: the name is unknown or an option is out of range.

    Example:
        >>> build("squeezenet-1.1", (96, 96, 3), 6).count_params()
        725574
    """
    if name not in MODELS:
        raise ValueError(f"Expected a model of {', '.join(sorted(MODELS))}. Received: {name!r}.")
    return MODELS[name](input_shape, classes, **options)


def name_of(model: keras.Model) -> str:
    """The name in `MODELS` under which a network like this one is built, told by its layers.

    Args:
        model: any Keras model.

    Returns:
        A name whose layers have the names and, but for width, size and classes, the shapes of the model's;
        "" for a network that is not of the catalogue or scales pixels in another way.

    Example:
        >>> name_of(build("squeezenet-1.1-separable", (64, 64, 3), 2))
        'squeezenet-1.1-separable'
    """
    named = {layer.name: layer for layer in model.layers}
    scale, first = named.get("scale"), named.get("conv1")
    if not isinstance(scale, keras.layers.Rescaling) or not isinstance(first, keras.layers.Conv2D):
        return ""
    if (scale.scale, scale.offset) != blocks.PIXEL_SCALING:
        return ""
    if "fc8" in named:
        return "alexnet"
    version = {3: "1.1", 7: "1.0"}.get(first.kernel_size[0])
    if version is None or "fire2_squeeze1x1" not in named:
        return ""
    name = f"squeezenet-{version}"
    for mark, suffix in (("fire2_expand3x3_depthwise", "-separable"), ("fire3_bypass", "-bypass")):
        if mark in named and name + suffix in MODELS:
            name += suffix
    return name
