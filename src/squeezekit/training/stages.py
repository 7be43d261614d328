"""A recipe, one technique after another, each trained with the ones before it still in force."""

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np

from squeezekit import compress
from squeezekit.data import Dataset
from squeezekit.preprocess import Preprocess
from squeezekit.training.fitting import History, fit
from squeezekit.training.progress import Progress
from squeezekit.training.settings import Settings

__all__ = ["Stage", "compress_in_stages"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One technique of a recipe, trained.

    Args:
        recipe: the recipe line up to and including this technique.
        history: its training.
    """

    recipe: str
    history: History


def compress_in_stages(
    model: keras.Model,
    recipe: compress.Recipe,
    dataset: Dataset,
    preprocess: Preprocess,
    settings: Settings,
    *,
    folder: Path,
    progress: Progress | None = None,
) -> tuple[keras.Model, list[Stage]]:
    """Run a recipe on a trained network and strip the result.

    Called again after a kill, finished stages are loaded and the interrupted one goes on from its last epoch.

    Args:
        model: a trained plain network; left as it is.
        recipe: what `compress.parse` gives.
        dataset: trains on its `train`.
        preprocess: what the network sees of an image.
        settings: of each stage; some epochs at a third of the original learning rate serve.
        folder: for checkpoints and logs.
        progress: where to show how far it is.

    Returns:
        A plain Keras model with the squeezed weights, and what each stage did.

    Raises:
        ValueError: a technique cannot be applied, or the folder holds another training's checkpoints.
    """
    digest = _weights_digest(model)
    stages = []
    squeezed, line = model, ""
    for index, technique in enumerate(recipe, start=1):
        line = f"{line} | {technique}" if line else str(technique)
        squeezed = compress.apply(squeezed, technique)
        history = fit(
            squeezed,
            dataset,
            preprocess,
            settings,
            folder=folder,
            name=f"{index}-{technique.name}",
            progress=progress,
            compressed=True,
            identity={"recipe": line, "start": digest},
        )
        stages.append(Stage(line, history))
    return compress.strip(squeezed), stages


def _weights_digest(model: keras.Model) -> str:
    """SHA-256 of all weights: stages that start from other weights are other stages."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
