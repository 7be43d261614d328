"""Images and their labels in a TFRecord file of `tf.train.Example`s, found without TensorFlow.

A record is its size (8 bytes), a checksum of the size, its bytes and a checksum of the bytes; an Example is a protocol
buffer of named lists. Checksums are CRC-32C, rotated and shifted (tensorflow/core/lib/hash/crc32c.h). Only that of the
size is verified: damaged images show when they are decoded.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from squeezekit.errors import DataError, FormatError

__all__ = ["images_in_records"]

_IMAGES = ("image/encoded", "image", "image_raw", "jpeg", "jpg", "png")
_NUMBERS = ("image/class/label", "label", "class", "cls")
_TEXTS = ("image/class/text", "label_name", "class_name")
_MAX_RECORD_BYTES = 256 << 20
_MAX_NAME_BYTES = 256
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def images_in_records(path: Path) -> Iterator[tuple[int, int, int | str]]:
    """Find the images of a shard: first byte, size in bytes, and label, a number or a text.

    Each Example of the file, which is not compressed, has `image/encoded` (or `image`) and `image/class/label` (or
    `label`), or a text in `image/class/text`.

    Raises:
        FormatError: the file is damaged, or no such file.
        DataError: an Example without an encoded image or without a label.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start < total:
            head = file.read(12)
            size, checksum = struct.unpack("<QI", head) if len(head) == 12 else (0, -1)
            if checksum != _masked_crc(head[:8]):
                raise FormatError(f"{path}: damaged TFRecord file, or a compressed one")
            if size > _MAX_RECORD_BYTES:
                raise FormatError(f"{path}: a record of {size:,} bytes, over {_MAX_RECORD_BYTES:,}")
            if start + 16 + size > total:
                raise FormatError(f"{path}: ends early")
            data = memoryview(file.read(size))
            try:
                first, end, label = _example(data)
            except (FormatError, DataError) as error:
                raise type(error)(f"{path}: {error}") from error
            yield start + 12 + first, end - first, label
            start += 16 + size
            file.seek(start)


def _example(data: memoryview) -> tuple[int, int, int | str]:
    """First byte and end of the encoded image in an Example, and its label."""
    features: dict[str, tuple[int, int]] = {}
    for field, start, end in _fields(data, 0, len(data)):
        if field == 1:
            for entry, first, last in _fields(data, start, end):
                if entry == 1:
                    key, value = b"", (0, 0)
                    for part, low, high in _fields(data, first, last):
                        if part == 1 and high - low <= _MAX_NAME_BYTES:
                            key = bytes(data[low:high])
                        elif part == 2:
                            value = (low, high)
                    features[key.decode("utf-8", "replace")] = value
    held = f"it has {', '.join(map(repr, sorted(features)[:8]))}"
    found = (_bytes(data, *features[name]) for name in _IMAGES if name in features)
    image = next(filter(None, found), None)
    if image is None:
        raise DataError(f"an Example without {_IMAGES[0]}; {held}")
    for name in (*_NUMBERS, *_TEXTS):
        if name in features:
            number = _number(data, *features[name])
            if number is not None:
                return (*image, number)
            text = _bytes(data, *features[name])
            if text is not None and 0 < text[1] - text[0] <= _MAX_NAME_BYTES:
                return (*image, bytes(data[text[0] : text[1]]).decode("utf-8", "replace"))
    raise DataError(f"an Example without {_NUMBERS[0]}; {held}")


def _bytes(data: memoryview, start: int, end: int) -> tuple[int, int] | None:
    """Where the only value of a list of bytes lies."""
    for field, first, last in _fields(data, start, end):
        if field == 1:
            values = [(low, high) for part, low, high in _fields(data, first, last) if part == 1]
            return values[0] if len(values) == 1 else None
    return None


def _number(data: memoryview, start: int, end: int) -> int | None:
    """The only value of a list of integers, packed or not."""
    for field, first, last in _fields(data, start, end):
        if field == 3:
            for part, low, high in _fields(data, first, last):
                if part == 1:
                    value, after = _varint(data, low, high)
                    if after == high and value < 1 << 31:
                        return value
    return None


def _fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message: number, first byte and end of the value."""
    while start < end:
        tag, start = _varint(data, start, end)
        kind = tag & 7
        if kind == _VARINT:
            _, after = _varint(data, start, end)
        elif kind == _BYTES:
            size, start = _varint(data, start, end)
            after = start + size
        elif kind in (_FIXED64, _FIXED32):
            after = start + (8 if kind == _FIXED64 else 4)
        else:
            raise FormatError("a record is no Example")
        if after > end:
            raise FormatError("a record is no Example")
        yield tag >> 3, start, after
        start = after


def _varint(data: memoryview, start: int, end: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first: it, and where it ends."""
    value = 0
    for place in range(start, min(start + 10, end)):
        value |= (data[place] & 127) << 7 * (place - start)
        if data[place] < 128:
            return value, place + 1
    raise FormatError("a record is no Example")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
