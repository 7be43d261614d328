"""Which images are for training, validation and test, drawn class by class by a hash of their names."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np

from squeezekit.errors import DataError

__all__ = ["Splitter"]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Splitter:
    """Draws parts by a hash, so that an image stays in its part when others are added, but for a few at the edge.

    `names` gives the names of the images at some places, which are hashed; `where` names the dataset in messages.

    Example:
        >>> labels = np.array([0, 0, 1, 1], np.int32)
        >>> splitter = Splitter(labels, ["cat", "dog"], lambda places: [f"{place}.jpg" for place in places], "pets")
        >>> taken, left = splitter.share(np.arange(4), 0.5, "test 0")
        >>> len(taken), len(left)
        (2, 2)
    """

    labels: np.ndarray
    class_names: Sequence[str]
    names: Callable[[np.ndarray], Sequence[str]]
    where: str

    def complete(
        self,
        train: np.ndarray,
        validation: np.ndarray,
        test: np.ndarray,
        *,
        validation_share: float,
        test_share: float,
        seed: int,
        train_per_class: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the parts that are missing from the training part; return places for training, validation and test.

        Args:
            train: places of the images to draw from, ascending.
            validation: those of the validation part, if the dataset has one.
            test: those of the test part, if the dataset has one.
            validation_share: share of each class for validation, where there is no such part.
            test_share: the same for the test.
            seed: chooses.
            train_per_class: as of `open_dataset`.

        Raises:
            DataError: a class has too few images, or none in training or test.
        """
        if train_per_class:
            train, others = self._count(train, train_per_class, f"train {seed}", tested=bool(len(test)))
            test = test if len(test) else others
        elif not len(test):
            test, train = self.share(train, test_share, f"test {seed}")
        if not len(validation):
            validation, train = self.share(train, validation_share, f"validation {seed}")
        if not len(train):
            raise DataError(f"{self.where}: no images to train on")
        for places in (train, test):
            for name, members in self._by_class(places) if len(places) else ():
                if not len(members):
                    raise DataError(f"{self.where}: no readable images in class {name!r}")
        return train, validation, test

    def share(self, places: np.ndarray, share: float, salt: str) -> tuple[np.ndarray, np.ndarray]:
        """Take a share in [0, 1) of every class, at least one image and never all: (taken, left), both ascending.

        The salt of the hash is the part's name and the seed.

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
        return _parted(places, taken)

    def _count(
        self, places: np.ndarray, count: int, salt: str, *, tested: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take `count` of every class, all of a class that has no more; `tested`: there are other test images."""
        taken = []
        for name, members in self._by_class(places):
            if len(members) <= count and not tested:
                raise DataError(
                    f"Class {name!r} has {len(members)} images, none of them left to test on after {count} for training"
                )
            taken.append(self._first(members, count, salt))
        return _parted(places, taken)

    def _by_class(self, places: np.ndarray) -> list[tuple[str, np.ndarray]]:
        order = places[np.argsort(self.labels[places], kind="stable")]
        edges = np.searchsorted(self.labels[order], np.arange(len(self.class_names) + 1))
        return [(name, order[edges[label] : edges[label + 1]]) for label, name in enumerate(self.class_names)]

    def _first(self, members: np.ndarray, count: int, salt: str) -> np.ndarray:
        # Not every file's name is Unicode.
        ranks = [hashlib.sha256(os.fsencode(f"{salt} {name}")).digest() for name in self.names(members)]
        return members[sorted(range(len(members)), key=ranks.__getitem__)[:count]]


def _parted(places: np.ndarray, taken: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.sort(np.concatenate(taken))
    return chosen, np.setdiff1d(places, chosen)
