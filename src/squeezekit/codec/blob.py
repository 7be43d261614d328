"""Bytes that are not weights (graph, names, labels) as raw, deflate or LZMA, whichever is smallest.

The first byte names the method; for LZMA a second byte holds the usual (pb * 5 + lp) * 9 + lc. Both are stored
without a container: they have their own end mark, and the length is known. Deflate begins with a dictionary in its
window (`words`); on texts of a few kilobytes that is worth more than LZMA's better model.
"""

import lzma
import zlib
from collections.abc import Iterator
from typing import Any

from squeezekit.codec.words import DICTIONARY
from squeezekit.errors import FormatError

__all__ = ["compress", "expand"]

# First byte of a blob; part of the file format.
RAW, DEFLATE, LZMA = range(3)
# What a decoder must set aside; a graph of more than this is rare and loses little.
_DICTIONARY_BYTES = 1 << 20
# (lc, lp, pb) for small numbers, for text, and for a flatbuffer that could not be walked: aligned 4-byte words.
_LZMA_MODELS = ((0, 0, 0), (3, 0, 0), (0, 2, 2))
# Beyond this LZMA takes minutes; such a skeleton only comes from a file with weights that we cannot find.
_LZMA_MAX_BYTES = 1 << 24


def _filters(model: tuple[int, int, int]) -> list[dict[str, Any]]:
    lc, lp, pb = model
    return [
        {
            "id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": _DICTIONARY_BYTES,
            "lc": lc, "lp": lp, "pb": pb,
        }
    ]  # fmt: skip


def compress(data: bytes, *, store: bool = False) -> bytes:
    """Choose the smallest of raw, deflate and LZMA.

    Args:
        data: any bytes.
        store: do not compress at all.

    Returns:
        At most one byte more than `data`.

    Example:
        >>> compress(b"abc"), len(compress(b"abc" * 1000)) < 40
        (b'\\x00abc', True)
    """
    blobs = [bytes([RAW]) + data]
    if not store:
        blobs += [bytes([DEFLATE]) + body for body in _deflate(data)]
        if len(data) <= _LZMA_MAX_BYTES:
            for lc, lp, pb in _LZMA_MODELS:
                body = lzma.compress(data, lzma.FORMAT_RAW, filters=_filters((lc, lp, pb)))
                blobs.append(bytes([LZMA, (pb * 5 + lp) * 9 + lc]) + body)
    return min(blobs, key=len)


def _deflate(data: bytes) -> Iterator[bytes]:
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy, DICTIONARY)
        yield deflate.compress(data) + deflate.flush()


def expand(blob: bytes | memoryview, size_bytes: int) -> bytes:
    """Undo `compress`; never makes more than `size_bytes` + 1 bytes.

    Args:
        blob: what `compress` returned.
        size_bytes: length of the data, which the caller has bounded.

    Raises:
        FormatError: the blob does not hold exactly `size_bytes` bytes.
    """
    method, body = bytes(blob[:1]), blob[1:]
    # One byte more than promised is asked for, so that data which is too long shows.
    limit = size_bytes + 1
    try:
        if method == bytes([RAW]):
            data, whole = bytes(body), True
        elif method == bytes([DEFLATE]):
            inflate = zlib.decompressobj(-15, DICTIONARY)
            data = inflate.decompress(body, limit)
            whole = inflate.eof and not inflate.unused_data
        elif method == bytes([LZMA]) and len(body):
            rest, lc = divmod(body[0], 9)
            pb, lp = divmod(rest, 5)
            decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters((lc, lp, pb)))
            data = decompressor.decompress(body[1:], limit)
            whole = decompressor.eof and not decompressor.unused_data
        else:
            raise FormatError("compressed by a method unknown to this squeezekit")
    # LZMAError for a damaged body, ValueError for a model byte out of range.
    except (zlib.error, lzma.LZMAError, ValueError) as error:
        raise FormatError(f"compressed bytes that do not decompress ({error})") from error
    if not whole or len(data) != size_bytes:
        raise FormatError(f"compressed bytes that do not make the {size_bytes:,} bytes promised")
    return data
