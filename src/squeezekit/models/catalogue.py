"""Networks by name, as the command line and a recipe name them, with what a training must know of each."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

from squeezekit.models.alexnet import alexnet
from squeezekit.models.blocks import SMALLEST_SIDE
from squeezekit.models.squeezenet import squeezenet

__all__ = ["MODELS", "Entry", "build", "entry", "name_of", "title"]


# Compared and hashed by identity: an entry is a key of the cache below.
@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One network of the catalogue.

    Args:
        build: (input_shape, classes, **options) to an untrained model. Its layers with weights have fixed names:
            `name_of` and `--init` know them by these.
        family: title of the networks whose weights fit each other, such as "SqueezeNet 1.1".
        features: what sets this network apart in its family, for titles.
        defaults: options of a training; a network that takes `norm` (a value of `Norm`) has it here.
        max_learning_rate: AdamW's highest rate that does not make it diverge, if there is one.
    """

    build: Callable[..., keras.Model]
    family: str
    features: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_learning_rate: float | None = None


def _squeezenet(version: str, *features: str, **options: Any) -> Entry:
    # The paper's dropout of 0.5 slows small sets; BatchNorm takes far fewer epochs to the same accuracy.
    defaults = {"dropout": 0.2, "norm": "squeeze"}
    return Entry(partial(squeezenet, version=version, **options), f"SqueezeNet {version}", features, defaults)


MODELS: dict[str, Entry] = {
    # Its large dense layers diverge at SqueezeNet's learning rate.
    "alexnet": Entry(alexnet, "AlexNet", max_learning_rate=5e-4),
    "squeezenet-1.0": _squeezenet("1.0"),
    "squeezenet-1.0-bypass": _squeezenet("1.0", "bypass", bypass="simple"),
    "squeezenet-1.0-separable": _squeezenet("1.0", "separable fire", fire="separable"),
    "squeezenet-1.0-separable-bypass": _squeezenet(
        "1.0", "separable fire", "bypass", fire="separable", bypass="simple"
    ),
    "squeezenet-1.1": _squeezenet("1.1"),
    "squeezenet-1.1-bypass": _squeezenet("1.1", "bypass", bypass="simple"),
    "squeezenet-1.1-separable": _squeezenet("1.1", "separable fire", fire="separable"),
    "squeezenet-1.1-separable-bypass": _squeezenet(
        "1.1", "separable fire", "bypass", fire="separable", bypass="simple"
    ),
}
"""The networks by name; a program may add its own: `MODELS["mine"] = Entry(build, "Mine")`."""


def entry(name: str) -> Entry:
    """The network of that name; a `ValueError` lists the names if there is none.

    Example:
        >>> entry("alexnet").max_learning_rate
        0.0005
    """
    if name not in MODELS:
        raise ValueError(f"Expected a model of {', '.join(sorted(MODELS))}. Received: {name!r}.")
    return MODELS[name]


def build(name: str, input_shape: tuple[int, int, int], classes: int, **options: Any) -> keras.Model:
    """Build an untrained network of the catalogue.

    Args:
        name: one of `MODELS`.
        input_shape: (height, width, 3) in pixels.
        classes: number of classes.
        **options: what the network's own function takes (`width`, `dropout`, ...).

    Raises:
        ValueError: the name is unknown or an option is out of range.

    Example:
        >>> build("squeezenet-1.1", (96, 96, 3), 6).count_params()
        725574
    """
    return entry(name).build(input_shape, classes, **options)


def title(name: str) -> str:
    """A network's name for people; one that is not in the catalogue is returned as it is.

    Example:
        >>> title("squeezenet-1.1-separable-bypass"), title("alexnet")
        ('SqueezeNet 1.1 with separable fire and bypass', 'AlexNet')
    """
    if name not in MODELS:
        return name
    family, features = MODELS[name].family, MODELS[name].features
    listed = " and ".join(filter(None, [", ".join(features[:-1]), *features[-1:]]))
    return f"{family} with {listed}" if listed else family


def name_of(model: keras.Model) -> str:
    """The name in `MODELS` of the network that has this model's layers.

    Width, input size, number of classes and BatchNorm may differ. If a technique replaced some layers, the name is
    that of the network with the most layers in common.

    Returns:
        The name; "" for a network that is not in the catalogue or scales pixels in another way.

    Example:
        >>> name_of(build("squeezenet-1.1-separable", (64, 64, 3), 2))
        'squeezenet-1.1-separable'
    """
    scaling, first, layers = _signature(model)
    best, most = "", 0.5  # a network that has less than half of its layers in common is another
    for name, candidate in MODELS.items():
        its_scaling, its_first, its_layers = _built_signature(candidate)
        if first is None or (scaling, first) != (its_scaling, its_first):
            continue
        shared = (layers & its_layers).total() / (layers | its_layers).total()
        if shared > most:
            best, most = name, shared
    return best


@functools.cache
def _built_signature(candidate: Entry) -> tuple[Any, ...]:
    return _signature(candidate.build((SMALLEST_SIDE, SMALLEST_SIDE, 3), 2))


def _signature(model: keras.Model) -> tuple[list[str], tuple[Any, ...] | None, Counter[tuple[Any, ...]]]:
    """How a model scales pixels, its first layer with weights, and how many layers it has of each kind.

    The kind of a layer with weights is its name and kernel size. That of others is their class alone, because Keras
    makes names up. BatchNorm is left out: it may have been folded.
    """
    kept = [layer for layer in model.layers if not isinstance(layer, keras.layers.BatchNormalization)]
    scaling = [f"{each.scale}, {each.offset}" for each in kept if isinstance(each, keras.layers.Rescaling)]
    # The kernel is a layer's first weight; its last two axes are channels: a dense layer has no others.
    weighted: list[tuple[Any, ...]] = [
        (layer.name, type(layer).__name__, tuple(layer.weights[0].shape[:-2]))
        for layer in kept
        if layer.weights
    ]
    others = [(type(layer).__name__,) for layer in kept if not layer.weights]
    return scaling, next(iter(weighted), None), Counter([*weighted, *others])
