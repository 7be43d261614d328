"""Labelled images, whatever they lie in, and a set of them in three parts."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol, Self

import numpy as np

from squeezekit.errors import DataError
from squeezekit.imaging import MAX_SKIPPED_SHARE

__all__ = ["Dataset", "Images", "require_readable"]


class Images(Protocol):
    """Labelled images in a fixed order: a `Split` of files, an `ArraySet` of rows in arrays, a `ShardSet`."""

    @property
    def labels(self) -> np.ndarray:
        """int32, shape (images,): position in `Dataset.class_names`."""

    def __len__(self) -> int: ...

    def take(self, places: np.ndarray) -> Self:
        """The images at some places, ascending; one may come more than once."""

    def names(self) -> list[str]:
        """What each image is called in a record."""

    def pictures(self) -> Iterator[tuple[str, str | bytes | np.ndarray]]:
        """What each image is called, and it: a path, an image file's bytes, or uint8 (height, width, 3) RGB pixels."""

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of about `most` images, evenly over all."""

    def files(self) -> list[str]:
        """The files that the images lie in."""

    def absolute(self) -> Self:
        """The same for a process that works in another folder."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """A set of images, checked and split.

    Args:
        class_names: the class folders' names, sorted, or the arrays' classes; a label is a position in it.
        train: what the network learns from.
        validation: what choices are made by; never part of `train` or `test`.
        test: what is reported.
        skipped: (path, reason) of every unreadable image; none of them is in a split.
        fingerprint: sha256 of every usable image, its class and, of a file, its relative path: the same data
            has the same fingerprint on any machine.
        train_per_class: how many images of every class were taken for training and validation; 0 for a share.
    """

    class_names: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    skipped: tuple[tuple[str, str], ...]
    fingerprint: str
    train_per_class: int = 0


def require_readable(skipped: Sequence[tuple[str, str]], images: int, where: str) -> None:
    """Refuse a set of which more than `MAX_SKIPPED_SHARE` is unreadable.

    Args:
        skipped: (path, reason) of every unreadable image.
        images: how many there are, these included.
        where: what the set is called.

    Raises:
        DataError: it is damaged as a whole.
    """
    if len(skipped) > MAX_SKIPPED_SHARE * images:
        path, reason = skipped[0]
        raise DataError(
            f"{where}: {len(skipped)} of {images} images are unreadable; the first: {path} ({reason})"
        )
