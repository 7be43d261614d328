"""Bytes that are not weights (graph, names, labels) as raw, deflate or LZMA, whichever is smallest.

The first byte names the method; for LZMA a second byte holds the usual (pb * 5 + lp) * 9 + lc. Both are stored
without a container: they have their own end mark, and the length is known. Deflate begins with a dictionary in its
window (`dictionary`); on texts of a few kilobytes that is worth more than LZMA's better model.
"""

import lzma
import zlib
from collections.abc import Iterator
from typing import Any

from squeezekit.codec.flatbuffer.dictionary import DICTIONARY
from squeezekit.errors import FormatError

__all__ = ["compress", "expand"]

# First byte of the compressed bytes; part of the file format.
RAW, DEFLATE, LZMA = range(3)
# Memory of the decoder; a graph of more than this is rare and loses little.
_DICTIONARY_BYTES = 1 << 20
# (lc, lp, pb) for small numbers, for text, and for a flatbuffer without a traversal: aligned 4-byte words.
_LZMA_MODELS = ((0, 0, 0), (3, 0, 0), (0, 2, 2))
# Beyond this LZMA takes minutes; only a file whose weights cannot be found has such a skeleton.
_LZMA_MAX_BYTES = 1 << 24


def _filters(lc: int, lp: int, pb: int) -> list[dict[str, Any]]:
    return [
        {
            "id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": _DICTIONARY_BYTES,
            "lc": lc, "lp": lp, "pb": pb,
        }
    ]  # fmt: skip


def compress(data: bytes, *, store: bool = False) -> bytes:
    """Choose the smallest of raw, deflate and LZMA; with `store` always raw. At most one byte more than `data`.

    Example:
        >>> compress(b"abc"), len(compress(b"abc" * 1000)) < 40
        (b'\\x00abc', True)
    """
    return min(_compressed(data, store), key=len)


def _compressed(data: bytes, store: bool) -> Iterator[bytes]:
    yield bytes([RAW]) + data
    if store:
        return
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy, DICTIONARY)
        yield bytes([DEFLATE]) + deflate.compress(data) + deflate.flush()
    if len(data) <= _LZMA_MAX_BYTES:
        for lc, lp, pb in _LZMA_MODELS:
            body = lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(lc, lp, pb))
            yield bytes([LZMA, (pb * 5 + lp) * 9 + lc]) + body


def expand(data: bytes | memoryview, size_bytes: int) -> bytes:
    """Undo `compress`; never makes more than `size_bytes` + 1 bytes, which the caller has bounded.

    Raises:
        FormatError: `data` does not expand to exactly `size_bytes` bytes.
    """
    method, body = bytes(data[:1]), data[1:]
    # One byte more than expected, so that data which is too long is noticed.
    limit = size_bytes + 1
    decompressor: Any
    try:
        if method == bytes([RAW]):
            out, whole = bytes(body), True
        elif method == bytes([DEFLATE]) or (method == bytes([LZMA]) and len(body)):
            if method == bytes([DEFLATE]):
                decompressor = zlib.decompressobj(-15, DICTIONARY)
            else:
                rest, lc = divmod(body[0], 9)
                pb, lp = divmod(rest, 5)
                decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(lc, lp, pb))
                body = body[1:]
            out = decompressor.decompress(body, limit)
            whole = decompressor.eof and not decompressor.unused_data
        else:
            raise FormatError("compressed by a method unknown to this squeezekit")
    # LZMAError for a damaged body, ValueError for a model byte out of range.
    except (zlib.error, lzma.LZMAError, ValueError) as error:
        raise FormatError(f"compressed bytes that do not decompress ({error})") from error
    if not whole or len(out) != size_bytes:
        raise FormatError(f"compressed bytes that do not expand to {size_bytes:,} bytes")
    return out
