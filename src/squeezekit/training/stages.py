"""A recipe, one technique after another, each trained with the ones before it still in force."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from squeezekit import compress, files, models
from squeezekit.compress.apply import applies, hooked_layers
from squeezekit.data import Dataset
from squeezekit.preprocess import Preprocess
from squeezekit.training.checkpoint import weights_digest
from squeezekit.training.distil import Distil
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
        ranges: of activations, by layer, if they were trained quantized; for `export.litert`.
        trained: the same with its transforms, as it was trained.
        stages: what each stage did; one that was passed over is not among them.
    """

    model: keras.Model
    ranges: Mapping[str, tuple[float, float]]
    trained: keras.Model
    stages: Sequence[Stage]


def compress_in_stages(
    model: keras.Model,
    recipe: compress.Recipe,
    dataset: Dataset,
    preprocess: Preprocess,
    settings: Settings,
    *,
    folder: Path,
    folders: Sequence[Path] = (),
    progress: Progress | None = None,
    distil: Distil | None = None,
) -> Compressed:
    """Run a recipe on a trained network and strip the result.

    BatchNorm works as long as techniques survive its folding (`Technique.survives_folding`), then it is folded.
    Called again after a kill, finished stages are loaded and the interrupted one goes on from its last epoch.
    Where pruned channels leave a network so small that no layer of it is one for a later technique (all kernels
    are under prune's `smallest`), that technique is passed over, and `progress` says so.

    Args:
        model: a trained plain network; left as it is.
        recipe: what `compress.parse` gives.
        dataset: trains on its `train`.
        preprocess: what the network sees of an image.
        settings: of each stage; some epochs at a third of the original learning rate serve.
        folder: for checkpoints and logs; `hooked.keras` in it is the network as it was trained, unstripped.
        folders: one a technique, for the checkpoint and log of its stage, so that recipes that begin alike share
            what they have in common; none puts all into `folder`.
        progress: where to show how far it is.
        distil: a teacher that guides every stage; `Distil(model)` is the network before it was squeezed.

    Returns:
        The plain network, and what else the stages left.

    Raises:
        ValueError: a technique cannot be applied, there is not one of `folders` a technique, or a folder holds
            another training's checkpoints.
    """
    if folders and len(folders) != len(recipe):
        raise ValueError(
            f"Expected one folder a technique. Received: {len(folders)} for {len(recipe)} techniques."
        )
    digest = weights_digest(model)
    progress = progress or Progress()
    stages = []
    squeezed, line = model, ""
    folded = False
    for index, technique in enumerate(recipe, start=1):
        earlier = recipe.techniques[: index - 1]
        fold = not technique.survives_folding and not folded
        if fold or (earlier and earlier[-1].reshapes):
            squeezed = _renew(squeezed, earlier, progress, fold=fold)
            folded = folded or fold
        line = f"{line} | {technique}" if line else str(technique)
        if any(before.reshapes for before in earlier) and not _applies(squeezed, technique, progress):
            continue
        squeezed = compress.apply(squeezed, technique)
        history = fit(
            squeezed,
            dataset,
            preprocess,
            settings,
            folder=folders[index - 1] if folders else folder,
            name=f"{index}-{technique.name}",
            progress=progress,
            compressed=next(hooked_layers(squeezed), None) is not None,
            distil=distil,
            identity={"recipe": line, "start": digest},
        )
        stages.append(Stage(line, history))
    # The network as it was trained, hooks and all: what the exported file is to agree with.
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "hooked.keras") as temporary:
        squeezed.save(temporary)
    plain = models.fold_batch_norm(compress.strip(squeezed))
    return Compressed(plain, compress.activation_ranges(squeezed), squeezed, tuple(stages))


def _renew(
    model: keras.Model, earlier: Sequence[compress.Technique], progress: Progress, *, fold: bool
) -> keras.Model:
    """Strip, fold BatchNorm if asked to, and put the earlier techniques back in force.

    Pruning wants BatchNorm: without it the signal of a deep network dies with its weights, layer by layer,
    and retraining starts from noise. Codebooks and grids want it folded: they are made of what ships.
    A network that lost channels is stripped of them before the next technique counts its weights.
    """
    plain = compress.strip(model)
    if fold:
        plain = models.fold_batch_norm(plain)
    for technique in earlier:
        settled = technique.settled()
        # In a network that lost channels since, every kernel may have become too small for it.
        if settled is not None and _applies(plain, settled, progress):
            plain = compress.apply(plain, settled)
    return plain


def _applies(model: keras.Model, technique: compress.Technique, progress: Progress) -> bool:
    """Whether the network still has a layer for the technique; if not, that is said."""
    found = applies(model, technique)
    if not found:
        progress.say(f"{technique} is passed over: the network with fewer channels has no layer for it")
    return found
