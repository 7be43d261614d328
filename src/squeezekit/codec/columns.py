"""The numbers in a flatbuffer's tables and vectors, column by column: the same field of all tables together.

Fields of four bytes and vectors of integers are told as differences from the one before of their kind (a vector
from the vector before, element by element), because numbers of tensors and buffers mostly count up.
"""

from collections.abc import Iterator

import numpy as np

from squeezekit.codec import wide
from squeezekit.codec.outline import Outline
from squeezekit.codec.schema import LINKS, Shape

__all__ = ["fill_columns", "float_spans", "read_columns"]


def _zigzag(values: np.ndarray) -> np.ndarray:
    """int64 to uint64, all 64 bits of it; or int32 to uint32 and then uint64."""
    wide = values.dtype.itemsize * 8
    folded = (values << 1) ^ (values >> (wide - 1))
    return folded.view(f"<u{values.dtype.itemsize}").astype(np.uint64)


def _unzigzag(values: np.ndarray, dtype: str) -> np.ndarray:
    """Undo `_zigzag`; bits beyond the type are dropped."""
    plain = (values >> np.uint64(1)) ^ (np.uint64(0) - (values & np.uint64(1)))
    return plain.astype(dtype.replace("i", "u")).view(dtype)


def read_columns(file: np.ndarray, outline: Outline) -> Iterator[np.ndarray]:
    """Yield the numbers of every column and vector, uint64.

    Args:
        file: uint8, the whole file.
        outline: of this file.
    """
    for key, positions in outline.columns.items():
        width = key[-1]
        cells = file[np.array(positions)[:, None] + np.arange(width)]  # (fields, width)
        values = cells.view(f"<i{width}")[:, 0]
        if width == 4:
            values = np.diff(values, prepend=values.dtype.type(0))
        yield _zigzag(values) if width >= 4 else values.view(f"<u{width}").astype(np.uint64)
    for (link, count), positions in outline.vectors.items():
        shape = LINKS[link].shape
        if shape is not Shape.FLOATS:
            dtype = "<i4" if shape is Shape.INTEGERS else "<i8"
            size = count * np.dtype(dtype).itemsize
            rows = np.stack([file[start : start + size] for start in positions]).view(dtype)
            if shape is Shape.INTEGERS:
                rows = np.diff(rows, axis=0, prepend=np.zeros((1, count), rows.dtype))
            yield _zigzag(rows.T.ravel())


def fill_columns(file: np.ndarray, outline: Outline, numbers: wide.Numbers) -> None:
    """Undo `read_columns`.

    Args:
        file: uint8, filled at the columns' places.
        outline: of this file.
        numbers: what `read_columns` yielded comes next.

    Raises:
        FormatError: too few numbers.
    """
    for key, positions in outline.columns.items():
        width = key[-1]
        taken = numbers.take(len(positions))
        values = _unzigzag(taken, f"<i{width}") if width >= 4 else taken.astype(f"<u{width}")
        if width == 4:
            values = np.cumsum(values, dtype="<i4")
        cells = values.view(np.uint8).reshape(-1, width)
        file[np.array(positions)[:, None] + np.arange(width)] = cells
    for (link, count), positions in outline.vectors.items():
        shape = LINKS[link].shape
        if shape is not Shape.FLOATS:
            dtype = "<i4" if shape is Shape.INTEGERS else "<i8"
            values = _unzigzag(numbers.take(count * len(positions)), dtype)
            rows = np.ascontiguousarray(values.reshape(count, -1).T)
            if shape is Shape.INTEGERS:
                rows = np.cumsum(rows, axis=0, dtype=dtype)
            for start, row in zip(positions, rows.view(np.uint8), strict=True):
                file[start : start + len(row)] = row


def float_spans(outline: Outline) -> list[tuple[int, int]]:
    """Where the vectors of floats lie: first byte and number of elements, ascending."""
    return sorted(
        (start, count)
        for (link, count), positions in outline.vectors.items()
        if LINKS[link].shape is Shape.FLOATS
        for start in positions
    )
