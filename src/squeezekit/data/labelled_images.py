"""Labelled images in a fixed order: what all kinds have in common, and those in image files. No TensorFlow."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Protocol, Self

import numpy as np

from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import picture_size

__all__ = ["Images", "Split", "changed_since"]


class Images(Protocol):
    """Labelled images in a fixed order: a `Split` of image files, `ArrayImages` or `ShardImages`."""

    @property
    def labels(self) -> np.ndarray:
        """int32, shape (images,): position in `Dataset.class_names`."""

    def __len__(self) -> int: ...

    def take(self, places: np.ndarray) -> Self:
        """The images at some places, ascending; one may be repeated."""

    def names(self) -> list[str]:
        """A name for each image, for records."""

    def pictures(self) -> Iterator[tuple[str, str | bytes | np.ndarray]]:
        """The name of each image, and a path, an image file's bytes, or uint8 (height, width, 3) RGB pixels."""

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of about `most` images, evenly over all."""

    def files(self) -> list[str]:
        """The files that the images lie in."""

    def absolute(self) -> Self:
        """The same images by absolute paths, for a process in another folder."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Split:
    """One part of a dataset in image files, in a fixed order: by class, then by path.

    Args:
        paths: one file an image.
        labels: int32, shape (images,): position in `Dataset.class_names`.
    """

    paths: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, places: np.ndarray) -> "Split":
        """The images at some places, integers in [0, images); one may be repeated."""
        return Split([self.paths[place] for place in places.tolist()], self.labels[places])

    def names(self) -> list[str]:
        """The paths."""
        return list(self.paths)

    def pictures(self) -> Iterator[tuple[str, str]]:
        """The path of each image, as name and as image."""
        return zip(self.paths, self.paths, strict=True)

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of about `most` images, evenly over all, by their headers.

        Raises:
            DataError: one is gone or was changed since the dataset was opened.
        """
        return [_size(path) for path in self.paths[:: max(1, len(self) // most)]]

    def files(self) -> list[str]:
        """The paths."""
        return list(self.paths)

    def absolute(self) -> "Split":
        """The same images by absolute paths."""
        return dataclasses.replace(self, paths=[os.path.abspath(path) for path in self.paths])


def changed_since(path: str, error: FormatError | OSError) -> DataError:
    """The error of an image that could be read when the dataset was opened and cannot now."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return DataError(
        f"{path}: gone or changed since it was checked ({reason}); run it again on the images as they are"
    )


def _size(path: str) -> tuple[int, int]:
    try:
        return picture_size(path)
    except (FormatError, OSError) as error:
        raise changed_since(path, error) from error
