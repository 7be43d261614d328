"""Networks by name, as the command line and a recipe name them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from squeezekit.models.alexnet import alexnet
from squeezekit.models.squeezenet import squeezenet

__all__ = ["MODELS", "build"]

MODELS: dict[str, Callable[..., keras.Model]] = {
    "alexnet": alexnet,
    "squeezenet-1.0": partial(squeezenet, version="1.0"),
    "squeezenet-1.0-separable": partial(squeezenet, version="1.0", fire="separable"),
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
