"""A network of the catalogue, trained with settings that suit it, from scratch or from trained weights."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from squeezekit import models
from squeezekit.data import Dataset
from squeezekit.preprocess import Preprocess
from squeezekit.training.distil import Distil
from squeezekit.training.fitting import History, fit
from squeezekit.training.initial import Initial, frozen_layers
from squeezekit.training.progress import Progress
from squeezekit.training.settings import Settings

__all__ = ["settings_for", "train_network"]

# AlexNet's large dense layers diverge at SqueezeNet's learning rate; all else is the same for both.
_ALEXNET_LEARNING_RATE = 5e-4
# The papers' 0.5 before SqueezeNet's classifier slows it on small sets; AlexNet needs its 0.5.
# BatchNorm behind the squeeze layers: far fewer epochs to the same accuracy, and it folds away.
_SQUEEZENET = {"dropout": 0.2, "norm": "squeeze"}


def settings_for(name: str, settings: Settings) -> Settings:
    """`settings` with the learning rate capped at what the network `name` bears.

    Args:
        name: a name of `models.MODELS`.
        settings: for networks in general.

    Example:
        >>> settings_for("alexnet", Settings()).learning_rate
        0.0005
    """
    if name == "alexnet":
        rate = min(settings.learning_rate, _ALEXNET_LEARNING_RATE)
        return dataclasses.replace(settings, learning_rate=rate)
    return settings


def train_network(
    name: str,
    dataset: Dataset,
    preprocess: Preprocess,
    settings: Settings,
    *,
    folder: Path,
    progress: Progress | None = None,
    distil: Distil | None = None,
    initial: Initial | None = None,
    frozen: Sequence[str] = (),
    **options: Any,
) -> tuple[keras.Model, History]:
    """Build and train a network; called again after a kill, go on from the last whole epoch.

    Args:
        name: a name of `models.MODELS`.
        dataset: the images.
        preprocess: its size is the network's input size.
        settings: how to train; `settings_for` adapts them to the network.
        folder: for checkpoints and logs.
        progress: where to show how far it is.
        distil: a teacher that guides it.
        initial: weights to start from; BatchNorm is where the file has it unless `norm` says otherwise.
        frozen: patterns of layer names (`frozen_layers`) that keep their weights. Only with `initial`.
        **options: for `models.build` (`width`, `norm`, `dropout`).

    Returns:
        The trained model and its history.

    Raises:
        ValueError: an unknown name or option, weights that do not fit, or the folder holds another
            training's checkpoint.
    """
    if name.startswith("squeezenet"):
        options = {**_SQUEEZENET, **({"norm": initial.norm.value} if initial else {}), **options}
    identity = {"model": name, "options": options}
    keras.utils.set_random_seed(settings.seed)
    shape = (preprocess.height, preprocess.width, 3)
    model = models.build(name, shape, len(dataset.class_names), **options)
    progress = progress or Progress()
    if initial is not None:
        initial.require(name)
        progress.say(f"{name}: {initial.give(model)}")
        identity |= {"init": initial.sha256, "frozen": list(frozen)}
    elif frozen:
        raise ValueError("Expected weights to start from with frozen layers: frozen noise learns nothing.")
    with frozen_layers(model, frozen):
        history = fit(
            model,
            dataset,
            preprocess,
            settings_for(name, settings),
            folder=folder,
            name=name,
            progress=progress,
            distil=distil,
            identity=identity,
        )
    return model, history
