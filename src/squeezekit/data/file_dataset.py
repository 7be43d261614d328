"""From images in arrays or shards to a set in three parts: train, validation, test. No TensorFlow here."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from squeezekit.data.dataset import Dataset, require_readable
from squeezekit.data.ranks import Ranks
from squeezekit.data.threads import in_threads
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
    ranks = Ranks(images.labels, images.class_names, lambda places: images.take(places).names(), where)
    broken = np.array(list(skipped), np.int64)
    train, validated, tested = ranks.parts(
        *(np.setdiff1d(part, broken) for part in (parts.train, parts.validation, parts.test)),
        validation=validation,
        test=test,
        seed=seed,
        train_per_class=train_per_class,
    )
    return Dataset(
        class_names=images.class_names,
        train=images.take(train),
        validation=images.take(validated),
        test=images.take(tested),
        skipped=tuple(skipped.values()),
        fingerprint=fingerprint,
        train_per_class=train_per_class,
    )


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
    for place, (sum_of, reason) in enumerate(in_threads(look, range(len(shards)), progress)):
        if reason:
            skipped[place] = (names[place], reason)
        else:
            digest.update(f"{shards.class_names[labels[place]]}\0".encode() + sum_of)
    require_readable(list(skipped.values()), len(shards), where)
    return digest.hexdigest(), skipped
