"""Images and labels in `.npz` and `.npy` files of any size, read with memory that does not grow.

Understood without options: images as (n, height, width), (n, height, width, channels) or (n, channels, height,
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
from squeezekit.readers.class_numbers import numbered
from squeezekit.readers.npy import NpyArray, arrays_in

__all__ = ["WINDOW_BYTES", "ArrayImages", "joined", "open_arrays", "paired"]

# Limit of the labels, which are held in memory.
_MAX_LABEL_BYTES = 1 << 30
# Read at once; small beside the window of a shuffle, large beside what a read costs.
_BLOCK_BYTES = 1 << 20
WINDOW_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class ArrayImages:
    """Images in arrays in files, or some of them, in a fixed order: file by file, row by row.

    Args:
        arrays: one array of images a file.
        layout: "planes" or "pixels": the order of values in a row.
        shape: height, width, channels of every image, in pixels.
        labels: int32, shape (images,): position in `class_names`.
        class_names: as given, or the labels' numbers in the files.
        scale: factor that brings stored values to [0, 255].
        places: int64, shape (images,): the row of each image, counted through all files; ascending, and one may be
            repeated.
    """

    arrays: tuple[NpyArray, ...]
    layout: str
    shape: tuple[int, int, int]
    labels: np.ndarray
    class_names: tuple[str, ...]
    scale: float
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> "ArrayImages":
        """The images at some places; as little of the files is read for them as possible.

        Args:
            places: integers in [0, images), ascending; one may be repeated.
        """
        chosen = np.asarray(places, np.int64)
        if len(chosen) and (chosen[0] < 0 or chosen[-1] >= len(self) or (np.diff(chosen) < 0).any()):
            raise ValueError(f"Expected ascending places below {len(self)}. Received: {places}.")
        return dataclasses.replace(self, labels=self.labels[chosen], places=self.places[chosen])

    def names(self) -> list[str]:
        """A name for each image: file, array and row, such as "digits.npz/x_test/17"."""
        found = []
        for array, start, span in self._spans():
            of = f"{os.path.basename(array.path)}/{array.name}".rstrip("/")
            found += [f"{of}/{row}" for row in (self.places[span] - start).tolist()]
        return found

    def pictures(self) -> Iterator[tuple[str, np.ndarray]]:
        """The name of each image and its uint8 (height, width, 3) RGB pixels, in order."""
        names = iter(self.names())
        for pixels, _ in self.blocks():
            # One by one: a zip that ends with its block has taken a name too many.
            for picture in pixels:
                yield next(names), picture

    def sides(self, most: int) -> list[tuple[int, int]]:
        """Width and height in pixels of at most `most` images; all have the same."""
        return [(self.shape[1], self.shape[0])] * min(most, len(self))

    def files(self) -> list[str]:
        """The files of the arrays."""
        return sorted({array.path for array in self.arrays})

    def absolute(self) -> "ArrayImages":
        """The same images by absolute paths."""
        arrays = (dataclasses.replace(array, path=os.path.abspath(array.path)) for array in self.arrays)
        return dataclasses.replace(self, arrays=tuple(arrays))

    def blocks(self, images: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read uint8 (images, height, width, 3) RGB and int32 labels in order, `images` rows a block, by default 1 MB.

        Raises:
            FormatError: a file is damaged, or has values outside the range of pixels.
        """
        step = images or self._block_images()
        for array, start, span in self._spans():
            first, last = self.places[span][[0, -1]] - start
            for at, rows in zip(
                range(first, last + 1, step), array.blocks(step, int(first), int(last) + 1), strict=True
            ):
                pixels, chosen = self._chosen(array, start + at, rows)
                if len(pixels):
                    yield pixels, self.labels[chosen]

    def shuffled(
        self, seed: int, epoch: int = 0, *, window_bytes: int = WINDOW_BYTES, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Read every image once, in an order that depends on seed, epoch and window alone.

        Files come in a random order. Within a file blocks of 1 MB come in a random order, but those of a deflated file
        in its own, because it can be read from its beginning only. Images then leave a window at random while others
        take their places, so an image comes hardly earlier than by the window's length. When all images fit into the
        window the order is a true permutation.

        Args:
            seed: at least 0.
            epoch: at least 0.
            window_bytes: memory for the window.
            skip: images to skip, to resume in the middle of an epoch.

        Yields:
            uint8 (images, height, width, 3) RGB, int32 (images,) labels and int64 (images,) places.
        """
        generator = np.random.default_rng([seed, epoch])
        capacity = max(1, window_bytes // math.prod((*self.shape[:2], 3)))
        pixels = np.empty((min(capacity, len(self)), *self.shape[:2], 3), np.uint8)
        places = np.empty(len(pixels), np.int64)
        held = 0
        for arrived, numbers in self._blocks_at_random(generator):
            room = min(len(pixels) - held, len(arrived))
            pixels[held : held + room], places[held : held + room] = arrived[:room], numbers[:room]
            held += room
            for start in range(room, len(arrived), len(pixels)):
                come, came = arrived[start : start + len(pixels)], numbers[start : start + len(pixels)]
                chosen = generator.choice(len(pixels), len(come), replace=False)
                # Drawn even when skipped, so that what follows is the same.
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

    def _blocks_at_random(self, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of pixels and their places, in as random an order as the files allow."""
        step = self._block_images()
        spans = list(self._spans())
        for number in generator.permutation(len(spans)):
            array, start, span = spans[number]
            firsts = np.arange(0, len(array), step)
            if array.seekable:
                for first in generator.permutation(firsts).tolist():
                    low, high = np.searchsorted(self.places[span], [start + first, start + first + step])
                    if low < high:
                        (rows,) = array.blocks(step, first, min(first + step, len(array)))
                        pixels, chosen = self._chosen(array, start + first, rows)
                        yield pixels, np.arange(chosen.start, chosen.stop)
            else:
                for first, rows in zip(firsts.tolist(), array.blocks(step), strict=True):
                    pixels, chosen = self._chosen(array, start + first, rows)
                    if len(pixels):
                        yield pixels, np.arange(chosen.start, chosen.stop)

    def _spans(self) -> Iterator[tuple[NpyArray, int, slice]]:
        """The arrays with any of the images: array, its first row counted through, its images in `places`."""
        start = 0
        for array in self.arrays:
            low, high = np.searchsorted(self.places, [start, start + len(array)])
            if low < high:
                yield array, start, slice(int(low), int(high))
            start += len(array)

    def _chosen(self, array: NpyArray, start: int, rows: np.ndarray) -> tuple[np.ndarray, slice]:
        """The pixels of the chosen images among rows from row `start` on, and where these are in `places`."""
        low, high = np.searchsorted(self.places, [start, start + len(rows)])
        chosen = self.places[low:high] - start
        if not np.array_equal(chosen, np.arange(len(rows))):
            rows = rows[chosen]
        return (self._pixels(array, rows) if len(rows) else rows), slice(int(low), int(high))

    def _block_images(self) -> int:
        return max(1, _BLOCK_BYTES // self.arrays[0].row_bytes)

    def _pixels(self, array: NpyArray, rows: np.ndarray) -> np.ndarray:
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
                    f"{array}: values outside [0, {255 / self.scale:g}]; say with scale= what makes them [0, 255]"
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
) -> ArrayImages:
    """Open `.npz` or `.npy` files as one sequence of labelled images; no image is read yet.

    Args:
        sources: the files, in order, such as the batch files of downsampled ImageNet.
        images: name of the array of images in each `.npz`; by default the only one that can be.
        labels: name of the array of labels in each `.npz`; by default the only one that fits. For `.npy` images
            the file of the labels.
        class_names: one a label; by default their numbers.
        scale: factor that brings stored values to [0, 255]; by default 1 for uint8, 1/257 for uint16, 255 for floats.

    Returns:
        The images; the labels are in memory, the pixels are not.

    Raises:
        ValueError: no source, or a scale or class names out of range.
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
        array = _named(found, images, source) if images else _the_images(found, source)
        if not array.name:
            if not labels:
                raise DataError(f"{source}: where are its labels? Name their .npy file")
            found = arrays_in(labels)
        elif labels:
            found = {"": _named(found, os.fspath(labels), source)}
        pairs.append((array, _the_labels(found, array, source)))
    return joined(pairs, class_names, scale)


def joined(
    pairs: Sequence[tuple[NpyArray, np.ndarray]], class_names: Sequence[str] = (), scale: float = 0.0
) -> ArrayImages:
    """Make one sequence of arrays of images and their int64 (images,) labels; arguments and errors of `open_arrays`."""
    arrays = tuple(array for array, _ in pairs)
    layout, shape = _layout(arrays[0])
    for array in arrays[1:]:
        if _layout(array) != (layout, shape) or array.dtype != arrays[0].dtype:
            raise DataError(f"{array}: {array.shape[1:]} {array.dtype} does not go with {arrays[0]}")
    together = np.concatenate([numbers for _, numbers in pairs])
    positions, names = numbered(together, class_names, arrays[0].path)
    places = np.arange(len(together))
    return ArrayImages(arrays, layout, shape, positions, names, scale or _scale(arrays[0]), places)


def paired(found: dict[str, NpyArray], source: str | os.PathLike[str]) -> tuple[NpyArray, np.ndarray]:
    """The images among some arrays, and their labels as int64 (images,); errors of `open_arrays`."""
    array = _the_images(found, source)
    return array, _the_labels(found, array, source)


def _named(found: dict[str, NpyArray], name: str, source: str | os.PathLike[str]) -> NpyArray:
    if name not in found:
        raise DataError(f"{source}: no array named {name!r}; there are {_listed(found)}")
    return found[name]


def _listed(found: dict[str, NpyArray]) -> str:
    return ", ".join(f"{name or 'one'} {array.shape}" for name, array in found.items())


def _the_images(found: dict[str, NpyArray], source: str | os.PathLike[str]) -> NpyArray:
    candidates = [array for array in found.values() if _is_images(array)]
    if len(candidates) != 1:
        few = "none" if not candidates else ", ".join(array.name for array in candidates)
        raise DataError(f"{source}: which array holds the images? Of {_listed(found)} it can be {few}")
    return candidates[0]


def _is_images(array: NpyArray) -> bool:
    """Whether an array can be images by its shape and type."""
    if array.dtype.kind not in "uf" or len(array.shape) < 2:
        return False
    try:
        _layout(array)
    except DataError:
        return False
    return True


def _layout(array: NpyArray) -> tuple[str, tuple[int, int, int]]:
    """How a row is an image: ("planes" or "pixels", (height, width, channels))."""
    sides = array.shape[1:]
    if array.dtype.kind in "uf":
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
    raise DataError(f"{array}: {array.shape} {array.dtype} is no array of grey or RGB images")


def _the_labels(found: dict[str, NpyArray], images: NpyArray, source: str | os.PathLike[str]) -> np.ndarray:
    """The only array that can be the labels of the images, as many integers, as int64 (images,)."""
    candidates = [
        array
        for array in found.values()
        if array is not images
        and array.dtype.kind in "iu"
        and array.shape[1:] in ((), (1,))
        and len(array) == len(images)
    ]
    if len(candidates) != 1:
        raise DataError(f"{source}: which array holds the {len(images):,} labels? There are {_listed(found)}")
    return candidates[0].read(_MAX_LABEL_BYTES).astype(np.int64).ravel()


def _scale(array: NpyArray) -> float:
    kind: Any = (array.dtype.kind, array.dtype.itemsize)
    scales: dict[Any, float] = {("u", 1): 1.0, ("u", 2): 1 / 257}
    if kind not in scales and array.dtype.kind != "f":
        raise DataError(f"{array}: say with scale= what makes its {array.dtype} values [0, 255]")
    return scales.get(kind, 255.0)
