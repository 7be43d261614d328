"""From a set of images to its parts: train, validation, test; of a folder, lists of checked files. No TensorFlow."""

import dataclasses
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from squeezekit import files
from squeezekit.data.catalogue import CATALOGUE
from squeezekit.data.dataset import Dataset, require_readable
from squeezekit.data.file_dataset import open_file_dataset
from squeezekit.data.ranks import Ranks
from squeezekit.data.threads import in_threads
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import IMAGE_SUFFIXES, open_rgb, picture_size, read_image
from squeezekit.sources import find_files, find_source

__all__ = ["Dataset", "Split", "changed_since", "find_folder", "open_dataset"]


@dataclasses.dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Split:
    """One part of a dataset, in a fixed order: by class, then by path.

    Args:
        paths: one file an image.
        labels: int32, shape (images,): position in `Dataset.class_names`.
    """

    paths: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, places: np.ndarray) -> "Split":
        """The images at some places, as a split.

        Args:
            places: integers in [0, images); one may come more than once.
        """
        return Split([self.paths[place] for place in places.tolist()], self.labels[places])

    def names(self) -> list[str]:
        """What each image is called: its path."""
        return list(self.paths)

    def pictures(self) -> Iterator[tuple[str, str]]:
        """What each image is called, and its path, which are the same."""
        return zip(self.paths, self.paths, strict=True)

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of some images, evenly over all, by their headers.

        Args:
            most: how many, about; at least 1.

        Raises:
            DataError: one is gone or was changed since the set was opened.
        """
        return [_size(path) for path in self.paths[:: max(1, len(self) // most)]]

    def files(self) -> list[str]:
        """The files that the images lie in."""
        return list(self.paths)

    def absolute(self) -> "Split":
        """The same for a process that works in another folder."""
        return dataclasses.replace(self, paths=[os.path.abspath(path) for path in self.paths])


def changed_since(path: str, error: FormatError | OSError) -> DataError:
    """What to raise where an image that was fine when the set was opened is so no more."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return DataError(
        f"{path}: gone or changed since it was checked ({reason}); run it again on the images as they are"
    )


def _size(path: str) -> tuple[int, int]:
    try:
        return picture_size(path)
    except (FormatError, OSError) as error:
        raise changed_since(path, error) from error


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    """An image file before its content is looked at."""

    path: str
    relative: str  # to the dataset's folder, with forward slashes: it is hashed, and equal on every machine
    label: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Checked:
    """What one look at a file's content found; `reason` is empty when the image is usable."""

    digest: str
    reason: str = ""


def open_dataset(
    source: str | os.PathLike[str],
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    train_per_class: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read a folder of images: `train/CLASS/*` and `test/CLASS/*`, or only `CLASS/*`; or arrays or shards.

    Every image is decoded once, so that a broken one shows here and not hours into a training.
    Splits go by a hash of the seed and the file's relative path, class by class: an image stays where
    it is when files are added, but for the few at the edge of the share. Without a `test` folder the
    test images are chosen first; validation images always come out of what remains for training.

    Args:
        source: a folder; a `.npz`, `.tar` or `.tfrecord` file, a folder of such or of `.npy` files, or a pattern of
            their names; or the name of one of these, such as one of the catalogue, inside the folder that
            `SQUEEZEKIT_DATA` names (else `data`).
        validation: share of each class's training images, in [0, 1); 0 for none, else at least one a class.
        test: the same for the test split; without effect when there is a `test` folder.
        seed: chooses the splits.
        train_per_class: so many images of every class for training (and validation, which comes out of them),
            whatever the class has: the protocol of the Caltech sets. All others are the test, in place of `test`'s
            share; where there is a `test` folder they are left out. 0 for no such thing.
        progress: called with (images checked, images in all).

    Returns:
        The dataset; at least two classes, each with at least one training image.

    Raises:
        ValueError: a share is out of range.
        DataError: no such folder, fewer than two classes, a class without images or with too few to split,
            `train` and `test` with different classes, or more than 5 % of the images unreadable.
        FormatError: a file of arrays is damaged.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     for number in range(10):
        ...         Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name / f"{number}.png")
        >>> dataset = open_dataset(root)
        >>> dataset.class_names, len(dataset.train), len(dataset.validation), len(dataset.test)
        (('cat', 'dog'), 14, 2, 4)
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"Expected a share in [0, 1). Received: {name}={share}.")
    if train_per_class < 0:
        raise ValueError(f"Expected at least 0 images a class. Received: {train_per_class=}.")
    found = find_files(source)
    if found:
        return open_file_dataset(
            found,
            validation=validation,
            test=test,
            seed=seed,
            train_per_class=train_per_class,
            progress=progress,
        )
    root = find_folder(source)
    split_folders = _is_split_folder(root / "train")
    train_folder = root / "train" if split_folders else root
    class_names = _class_names(train_folder)
    trainable = _list(root, train_folder, class_names)
    reported: list[_File] = []
    if split_folders and (root / "test").is_dir():
        _require_same_classes(root, class_names)
        reported = _list(root, root / "test", class_names)

    listed = trainable + reported
    checks = in_threads(_check, [file.path for file in listed], progress)
    skipped = tuple(
        (file.path, check.reason) for file, check in zip(listed, checks, strict=True) if check.reason
    )
    require_readable(skipped, len(listed), str(root))
    labels = np.array([file.label for file in listed], np.int32)
    usable = np.array([place for place, check in enumerate(checks) if not check.reason], np.int64)
    ranks = Ranks(labels, class_names, lambda places: [listed[place].relative for place in places], str(root))
    train, validated, tested = ranks.parts(
        usable[usable < len(trainable)],
        usable[:0],
        usable[usable >= len(trainable)],
        validation=validation,
        test=test,
        seed=seed,
        train_per_class=train_per_class,
    )
    everything = Split([file.path for file in listed], labels)
    return Dataset(
        class_names=class_names,
        train=everything.take(train),
        validation=everything.take(validated),
        test=everything.take(tested),
        skipped=skipped,
        fingerprint=_fingerprint(listed, checks, class_names),
        train_per_class=train_per_class,
    )


def find_folder(source: str | os.PathLike[str]) -> Path:
    """Return the folder that `source` means: a path, or a name inside the folder where known sets are fetched to.

    Raises:
        DataError: there is no such folder; of a known set it says how to get it.
    """
    try:
        path = find_source(source)
    except DataError as error:
        known = f"; to get it: squeezekit data fetch {source}" if str(source) in CATALOGUE else ""
        raise DataError(f"{error}{known}") from error
    if not path.is_dir():
        known = "; squeezekit data unpack makes one of it" if find_files(path) else ""
        raise DataError(f"Expected a folder of class folders, received a file: {path}{known}")
    return path


def _is_split_folder(path: Path) -> bool:
    """Whether `path` holds class folders; a folder of images named `train` is a class of trains."""
    return path.is_dir() and bool(files.folder_names(path)) and not files.regular_names(path, IMAGE_SUFFIXES)


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(files.folder_names(folder))
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise DataError(f"{folder}: expected at least two class folders with images, found {found}")
    for name in names:
        # A list of labels is lines of UTF-8, and this is found out now and not when the network is written.
        if name != name.strip() or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise DataError(
                f"{folder}: the class folder {name!r} has a name that no label can have; rename it"
            )
    return names


def _require_same_classes(root: Path, class_names: Sequence[str]) -> None:
    tested = set(files.folder_names(root / "test"))
    if tested != set(class_names):
        only_train = ", ".join(sorted(set(class_names) - tested)) or "none"
        only_test = ", ".join(sorted(tested - set(class_names))) or "none"
        raise DataError(f"{root}: classes differ; only in train: {only_train}; only in test: {only_test}")


def _list(root: Path, folder: Path, class_names: Sequence[str]) -> list[_File]:
    """List the image files of every class folder, by class, then by name."""
    listed = []
    for label, name in enumerate(class_names):
        below = folder / name
        found = files.regular_names(below, IMAGE_SUFFIXES)
        if not found:
            raise DataError(f"{below}: no images in this class folder")
        relative = below.relative_to(root).as_posix()
        listed += [_File(os.path.join(below, each), f"{relative}/{each}", label) for each in found]
    return listed


def _check(path: str) -> _Checked:
    try:
        data = read_image(path)
        open_rgb(data)
    except FormatError as error:
        return _Checked("", str(error).removeprefix("image: "))
    except OSError as error:
        return _Checked("", error.strerror or type(error).__name__)
    return _Checked(hashlib.sha256(data).hexdigest())


def _fingerprint(listed: Sequence[_File], checks: Sequence[_Checked], class_names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for file, check in sorted(zip(listed, checks, strict=True), key=lambda pair: pair[0].relative):
        if not check.reason:
            digest.update(os.fsencode(f"{file.relative}\0{class_names[file.label]}\0{check.digest}\n"))
    return digest.hexdigest()
