"""Any framework's weights in a `.sqz`: a dict of NumPy arrays, without a network around them."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from squeezekit.codec import tensor
from squeezekit.codec.container import Section, Sections, join, split
from squeezekit.codec.entropy import DEFAULT_CODER, Coder, bits, coders_named, headers
from squeezekit.codec.flatbuffer import generic_compression
from squeezekit.codec.layout_section import MAX_FILE_BYTES, MAX_TENSORS, within_ratio
from squeezekit.codec.sqz import Progress, write_info
from squeezekit.errors import FormatError

__all__ = ["Entry", "decode_tensors", "encode_tensors", "packed_bytes", "plans_of", "read_directory"]

# An array's type in the directory is its index here.
_TYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
    "float64", "complex64", "complex128",
)  # fmt: skip
_MAX_AXES = 32
_MAX_DIRECTORY_BYTES = 1 << 26


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
        """Bytes of what is coded as one element: of a complex number the real and the imaginary part."""
        return self.dtype.itemsize // (2 if self.dtype.kind == "c" else 1)


def packed_bytes(array: np.ndarray) -> int:
    """Bytes that a tensor takes in a `.sqz`, packed by itself with the default coder; 0 without elements.

    Args:
        array: as for `encode_tensors`; a kernel in the order of a `.tflite`, (out, height, width, in).

    Raises:
        ValueError: an array of another type, of more than 32 dimensions or too large.

    Example:
        >>> packed_bytes(np.zeros((64, 3, 3, 16), np.float32))
        5
    """
    array = np.asarray(array)
    return len(_payload(_entry("", array), array, coders_named(DEFAULT_CODER)))


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
        payloads.append(_payload(entry, array, coders))
        directory += _write_entry(dataclasses.replace(entry, payload_bytes=len(payloads[-1])))
        done += array.nbytes
        if progress is not None:
            progress(done, total)
    section = bits.varint(len(directory)) + generic_compression.compress(directory, store=not coders)
    sqz = join([*info_section, (Section.TENSORS, payloads), (Section.ARRAYS, [section])])
    if coders and not within_ratio(total, len(sqz)):
        # Only large arrays of constants get here; a decoder would refuse so small a file.
        return encode_tensors(arrays, info=info, coder="none")
    return sqz


def _payload(entry: Entry, array: np.ndarray, coders: tuple[Coder, ...]) -> bytes:
    if not array.size:
        return b""
    data = np.ascontiguousarray(array, entry.dtype)
    if entry.dtype.kind == "b":
        data = data.view(np.uint8) != 0  # any byte but 0 is true
    return tensor.encode(data.tobytes(), item_bytes=entry.item_bytes, coders=coders, shape=array.shape)


def _entry(name: str, array: np.ndarray) -> Entry:
    dtype = array.dtype.newbyteorder("<")
    fine = dtype.name in _TYPES and array.ndim <= _MAX_AXES and _fits(array.shape)
    if not fine or not isinstance(name, str):
        received = f"{name!r} of {array.dtype}, shape {array.shape}"
        raise ValueError(
            f"Expected text for names, arrays of {', '.join(_TYPES)}, 32 axes at most. Received: {received}."
        )
    return Entry(name, dtype, array.shape, 0)


def _fits(shape: tuple[int, ...]) -> bool:
    """Whether NumPy can hold an array of this shape, even an empty one."""
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
    """Read names, types and shapes; nothing is decoded yet.

    Raises:
        FormatError: sizes that contradict each other or exceed the caps.
    """
    part = bits.Reader(sections.parts[Section.ARRAYS])
    size = part.varint(_MAX_DIRECTORY_BYTES)
    reader = bits.Reader(generic_compression.expand(part.rest(), size))
    entries = [_read_entry(reader) for _ in range(reader.varint(min(MAX_TENSORS, size)))]
    reader.finish()
    sqz_bytes = sections.file_bytes
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
    code, axes = reader.byte(), reader.byte()
    if code >= len(_TYPES) or axes > _MAX_AXES:
        raise FormatError("an array of a type or number of axes that does not exist")
    shape = tuple(reader.varint() for _ in range(axes))
    entry = Entry(name, np.dtype(_TYPES[code]).newbyteorder("<"), shape, reader.varint())
    if not _fits(shape):
        raise FormatError("an array of an impossible shape")
    if (entry.payload_bytes == 0) != (entry.size_bytes == 0):
        raise FormatError("an array without its payload, or a payload without its array")
    return entry


def plans_of(sections: Sections, entries: list[Entry]) -> Iterator[tuple[Entry, tensor.Plan | None]]:
    """Read how each array is coded; None for one without elements."""
    payloads = bits.Reader(sections.parts[Section.TENSORS])
    parsers = [
        tensor.parse(payloads.take(entry.payload_bytes), entry.size_bytes, entry.item_bytes)
        for entry in entries
        if entry.size_bytes
    ]
    plans = iter(headers.run_together(parsers))
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
    batch = tensor.Batch()
    done = 0
    for entry, plan in plans_of(sections, entries):
        found[entry.name] = np.empty(entry.shape, entry.dtype)
        done += entry.size_bytes
        if plan is not None:
            output = found[entry.name].reshape(-1).view(f"<u{entry.item_bytes}")
            if batch.add(plan, output) and progress is not None:
                progress(done, total)
    batch.decode()
    for entry in entries:
        if entry.dtype.kind == "b" and entry.size_bytes and found[entry.name].view(np.uint8).max() > 1:
            raise FormatError("a boolean that is neither true nor false")
    if progress is not None:
        progress(total, total)
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in found.items()}
