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


def settings_for(name: str, settings: Settings) -> Settings:
    """`settings` with the learning rate cut to what the network `name` can take.

    Args:
        name: a name of `models.MODELS`.
        settings: for networks in general.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> settings_for("alexnet", Settings()).learning_rate
        0.0005
    """
    highest = models.entry(name).max_learning_rate
    if highest is None or settings.learning_rate <= highest:
        return settings
    return dataclasses.replace(settings, learning_rate=highest)


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
        dataset: as of `fit`.
        preprocess: its size is the network's input size.
        folder: as of `fit`.
        progress: as of `fit`.
        distil: as of `fit`.
        settings: how to train; `settings_for` adapts them to the network.
        initial: weights to start from; BatchNorm is where the file has it unless `norm` says otherwise.
        frozen: patterns of layer names (`frozen_layers`) that keep their weights. Only with `initial`.
        **options: for `models.build` (`width`, `norm`, `dropout`), instead of the network's own defaults.

    Returns:
        The trained model and its history.

    Raises:
        ValueError: an unknown name or option, weights that do not fit, or the folder holds another
            training's checkpoint.
    """
    defaults = dict(models.entry(name).defaults)
    if initial is not None and "norm" in defaults:
        defaults["norm"] = initial.norm.value
    options = {**defaults, **options}
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
