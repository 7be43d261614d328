"""The container of a `.sqz` file: magic, version, sections with checksums, and a checksum over everything.

This module does not know what the sections hold.
"""

import dataclasses
import enum
import struct
import zlib
from collections.abc import Sequence

from squeezekit.errors import FormatError

__all__ = ["MAGIC", "VERSION", "Section", "Sections", "is_sqz", "join", "split"]

# Like PNG's: the high bit shows a transfer that strips it, and no text file begins so.
MAGIC = b"\x89SQZ"
VERSION = 1
_CRC_BYTES = 4
_ENTRY = struct.Struct("<BII")  # kind, size in bytes, CRC-32
_FIXED = struct.Struct("<4sBB")  # magic, version, number of sections


class Section(enum.IntEnum):
    """What a section holds; each occurs at most once, in this order."""

    INFO = 1
    """JSON object, compressed; absent when there is none."""
    LAYOUT = 2
    """Length and checksum of the `.tflite`, and where its tensors lie."""
    SKELETON = 3
    """The `.tflite` with the tensors cut out, compressed."""
    TENSORS = 4
    """The tensors' payloads, one after the other."""
    ARRAYS = 5
    """Names, types and shapes of arrays; in place of layout and skeleton, in a file without a network."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sections:
    """The sections of a file."""

    header_bytes: int
    """Bytes that belong to no section: header and closing checksum."""
    parts: dict[Section, memoryview]

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return self.header_bytes + sum(map(len, self.parts.values()))


def is_sqz(data: bytes | memoryview) -> bool:
    """Whether the bytes begin like a `.sqz` of any version.

    Example:
        >>> is_sqz(b"PK\\x03\\x04")
        False
    """
    return bytes(data[: len(MAGIC)]) == MAGIC


def join(sections: Sequence[tuple[Section, Sequence[bytes]]]) -> bytes:
    """Build a file from sections in ascending order, each in pieces so that large ones are copied only once."""
    header = _FIXED.pack(MAGIC, VERSION, len(sections))
    for kind, pieces in sections:
        header += _ENTRY.pack(kind, sum(map(len, pieces)), _crc(pieces))
    header += struct.pack("<I", zlib.crc32(header))
    pieces = [header, *(piece for _, part in sections for piece in part)]
    return b"".join([*pieces, struct.pack("<I", _crc(pieces))])


def _crc(pieces: Sequence[bytes]) -> int:
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return crc


def split(data: bytes | memoryview, *, arrays: bool | None = False) -> Sections:
    """Split a file into its sections after checking every checksum.

    `arrays` is True for a file of arrays, False for one of a network, None for either.

    Raises:
        FormatError: not a `.sqz`, of a later version, cut short, or damaged anywhere.
    """
    data = memoryview(data)
    if not is_sqz(data):
        raise FormatError("not a .sqz file")
    if len(data) < _FIXED.size:
        raise FormatError("cut short inside the header")
    _, version, count = _FIXED.unpack_from(data)
    if version > VERSION:
        raise FormatError(f"version {version} is newer than this squeezekit reads (version {VERSION})")
    if version < VERSION:
        raise FormatError(f"version {version} does not exist")
    header_bytes = _FIXED.size + count * _ENTRY.size + _CRC_BYTES
    if len(data) < header_bytes + _CRC_BYTES:
        raise FormatError("cut short inside the header")
    if not _is_sound(data[:header_bytes]):
        raise FormatError("damaged: the header's checksum does not match")
    entries = [_ENTRY.unpack_from(data, _FIXED.size + index * _ENTRY.size) for index in range(count)]
    expected = header_bytes + sum(size for _, size, _ in entries) + _CRC_BYTES
    if len(data) != expected:
        raise FormatError(f"{len(data):,} bytes instead of {expected:,}: cut short, or with bytes appended")
    if not _is_sound(data):
        raise FormatError("damaged: the file's checksum does not match")
    parts = _sections(data, entries, header_bytes)
    if arrays is not None and (Section.ARRAYS in parts) != arrays:
        # Each of the two kinds of file has a reader of its own.
        kinds = "a network, no arrays" if arrays else "arrays, no network"
        raise FormatError(f"this .sqz holds {kinds}")
    return Sections(header_bytes + _CRC_BYTES, parts)


def _sections(data: memoryview, entries: list[tuple[int, int, int]], start: int) -> dict[Section, memoryview]:
    parts: dict[Section, memoryview] = {}
    known = [int(kind) for kind in Section]
    for kind, size, crc in entries:
        if kind not in known or (parts and kind <= max(parts)):
            raise FormatError(f"section {kind} is unknown or out of order")
        part = data[start : start + size]
        if zlib.crc32(part) != crc:
            raise FormatError(f"damaged: the checksum of section {Section(kind).name.lower()} does not match")
        parts[Section(kind)] = part
        start += size
    needed = {Section.LAYOUT, Section.SKELETON, Section.TENSORS}
    if Section.ARRAYS in parts:
        needed = {Section.TENSORS, Section.ARRAYS}
    for kind in sorted(needed ^ (set(parts) - {Section.INFO})):
        raise FormatError(f"section {kind.name.lower()} is {'missing' if kind in needed else 'out of place'}")
    return parts


def _is_sound(data: memoryview) -> bool:
    """Whether the last four bytes are the checksum of the others."""
    return zlib.crc32(data[:-_CRC_BYTES]) == int.from_bytes(data[-_CRC_BYTES:], "little")
