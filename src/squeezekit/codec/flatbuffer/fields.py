"""The numbers in a flatbuffer's tables and vectors, field by field: the same field of all tables together.

Fields of four bytes and vectors of integers are coded as differences from the one before of their kind (a vector
from the vector before, element by element), because numbers of tensors and buffers mostly count up.
"""

from collections.abc import Iterator

import numpy as np

from squeezekit.codec.entropy import bits
from squeezekit.codec.flatbuffer import varints
from squeezekit.codec.flatbuffer.schema import LINKS, Target
from squeezekit.codec.flatbuffer.traversal import Regions

__all__ = ["fill_fields", "float_spans", "read_fields"]


def _integer_vectors(regions: Regions) -> Iterator[tuple[str, int, list[int]]]:
    """The vectors of int32 and int64, those of equal link and length together: type, elements, positions."""
    for (link, count), positions in regions.vectors.items():
        target = LINKS[link].target
        if target is not Target.FLOATS:
            yield ("<i4" if target is Target.INTEGERS else "<i8"), count, positions


def read_fields(file: np.ndarray, regions: Regions) -> Iterator[np.ndarray]:
    """Yield the numbers of every field and vector of a file (uint8), uint64."""
    for key, positions in regions.fields.items():
        width = key[-1]
        values = file[np.array(positions)[:, None] + np.arange(width)].view(f"<i{width}")[:, 0]
        if width == 4:
            values = np.diff(values, prepend=values.dtype.type(0))
        if width >= 4:
            yield bits.zigzag(values).view(np.uint64)
        else:
            yield values.view(f"<u{width}").astype(np.uint64)
    for dtype, count, positions in _integer_vectors(regions):
        size = count * np.dtype(dtype).itemsize
        rows = np.stack([file[start : start + size] for start in positions]).view(dtype)
        if dtype == "<i4":
            rows = np.diff(rows, axis=0, prepend=np.zeros((1, count), rows.dtype))
        yield bits.zigzag(rows.T.ravel()).view(np.uint64)


def fill_fields(file: np.ndarray, regions: Regions, numbers: varints.Numbers) -> None:
    """Undo `read_fields`, whose numbers come next in `numbers`.

    Raises:
        FormatError: too few numbers.
    """
    for key, positions in regions.fields.items():
        width = key[-1]
        taken = numbers.take(len(positions))
        values = (bits.unzigzag(taken) if width >= 4 else taken).astype(f"<u{width}")
        if width == 4:
            values = np.cumsum(values, dtype="<u4")
        file[np.array(positions)[:, None] + np.arange(width)] = values.view(np.uint8).reshape(-1, width)
    for dtype, count, positions in _integer_vectors(regions):
        values = bits.unzigzag(numbers.take(count * len(positions))).astype(dtype)
        rows = np.ascontiguousarray(values.reshape(count, -1).T)
        if dtype == "<i4":
            rows = np.cumsum(rows, axis=0, dtype=dtype)
        for start, row in zip(positions, rows.view(np.uint8), strict=True):
            file[start : start + len(row)] = row


def float_spans(regions: Regions) -> list[tuple[int, int]]:
    """Where the vectors of floats lie: first byte and number of elements, ascending."""
    return sorted(
        (start, count)
        for (link, count), positions in regions.vectors.items()
        if LINKS[link].target is Target.FLOATS
        for start in positions
    )
