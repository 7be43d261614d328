"""How sensitive each layer is to each technique: one layer at a time, without retraining."""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

import squeezekit
from squeezekit import compress, files, models
from squeezekit.compress import TECHNIQUES, Quantize, Recipe, Technique
from squeezekit.compress.apply import hooked_layers
from squeezekit.data import Dataset, Images, batches
from squeezekit.errors import FormatError
from squeezekit.preprocess import Preprocess
from squeezekit.training import Progress, weights_digest

__all__ = ["default_grid", "read_sensitivity", "recipe_from", "sensitivity", "strongest"]

_BATCH_SIZE = 64
# Writing the file after every figure would take longer than some figures.
_SAVE_SECONDS = 5.0

_KEYS = ("weights", "data", "preprocess", "images", "techniques")


def default_grid() -> dict[str, tuple[int | float, ...]]:
    """What is tried: the sweep of each technique that has one, values of its first setting, the gentlest first.

    Example:
        >>> default_grid()["share"]
        (8, 7, 6, 5, 4, 3, 2)
    """
    return {name: kind.sweep.values for name, kind in TECHNIQUES.items() if kind.sweep is not None}


def sensitivity(
    model: keras.Model,
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    images: int = 500,
    path: str | os.PathLike[str] | None = None,
    grid: Mapping[str, Sequence[int | float]] | None = None,
    minutes: float = math.inf,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the accuracy on validation images with one layer transformed at a time; nothing is retrained.

    Retraining wins most of a loss back, so this says which layers are delicate, not what a recipe costs in the end.
    BatchNorm is folded for the techniques that want it folded. Weights are put into one compiled network, so a figure
    costs the inference alone: some 500 figures for SqueezeNet 1.1, minutes for some hundred images.

    Args:
        model: a trained functional or sequential network, pixels to probabilities; not changed.
        dataset: its `validation` is used; `test` is never touched.
        preprocess: what the network sees of an image.
        images: how many of the validation images, evenly over the classes; they are kept in memory.
        path: where the result is written, whole after every few seconds. A file that is there already is gone on with.
        grid: techniques by name and values of their first setting, the gentlest first; `default_grid()` by default.
        minutes: after so many no further figure is begun; the result is not `complete`, and called again with the
            same `path` this goes on. It begins again with images and network, so give it more than a few.
        progress: where to show how far it is.

    Returns:
        Plain values for JSON: `accuracy` in [0, 1] of the network as it is, `layers` {name: number of weights},
        `techniques` (the grid), `results` [{"technique", "setting", "layer", "accuracy"}], and whether it is
        `complete`. A layer that a technique leaves alone has no results for it.

    Raises:
        ValueError: no validation images; an unknown technique or a value out of range; a layer that cannot be
            transformed; `path` is of another network or of other images.
        FormatError: `path` is no such file.
    """
    ends_at = time.monotonic() + 60 * minutes
    grid = default_grid() if grid is None else grid
    techniques = {name: [_technique(name, value) for value in values] for name, values in grid.items()}
    if images < 1 or not len(dataset.validation):
        raise ValueError(
            f"Expected at least one validation image. Received: images={images} of {len(dataset.validation)}."
        )
    split = _spread(dataset.validation, images)
    result: dict[str, Any] = {
        "squeezekit": squeezekit.__version__,
        "model": model.name,
        "weights": weights_digest(model),
        "data": dataset.fingerprint,
        "preprocess": preprocess.to_dict(),
        "images": len(split),
        "techniques": {name: list(values) for name, values in grid.items()},
        "complete": False,
        "results": [],
    }
    if path is not None:
        files.remove_leftovers(path)
        if Path(path).exists():
            result = _go_on(path, result)
            if result["complete"]:
                return result
    seen = [(np.asarray(pixels), np.asarray(labels)) for pixels, labels in _in_order(split, preprocess)]
    plain = _Network(compress.strip(model), seen)
    folded = _Network(models.fold_batch_norm(plain.model), seen)
    result["accuracy"] = plain.accuracy()
    result["layers"] = {name: int(np.size(kernel)) for name, kernel in plain.kernels.items()}
    known = {(line["technique"], line["setting"], line["layer"]) for line in result["results"]}
    total = sum(map(len, techniques.values())) * len(plain.kernels) - len(known)
    done, saved_at = 0, time.monotonic()
    progress = progress or Progress()
    for name, variants in techniques.items():
        for setting, technique in zip(grid[name], variants, strict=True):
            network = plain if technique.survives_folding else folded
            left = [layer for layer in network.kernels if (name, setting, layer) not in known]
            # All layers at once, for what a technique makes of one does not depend on the others.
            kernels = network.transformed(technique) if left else {}
            for layer in left:
                if time.monotonic() > ends_at:
                    if path is not None:
                        files.write_json(path, result)
                    return result
                if layer in kernels:
                    line = {"technique": name, "setting": setting, "layer": layer}
                    result["results"].append({**line, "accuracy": network.accuracy(layer, kernels[layer])})
                done += 1
                progress.update("sensitivity", done, total, f"{name}({setting}) of {layer}")
                if path is not None and time.monotonic() - saved_at > _SAVE_SECONDS:
                    files.write_json(path, result)
                    saved_at = time.monotonic()
    result["complete"] = True
    if path is not None:
        files.write_json(path, result)
    return result


def strongest(result: Mapping[str, Any], drop: float) -> dict[str, dict[str, int | float | None]]:
    """Return the strongest setting of each technique for each layer that costs at most `drop`.

    From the gentlest on, up to the first that costs more: a stronger one that happens to do better is luck.

    Args:
        result: of `sensitivity`.
        drop: largest loss of accuracy, in [0, 1]: 0.01 is one point.

    Returns:
        {technique: {layer: setting, or None where even the gentlest costs more}}.

    Raises:
        ValueError: `drop` is out of range.

    Example:
        >>> lines = [(0.5, 0.89), (0.7, 0.87), (0.9, 0.895)]
        >>> result = {"accuracy": 0.9, "techniques": {"prune": [0.5, 0.7, 0.9]}, "results": [
        ...     {"technique": "prune", "setting": s, "layer": "conv", "accuracy": a} for s, a in lines]}
        >>> strongest(result, 0.01), strongest(result, 0.03), strongest(result, 0.001)
        ({'prune': {'conv': 0.5}}, {'prune': {'conv': 0.9}}, {'prune': {'conv': None}})
    """
    if not 0 <= drop <= 1:
        raise ValueError(f"Expected a drop in [0, 1]. Received: drop={drop}.")
    # A little slack, or 0.9 - 0.01 would be more than 0.89.
    least = result["accuracy"] - drop - 1e-9
    best: dict[str, dict[str, int | float | None]] = {}
    for name, settings in result["techniques"].items():
        figures: dict[str, dict[int | float, float]] = {}
        for line in result["results"]:
            if line["technique"] == name:
                figures.setdefault(line["layer"], {})[line["setting"]] = line["accuracy"]
        best[name] = {}
        for layer, by_setting in figures.items():
            best[name][layer] = None
            for setting in settings:
                if by_setting.get(setting, 0.0) < least:
                    break
                best[name][layer] = setting
    return best


def recipe_from(
    result: Mapping[str, Any], drop: float = 0.01, *, techniques: Sequence[str] | None = None
) -> Recipe:
    """Return a recipe with the strongest settings of each layer, then `quantize(8)`.

    The losses of many layers and techniques add up, and retraining wins most of them back: a point to start from. A
    grid of fewer than 8 bits saves little beside shared weights, so it is not among the techniques by default.

    Args:
        result: of `sensitivity`.
        drop: largest loss of accuracy by one layer alone, in [0, 1].
        techniques: which of those measured, in the order of their stages; None takes all but those that quantize.

    Returns:
        Each technique with the commonest setting, and the other layers' in `layers`. A technique to which every layer
        is too sensitive is left out.

    Raises:
        ValueError: `drop` is out of range, or a technique was not measured.

    Example:
        >>> lines = [("a", 0.9), ("b", 0.9), ("c", 0.7), ("c", 0.9), ("d", 0.5)]
        >>> result = {"accuracy": 0.9, "techniques": {"prune": [0.7, 0.9]}, "results": [
        ...     {"technique": "prune", "setting": setting, "layer": layer, "accuracy": 0.9 if layer != "d" else 0.2}
        ...     for layer in "abcd" for setting in (0.7, 0.9) if (layer, setting) != ("c", 0.9)]}
        >>> print(recipe_from(result, techniques=["prune"]))
        prune(0.9, layers={'c': 0.7, 'd': None}) | quantize(bits=8)
    """
    if not result.get("complete", True):
        raise ValueError(
            "Expected figures of every layer. Received: those of a run that has not ended; call it again."
        )
    best = strongest(result, drop)
    if techniques is None:
        techniques = [name for name in TECHNIQUES if name in best and not TECHNIQUES[name].integer]
    steps: list[Technique] = []
    for name in techniques:
        if name not in best:
            raise ValueError(f"Expected techniques of {', '.join(best)}. Received: {name!r}.")
        tolerated = [setting for setting in best[name].values() if setting is not None]
        if tolerated:
            counts = Counter(tolerated)
            # Of equally common ones the gentlest.
            common = max(result["techniques"][name], key=lambda setting: counts[setting])
            others = {_literal(layer): setting for layer, setting in best[name].items() if setting != common}
            steps.append(TECHNIQUES[name](common, layers=others))  # type: ignore[call-arg]
    return Recipe(*steps, Quantize(8))


def read_sensitivity(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `sensitivity` wrote.

    Raises:
        FormatError: not such a file.
        OSError: it cannot be opened.
    """
    try:
        result = json.loads(Path(path).read_text("utf-8"))
        for line in result["results"]:
            line["technique"], line["setting"], line["layer"], float(line["accuracy"])
        if not isinstance(result["complete"], bool) or not all(key in result for key in _KEYS):
            raise KeyError("complete")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not a result of squeezekit sensitivity") from error
    return result


class _Network:
    """A plain network on which one kernel at a time is exchanged."""

    def __init__(self, model: keras.Model, seen: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self.model = model
        self._seen = seen
        self._plain: float | None = None
        # Put in and taken out through the layers that the techniques know, whatever kinds they are.
        self._layers = dict(compress.kernel_layers(model))
        self.kernels = {name: _numpy(layer.kernel) for name, layer in self._layers.items()}

    def transformed(self, technique: Technique) -> dict[str, np.ndarray]:
        """What the technique makes of each kernel that it takes."""
        hooked = compress.apply(self.model, technique)
        taken = {name for name, _ in hooked_layers(hooked)}
        plain = compress.kernel_layers(compress.strip(hooked))
        return {name: _numpy(layer.kernel) for name, layer in plain if name in taken}

    def accuracy(self, name: str = "", kernel: np.ndarray | None = None) -> float:
        """Top-1 accuracy, with one kernel exchanged if one is given; as it is the network is run once only."""
        if kernel is None or np.array_equal(kernel, self.kernels[name]):
            if self._plain is None:
                self._plain = self._accuracy()
            return self._plain
        self._layers[name].kernel.assign(kernel)
        try:
            return self._accuracy()
        finally:
            self._layers[name].kernel.assign(self.kernels[name])

    def _accuracy(self) -> float:
        right, images = 0, 0
        for pixels, labels in self._seen:
            probabilities = keras.ops.convert_to_numpy(self.model.predict_on_batch(pixels))
            right += int(np.sum(probabilities.argmax(axis=1) == labels))
            images += len(labels)
        return right / images


def _technique(name: str, value: int | float) -> Technique:
    sweep = TECHNIQUES[name].sweep if name in TECHNIQUES else None
    if sweep is None:
        raise ValueError(f"Expected techniques of {', '.join(default_grid())}. Received: {name!r}.")
    return TECHNIQUES[name](**{sweep.setting: value, **sweep.fixed})


def _spread(split: Images, images: int) -> Images:
    """At most so many images, evenly over the split; it lies class by class."""
    if images >= len(split):
        return split
    chosen = np.linspace(0, len(split) - 1, images).round().astype(int)
    return split.take(chosen)


def _in_order(split: Images, preprocess: Preprocess) -> Any:
    return batches(split, preprocess, batch_size=_BATCH_SIZE)


def _go_on(path: str | os.PathLike[str], fresh: dict[str, Any]) -> dict[str, Any]:
    """The result so far, if it is one of the same network, images and grid."""
    found = read_sensitivity(path)
    different = [key for key in _KEYS if found[key] != fresh[key]]
    if different:
        raise ValueError(
            f"{path} is of other {', '.join(different)}. Use another file, or delete this one to start over."
        )
    return found


def _literal(name: str) -> str:
    """A layer's name as a pattern that fits it alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _numpy(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable)))
