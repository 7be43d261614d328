"""Any framework's weights in a `.sqz`: a dict of NumPy arrays, without a network around them."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from squeezekit.codec import bits, blob, lists, tensors
from squeezekit.codec.coders import DEFAULT_CODER, coders_named
from squeezekit.codec.container import Section, Sections, join, split
from squeezekit.codec.layout import MAX_FILE_BYTES, MAX_TENSORS, within_ratio
from squeezekit.codec.sqz import Progress, write_info
from squeezekit.errors import FormatError

__all__ = ["Entry", "decode_tensors", "encode_tensors", "read_directory"]

# An array's type in the directory is its place here.
_TYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
    "float64", "complex64", "complex128",
)  # fmt: skip
_MAX_RANK = 32
_MAX_DIRECTORY_BYTES = 1 << 26
# Arrays decoded in one go; see `sqz`.
_BATCH_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An array in the directory."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    payload_bytes: int
    """0 exactly for an array without elements."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def item_bytes(self) -> int:
        """Bytes of what is coded as one element: of a complex number each part for itself."""
        return self.dtype.itemsize // (2 if self.dtype.kind == "c" else 1)


def encode_tensors(
    arrays: Mapping[str, np.ndarray],
    *,
    info: Mapping[str, Any] | None = None,
    coder: str = DEFAULT_CODER,
    progress: Progress | None = None,
) -> bytes:
    """Pack arrays losslessly: names, types, shapes and every bit of the values.

    Args:
        arrays: any of NumPy's booleans, integers, floats of up to 64 bits and complex numbers of up to 128; of
            any shape, also empty or scalar. For bfloat16 give `array.view(np.uint16)`.
        info: a JSON object to carry along; `read_info` gives it back.
        coder: as for `pack`.
        progress: called with (bytes done, bytes in all).

    Returns:
        A `.sqz` file that holds arrays instead of a network. The same input always gives the same bytes.

    Raises:
        ValueError: unknown coder, `info` is not a JSON object, or an array of another type, of more than
            32 dimensions or too large.

    Example:
        >>> weights = {"kernel": np.zeros((3, 3, 64), np.float32), "step": np.int64(7).reshape(())}
        >>> packed = encode_tensors(weights)
        >>> len(packed) < 100, decode_tensors(packed)["kernel"].shape
        (True, (3, 3, 64))
    """
    coders = coders_named(coder)
    info_section = write_info(info)
    total = sum(array.nbytes for array in map(np.asarray, arrays.values()))
    if not within_ratio(total, total):
        raise ValueError(f"Expected arrays of at most 1 GiB together. Received: {total:,} bytes.")
    directory = bits.varint(len(arrays))
    payloads = []
    done = 0
    for name, value in arrays.items():
        array = np.asarray(value)
        entry = _entry(name, array)
        if array.size:
            data = np.ascontiguousarray(array, entry.dtype)
            if entry.dtype.kind == "b":
                data = data.view(np.uint8) != 0  # whatever stands for true
            payload = tensors.encode(
                data.tobytes(), item_bytes=entry.item_bytes, coders=coders, shape=array.shape
            )
            payloads.append(payload)
            entry = dataclasses.replace(entry, payload_bytes=len(payload))
        directory += _write_entry(entry)
        done += array.nbytes
        if progress is not None:
            progress(done, total)
    section = bits.varint(len(directory)) + blob.compress(directory, store=not coders)
    sqz = join([*info_section, (Section.TENSORS, payloads), (Section.ARRAYS, [section])])
    if coders and not within_ratio(total, len(sqz)):
        # Only large arrays of constants get here; no decoder would believe so small a file.
        return encode_tensors(arrays, info=info, coder="none")
    return sqz


def _entry(name: str, array: np.ndarray) -> Entry:
    dtype = array.dtype.newbyteorder("<")
    fine = dtype.name in _TYPES and array.ndim <= _MAX_RANK and _fits(array.shape)
    if not fine or not isinstance(name, str):
        received = f"{name!r} of {array.dtype}, shape {array.shape}"
        raise ValueError(
            f"Expected text for names, arrays of {', '.join(_TYPES)}, 32 axes at most. Received: {received}."
        )
    return Entry(name, dtype, array.shape, 0)


def _fits(shape: tuple[int, ...]) -> bool:
    """Whether NumPy can hold such an array, were it only for its shape."""
    return math.prod(side for side in shape if side) <= MAX_FILE_BYTES


def _write_entry(entry: Entry) -> bytes:
    try:
        name = entry.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"Expected names of Unicode text. Received: {entry.name!r}.") from error
    numbers = (*entry.shape, entry.payload_bytes)
    head = bits.varint(len(name)) + name + bytes([_TYPES.index(entry.dtype.name), len(entry.shape)])
    return head + b"".join(map(bits.varint, numbers))


def read_directory(sections: Sections) -> list[Entry]:
    """Read names, types and shapes of a file taken apart; nothing is decoded yet.

    Raises:
        FormatError: sizes that contradict each other or exceed the caps.
    """
    part = bits.Reader(sections.parts[Section.ARRAYS])
    size = part.varint(_MAX_DIRECTORY_BYTES)
    reader = bits.Reader(blob.expand(part.rest(), size))
    entries = [_read_entry(reader) for _ in range(reader.varint(min(MAX_TENSORS, size)))]
    reader.finish()
    sqz_bytes = sections.header_bytes + sum(map(len, sections.parts.values()))
    total = sum(entry.size_bytes for entry in entries)
    if not within_ratio(total, sqz_bytes):
        raise FormatError(f"claims to unpack {sqz_bytes:,} to {total:,} bytes: too large to be true")
    if sum(entry.payload_bytes for entry in entries) != len(sections.parts[Section.TENSORS]):
        raise FormatError("arrays that do not fill their section")
    if len({entry.name for entry in entries}) != len(entries):
        raise FormatError("two arrays of one name")
    return entries


def _read_entry(reader: bits.Reader) -> Entry:
    try:
        name = str(reader.take(reader.varint()), "utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("a name that is not text in UTF-8") from error
    code, rank = reader.byte(), reader.byte()
    if code >= len(_TYPES) or rank > _MAX_RANK:
        raise FormatError("an array of a type or rank that does not exist")
    shape = tuple(reader.varint() for _ in range(rank))
    entry = Entry(name, np.dtype(_TYPES[code]).newbyteorder("<"), shape, reader.varint())
    if not _fits(shape):
        raise FormatError("an array of an impossible shape")
    if (entry.payload_bytes == 0) != (entry.size_bytes == 0):
        raise FormatError("an array without its payload, or a payload without its array")
    return entry


def plans_of(sections: Sections, entries: list[Entry]) -> Iterator[tuple[Entry, tensors.Plan | None]]:
    """Read how each array is coded; None for one without elements."""
    payloads = bits.Reader(sections.parts[Section.TENSORS])
    parsers = [
        tensors.parser(payloads.take(entry.payload_bytes), entry.size_bytes, entry.item_bytes)
        for entry in entries
        if entry.size_bytes
    ]
    plans = iter(lists.together(parsers))
    for entry in entries:
        yield entry, next(plans) if entry.size_bytes else None


def decode_tensors(sqz: bytes, *, progress: Progress | None = None) -> dict[str, np.ndarray]:
    """Give back the arrays that `encode_tensors` was given, in their order.

    Args:
        sqz: the whole file.
        progress: called with (bytes done, bytes in all).

    Returns:
        New arrays in C order and the machine's byte order, whatever those given were in.

    Raises:
        FormatError: not a `.sqz` of arrays, of a later version, or damaged anywhere.

    Example:
        >>> decode_tensors(encode_tensors({"scale": np.array([1.0, -0.0])}))
        {'scale': array([ 1., -0.])}
    """
    sections = split(sqz, arrays=True)
    entries = read_directory(sections)
    total = sum(entry.size_bytes for entry in entries)
    found: dict[str, np.ndarray] = {}
    plans: list[tensors.Plan] = []
    outputs: list[np.ndarray] = []
    done = waiting = 0
    for entry, plan in plans_of(sections, entries):
        found[entry.name] = np.empty(entry.shape, entry.dtype)
        if plan is not None:
            plans.append(plan)
            outputs.append(found[entry.name].reshape(-1).view(f"<u{entry.item_bytes}"))
        waiting += entry.size_bytes
        if waiting >= _BATCH_BYTES:
            tensors.decode(plans, outputs)
            plans, outputs = [], []
            done, waiting = done + waiting, 0
            if progress is not None:
                progress(done, total)
    tensors.decode(plans, outputs)
    for entry in entries:
        if entry.dtype.kind == "b" and entry.size_bytes and found[entry.name].view(np.uint8).max() > 1:
            raise FormatError("a boolean that is neither true nor false")
    if progress is not None:
        progress(total, total)
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in found.items()}
