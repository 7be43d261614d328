"""The layout section: how long the `.tflite` is, its checksum, and how many bytes each tensor takes."""

import dataclasses

import numpy as np

from squeezekit.codec.entropy import bits
from squeezekit.errors import FormatError

__all__ = ["MAX_FILE_BYTES", "POOLED", "SMALL", "Layout", "read_layout", "within_ratio", "write_layout"]

# Far above any network for a small device; it bounds what a hostile file can make us allocate.
MAX_FILE_BYTES = 1 << 30
# Such a file may still not unpack to more than 64 MiB plus 1,024 times its own size.
FREE_BYTES = 1 << 26
MAX_RATIO = 1024
MAX_TENSORS = 1 << 20
# In place of a payload's size (at least two bytes): the contents are among the skeleton's bytes, or in the pool.
SMALL, POOLED = 0, 1


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Sizes and checksum of the `.tflite`, and the sizes of its tensors' payloads."""

    file_bytes: int
    crc32: int
    pool_bytes: int
    """Bytes of the pool, 0 without one; it is the first of the tensors' payloads."""
    payload_bytes: tuple[int, ...]
    """One for each of the skeleton's contents: `SMALL`, `POOLED`, or bytes."""


def write_layout(layout: Layout) -> bytes:
    """Build the layout section."""
    sizes = np.array([layout.pool_bytes, *layout.payload_bytes], np.int64)
    head = bits.varint(layout.file_bytes) + layout.crc32.to_bytes(4, "little")
    return head + bits.varint(len(layout.payload_bytes)) + bits.numbers(sizes)


def within_ratio(file_bytes: int, sqz_bytes: int) -> bool:
    """Tell whether a `.sqz` of this size may unpack to so many bytes."""
    return file_bytes <= min(MAX_FILE_BYTES, FREE_BYTES + MAX_RATIO * sqz_bytes)


def read_layout(data: bytes | memoryview, *, sqz_bytes: int, tensor_bytes: int) -> Layout:
    """Read and check a layout section.

    `sqz_bytes` is the size of the file, which bounds what it may unpack to; the payloads must fill `tensor_bytes`.

    Raises:
        FormatError: sizes that contradict each other or exceed the caps.
    """
    reader = bits.Reader(data)
    file_bytes = reader.varint()
    if not within_ratio(file_bytes, sqz_bytes):
        raise FormatError(f"claims to unpack {sqz_bytes:,} to {file_bytes:,} bytes: too large to be true")
    crc32 = reader.uint32()
    count = reader.varint(min(MAX_TENSORS, file_bytes))
    sizes = reader.numbers(count + 1)
    reader.finish()
    payloads = sizes[1:]
    # Every number is below 2**32 and there are at most 2**20 of them: int64 cannot overflow.
    if int(sizes[0]) + int(payloads[payloads > POOLED].sum()) != tensor_bytes:
        raise FormatError("tensors that do not fill their section")
    if bool(sizes[0]) != bool((payloads == POOLED).any()):
        raise FormatError("a pool without tensors, or tensors without their pool")
    return Layout(file_bytes, crc32, int(sizes[0]), tuple(payloads.tolist()))
