"""Encoded images in shards: tar files as WebDataset writes them, and TFRecord files of `tf.train.Example`s.

Only the place of each image is kept: shard, first byte, size. So memory hardly grows with the images, any image can be
read at any time, and nothing is ever written under a name that a shard gives.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from squeezekit.errors import DataError, FormatError
from squeezekit.imaging import picture_size
from squeezekit.readers.class_numbers import numbered
from squeezekit.readers.tar import images_in_tar
from squeezekit.readers.tfrecord import images_in_records

__all__ = ["ShardImages", "is_shard", "open_shards"]

_RECORDS = re.compile(r"\.tfrecords?(-\d+-of-\d+)?$|-\d{5}-of-\d{5}$")
# An encoded image beyond this is none: a photo of 100 megapixels has a third of it.
MAX_IMAGE_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class ShardImages:
    """Encoded images in shards, in a fixed order: shard by shard, as stored.

    Args:
        shards: the files.
        spans: int64, shape (images, 3): which shard, first byte, size in bytes.
        labels: int32, shape (images,): position in `class_names`.
        class_names: one a label.
    """

    shards: tuple[str, ...]
    spans: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> "ShardImages":
        """The images at some places, integers in [0, images); a place may be repeated."""
        return dataclasses.replace(self, spans=self.spans[places], labels=self.labels[places])

    def names(self) -> list[str]:
        """A name for each image: its shard and first byte, such as "train-0001.tar/15360"."""
        bases = [os.path.basename(shard) for shard in self.shards]
        return [f"{bases[shard]}/{start}" for shard, start, _ in self.spans.tolist()]

    def read(self, place: int) -> bytes:
        """The bytes of an image file; raise `FormatError` when the shard is shorter than it was."""
        shard, start, size = self.spans[place].tolist()
        with open(self.shards[shard], "rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise FormatError(f"{self.shards[shard]}: ends early")
        return data

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        """The name and the bytes of each image, in order."""
        for place, name in enumerate(self.names()):
            yield name, self.read(place)

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of about `most` images, evenly over all, by their headers."""
        return [picture_size(self.read(place)) for place in range(0, len(self), max(1, len(self) // most))]

    def files(self) -> list[str]:
        """The shards."""
        return list(self.shards)

    def absolute(self) -> "ShardImages":
        """The same images by absolute paths."""
        return dataclasses.replace(self, shards=tuple(map(os.path.abspath, self.shards)))

    def shuffled(self, seed: int, epoch: int, window: int = 1 << 14) -> np.ndarray:
        """Places of all images, int64 (images,), in a random order that reads shards nearly from one end to the other.

        Shards come in a random order, and images are shuffled among `window` neighbours: no more images than that are
        a true permutation.
        """
        generator = np.random.default_rng([seed, epoch])
        turn = generator.permutation(len(self.shards))
        order = np.argsort(turn[self.spans[:, 0]], kind="stable")
        for start in range(0, len(order), window):
            order[start : start + window] = generator.permutation(order[start : start + window])
        return order


def is_shard(path: Path) -> bool:
    """Whether a file is a shard by its name."""
    return path.suffix.lower() == ".tar" or bool(_RECORDS.search(path.name.lower()))


def open_shards(files: Sequence[Path], class_names: Sequence[str] = ()) -> tuple[ShardImages, np.ndarray]:
    """Find the images in shards of one kind and their labels, and the number of each image's file; no image is decoded.

    Raises:
        FormatError: a shard is damaged.
        DataError: no images with labels, or labels of both kinds.
        ValueError: too few class names.
    """
    spans: list[tuple[int, int, int]] = []
    found: list[int | str] = []
    for number, file in enumerate(files):
        images = images_in_tar(file) if file.suffix.lower() == ".tar" else images_in_records(file)
        for start, size, label in images:
            if size > MAX_IMAGE_BYTES:
                raise FormatError(f"{file}: an image of {size:,} bytes, over {MAX_IMAGE_BYTES:,}")
            spans.append((number, start, size))
            found.append(label)
    if not found:
        raise DataError(f"{files[0]}: no images with labels in it")
    labels, names = _labels(found, files[0], class_names)
    places = np.array(spans, np.int64)
    return ShardImages(tuple(map(str, files)), places, labels, names), places[:, 0]


def _labels(
    found: Sequence[int | str], where: Path, class_names: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as positions, and the class names: numbers count from 0 or from 1, texts are names."""
    kinds = {type(label) for label in found}
    if len(kinds) > 1:
        raise DataError(f"{where}: some labels are numbers and some are texts")
    if kinds == {int}:
        numbers = np.array(found, np.int64)
        positions, named = numbered(numbers, class_names, where)
        empty = int(positions.max()) + 1 - len(np.unique(positions))
        if empty:
            raise DataError(
                f"{where}: labels from {numbers.min()} to {numbers.max()}, of which {empty} have no image"
            )
        return positions, named
    names = sorted(set(map(str, found)))
    place_of = {name: position for position, name in enumerate(names)}
    return np.array([place_of[str(label)] for label in found], np.int32), tuple(names)
