"""A recipe, one technique after another, each trained while the earlier ones stay in force."""

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
    """A network after a recipe.

    Args:
        model: a plain Keras model with the compressed weights and no BatchNorm to fold.
        ranges: of activations, by layer, if they were trained quantized; for `export.litert`.
        trained: the same network with its transforms, as it was trained.
        stages: the trained techniques; one without a layer to change is not among them.
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
    """Train a network by a recipe, stage by stage, and strip the result.

    BatchNorm is folded before the first technique that does not survive its folding (`Technique.survives_folding`).
    Called again after a kill, it loads finished stages and continues the interrupted one from its last epoch.
    If pruned channels left no layer for a later technique (all kernels are under prune's `smallest`), that
    technique is skipped, and `progress` says so.

    Args:
        model: a trained plain network; not changed.
        recipe: what `compress.parse` returns.
        dataset: as of `fit`.
        preprocess: as of `fit`.
        progress: as of `fit`.
        settings: of each stage; some epochs at a third of the original learning rate are enough.
        folder: for checkpoints and logs; `hooked.keras` in it is the network as it was trained, unstripped.
        folders: one a technique, for the checkpoint and log of its stage, so that recipes with the same first
            techniques share those stages; by default all are in `folder`.
        distil: a teacher that guides every stage; `Distil(model)` is the network before compression.

    Returns:
        The plain network and the record of its stages.

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
    # The network as it was trained, with its hooks: the exported file must agree with it.
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "hooked.keras") as temporary:
        squeezed.save(temporary)
    plain = models.fold_batch_norm(compress.strip(squeezed))
    return Compressed(plain, compress.activation_ranges(squeezed), squeezed, tuple(stages))


def _renew(
    model: keras.Model, earlier: Sequence[compress.Technique], progress: Progress, *, fold: bool
) -> keras.Model:
    """Strip, fold BatchNorm if asked to, and apply the earlier techniques again.

    Pruning needs BatchNorm: without it the signal of a deep network fades layer by layer as weights are pruned, and
    retraining starts from noise. Codebooks and grids need it folded: they are made of the weights that ship.
    Pruned channels are stripped before the next technique counts weights.
    """
    plain = compress.strip(model)
    if fold:
        plain = models.fold_batch_norm(plain)
    for technique in earlier:
        at_once = technique.without_schedule()
        # In a network that lost channels since, every kernel may have become too small for it.
        if at_once is not None and _applies(plain, at_once, progress):
            plain = compress.apply(plain, at_once)
    return plain


def _applies(model: keras.Model, technique: compress.Technique, progress: Progress) -> bool:
    """Whether the network still has a layer for the technique; if not, `progress` says so."""
    found = applies(model, technique)
    if not found:
        progress.say(f"{technique} is skipped: the network with fewer channels has no layer for it")
    return found
