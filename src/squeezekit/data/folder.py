"""Class folders as a dataset: which files are images, which part each is in, which cannot be read. No TensorFlow."""

import collections
import dataclasses
import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from squeezekit import files
from squeezekit.data.labelled_images import Images, Split
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import IMAGE_SUFFIXES, open_rgb, read_image
from squeezekit.readers import PARTS, TRAIN, find_class_folders
from squeezekit.thread_map import in_threads

__all__ = ["Checked", "check_folder"]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Checked:
    """Images of which each was decoded once, before the missing parts are drawn.

    Args:
        images: all of them, unusable ones too.
        class_names: a label is a position in it.
        parts: places of the images of each named part, ascending.
        hashed: gives the names by which parts are drawn.
        skipped: (path, reason) of the unusable images by their places.
        fingerprint: as of `Dataset`.
        where: what messages call the dataset.
        notes: as of `Dataset`.
    """

    images: Images
    class_names: tuple[str, ...]
    parts: Mapping[str, np.ndarray]
    hashed: Callable[[np.ndarray], list[str]]
    skipped: Mapping[int, tuple[str, str]]
    fingerprint: str
    where: str
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _File:
    """An image file before its content is read."""

    path: str
    relative: str  # to the dataset's folder, with forward slashes: it is hashed, and equal on every machine
    label: int
    part: str


def check_folder(root: Path, progress: Callable[[int, int], None] | None = None) -> Checked:
    """List the images of a folder by part, class and name, and decode each once.

    Raises:
        DataError: no training part, fewer than two classes, a class without images, or parts of different classes.
    """
    found = find_class_folders(root)
    parts = found.parts
    if "" in parts:
        parts = {TRAIN: parts[""]}
    elif TRAIN not in parts:
        named = ", ".join(f"{name}/" for names in parts.values() for name in names)
        raise DataError(f"{root}: {named} but no train/ that holds class folders and no images of its own")
    classes = {
        part: sorted({name for folder in folders for name in files.folder_names(root / folder)})
        for part, folders in parts.items()
    }
    class_names = _checked_names(root / parts[TRAIN][0], classes[TRAIN])
    ignored: collections.Counter[str] = collections.Counter()
    listed: list[_File] = []
    for part, folders in parts.items():
        if classes[part] != classes[TRAIN]:
            only_train = ", ".join(sorted(set(class_names) - set(classes[part]))) or "none"
            only_part = ", ".join(sorted(set(classes[part]) - set(class_names))) or "none"
            raise DataError(
                f"{root}: classes differ; only in train: {only_train}; only in {part}: {only_part}"
            )
        for label, name in enumerate(class_names):
            listed += _class_images(root, folders, name, label, part, ignored)
    checks = in_threads(_check, [file.path for file in listed], progress)
    labels = np.array([file.label for file in listed], np.int32)
    part_of = np.array([file.part for file in listed])
    return Checked(
        images=Split([file.path for file in listed], labels),
        class_names=class_names,
        parts={part: np.flatnonzero(part_of == part) for part in PARTS},
        hashed=lambda places: [listed[place].relative for place in places],
        skipped={place: (listed[place].path, reason) for place, (_, reason) in enumerate(checks) if reason},
        fingerprint=_fingerprint(listed, checks, class_names),
        where=str(root),
        notes=(*found.notes, *_ignored(ignored)),
    )


def _checked_names(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise DataError(f"{folder}: expected at least two class folders with images, found {found}")
    for name in names:
        # A list of labels is lines of UTF-8; this fails now and not when the network is written.
        if name != name.strip() or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise DataError(
                f"{folder}: the class folder {name!r} has a name that no label can have; rename it"
            )
    return tuple(names)


def _class_images(
    root: Path,
    folders: Sequence[str],
    name: str,
    label: int,
    part: str,
    ignored: collections.Counter[str],
) -> list[_File]:
    """List the images of one class in one part; count the other entries of its folders."""
    listed = []
    for below in (root / folder / name for folder in folders):
        if below.is_dir():
            found = files.regular_names(below, IMAGE_SUFFIXES)
            relative = below.relative_to(root).as_posix()
            listed += [_File(os.path.join(below, each), f"{relative}/{each}", label, part) for each in found]
            ignored.update(_ignored_kinds(below))
    if not listed:
        raise DataError(f"{root / folders[0] / name}: no images in this class folder")
    return listed


def _ignored_kinds(folder: Path) -> Iterator[str]:
    """Kinds of the entries of a class folder that are no images."""
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith(".") or suffix in IMAGE_SUFFIXES:
                continue
            # A stranger may have named the files.
            plain = suffix if suffix[1:].isalnum() and suffix.isascii() else "other files"
            yield "folders" if files.is_folder(entry) else plain


def _ignored(counts: collections.Counter[str]) -> list[str]:
    """One sentence on the entries of class folders that are no images."""
    if not counts:
        return []
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:4]
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in most)
    return [f"not read in class folders: {kinds}{', ...' if len(counts) > 4 else ''}"]


def _check(path: str) -> tuple[str, str]:
    """SHA-256 of a usable image, or the reason why it is not."""
    try:
        data = read_image(path)
        open_rgb(data)
    except FormatError as error:
        return "", str(error).removeprefix("image: ")
    except OSError as error:
        return "", error.strerror or type(error).__name__
    return hashlib.sha256(data).hexdigest(), ""


def _fingerprint(
    listed: Sequence[_File], checks: Sequence[tuple[str, str]], class_names: Sequence[str]
) -> str:
    digest = hashlib.sha256()
    for file, (sum_of, reason) in sorted(zip(listed, checks, strict=True), key=lambda pair: pair[0].relative):
        if not reason:
            digest.update(os.fsencode(f"{file.relative}\0{class_names[file.label]}\0{sum_of}\n"))
    return digest.hexdigest()
