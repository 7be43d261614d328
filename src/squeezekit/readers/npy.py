"""An array in a `.npy`, or in a member of a `.npz`, read a few rows at a time.

A `.npz` is a ZIP file whose members are `.npy` files, stored or deflated. `numpy.load` reads a whole member into
memory; this reads it in order, or from any row on if it is not deflated. Nothing is ever unpickled: an array of
objects is refused (format: `numpy.lib.format`).
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

__all__ = ["NpyArray", "arrays_in"]

# The header of a .npy is some 100 bytes; NumPy itself refuses one beyond this.
_MAX_HEADER = 10_000
# One row, one image: 178,956,970 pixels (as in `imaging`) of three bytes.
_MAX_ROW_BYTES = 3 * 178_956_970
_NPY = b"\x93NUMPY"
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclasses.dataclass(frozen=True, slots=True)
class NpyArray:
    """An array in a file; its first axis are the rows.

    Args:
        path: the `.npy` or `.npz`.
        name: of the array in a `.npz`, without ".npy"; empty for a `.npy`.
        dtype: of its elements; never of objects.
        shape: at least one axis.
        seekable: whether reading can begin at any row at no cost, which it can unless deflated.
        start: first byte of the elements: in the file if seekable, else in the member.
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
        """Read arrays of shape (rows, *shape[1:]) in order, from row `first` to before row `last`.

        The last block may have fewer rows. Of a deflated array the rows before `first` are read too.

        Raises:
            FormatError: the file ends early or is damaged.
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
        """Read the whole array; raise `FormatError` when it needs more than `most_bytes`, or is damaged."""
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


def arrays_in(path: str | os.PathLike[str]) -> dict[str, NpyArray]:
    """List the arrays in a `.npz`, or the one in a `.npy`, which is named "", by their headers alone.

    Raises:
        FormatError: not such a file by its first bytes, damaged, encrypted, or an array in it is of objects or has
            another size than its header says.
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
            return {"": _header(file, source, "", size, seekable=True)}
    if not begin.startswith(b"PK"):
        raise FormatError(f"{source}: neither a .npy nor a .npz")
    found: dict[str, NpyArray] = {}
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
                    array = _header(member, source, name, info.file_size, seekable=False)
                if stored:
                    # Past the member's own header, whose two lengths may differ from the directory's.
                    with open(source, "rb") as file:
                        file.seek(info.header_offset)
                        local = file.read(30)
                    lengths = sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
                    start = info.header_offset + 30 + lengths + array.start
                    array = dataclasses.replace(array, seekable=True, start=start)
                found[name] = array
    except _BROKEN as error:
        raise FormatError(f"{source}: damaged .npz ({error})") from error
    if not found:
        raise FormatError(f"{source}: no arrays in it")
    return found


def _header(stream: IO[bytes], path: str, name: str, size: int, *, seekable: bool) -> NpyArray:
    """Read a .npy header and compare it with the bytes that are there."""
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
    array = NpyArray(path, name, dtype, shape or (1,), seekable, start)
    if by_columns and len(shape) > 1:
        raise FormatError(f"{label}: in column order; save numpy.ascontiguousarray of it")
    if not 0 < array.row_bytes <= _MAX_ROW_BYTES:
        raise FormatError(f"{label}: rows of {array.row_bytes:,} bytes, not in [1, {_MAX_ROW_BYTES:,}]")
    return array
