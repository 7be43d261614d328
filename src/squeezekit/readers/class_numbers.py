"""Class numbers as labels."""

from collections.abc import Sequence

import numpy as np

from squeezekit.errors import DataError

__all__ = ["numbered"]

# Three times the classes of all of ImageNet. A damaged label can be any number, and two billion names fill a memory.
_MAX_CLASSES = 1 << 16


def numbered(
    labels: np.ndarray, class_names: Sequence[str], where: object
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring integer labels that count from 0 or from 1 to int32 positions, and name the classes.

    Class names are one a class, in order, and more may follow; by default they are the labels' own numbers.

    Raises:
        DataError: labels that count from elsewhere, or more classes than a classifier has.
        ValueError: too few class names.

    Example:
        >>> numbered(np.array([2, 1, 2]), (), "digits.npz")
        (array([1, 0, 1], dtype=int32), ('1', '2'))
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, -1)
    if low not in (0, 1):
        raise DataError(f"{where}: expected labels from 0 or from 1 on, found {low} to {high}")
    count = high - low + 1
    if count > _MAX_CLASSES:
        raise DataError(f"{where}: labels from {low} to {high}; more than {_MAX_CLASSES:,} classes")
    if class_names and len(class_names) < count:
        raise ValueError(f"{where}: Expected at least {count} class names. Received: {len(class_names)}.")
    names = tuple(class_names) or tuple(map(str, range(low, high + 1)))
    return (labels - low).astype(np.int32), names
