"""Rows of an array that lies in a `.npy`, or in a member of a `.npz`, without loading the array.

A `.npz` is a ZIP file whose members are `.npy` files, stored or deflated. `numpy.load` reads a whole
member into memory; here it is read a few rows at a time, in order, or from any row on where it is not deflated.
Nothing is ever unpickled: an array of objects is refused (format: `numpy.lib.format`).
"""

import contextlib
import dataclasses
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from squeezekit.errors import FormatError

__all__ = ["Rows", "arrays_in"]

# The header of a .npy is some 100 bytes; NumPy itself refuses one beyond this.
_MAX_HEADER = 10_000
# One row, one image: 178,956,970 pixels (as in `imaging`) of three bytes.
_MAX_ROW_BYTES = 3 * 178_956_970
_NPY = b"\x93NUMPY"
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """An array in a file, its first axis the rows.

    Args:
        path: the `.npy` or `.npz`.
        name: of the array in a `.npz`, without ".npy"; empty for a `.npy`.
        dtype: of its elements; never of objects.
        shape: at least one axis.
        seekable: whether reading may begin at any row at no cost: not deflated.
        start: where the elements begin, in bytes: in the file for what is not deflated, else in the member.
    """

    path: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    seekable: bool
    start: int

    def __len__(self) -> int:
        return self.shape[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.name else self.path

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def blocks(self, rows: int, first: int = 0, last: int | None = None) -> Iterator[np.ndarray]:
        """Read rows in order, a few at a time.

        Args:
            rows: in a block, at least 1; the last one may have fewer.
            first: row to begin with. Where the array is deflated the rows before it are read too.
            last: row to stop before; None for the end.

        Yields:
            Arrays of shape (rows, *shape[1:]), each its own memory.

        Raises:
            FormatError: the file ends early or is damaged.
            OSError: it cannot be read.
        """
        last = len(self) if last is None else last
        if rows < 1 or not 0 <= first <= last <= len(self):
            raise ValueError(f"Expected rows of the {len(self)}. Received: {rows=}, {first=}, {last=}.")
        with self._open(first) as stream:
            for place in range(first, last, rows):
                count = min(rows, last - place)
                data = bytearray(count * self.row_bytes)
                self._fill(stream, memoryview(data))
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def read(self, most_bytes: int) -> np.ndarray:
        """Read the whole array.

        Args:
            most_bytes: refuse an array that needs more.

        Raises:
            FormatError: it needs more, or is damaged.
        """
        if len(self) * self.row_bytes > most_bytes:
            raise FormatError(f"{self}: {len(self) * self.row_bytes:,} bytes, over {most_bytes:,}")
        return next(self.blocks(len(self)), np.empty(self.shape, self.dtype))

    @contextlib.contextmanager
    def _open(self, first: int) -> Iterator[IO[bytes]]:
        skip = self.start + first * self.row_bytes
        if self.seekable:
            with open(self.path, "rb") as file:
                file.seek(skip)
                yield file
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as member:
            waste = memoryview(bytearray(min(skip, 1 << 20)))
            while skip:
                count = min(skip, len(waste))
                self._fill(member, waste[:count])
                skip -= count
            yield member

    def _fill(self, stream: IO[bytes], target: memoryview) -> None:
        done = 0
        while done < len(target):
            try:
                # Straight into the array: a ZIP member inflates no more than was asked for.
                count = stream.readinto(target[done : done + (1 << 20)])  # type: ignore[attr-defined]
            except _BROKEN as error:
                raise FormatError(f"{self}: damaged ({error})") from error
            if not count:
                raise FormatError(f"{self}: ends early")
            done += count


def arrays_in(path: str | os.PathLike[str]) -> dict[str, Rows]:
    """List the arrays in a `.npz`, or the one in a `.npy`, by their headers alone.

    Args:
        path: the file; what it is, is seen from its first bytes.

    Returns:
        Arrays by name; the name of a `.npy`'s is empty.

    Raises:
        FormatError: not such a file, damaged, encrypted, or an array of objects is in it (which would
            have to be unpickled), or one whose size is not what its header says.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "a.npz")
        >>> np.savez(path, images=np.zeros((5, 4, 4, 3), np.uint8), labels=np.arange(5))
        >>> arrays_in(path)["images"].shape
        (5, 4, 4, 3)
    """
    source = os.fspath(path)
    with open(source, "rb") as file:
        begin = file.read(len(_NPY))
        if begin == _NPY:
            file.seek(0)
            size = os.fstat(file.fileno()).st_size
            return {"": _header(file, source, "", size, 0, seekable=True)}
    if not begin.startswith(b"PK"):
        raise FormatError(f"{source}: neither a .npy nor a .npz")
    found: dict[str, Rows] = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name == info.filename or info.is_dir():
                    continue  # no array
                if name in found:
                    raise FormatError(f"{source}: two arrays named {name!r}")
                if info.compress_type not in _STORED or info.flag_bits & 1:
                    raise FormatError(f"{source}:{name}: neither stored nor deflated")
                if info.header_offset < 0:
                    raise FormatError(f"{source}: damaged .npz (a member before its beginning)")
                stored = info.compress_type == zipfile.ZIP_STORED
                with archive.open(info) as member:
                    rows = _header(member, source, name, info.file_size, 0, seekable=False)
                if stored:
                    # Past the member's own header, whose two lengths may differ from the directory's.
                    with open(source, "rb") as file:
                        file.seek(info.header_offset)
                        local = file.read(30)
                    begin_at = info.header_offset + 30
                    begin_at += int.from_bytes(local[26:28], "little") + int.from_bytes(
                        local[28:30], "little"
                    )
                    rows = dataclasses.replace(rows, seekable=True, start=begin_at + rows.start)
                found[name] = rows
    except _BROKEN as error:
        raise FormatError(f"{source}: damaged .npz ({error})") from error
    if not found:
        raise FormatError(f"{source}: no arrays in it")
    return found


def _header(stream: IO[bytes], path: str, name: str, size: int, offset: int, *, seekable: bool) -> Rows:
    """Read a .npy header and hold what it says against the bytes that are there."""
    label = f"{path}:{name}" if name else path
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if reader is None:
            raise FormatError(f"{label}: .npy version {version} is not supported")
        shape, by_columns, dtype = reader(stream, max_header_size=_MAX_HEADER)
    except ValueError as error:
        raise FormatError(f"{label}: damaged .npy header") from error
    start = stream.tell()
    if dtype.hasobject:
        raise FormatError(f"{label}: holds Python objects, which are never unpickled; save plain numbers")
    if any(side < 0 for side in shape):
        raise FormatError(f"{label}: damaged .npy header")
    if start + math.prod(shape) * dtype.itemsize != size:
        raise FormatError(f"{label}: {size:,} bytes are not those of {shape} {dtype}")
    rows = Rows(path, name, dtype, shape or (1,), seekable, offset + start)
    if by_columns and len(shape) > 1:
        raise FormatError(f"{label}: in column order; save numpy.ascontiguousarray of it")
    if not 0 < rows.row_bytes <= _MAX_ROW_BYTES:
        raise FormatError(f"{label}: rows of {rows.row_bytes:,} bytes, not in [1, {_MAX_ROW_BYTES:,}]")
    return rows
