"""Images and labels in `.npz` and `.npy` files of any size, as one set, with memory that stays flat.

Understood without being told: images as (n, height, width), (n, height, width, channels) or (n, channels, height,
width); the flat rows of downsampled ImageNet (Chrabaszcz, Loshchilov and Hutter, "A Downsampled Variant of ImageNet
as an Alternative to the CIFAR datasets", 2017), which are the red plane, the green, the blue; labels from 0 or from 1.
"""

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from squeezekit.errors import DataError, FormatError
from squeezekit.sources.classes import numbered
from squeezekit.sources.rows import Rows, arrays_in

__all__ = ["WINDOW_BYTES", "ArraySet", "joined", "open_arrays", "paired"]

# What the labels of a set may take: they are held in memory.
_MAX_LABEL_BYTES = 1 << 30
# Read at once; small beside the window of a shuffle, large beside what a read costs.
_BLOCK_BYTES = 1 << 20
WINDOW_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class ArraySet:
    """Images in files, or some of them, in a fixed order: file by file, row by row.

    Args:
        parts: one array of images a file.
        layout: how a row becomes a picture.
        shape: height, width, channels of every picture, in pixels.
        labels: int32, shape (images,): position in `class_names`.
        class_names: as given, or the labels' numbers as the files have them.
        scale: what a stored value is multiplied by to be in [0, 255].
        places: int64, shape (images,): the rows of all files, counted through, that are in the set; ascending, and
            one may come more than once.
    """

    parts: tuple[Rows, ...]
    layout: str
    shape: tuple[int, int, int]
    labels: np.ndarray
    class_names: tuple[str, ...]
    scale: float
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> "ArraySet":
        """The images at some places of this set, as a set; they are read as little as the files allow.

        Args:
            places: integers in [0, images), ascending; one may come more than once.
        """
        chosen = np.asarray(places, np.int64)
        if len(chosen) and (chosen[0] < 0 or chosen[-1] >= len(self) or (np.diff(chosen) < 0).any()):
            raise ValueError(f"Expected ascending places below {len(self)}. Received: {places}.")
        return dataclasses.replace(self, labels=self.labels[chosen], places=self.places[chosen])

    def names(self) -> list[str]:
        """What each image is called: file, array and row, such as "digits.npz/x_test/17"."""
        found = []
        for part, start, span in self._spans():
            of = f"{os.path.basename(part.path)}/{part.name}".rstrip("/")
            found += [f"{of}/{row}" for row in (self.places[span] - start).tolist()]
        return found

    def pictures(self) -> Iterator[tuple[str, np.ndarray]]:
        """Read all images in order: what each is called, and its uint8 (height, width, 3) RGB pixels."""
        names = iter(self.names())
        for pixels, _ in self.blocks():
            # One by one: a zip that ends with its block has taken a name too many.
            for picture in pixels:
                yield next(names), picture

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of some images, evenly over the set: all have the same.

        Args:
            most: how many at most, about.
        """
        return [(self.shape[1], self.shape[0])] * min(most, len(self))

    def files(self) -> list[str]:
        """The files that the images lie in."""
        return sorted({part.path for part in self.parts})

    def absolute(self) -> "ArraySet":
        """The same for a process that works in another folder."""
        parts = (dataclasses.replace(part, path=os.path.abspath(part.path)) for part in self.parts)
        return dataclasses.replace(self, parts=tuple(parts))

    def blocks(self, images: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read all images in order.

        Args:
            images: rows read for a block; 0 for as many as make 1 MB. A block does not span files.

        Yields:
            uint8 (images, height, width, 3) RGB and int32 (images,) labels.

        Raises:
            FormatError: a file is damaged, or has values that no picture has.
        """
        step = images or self._block_images()
        for part, start, span in self._spans():
            first, last = self.places[span][[0, -1]] - start
            for at, rows in zip(
                range(first, last + 1, step), part.blocks(step, int(first), int(last) + 1), strict=True
            ):
                pixels, chosen = self._chosen(part, start + at, rows)
                if len(pixels):
                    yield pixels, self.labels[chosen]

    def shuffled(
        self, seed: int, epoch: int = 0, *, window_bytes: int = WINDOW_BYTES, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Read every image once, in an order that hangs on seed, epoch and window alone.

        Files come in a random order. What is not deflated is read in blocks of 1 MB in a random order within its
        file; what is deflated can be read from its beginning only. Images then leave a window at random
        while others take their places: an image comes hardly earlier than by a window's length. When the
        whole set fits into the window the order is a true permutation.

        Args:
            seed: at least 0.
            epoch: at least 0.
            window_bytes: memory for the window.
            skip: images to pass over, to resume in the middle of an epoch.

        Yields:
            uint8 (images, height, width, 3) RGB, int32 (images,) labels and int64 (images,) places in the set.

        Raises:
            FormatError: a file is damaged, or has values that no picture has.
        """
        generator = np.random.default_rng([seed, epoch])
        capacity = max(1, window_bytes // math.prod((*self.shape[:2], 3)))
        pixels = np.empty((min(capacity, len(self)), *self.shape[:2], 3), np.uint8)
        places = np.empty(len(pixels), np.int64)
        held = 0
        for arrived, numbers in self._at_random(generator):
            room = min(len(pixels) - held, len(arrived))
            pixels[held : held + room], places[held : held + room] = arrived[:room], numbers[:room]
            held += room
            for start in range(room, len(arrived), len(pixels)):
                come, came = arrived[start : start + len(pixels)], numbers[start : start + len(pixels)]
                chosen = generator.choice(len(pixels), len(come), replace=False)
                # Drawn even when passed over, so that what follows is the same.
                gone, went = pixels[chosen], places[chosen]
                pixels[chosen], places[chosen] = come, came
                if skip < len(went):
                    yield gone[skip:], self.labels[went[skip:]], went[skip:]
                skip = max(0, skip - len(went))
        order = generator.permutation(held)
        step = self._block_images()
        for start in range(0, held, step):
            chosen = order[start : start + step][skip:]
            skip = max(0, skip - step)
            if len(chosen):
                yield pixels[chosen], self.labels[places[chosen]], places[chosen]

    def _at_random(self, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of pictures and their places, as randomly as the files allow."""
        step = self._block_images()
        spans = list(self._spans())
        for number in generator.permutation(len(spans)):
            part, start, span = spans[number]
            firsts = np.arange(0, len(part), step)
            if part.seekable:
                for first in generator.permutation(firsts).tolist():
                    low, high = np.searchsorted(self.places[span], [start + first, start + first + step])
                    if low < high:
                        (rows,) = part.blocks(step, first, min(first + step, len(part)))
                        pixels, chosen = self._chosen(part, start + first, rows)
                        yield pixels, np.arange(chosen.start, chosen.stop)
            else:
                for first, rows in zip(firsts.tolist(), part.blocks(step), strict=True):
                    pixels, chosen = self._chosen(part, start + first, rows)
                    if len(pixels):
                        yield pixels, np.arange(chosen.start, chosen.stop)

    def _spans(self) -> Iterator[tuple[Rows, int, slice]]:
        """The files that any image is in: file, its first row counted through, its images in `places`."""
        start = 0
        for part in self.parts:
            low, high = np.searchsorted(self.places, [start, start + len(part)])
            if low < high:
                yield part, start, slice(int(low), int(high))
            start += len(part)

    def _chosen(self, part: Rows, start: int, rows: np.ndarray) -> tuple[np.ndarray, slice]:
        """The pictures among rows, the first of which is row `start` counted through; and where they are in the set."""
        low, high = np.searchsorted(self.places, [start, start + len(rows)])
        chosen = self.places[low:high] - start
        if not np.array_equal(chosen, np.arange(len(rows))):
            rows = rows[chosen]
        return (self._pictures(part, rows) if len(rows) else rows), slice(int(low), int(high))

    def _block_images(self) -> int:
        return max(1, _BLOCK_BYTES // self.parts[0].row_bytes)

    def _pictures(self, part: Rows, rows: np.ndarray) -> np.ndarray:
        """Bring rows of any layout and type to uint8 RGB: (images, height, width, 3)."""
        height, width, channels = self.shape
        if self.layout == "planes":
            rows = rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        else:
            rows = rows.reshape(-1, height, width, channels)
        if rows.dtype != np.uint8 or self.scale != 1:
            values = rows.astype(np.float32) * np.float32(self.scale)
            if not (values.min() > -0.5 and values.max() < 255.5):  # false for NaN too
                raise FormatError(
                    f"{part}: values outside [0, {255 / self.scale:g}]; say with scale= what makes them [0, 255]"
                )
            rows = np.round(values).astype(np.uint8)
        if channels == 3 and rows.flags.c_contiguous:
            return rows
        pixels = np.empty((*rows.shape[:3], 3), np.uint8)
        for channel in range(3):  # six times as fast as copying the transposed array
            pixels[..., channel] = rows[..., channel if channels == 3 else 0]
        return pixels


def open_arrays(
    *sources: str | os.PathLike[str],
    images: str = "",
    labels: str | os.PathLike[str] = "",
    class_names: Sequence[str] = (),
    scale: float = 0.0,
) -> ArraySet:
    """Open `.npz` or `.npy` files as one set of labelled images; no image is read yet.

    Args:
        sources: the files, in order. Batch files of downsampled ImageNet are simply named one after another.
        images: name of the array of images in each `.npz`; by default the only one that can be.
        labels: name of the array of labels in each `.npz`; by default the only one that fits. For `.npy` images
            the file of the labels.
        class_names: one a label; by default their numbers.
        scale: what a stored value is multiplied by to be in [0, 255]; by default 1 for uint8, 1/257 for uint16,
            255 for floats.

    Returns:
        The set; its labels are in memory, its images are not.

    Raises:
        ValueError: no source, or a scale or class names that cannot be.
        FormatError: a file is damaged or would have to be unpickled.
        DataError: no or several arrays that could be meant, or arrays that do not fit each other.
        OSError: a file cannot be read.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "batch.npz")
        >>> np.savez(path, data=np.zeros((2, 3 * 8 * 8), np.uint8), labels=np.array([1, 2]))
        >>> arrays = open_arrays(path)
        >>> arrays.shape, arrays.labels.tolist(), arrays.class_names
        ((8, 8, 3), [0, 1], ('1', '2'))
    """
    if not sources:
        raise ValueError("Expected at least one file. Received: none.")
    if scale < 0 or not math.isfinite(scale):
        raise ValueError(f"Expected a positive scale. Received: {scale=}.")
    pairs = []
    for source in sources:
        found = arrays_in(source)
        part = _chosen(found, images, source) if images else _the_images(found, source)
        pairs.append((part, _labels_of(part, found, labels, source)))
    return joined(pairs, class_names=class_names, scale=scale)


def joined(
    pairs: Sequence[tuple[Rows, np.ndarray]], *, class_names: Sequence[str] = (), scale: float = 0.0
) -> ArraySet:
    """Make one set of arrays of images and their labels.

    Args:
        pairs: images, and int64 (images,) labels, at least one pair.
        class_names: as of `open_arrays`.
        scale: as of `open_arrays`.

    Raises:
        ValueError: too few class names.
        DataError: arrays that do not fit each other.
    """
    parts = tuple(part for part, _ in pairs)
    layout, shape = _layout(parts[0])
    for part in parts[1:]:
        if _layout(part) != (layout, shape) or part.dtype != parts[0].dtype:
            raise DataError(f"{part}: {part.shape[1:]} {part.dtype} does not go with {parts[0]}")
    together = np.concatenate([numbers for _, numbers in pairs])
    positions, names = numbered(together, class_names, parts[0].path)
    return ArraySet(
        parts,
        layout,
        shape,
        positions,
        names,
        scale or _scale(parts[0]),
        np.arange(len(together)),
    )


def paired(found: dict[str, Rows], source: str | os.PathLike[str]) -> tuple[Rows, np.ndarray]:
    """The images among some arrays, and their labels as int64 (images,).

    Raises:
        FormatError: the labels cannot be read.
        DataError: no or several arrays that could be meant.
    """
    part = _the_images(found, source)
    return part, _labels_among(found, part, source)


def _chosen(found: dict[str, Rows], name: str, source: str | os.PathLike[str]) -> Rows:
    if name not in found:
        raise DataError(f"{source}: no array named {name!r}; there are {_listed(found)}")
    return found[name]


def _listed(found: dict[str, Rows]) -> str:
    return ", ".join(f"{name or 'one'} {rows.shape}" for name, rows in found.items())


def _the_images(found: dict[str, Rows], source: str | os.PathLike[str]) -> Rows:
    candidates = [rows for rows in found.values() if _is_images(rows)]
    if len(candidates) != 1:
        few = "none" if not candidates else ", ".join(rows.name for rows in candidates)
        raise DataError(f"{source}: which array holds the images? Of {_listed(found)} it can be {few}")
    return candidates[0]


def _is_images(rows: Rows) -> bool:
    """Whether an array can be pictures by its shape and type; it can be others too."""
    if rows.dtype.kind not in "uf" or len(rows.shape) < 2:
        return False
    try:
        _layout(rows)
    except DataError:
        return False
    return True


def _layout(rows: Rows) -> tuple[str, tuple[int, int, int]]:
    """How a row is a picture: ("planes" or "pixels", (height, width, channels))."""
    sides = rows.shape[1:]
    if rows.dtype.kind in "uf":
        if len(sides) == 1:
            side = math.isqrt(sides[0] // 3)
            if 3 * side * side == sides[0] and side >= 4:
                return "planes", (side, side, 3)
        elif len(sides) == 2 and min(sides) >= 4:
            return "pixels", (sides[0], sides[1], 1)
        elif len(sides) == 3 and sides[2] in (1, 3):
            return "pixels", (sides[0], sides[1], sides[2])
        elif len(sides) == 3 and sides[0] in (1, 3):
            return "planes", (sides[1], sides[2], sides[0])
    raise DataError(f"{rows}: {rows.shape} {rows.dtype} is no array of grey or RGB images")


def _labels_of(
    part: Rows, found: dict[str, Rows], labels: str | os.PathLike[str], source: str | os.PathLike[str]
) -> np.ndarray:
    """The labels that go with a part, as int64 (images,)."""
    if part.name:
        name = os.fspath(labels)
        return _labels_among({name: _chosen(found, name, source)} if name else found, part, source)
    if not labels:
        raise DataError(f"{source}: where are its labels? Name their .npy file")
    return _labels_among(arrays_in(labels), part, source)


def _labels_among(found: dict[str, Rows], part: Rows, source: str | os.PathLike[str]) -> np.ndarray:
    candidates = [rows for rows in found.values() if _fits(rows, part)]
    if len(candidates) != 1:
        raise DataError(f"{source}: which array holds the {len(part):,} labels? There are {_listed(found)}")
    return candidates[0].read(_MAX_LABEL_BYTES).astype(np.int64).ravel()


def _fits(rows: Rows, part: Rows) -> bool:
    """Whether an array can be the labels of a part: as many integers."""
    one_each = rows.shape[1:] in ((), (1,))
    return rows is not part and rows.dtype.kind in "iu" and one_each and len(rows) == len(part)


def _scale(rows: Rows) -> float:
    kind: Any = (rows.dtype.kind, rows.dtype.itemsize)
    scales: dict[Any, float] = {("u", 1): 1.0, ("u", 2): 1 / 257}
    if kind not in scales and rows.dtype.kind != "f":
        raise DataError(f"{rows}: say with scale= what makes its {rows.dtype} values [0, 255]")
    return scales.get(kind, 255.0)
