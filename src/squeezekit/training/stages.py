"""A recipe, one technique after another, each trained with the ones before it still in force."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from squeezekit import compress, files, models
from squeezekit.data import Dataset
from squeezekit.preprocess import Preprocess
from squeezekit.training.fitting import History, fit
from squeezekit.training.progress import Progress
from squeezekit.training.settings import Settings

__all__ = ["Compressed", "Stage", "compress_in_stages"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One technique of a recipe, trained.

    Args:
        recipe: the recipe line up to and including this technique.
        history: its training.
    """

    recipe: str
    history: History


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """What a recipe made of a network.

    Args:
        model: a plain Keras model with the squeezed weights and no BatchNorm to fold.
        ranges: of its activations, for the export; empty if the recipe left them alone.
        stages: what each technique's training did.
    """

    model: keras.Model
    ranges: Mapping[str, tuple[float, float]]
    stages: tuple[Stage, ...]


def compress_in_stages(
    model: keras.Model,
    recipe: compress.Recipe,
    dataset: Dataset,
    preprocess: Preprocess,
    settings: Settings,
    *,
    folder: Path,
    progress: Progress | None = None,
) -> Compressed:
    """Run a recipe on a trained network and strip the result.

    BatchNorm works as long as techniques survive its folding (`Technique.survives_folding`), then it is folded.
    Called again after a kill, finished stages are loaded and the interrupted one goes on from its last epoch.

    Args:
        model: a trained plain network; left as it is.
        recipe: what `compress.parse` gives.
        dataset: trains on its `train`.
        preprocess: what the network sees of an image.
        settings: of each stage; some epochs at a third of the original learning rate serve.
        folder: for checkpoints and logs; `hooked.keras` in it is the network as it was trained, unstripped.
        progress: where to show how far it is.

    Returns:
        The squeezed network, the ranges of its activations, and what each stage did.

    Raises:
        ValueError: a technique cannot be applied, or the folder holds another training's checkpoints.
    """
    digest = _weights_digest(model)
    stages = []
    squeezed, line = model, ""
    folded = False
    for index, technique in enumerate(recipe, start=1):
        if not technique.survives_folding and not folded:
            squeezed = _fold(squeezed, recipe.techniques[: index - 1])
            folded = True
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
    # The network that was trained, hooks and all: what the exported file is to agree with.
    with files.replacing(folder / "hooked.keras") as temporary:
        squeezed.save(temporary)
    plain = models.fold_batch_norm(compress.strip(squeezed))
    return Compressed(plain, compress.activation_ranges(squeezed), tuple(stages))


def _fold(model: keras.Model, earlier: Sequence[compress.Technique]) -> keras.Model:
    """Fold BatchNorm and put the techniques that survive it back in force.

    Pruning wants BatchNorm: without it the signal of a deep network dies with its weights, layer by layer,
    and retraining starts from noise. Codebooks and grids want it folded: they are made of what ships.
    """
    plain = models.fold_batch_norm(compress.strip(model))
    for technique in earlier:
        plain = compress.apply(plain, technique.settled())
    return plain


def _weights_digest(model: keras.Model) -> str:
    """SHA-256 of all weights: stages that start from other weights are other stages."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
