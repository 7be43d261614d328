"""Pack any `.tflite` losslessly into a `.sqz`, and back to the exact bytes.

The weights' bytes are cut out of the flatbuffer and each tensor is entropy-coded on its own; what remains is the
`skeleton`. `docs/format.md` specifies the file, `docs/codec.md` gives reasons.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from squeezekit.codec import tensor
from squeezekit.codec.container import Section, Sections, join, split
from squeezekit.codec.entropy import DEFAULT_CODER, Coder, bits, coders_named, headers
from squeezekit.codec.flatbuffer import generic_compression, skeleton, tensor_spans
from squeezekit.codec.layout_section import (
    MAX_FILE_BYTES,
    POOLED,
    SMALL,
    Layout,
    read_layout,
    within_ratio,
    write_layout,
)
from squeezekit.codec.tensor import bias_pool
from squeezekit.errors import FormatError

__all__ = [
    "Progress", "info_of", "layout_of", "pack", "plans_of", "read_info", "skeleton_of", "unpack", "write_info"
]  # fmt: skip

Progress = Callable[[int, int], None]

MAX_INFO_BYTES = 1 << 24
# Shorter contents (a reshape's target) do better among the skeleton's bytes, and so do buffers that are no tensor's
# (metadata), unless so large that they might be anything.
_MIN_TENSOR_BYTES = 32
_MAX_BUFFER_BYTES = 1 << 16


def pack(
    tflite: bytes,
    *,
    info: Mapping[str, Any] | None = None,
    coder: str = DEFAULT_CODER,
    progress: Progress | None = None,
) -> bytes:
    """Pack a `.tflite` losslessly.

    Args:
        tflite: the whole file, at most 1 GiB, with whatever is appended to it (a metadata zip).
        info: a JSON object to carry in the header (labels, preprocessing, provenance), for files that have
            none inside.
        coder: one of `CODERS`: "auto" for the smallest file, "huffman" or "rans" for the quickest decoding, "small"
            for contexts wherever they help, "none" to store everything uncompressed, to measure against.
        progress: called with (bytes done, bytes in all).

    Returns:
        The `.sqz` file. The same input always gives the same bytes.

    Raises:
        ValueError: unknown coder, or `info` is not a JSON object.
        FormatError: not a `.tflite`, or one of more than 1 GiB.

    Example:
        >>> pack(b"GIF89a")
        Traceback (most recent call last):
            ...
        squeezekit.errors.FormatError: not a .tflite file (no TFL3 mark)
    """
    coders = coders_named(coder)
    info_section = write_info(info)
    if len(tflite) > MAX_FILE_BYTES:
        raise FormatError(f"a .tflite of {len(tflite):,} bytes; at most {MAX_FILE_BYTES:,} can be packed")
    tensor_spans(tflite)  # refuses what is no .tflite
    tflite = bytes(tflite)
    sections = _sections(tflite, skeleton.separate(tflite), coders, progress)
    if sections is None:
        # No such file is known; but a wrong one must never be written.
        sections = _sections(tflite, skeleton.separate(tflite, traversed=False), coders, progress)
    if sections is None:
        raise AssertionError("A skeleton that does not come back: please report this file.")
    sqz = join([*info_section, *sections])
    if progress is not None:
        progress(len(tflite), len(tflite))
    if coders and not within_ratio(len(tflite), len(sqz)):
        # Only a large network of constants gets here; a decoder would refuse so small a file.
        return pack(tflite, info=info, coder="none")
    return sqz


def _sections(
    tflite: bytes, parts: skeleton.Parts, coders: Sequence[Coder], progress: Progress | None
) -> list[tuple[Section, list[bytes]]] | None:
    """All sections but the info; None if the skeleton would not come back as it is."""
    small: list[memoryview] = []
    pooled: list[np.ndarray] = []
    payloads: list[bytes] = []
    sizes: list[int] = []
    for contents in parts.contents:
        data = memoryview(tflite)[contents.start : contents.stop]
        coded = _choose(data, contents, coders)
        if isinstance(coded, bytes):
            payloads.append(coded)
            sizes.append(len(coded))
        else:
            if coded == POOLED:
                pooled.append(np.frombuffer(data, "<i4").astype(np.int64))
            else:
                small.append(data)
            sizes.append(coded)
        if progress is not None:
            progress(contents.stop, len(tflite))
    pool_payload = bias_pool.encode(pooled, coders) if pooled else b""
    layout = Layout(len(tflite), zlib.crc32(tflite), len(pool_payload), tuple(sizes))
    section = skeleton.encode(tflite, parts, b"".join(small), coders)
    if not skeleton.restores(section, tflite, parts):
        return None
    return [
        (Section.LAYOUT, [write_layout(layout)]),
        (Section.SKELETON, [section]),
        (Section.TENSORS, [pool_payload, *payloads]),
    ]


def _choose(data: memoryview, contents: skeleton.Contents, coders: Sequence[Coder]) -> bytes | int:
    """A payload; or that the contents stay with the skeleton's bytes, or go to the pool."""
    if len(data) < _MIN_TENSOR_BYTES or (contents.owner is None and len(data) <= _MAX_BUFFER_BYTES):
        return SMALL
    shape = contents.owner.shape if contents.owner else ()
    payload = tensor.encode(data, item_bytes=contents.item_bytes, coders=coders, shape=shape)
    if coders and contents.item_bytes == 4:
        values = np.frombuffer(data, "<i4").astype(np.int64)
        if bias_pool.estimate_bytes(values) < len(payload):
            return POOLED
    return payload


def write_info(info: Mapping[str, Any] | None) -> list[tuple[Section, list[bytes]]]:
    """Build the info section; none when there is no info.

    Raises:
        ValueError: `info` is not a JSON object.
    """
    if info is None:
        return []
    try:
        if not isinstance(info, Mapping):
            raise TypeError(f"not an object but {type(info).__name__}")
        text = json.dumps(dict(info), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected info to be a JSON object. Received: {error}.") from error
    if len(data) > MAX_INFO_BYTES:
        raise ValueError(f"Expected info of at most {MAX_INFO_BYTES:,} bytes. Received: {len(data):,}.")
    size = len(data).to_bytes(4, "little")
    return [(Section.INFO, [size, generic_compression.compress(data)])]


def read_info(sqz: bytes) -> dict[str, Any]:
    """Return the info object that `pack` or `encode_tensors` was given; empty when none.

    Raises:
        FormatError: not a `.sqz`, or damaged.
    """
    return info_of(split(sqz, arrays=None))


def info_of(sections: Sections) -> dict[str, Any]:
    """Read the info object from a file's sections."""
    part = sections.parts.get(Section.INFO)
    if part is None:
        return {}
    size = int.from_bytes(part[:4], "little")
    if size > MAX_INFO_BYTES:
        raise FormatError(f"claims {size:,} bytes of info; at most {MAX_INFO_BYTES:,} are possible")
    try:
        info = json.loads(generic_compression.expand(part[4:], size))
    # Not JSON, not UTF-8, or nested deeper than Python recurses.
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the info section is not JSON ({error})") from error
    if not isinstance(info, dict):
        raise FormatError("the info section is not a JSON object")
    return info


def layout_of(sections: Sections) -> Layout:
    """Read the layout, checked against the sizes of the other sections."""
    data, tensors = sections.parts[Section.LAYOUT], sections.parts[Section.TENSORS]
    return read_layout(data, sqz_bytes=sections.file_bytes, tensor_bytes=len(tensors))


def skeleton_of(sections: Sections, layout: Layout) -> skeleton.Skeleton:
    """Read the skeleton, and check that it has room for exactly the layout's tensors."""
    rebuilt = skeleton.decode(sections.parts[Section.SKELETON], layout.file_bytes)
    if len(rebuilt.contents) != len(layout.payload_bytes):
        raise FormatError("a skeleton with room for other tensors")
    for contents, size in zip(rebuilt.contents, layout.payload_bytes, strict=True):
        if size == POOLED and contents.item_bytes != 4:
            raise FormatError("a pool with a tensor that is not of four-byte elements")
    return rebuilt


def plans_of(
    sections: Sections, layout: Layout, contents: Sequence[skeleton.Contents]
) -> dict[int, tensor.Plan]:
    """Read how each tensor with a payload of its own is coded, by its number; nothing is decoded yet."""
    payloads, parsers, first = sections.parts[Section.TENSORS], {}, layout.pool_bytes
    for number, (own, size) in enumerate(zip(contents, layout.payload_bytes, strict=True)):
        if size > POOLED:
            parsers[number] = tensor.parse(payloads[first : first + size], own.size_bytes, own.item_bytes)
            first += size
    return dict(zip(parsers, headers.run_together(list(parsers.values())), strict=True))


def unpack(sqz: bytes, *, progress: Progress | None = None) -> bytes:
    """Give back the exact `.tflite` that was packed.

    Args:
        sqz: the whole file.
        progress: called with (bytes done, bytes in all).

    Raises:
        FormatError: not a `.sqz`, of a later version, or damaged anywhere.

    Example:
        >>> unpack(b"GIF89a")
        Traceback (most recent call last):
            ...
        squeezekit.errors.FormatError: not a .sqz file
    """
    sections = split(sqz)
    layout = layout_of(sections)
    rebuilt = skeleton_of(sections, layout)
    _fill_contents(rebuilt, layout, sections, progress)
    if zlib.crc32(rebuilt.file) != layout.crc32:
        raise FormatError("damaged: the unpacked file's checksum does not match")
    if progress is not None:
        progress(layout.file_bytes, layout.file_bytes)
    with contextlib.suppress(BufferError):  # still in use: its bytes are copied
        rebuilt.file.release()
    return rebuilt.buffer.getvalue()


def _fill_contents(
    rebuilt: skeleton.Skeleton, layout: Layout, sections: Sections, progress: Progress | None
) -> None:
    plans = plans_of(sections, layout, rebuilt.contents)
    file = np.frombuffer(rebuilt.file, np.uint8)
    small, pooled = bits.Reader(rebuilt.small), []
    for contents, size in zip(rebuilt.contents, layout.payload_bytes, strict=True):
        if size == SMALL:
            file[contents.start : contents.stop] = np.frombuffer(small.take(contents.size_bytes), np.uint8)
        elif size == POOLED:
            pooled.append(file[contents.start : contents.stop].view("<u4"))
    small.finish()
    batch = tensor.Batch()
    joined = np.empty(sum(map(len, pooled)), "<u4")
    if pooled:
        payload = sections.parts[Section.TENSORS][: layout.pool_bytes]
        batch.add(bias_pool.read(payload, list(map(len, pooled))), joined)
    for number, plan in plans.items():
        contents = rebuilt.contents[number]
        elements = file[contents.start : contents.stop].view(f"<u{contents.item_bytes}")
        if batch.add(plan, elements) and progress is not None:
            progress(contents.stop, layout.file_bytes)
    batch.decode()
    first = 0
    for elements in pooled:
        elements[...] = joined[first : first + len(elements)]
        first += len(elements)
