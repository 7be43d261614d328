"""What a folder of images holds and what is wrong with it, before any training. No TensorFlow."""

import dataclasses
import functools
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit import files
from squeezekit.curate.image_check import ImageCheck, check_image, format_of
from squeezekit.curate.perceptual_hash import correlation, join, near_pairs, small
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import is_image_name, open_rgb
from squeezekit.readers import find_class_folders
from squeezekit.thread_map import in_threads

__all__ = ["Audit", "Group", "Image", "audit_folder"]

Progress = Callable[[int, int], None]

# Two images of near hashes are near duplicates if their 32 x 32 RGB pixels correlate at least this much.
LEAST_CORRELATION = 0.9
# Small images kept while pairs are compared: 3 KB each.
_KEPT = 4096


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A file that training would read.

    Args:
        path: of the file.
        relative: the path from the audited folder on, with forward slashes.
        part: "train", "validation", "test", or "" in a folder without parts.
        label: name of the class folder.
        check: what `check_image` found.
    """

    path: str
    relative: str
    part: str
    label: str
    check: ImageCheck


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Files of the same image.

    Args:
        images: at least two, in the order of the audit.
        exact: the files are equal byte for byte; else they are near duplicates.
    """

    images: tuple[Image, ...]
    exact: bool

    @property
    def two_labels(self) -> bool:
        """Whether the image has more than one label, of which at least one is wrong."""
        return len({image.label for image in self.images}) > 1

    @property
    def train_and_test(self) -> bool:
        """Whether the image is in more than one part, so that the measured accuracy is too high."""
        return len({image.part for image in self.images}) > 1


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What `audit_folder` found.

    Args:
        root: the folder.
        parts: the named parts, such as ("train", "test"), or ("",) where class folders lie directly in the folder.
        class_names: names of the class folders of all parts, sorted.
        images: every file that training would read, by part, class and name.
        strays: (relative path, format) of visible files that training does not read; the format is "" for other files
            than images.
        groups: files of the same image: exact ones first, those with two labels first among them.
        notes: one sentence for each thing that was guessed or ignored in the choice of parts.
    """

    root: str
    parts: tuple[str, ...]
    class_names: tuple[str, ...]
    images: tuple[Image, ...]
    strays: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    @property
    def faulty(self) -> tuple[Image, ...]:
        """The images with a fault of their own."""
        return tuple(image for image in self.images if image.check.fault is not None)

    @property
    def has_problems(self) -> bool:
        """Whether anything is wrong: a faulty file or a duplicate."""
        return bool(self.groups or self.faulty)

    def classes(self) -> dict[str, dict[str, int]]:
        """Images by class and part; a class folder without images counts none."""
        counts = Counter((image.label, image.part) for image in self.images)
        return {name: {part: counts[name, part] for part in self.parts} for name in self.class_names}

    def to_dict(self) -> dict[str, Any]:
        """Everything for JSON: plain values, paths relative to the folder."""
        readable = [image.check for image in self.images if image.check.mode]
        sizes = Counter((check.width, check.height) for check in readable)
        return {
            "folder": self.root,
            "images": len(self.images),
            "bytes": sum(image.check.size_bytes for image in self.images),
            "classes": self.classes(),
            "formats": dict(Counter(check.format for check in readable).most_common()),
            "modes": dict(Counter(check.mode for check in readable).most_common()),
            "sizes": _sizes(sizes),
            "rotated": [image.relative for image in self.images if image.check.orientation != 1],
            "strays": {
                "files": len(self.strays),
                "images": [name for name, format_name in self.strays if format_name],
            },
            "notes": list(self.notes),
            "counts": self.counts(),
            "files": [
                {"image": image.relative, "problem": image.check.fault.value, "reason": image.check.reason}
                for image in self.images
                if image.check.fault is not None
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
        """Number of problems of each kind: files by fault; groups of duplicates, and how many of them are graver."""
        faults = Counter(image.check.fault.value for image in self.images if image.check.fault is not None)
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
    """Check every image of a folder, and search for duplicates. What is wrong is in the answer, never raised.

    Args:
        folder: class folders, in parts or directly.
        near: search for near duplicates too, not only for equal files.
        correlation_at_least: least correlation of the 32 x 32 pixels of near duplicates, in [0, 1].
        progress: called with (images checked, images in all).
        compared: called with (pairs compared, pairs in all), in the search for near duplicates.

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
        >>> audit_folder(root).groups[0].two_labels
        True
    """
    if not 0 <= correlation_at_least <= 1:
        raise ValueError(f"Expected a correlation in [0, 1]. Received: {correlation_at_least}.")
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"No such folder: {root}")
    found = find_class_folders(root)
    listed, strays, class_names = _list(root, found.parts)
    if not listed:
        raise DataError(f"{root}: no images in class folders")
    checks = in_threads(check_image, [path for path, _, _, _ in listed], progress)
    images = tuple(Image(*place, check) for place, check in zip(listed, checks, strict=True))
    groups = _equal(images)
    if near:
        groups += _alike(images, correlation_at_least, compared)
    groups.sort(key=lambda group: (not group.exact, not group.two_labels, not group.train_and_test))
    parts, others = tuple(found.parts), tuple(strays)
    return Audit(str(root), parts, class_names, images, others, tuple(groups), found.notes)


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Entries that are not hidden."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether training would read it; a dead or circular link counts, so that it is reported."""
    if not is_image_name(entry.name):
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def _list(
    root: Path, parts: Mapping[str, tuple[str, ...]]
) -> tuple[list[tuple[str, str, str, str]], list[tuple[str, str]], tuple[str, ...]]:
    """List (path, relative, part, class) of what training reads, (relative, format) of the rest, and all classes."""
    listed: list[tuple[str, str, str, str]] = []
    real = os.path.join(os.path.realpath(root), "")
    others = (
        _files_below(str(root), {name for names in parts.values() for name in names})
        if "" not in parts
        else []
    )
    class_names = set()
    for part, place in ((part, place) for part, places in parts.items() for place in places):
        for folder in sorted(_visible(root / place), key=lambda entry: entry.name):
            if not files.is_folder(folder):
                others.append(folder.path)
                continue
            class_names.add(folder.name)
            # A link may lead to a folder of images elsewhere; other files there do not belong to the dataset.
            ours = os.path.realpath(folder.path).startswith(real)
            relative = (Path(place) / folder.name).as_posix()
            for entry in sorted(_visible(Path(folder.path)), key=lambda entry: entry.name):
                if _is_image(entry):
                    listed.append((entry.path, f"{relative}/{entry.name}", part, folder.name))
                elif ours and entry.is_dir(follow_symlinks=False):
                    others += _files_below(entry.path)
                elif ours:
                    others.append(entry.path)
    strays = [(Path(path).relative_to(root).as_posix(), _stray_format(path)) for path in others]
    return listed, strays, tuple(sorted(class_names))


def _files_below(folder: str, besides: Set[str] = frozenset()) -> list[str]:
    """Visible files at any depth, but for those in the folders `besides` of the first level."""
    found = []
    for parent, folders, names in os.walk(folder):
        passed = besides if parent == folder else frozenset()
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
    """Group files that are equal byte for byte, broken ones too but no empty ones."""
    by_digest: dict[bytes, list[Image]] = {}
    for image in images:
        if image.check.size_bytes:
            by_digest.setdefault(image.check.digest, []).append(image)
    return [Group(tuple(group), exact=True) for group in by_digest.values() if len(group) > 1]


def _alike(images: Sequence[Image], least: float, compared: Progress | None) -> list[Group]:
    """Group near duplicates; files equal to one of them join its group."""
    by_digest: dict[bytes, list[int]] = {}
    for place, image in enumerate(images):
        if image.check.hash is not None:
            by_digest.setdefault(image.check.digest, []).append(place)
    first = [places[0] for places in by_digest.values()]
    hashes = np.array([images[place].check.hash for place in first], np.uint64)
    pairs = near_pairs(hashes)

    @functools.lru_cache(_KEPT)
    def pixels(place: int) -> np.ndarray | None:
        try:
            return small(open_rgb(images[place].path))
        except (FormatError, OSError):
            return None  # gone or changed since it was checked

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
        places = sorted(place for one in found for place in by_digest[images[one].check.digest])
        groups.append(Group(tuple(images[place] for place in places), exact=False))
    return sorted(groups, key=lambda group: group.images[0].relative)
