"""How often a model is right on a folder of labelled images."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import IMAGE_SUFFIXES
from squeezekit.runtime.model import Model

__all__ = ["Evaluation", "Outcome", "evaluate", "evaluate_files"]

# More broken files than this and the folder is damaged as a whole: a copy that stopped, a wrong format.
MAX_SKIPPED_SHARE = 0.05


class Outcome(NamedTuple):
    """One image of an evaluation."""

    path: str
    label: str
    """The class folder's name."""
    predicted: str


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on a set of images. Proportions are in [0, 1].

    Args:
        images: how many were classified.
        top1: share whose likeliest class was the right one.
        top5: share whose right class was among the five likeliest.
        per_class: recall of each class that has images, in the model's order of classes.
        skipped: unreadable images, each as "path: reason"; they count nowhere else.
        predictions: every image, by class, then by name.

    Example:
        >>> Evaluation(4, 0.75, 1.0, {"cat": 1.0, "dog": 0.5}, (), ()).worst_class
        'dog'
    """

    images: int
    top1: float
    top5: float
    per_class: dict[str, float]
    skipped: tuple[str, ...]
    predictions: tuple[Outcome, ...] = dataclasses.field(repr=False)

    @property
    def worst_class(self) -> str:
        """The class of lowest recall; of equals the first."""
        return min(self.per_class, key=lambda label: self.per_class[label])


def evaluate(
    model: Model, folder: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Classify every image of a folder and count what is right.

    Images are opened one at a time by the code that `Model.predict` uses. A folder without a `test` part is
    evaluated as a whole, images that the model was trained on included: such a figure flatters.

    Args:
        model: what to evaluate.
        folder: `test/CLASS/*` (and whatever else lies beside `test`) or `CLASS/*`; or the name of such a folder
            inside the one that `SQUEEZEKIT_DATA` names. Class folders are called as the model's labels are;
            not all of them need to be there. Hidden files and those that are no images are passed by.
        progress: called with (images done, images in all).

    Raises:
        DataError: no such folder, a class that the model does not know, a class without usable images, or more
            than 5 % of the images unreadable.
    """
    found = _class_files(model.labels, _find(folder))
    files = [(path, model.labels[index]) for index, paths in found for path in paths]
    return evaluate_files(model, [path for path, _ in files], [label for _, label in files], progress=progress)


def evaluate_files(
    model: Model,
    paths: Sequence[str | os.PathLike[str]],
    labels: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Classify chosen images and count what is right; `evaluate` for those who split the images themselves.

    Args:
        model: what to evaluate.
        paths: one file an image; at least one.
        labels: the right label of each, as the model's labels are called.
        progress: called with (images done, images in all).

    Raises:
        ValueError: no images, or not one label for each.
        DataError: a label that the model does not know, a class without usable images, or more than 5 % of
            the images unreadable.
    """
    if not paths or len(paths) != len(labels):
        raise ValueError(
            f"Expected at least one image and a label for each. Received: {len(paths)} and {len(labels)}."
        )
    for label in labels:
        _check_label(label, model.labels, "the images")
    truth = [model.labels.index(label) for label in labels]
    right = np.zeros(len(model.labels), np.int64)
    right_of_five, seen = right.copy(), right.copy()
    skipped: list[str] = []
    outcomes: list[Outcome] = []
    for done, (index, path) in enumerate(zip(truth, paths, strict=True), start=1):
        try:
            pixels = model.pixels(path)
        except FormatError as error:
            skipped.append(str(error))
        except OSError as error:
            skipped.append(f"{path}: {error.strerror or type(error).__name__}")
        else:
            probabilities = model.probabilities(pixels[np.newaxis])[0]
            best = np.argsort(-probabilities, kind="stable")[:5]
            seen[index] += 1
            right[index] += best[0] == index
            right_of_five[index] += index in best
            outcomes.append(Outcome(str(path), model.labels[index], model.labels[best[0]]))
        if progress is not None:
            progress(done, len(paths))
    if len(skipped) > MAX_SKIPPED_SHARE * len(paths):
        raise DataError(f"{len(skipped)} of {len(paths)} images are unreadable; the first: {skipped[0]}")
    present = sorted(set(truth))
    for index in present:
        if seen[index] == 0:
            raise DataError(f"{model.labels[index]}: no readable image of this class")
    return Evaluation(
        images=len(outcomes),
        top1=float(right.sum() / seen.sum()),
        top5=float(right_of_five.sum() / seen.sum()),
        per_class={model.labels[index]: float(right[index] / seen[index]) for index in present},
        skipped=tuple(skipped),
        predictions=tuple(outcomes),
    )


def _find(folder: str | os.PathLike[str]) -> Path:
    """Where the class folders lie."""
    root = Path(folder)
    catalogue = os.environ.get("SQUEEZEKIT_DATA")
    if not root.exists() and catalogue and (Path(catalogue) / root).is_dir():
        root = Path(catalogue) / root
    if not root.exists():
        raise DataError(f"No such folder: {folder}")
    if not root.is_dir():
        raise DataError(f"Expected a folder of class folders, received a file: {folder}")
    test = root / "test"
    # A folder of images named `test` is a class of tests.
    if test.is_dir() and _folders(test) and not _images(test):
        return test
    return root


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    )


def _class_files(labels: Sequence[str], root: Path) -> list[tuple[int, list[Path]]]:
    """The images of every class folder, with the class's position in the output, in that order."""
    folders = _folders(root)
    if not folders:
        raise DataError(f"{root}: expected class folders with images, found none")
    found = []
    for folder in folders:
        _check_label(folder.name, labels, str(folder))
        images = _images(folder)
        if not images:
            raise DataError(f"{folder}: no images in this class folder")
        found.append((labels.index(folder.name), images))
    return sorted(found, key=lambda entry: entry[0])


def _check_label(label: str, labels: Sequence[str], where: str) -> None:
    if labels.count(label) != 1:
        known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        problem = "does not know" if label not in labels else "has more than once"
        raise DataError(f"{where}: {label!r} is a class that the model {problem}; its classes are {known}")
