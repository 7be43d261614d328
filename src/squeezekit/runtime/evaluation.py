"""How often a model is right on labelled images, in a folder, in arrays or in shards."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from squeezekit import files
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import IMAGE_SUFFIXES, MAX_SKIPPED_SHARE
from squeezekit.readers import PARTS, TEST, find_class_folders, find_files, find_folder, open_parts
from squeezekit.runtime.model import Model

__all__ = ["Evaluation", "Outcome", "evaluate", "evaluate_files", "evaluate_images"]


class Outcome(NamedTuple):
    """One image of an evaluation."""

    path: str
    """Or the name of an image in an array or a shard."""
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
        predictions: every readable image, in the order given; of a folder by class, then by name.
        notes: one sentence for each thing that was guessed.

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
    notes: tuple[str, ...] = ()

    @property
    def macro_accuracy(self) -> float:
        """The mean recall of the classes: accuracy if every class had as many images."""
        return sum(self.per_class.values()) / len(self.per_class)

    @property
    def counts(self) -> dict[str, int]:
        """How many images of each class were classified, in the order of `per_class`."""
        found = Counter(outcome.label for outcome in self.predictions)
        return {label: found[label] for label in self.per_class}

    @property
    def worst_class(self) -> str:
        """The class of lowest recall; the first of equals."""
        return min(self.per_class, key=lambda label: self.per_class[label])


def evaluate(
    model: Model, folder: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Classify the test images of a dataset and count what is right.

    Without a test part the validation part is evaluated, and without that all images. Those that the model was trained
    on are then among them, so the figure is too high.

    Args:
        model: what to evaluate.
        folder: class folders, in parts or directly; or a `.npz`, a folder of `.npz` or `.npy` files, tar or TFRecord
            shards, or a pattern of their names; or the name of such a thing inside the folder that `SQUEEZEKIT_DATA`
            names, else `data`. Class folders have the names of the model's labels; some may be missing. Classes that
            are only numbers count the model's labels. Hidden files and those that are no images are ignored.
        progress: called with (images done, images in all).

    Raises:
        DataError: no such folder, a class that the model does not know, a class without usable images, or more
            than 5 % of the images unreadable.
        FormatError: a file of arrays is damaged.
    """
    array_files = find_files(folder)
    if array_files:
        return _evaluate_parts(model, array_files, progress)
    root = find_folder(folder)
    parts = find_class_folders(root).parts
    part = next((part for part in reversed(PARTS) if part in parts), "")
    places = [root / place for place in parts[part]]
    paths: list[str] = []
    labels: list[str] = []
    for label in sorted({name for place in places for name in files.folder_names(place)}):
        class_folders = [place / label for place in places if (place / label).is_dir()]
        _require_known(model, label, str(class_folders[0]))
        found = [
            os.path.join(below, image)
            for below in class_folders
            for image in files.regular_names(below, IMAGE_SUFFIXES)
        ]
        if not found:
            raise DataError(f"{class_folders[0]}: no images in this class folder")
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(f"{root}: expected class folders with images, found none")
    return _noted(evaluate_files(model, paths, labels, progress=progress), part)


def _noted(result: Evaluation, part: str) -> Evaluation:
    """Say which part stood in for the test part."""
    notes = () if part in ("", TEST) else (f"there is no test part; these are the {part} images",)
    return dataclasses.replace(result, notes=notes)


def evaluate_files(
    model: Model,
    paths: Sequence[str],
    labels: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Classify a list of image files and count what is right.

    Images are opened one at a time by the code that `Model.predict` uses, so memory does not grow with them.

    Args:
        model: what to evaluate.
        paths: the image files, at least one.
        labels: the right label of each; all of them among the model's.
        progress: called with (images done, images in all).

    Raises:
        ValueError: not one label for each path.
        DataError: no images, a class that the model does not know, a class without readable images, or more
            than 5 % of the images unreadable.
    """
    if len(paths) != len(labels):
        raise ValueError(
            f"Expected one label for each path. Received: {len(paths)} paths, {len(labels)} labels."
        )
    return evaluate_images(model, zip(paths, paths, strict=True), labels, progress=progress)


def evaluate_images(
    model: Model,
    pictures: Iterable[tuple[str, str | bytes | np.ndarray]],
    labels: Sequence[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Classify images from anywhere, one at a time, and count what is right.

    Args:
        model: what to evaluate.
        pictures: the name of each, and a path, the bytes of an image file, or uint8 (height, width, 3) RGB pixels.
        labels: the right label of each, at least one; all of them among the model's.
        progress: called with (images done, images in all).

    Raises:
        ValueError: not one label for each picture.
        DataError: no images, a class that the model does not know, a class without readable images, or more
            than 5 % of the images unreadable.
    """
    if not labels:
        raise DataError("no images to evaluate")
    present = set(labels)
    for label in sorted(present):
        _require_known(model, label, label)
    seen: Counter[str] = Counter()
    right: Counter[str] = Counter()
    right_of_five: Counter[str] = Counter()
    skipped: list[str] = []
    outcomes: list[Outcome] = []
    for done, ((path, picture), label) in enumerate(zip(pictures, labels, strict=True), start=1):
        try:
            pixels = model.pixels(picture)
        except FormatError as error:
            # Bytes have no name of their own.
            skipped.append(f"{path}: {error}" if isinstance(picture, bytes) else str(error))
        except OSError as error:
            skipped.append(f"{path}: {error.strerror or type(error).__name__}")
        else:
            best = [name for name, _ in model.rank(pixels, top=5)]
            seen[label] += 1
            right[label] += best[0] == label
            right_of_five[label] += label in best
            outcomes.append(Outcome(path, label, best[0]))
        if progress is not None:
            progress(done, len(labels))
    _require_usable(skipped, len(labels), present - set(seen))
    return Evaluation(
        images=len(outcomes),
        top1=right.total() / len(outcomes),
        top5=right_of_five.total() / len(outcomes),
        per_class={label: right[label] / seen[label] for label in model.labels if label in seen},
        skipped=tuple(skipped),
        predictions=tuple(outcomes),
    )


def _evaluate_parts(
    model: Model, array_files: Sequence[Path], progress: Callable[[int, int], None] | None
) -> Evaluation:
    parts = open_parts(array_files)
    part = next((part for part in reversed(PARTS[1:]) if len(getattr(parts, part))), "")
    images = parts.images.take(getattr(parts, part)) if part else parts.images
    names = images.class_names
    numbered = all(name.isdecimal() for name in names)
    if numbered and len(names) == len(model.labels) and not set(names) <= set(model.labels):
        names = model.labels
    labels = [names[label] for label in images.labels.tolist()]
    return _noted(evaluate_images(model, images.pictures(), labels, progress=progress), part)


def _require_known(model: Model, label: str, where: str) -> None:
    if model.labels.count(label) == 1:
        return
    known = ", ".join(model.labels[:10]) + (", ..." if len(model.labels) > 10 else "")
    problem = "has more than once" if label in model.labels else "does not know"
    raise DataError(f"{where}: a class that the model {problem}; its classes are {known}")


def _require_usable(skipped: Sequence[str], images: int, empty: Set[str]) -> None:
    if len(skipped) > MAX_SKIPPED_SHARE * images:
        raise DataError(f"{len(skipped)} of {images} images are unreadable; the first: {skipped[0]}")
    if empty:
        raise DataError(f"{min(empty)}: no readable image of this class")
