"""Which images are for training, validation and test: chosen class by class by a hash of what they are called."""

import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np

from squeezekit.errors import DataError

__all__ = ["Ranks"]


class Ranks:
    """Chooses among images by a hash, so that one stays where it is when others are added, but for a few at the edge.

    Args:
        labels: int32 (images,), positions in `class_names`.
        class_names: of the set.
        names: gives what the images at some places are called: what is hashed.
        where: what the set is called in messages.

    Example:
        >>> labels = np.array([0, 0, 1, 1], np.int32)
        >>> ranks = Ranks(labels, ["cat", "dog"], lambda places: [f"{place}.jpg" for place in places], "pets")
        >>> taken, left = ranks.carve(np.arange(4), 0.5, "test 0")
        >>> len(taken), len(left)
        (2, 2)
    """

    def __init__(
        self,
        labels: np.ndarray,
        class_names: Sequence[str],
        names: Callable[[np.ndarray], Sequence[str]],
        where: str,
    ) -> None:
        self._labels, self._class_names = labels, class_names
        self._names, self._where = names, where

    def carve(self, places: np.ndarray, share: float, salt: str) -> tuple[np.ndarray, np.ndarray]:
        """Take a share of every class, at least one image and never all: (taken, left), both ascending.

        Args:
            places: of the images to choose among, ascending.
            share: in [0, 1); 0 takes none.
            salt: the part's name and the seed.

        Raises:
            DataError: a class has fewer than two images.
        """
        if share == 0:
            return places[:0], places
        taken = []
        for name, members in self._by_class(places):
            if len(members) < 2:
                part = salt.split()[0]
                raise DataError(
                    f"Class {name!r} has too few images to split off a {part} part: {len(members)}"
                )
            count = min(max(1, round(len(members) * share)), len(members) - 1)
            taken.append(self._first(members, count, salt))
        return self._parted(places, taken)

    def so_many(
        self, places: np.ndarray, count: int, salt: str, *, tested: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take so many of every class: (taken, left), both ascending.

        Args:
            places: of the images to choose among, ascending.
            count: of each class; all of a class that has no more.
            salt: as of `carve`.
            tested: whether there are other images to test on.

        Raises:
            DataError: a class has no image left to test on.
        """
        taken = []
        for name, members in self._by_class(places):
            if len(members) <= count and not tested:
                raise DataError(
                    f"Class {name!r} has {len(members)} images, none of them left to test on after {count} for training"
                )
            taken.append(self._first(members, count, salt))
        return self._parted(places, taken)

    def parts(
        self,
        train: np.ndarray,
        validated: np.ndarray,
        tested: np.ndarray,
        *,
        validation: float,
        test: float,
        seed: int,
        train_per_class: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Split off what the set does not have by itself.

        Args:
            train: places of the images to choose among, ascending.
            validated: those of a validation part, if the set has one.
            tested: those of a test part likewise.
            validation: share of each class for validation, where there is no such part.
            test: the same for the test.
            seed: chooses.
            train_per_class: so many of every class for training and validation, all others for the test; 0 for shares.

        Returns:
            Places for training, validation and test, ascending.

        Raises:
            DataError: a class has too few images, or none in a part.
        """
        if train_per_class:
            train, others = self.so_many(train, train_per_class, f"train {seed}", tested=bool(len(tested)))
            tested = tested if len(tested) else others
        elif not len(tested):
            tested, train = self.carve(train, test, f"test {seed}")
        if not len(validated):
            validated, train = self.carve(train, validation, f"validation {seed}")
        for part in (train, tested):
            if len(part):
                self._require_every_class(part)
        return train, validated, tested

    def _require_every_class(self, places: np.ndarray) -> None:
        """Refuse a part without an image of some class: all were unreadable, or none is there."""
        for name, members in self._by_class(places):
            if not len(members):
                raise DataError(f"{self._where}: no readable images in class {name!r}")

    def _by_class(self, places: np.ndarray) -> list[tuple[str, np.ndarray]]:
        order = places[np.argsort(self._labels[places], kind="stable")]
        edges = np.searchsorted(self._labels[order], np.arange(len(self._class_names) + 1))
        return [
            (name, order[edges[label] : edges[label + 1]]) for label, name in enumerate(self._class_names)
        ]

    def _first(self, members: np.ndarray, count: int, salt: str) -> np.ndarray:
        names = self._names(members)
        # Not every file's name is Unicode.
        ranks = [hashlib.sha256(os.fsencode(f"{salt} {name}")).digest() for name in names]
        return members[sorted(range(len(members)), key=ranks.__getitem__)[:count]]

    @staticmethod
    def _parted(places: np.ndarray, taken: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.sort(np.concatenate(taken))
        return chosen, np.setdiff1d(places, chosen)
