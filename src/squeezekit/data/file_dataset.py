"""From images in arrays or shards to a set in three parts: train, validation, test. No TensorFlow here."""

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from squeezekit.data.dataset import MAX_SKIPPED_SHARE, Dataset
from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import open_rgb
from squeezekit.sources import ArraySet, ShardSet, open_parts

__all__ = ["open_file_dataset"]


def open_file_dataset(
    files: list[Path],
    *,
    validation: float,
    test: float,
    seed: int,
    train_per_class: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read images in arrays or shards once, for their fingerprint and to see that they are whole, and split them.

    Splits go by a hash of the seed and of file and place in it, class by class. Parts that the names of arrays or
    files tell (`sources.open_parts`) are kept: a share is split off only for what is not there.

    Args:
        files: of `sources.find_files`.
        validation: as of `open_dataset`, whose checks they have passed, and so on.
        test: share of each class's images, where there is no test part.
        seed: chooses the splits.
        train_per_class: so many images of every class for training and validation.
        progress: called with (images read, images in all).

    Raises:
        FormatError: a file is damaged, or has values that no picture has.
        DataError: they cannot be understood, a class has too few images, or more than 5 % of a shard's images are
            unreadable.
    """
    parts = open_parts(files)
    images = parts.images
    where = os.path.commonpath(files)
    if len(images.class_names) < 2:
        raise DataError(f"{where}: expected at least two classes, found {len(images.class_names)}")
    fingerprint, skipped = (
        (_fingerprint(images, progress), {})
        if isinstance(images, ArraySet)
        else _checked(images, where, progress)
    )
    ranks = _Ranks(images, where)
    broken = np.array(list(skipped), np.int64)
    train, validated, tested = (
        np.setdiff1d(part, broken) for part in (parts.train, parts.validation, parts.test)
    )
    if train_per_class:
        others, train = ranks.so_many(train, train_per_class, f"train {seed}", tested=bool(len(tested)))
        tested = tested if len(tested) else others
    elif not len(tested):
        tested, train = ranks.carve(train, test, f"test {seed}")
    if not len(validated):
        validated, train = ranks.carve(train, validation, f"validation {seed}")
    for part in (train, tested):
        if len(part):
            ranks.require_every_class(part)
    return Dataset(
        class_names=images.class_names,
        train=images.take(train),
        validation=images.take(validated),
        test=images.take(tested),
        skipped=tuple(skipped.values()),
        fingerprint=fingerprint,
        train_per_class=train_per_class,
    )


class _Ranks:
    """Chooses images class by class by a hash of where they are."""

    def __init__(self, images: ArraySet | ShardSet, where: str) -> None:
        self._images = images
        self._labels = images.labels
        self._class_names = images.class_names
        self._where = where

    def carve(self, places: np.ndarray, share: float, salt: str) -> tuple[np.ndarray, np.ndarray]:
        """Take a share of every class: (taken, left)."""
        if share == 0:
            return places[:0], places
        taken = []
        for label, members in self._by_class(places):
            if len(members) < 2:
                raise DataError(
                    f"Class {self._class_names[label]!r} has too few images to split off a {salt.split()[0]} part: "
                    f"{len(members)}"
                )
            count = min(max(1, round(len(members) * share)), len(members) - 1)
            taken.append(self._first(members, count, salt))
        chosen = np.sort(np.concatenate(taken))
        return chosen, np.setdiff1d(places, chosen)

    def so_many(
        self, places: np.ndarray, count: int, salt: str, *, tested: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take so many of every class: (left, taken)."""
        taken = []
        for label, members in self._by_class(places):
            if len(members) <= count and not tested:
                raise DataError(
                    f"Class {self._class_names[label]!r} has {len(members)} images, none of them left to test on after "
                    f"{count} for training"
                )
            taken.append(self._first(members, count, salt))
        chosen = np.sort(np.concatenate(taken))
        return np.setdiff1d(places, chosen), chosen

    def require_every_class(self, places: np.ndarray) -> None:
        """Refuse a class without images."""
        for label, members in self._by_class(places):
            if not len(members):
                raise DataError(f"{self._where}: no images of class {self._class_names[label]!r} in a part")

    def _by_class(self, places: np.ndarray) -> list[tuple[int, np.ndarray]]:
        order = places[np.argsort(self._labels[places], kind="stable")]
        edges = np.searchsorted(self._labels[order], np.arange(len(self._class_names) + 1))
        return [(label, order[edges[label] : edges[label + 1]]) for label in range(len(self._class_names))]

    def _first(self, members: np.ndarray, count: int, salt: str) -> np.ndarray:
        ranks = [_rank(salt, name) for name in self._images.take(members).names()]
        order = sorted(range(len(members)), key=ranks.__getitem__)
        return members[order[:count]]


def _rank(salt: str, name: str) -> bytes:
    return hashlib.sha256(f"{salt} {name}".encode()).digest()


def _fingerprint(arrays: ArraySet, progress: Callable[[int, int], None] | None) -> str:
    """SHA-256 of classes, labels and pixels as they are shown, however they are stored."""
    digest = hashlib.sha256("\0".join((*map(str, arrays.shape), *arrays.class_names)).encode())
    digest.update(np.ascontiguousarray(arrays.labels, "<i4").tobytes())
    done = 0
    for pixels, labels in arrays.blocks():
        digest.update(np.ascontiguousarray(pixels).data)
        done += len(labels)
        if progress is not None:
            progress(done, len(arrays))
    return digest.hexdigest()


def _checked(
    shards: ShardSet, where: str, progress: Callable[[int, int], None] | None
) -> tuple[str, dict[int, tuple[str, str]]]:
    """Decode every image once: SHA-256 of the usable ones, and (name, reason) of the others by their places."""
    digest = hashlib.sha256("\0".join(shards.class_names).encode())
    skipped: dict[int, tuple[str, str]] = {}

    def look(place: int) -> tuple[bytes, str]:
        data = shards.read(place)
        try:
            open_rgb(data)
        except FormatError as error:
            return b"", str(error).removeprefix("image: ")
        return hashlib.sha256(data).digest(), ""

    names, labels = shards.names(), shards.labels.tolist()
    with (
        # Decoding sets the warning filters aside, thread by thread; this outer frame puts back the caller's.
        warnings.catch_warnings(),
        ThreadPoolExecutor(max_workers=max(2, min(8, os.cpu_count() or 2))) as executor,
    ):
        # So many at a time, or all would be in memory.
        for start in range(0, len(shards), 256):
            places = range(start, min(start + 256, len(shards)))
            for place, (sum_of, reason) in zip(places, executor.map(look, places), strict=True):
                if reason:
                    skipped[place] = (names[place], reason)
                else:
                    digest.update(f"{shards.class_names[labels[place]]}\0".encode() + sum_of)
            if progress is not None:
                progress(places.stop, len(shards))
    if len(skipped) > MAX_SKIPPED_SHARE * len(shards):
        name, reason = next(iter(skipped.values()))
        raise DataError(
            f"{where}: {len(skipped)} of {len(shards)} images are unreadable; the first: {name} ({reason})"
        )
    return digest.hexdigest(), skipped
