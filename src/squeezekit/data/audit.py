"""What is in a folder of images, and what is wrong with it, before any training. No TensorFlow in here."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit import files
from squeezekit.data.likeness import correlation, join, near_pairs, small
from squeezekit.data.looks import Look, format_of, look_at
from squeezekit.data.threads import in_threads
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import is_image_name, open_rgb

__all__ = ["Audit", "Group", "Image", "audit_folder"]

Progress = Callable[[int, int], None]

# Two pictures of near hashes are near duplicates from this correlation of their 32 x 32 RGB pixels on.
LEAST_CORRELATION = 0.9
# Small pictures kept while pairs are compared: 3 KB each.
_KEPT = 4096


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A file that training would read.

    Args:
        path: where it lies.
        relative: the same from the audited folder on, with forward slashes.
        part: "train", "test", or "" in a folder without these.
        label: name of the class folder.
        look: what is in it.
    """

    path: str
    relative: str
    part: str
    label: str
    look: Look


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Files that show the same picture.

    Args:
        images: at least two, in the order of the audit.
        exact: the files are equal byte for byte; else the pictures only look alike.
    """

    images: tuple[Image, ...]
    exact: bool

    @property
    def two_labels(self) -> bool:
        """Whether the same picture has more than one label: at least one of them is wrong."""
        return len({image.label for image in self.images}) > 1

    @property
    def train_and_test(self) -> bool:
        """Whether the picture is learned from and tested on: accuracy is then flattered."""
        return len({image.part for image in self.images}) > 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What `audit_folder` found.

    Args:
        root: the folder.
        parts: ("train", "test"), ("train",), or ("",) where class folders lie directly in the folder.
        images: every file that training would read, by part, class and name.
        strays: (relative path, format) of visible files that training does not look at; the format is "" for
            what is no image.
        groups: files that show the same picture: exact ones first, those with two labels first among them.
    """

    root: str
    parts: tuple[str, ...]
    images: tuple[Image, ...]
    strays: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]

    @property
    def faulty(self) -> tuple[Image, ...]:
        """The images with a fault of their own."""
        return tuple(image for image in self.images if image.look.fault is not None)

    @property
    def has_problems(self) -> bool:
        """Whether anything is wrong: a faulty file or a picture that is there twice."""
        return bool(self.groups or self.faulty)

    def classes(self) -> dict[str, dict[str, int]]:
        """Images by class and part; a class folder without images counts none."""
        counts = Counter((image.label, image.part) for image in self.images)
        names = set(_class_folders(Path(self.root), self.parts)) | {image.label for image in self.images}
        return {name: {part: counts[name, part] for part in self.parts} for name in sorted(names)}

    def to_dict(self) -> dict[str, Any]:
        """Everything for JSON: plain values, paths relative to the folder."""
        readable = [image.look for image in self.images if image.look.mode]
        sizes = Counter((look.width, look.height) for look in readable)
        return {
            "folder": self.root,
            "images": len(self.images),
            "bytes": sum(image.look.size_bytes for image in self.images),
            "classes": self.classes(),
            "formats": dict(Counter(look.format for look in readable).most_common()),
            "modes": dict(Counter(look.mode for look in readable).most_common()),
            "sizes": _sizes(sizes),
            "rotated": [image.relative for image in self.images if image.look.orientation != 1],
            "strays": {
                "files": len(self.strays),
                "images": [name for name, format_name in self.strays if format_name],
            },
            "counts": self.counts(),
            "files": [
                {"image": image.relative, "problem": image.look.fault.value, "reason": image.look.reason}
                for image in self.images
                if image.look.fault is not None
            ],
            "groups": [
                {
                    "images": [image.relative for image in group.images],
                    "exact": group.exact,
                    "two_labels": group.two_labels,
                    "train_and_test": group.train_and_test,
                }
                for group in self.groups
            ],
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """How many there are of each kind of problem: files by fault; groups, and of these the graver ones."""
        faults = Counter(image.look.fault.value for image in self.images if image.look.fault is not None)
        found: dict[str, dict[str, int]] = {"files": dict(faults)}
        for kind, exact in (("duplicates", True), ("near_duplicates", False)):
            groups = [group for group in self.groups if group.exact is exact]
            found[kind] = {
                "groups": len(groups),
                "images": sum(len(group.images) for group in groups),
                "two_labels": sum(group.two_labels for group in groups),
                "train_and_test": sum(group.train_and_test for group in groups),
            }
        return found


def audit_folder(
    folder: str | os.PathLike[str],
    *,
    near: bool = True,
    correlation_at_least: float = LEAST_CORRELATION,
    progress: Progress | None = None,
    compared: Progress | None = None,
) -> Audit:
    """Look at every image of a folder, and for pictures that are in it twice.

    Unlike `open_dataset` this refuses nothing but a folder without images: what is wrong is in the answer.

    Args:
        folder: `train/CLASS/*` and `test/CLASS/*`, or only `CLASS/*`.
        near: look for near duplicates too, not only for equal files.
        correlation_at_least: of two pictures' 32 x 32 pixels, for them to count as near duplicates, in [0, 1].
        progress: called with (images looked at, images in all).
        compared: called with (pairs compared, candidates in all), while near duplicates are looked for.

    Returns:
        The audit.

    Raises:
        ValueError: the correlation is out of range.
        DataError: no such folder, or no images in it.
        OSError: a class folder cannot be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image as Pillow
        >>> root = Path(tempfile.mkdtemp())
        >>> for label in ("cat", "dog"):
        ...     (root / label).mkdir()
        ...     Pillow.linear_gradient("L").save(root / label / "1.png")
        >>> audit = audit_folder(root)
        >>> [image.relative for image in audit.groups[0].images], audit.groups[0].two_labels
        (['cat/1.png', 'dog/1.png'], True)
    """
    if not 0 <= correlation_at_least <= 1:
        raise ValueError(f"Expected a correlation in [0, 1]. Received: {correlation_at_least}.")
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"No such folder: {root}")
    parts = _parts(root)
    listed, strays = _list(root, parts)
    if not listed:
        raise DataError(f"{root}: no images in class folders")
    looks = in_threads(look_at, [path for path, _, _, _ in listed], progress)
    images = tuple(Image(*place, look) for place, look in zip(listed, looks, strict=True))
    groups = _equal(images)
    if near:
        groups += _alike(images, correlation_at_least, compared)
    groups.sort(key=lambda group: (not group.exact, not group.two_labels, not group.train_and_test))
    return Audit(str(root), parts, images, tuple(strays), tuple(groups))


def _parts(root: Path) -> tuple[str, ...]:
    """How `open_dataset` would read the folder: by `train` and `test`, or as class folders."""
    if not _holds_classes(root / "train"):
        return ("",)
    return ("train", "test") if (root / "test").is_dir() else ("train",)


def _holds_classes(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    entries = list(_visible(folder))
    return any(files.is_folder(entry) for entry in entries) and not any(_is_image(entry) for entry in entries)


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Entries that are not hidden."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether training would read it; a link into the void or in a circle counts, so that it is reported."""
    if not is_image_name(entry.name):
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def _class_folders(root: Path, parts: Sequence[str]) -> list[str]:
    names: set[str] = set()
    for part in parts:
        # The folder may be gone since it was audited.
        with contextlib.suppress(OSError):
            names.update(files.folder_names(root / part))
    return sorted(names)


def _list(root: Path, parts: Sequence[str]) -> tuple[list[tuple[str, str, str, str]], list[tuple[str, str]]]:
    """List (path, relative, part, class) of what training reads, and (relative, format) of what it passes over."""
    listed: list[tuple[str, str, str, str]] = []
    real = os.path.join(os.path.realpath(root), "")
    passed: list[str] = []
    if parts != ("",):
        passed += _files_below(str(root), besides=set(parts))
    for part in parts:
        for folder in sorted(_visible(root / part), key=lambda entry: entry.name):
            if not files.is_folder(folder):
                passed.append(folder.path)
                continue
            # A link may lead to a folder of images elsewhere; what else lies there is none of ours.
            ours = os.path.realpath(folder.path).startswith(real)
            relative = "/".join(filter(None, (part, folder.name)))
            for entry in sorted(_visible(Path(folder.path)), key=lambda entry: entry.name):
                if _is_image(entry):
                    listed.append((entry.path, f"{relative}/{entry.name}", part, folder.name))
                elif not ours:
                    continue
                elif entry.is_dir(follow_symlinks=False):
                    passed += _files_below(entry.path)
                else:
                    passed.append(entry.path)
    strays = [(Path(path).relative_to(root).as_posix(), _stray_format(path)) for path in passed]
    return listed, strays


def _files_below(folder: str, besides: set[str] | None = None) -> list[str]:
    """Visible files at any depth, but for those in the folders `besides` of the first level."""
    found = []
    for parent, folders, names in os.walk(folder):
        passed = besides if besides and parent == folder else set()
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in passed)
        found += [os.path.join(parent, name) for name in sorted(names) if not name.startswith(".")]
    return found


def _stray_format(path: str) -> str:
    # A pipe or a device would block whoever opens it.
    return format_of(path) if os.path.isfile(path) else ""


def _sizes(counts: Counter[tuple[int, int]]) -> dict[str, Any]:
    """The smallest, median and largest by area, and the commonest: width, height (and number)."""
    if not counts:
        return {"distinct": 0}
    by_area = sorted(counts, key=lambda size: (size[0] * size[1], size))
    ends = list(itertools.accumulate(counts[size] for size in by_area))
    median = next(
        size for size, end in zip(by_area, ends, strict=True) if 2 * end >= ends[-1]
    )  # the lower median
    return {
        "distinct": len(counts),
        "smallest": list(by_area[0]),
        "median": list(median),
        "largest": list(by_area[-1]),
        "commonest": [[*size, number] for size, number in counts.most_common(5)],
    }


def _equal(images: Sequence[Image]) -> list[Group]:
    """Group files that are equal byte for byte; broken ones too, but for empty ones."""
    by_digest: dict[bytes, list[Image]] = {}
    for image in images:
        if image.look.size_bytes:
            by_digest.setdefault(image.look.digest, []).append(image)
    return [Group(tuple(group), exact=True) for group in by_digest.values() if len(group) > 1]


def _alike(images: Sequence[Image], least: float, compared: Progress | None) -> list[Group]:
    """Group pictures that look alike without being equal files; equal files come along with their like."""
    by_digest: dict[bytes, list[int]] = {}
    for place, image in enumerate(images):
        if image.look.hash is not None:
            by_digest.setdefault(image.look.digest, []).append(place)
    first = [places[0] for places in by_digest.values()]
    hashes = np.array([images[place].look.hash for place in first], np.uint64)
    pairs = near_pairs(hashes)

    @functools.lru_cache(_KEPT)
    def pixels(place: int) -> np.ndarray | None:
        try:
            return small(open_rgb(images[place].path))
        except (FormatError, OSError):
            return None  # gone or changed since it was looked at

    def alike(one: int, other: int) -> bool:
        left, right = pixels(one), pixels(other)
        return left is not None and right is not None and correlation(left, right) >= least

    def told() -> Iterator[tuple[int, int]]:
        for done, (one, other) in enumerate(pairs.tolist(), start=1):
            yield first[one], first[other]
            if compared is not None:
                compared(done, len(pairs))

    groups = []
    for found in join(told(), alike):
        places = sorted(place for one in found for place in by_digest[images[one].look.digest])
        groups.append(Group(tuple(images[place] for place in places), exact=False))
    return sorted(groups, key=lambda group: group.images[0].relative)
