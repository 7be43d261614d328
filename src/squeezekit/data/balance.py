"""Classes of unequal size: weights for the loss, or rare classes shown more often."""

from typing import TypeVar

import numpy as np

from squeezekit.data.labelled_images import Images

__all__ = ["class_weights", "oversampled"]

Part = TypeVar("Part", bound=Images)


def class_weights(split: Images, classes: int) -> np.ndarray:
    """Weights, float32 (classes,), that make every class count equally in the loss: n / (k n_c), on average 1.

    Use them where macro-accuracy counts. They amplify rare images, noise included: with labels that are often wrong
    prefer none. A class without images has weight 0.

    Raises:
        ValueError: a label is beyond the classes, or there are no images.

    Example:
        >>> labels = np.repeat([0, 1], [2, 8]).astype(np.int32)
        >>> from squeezekit.data import Split
        >>> class_weights(Split([f"{number}.jpg" for number in range(10)], labels), 2).tolist()
        [2.5, 0.625]
    """
    if not len(split) or not 0 <= int(split.labels.min()) <= int(split.labels.max()) < classes:
        raise ValueError(f"Expected images with labels below {classes}. Received: {len(split)} images.")
    counts = np.bincount(split.labels, minlength=classes)
    present = counts > 0
    weights = np.zeros(classes, np.float32)
    weights[present] = len(split) / (present.sum() * counts[present])
    return weights


def oversampled(split: Part, seed: int = 0) -> Part:
    """Repeat training images of smaller classes, in place, until every class has as many as the largest.

    The alternative to `class_weights` that needs nothing of the training: augmentation shows a repeated image
    differently each time. An epoch grows with the imbalance. Each image of a class comes equally often, or once more,
    which the seed chooses.

    Example:
        >>> from squeezekit.data import Split
        >>> oversampled(Split(["a", "b", "c"], np.array([0, 0, 1], np.int32))).paths
        ['a', 'b', 'c', 'c']
    """
    generator = np.random.default_rng(seed)
    most = int(np.bincount(split.labels).max(initial=0))
    chosen = []
    for label in np.unique(split.labels):
        own = np.flatnonzero(split.labels == label)
        whole, rest = divmod(most, len(own))
        chosen += [np.repeat(own, whole), generator.permutation(own)[:rest]]
    order = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
    return split.take(order)
