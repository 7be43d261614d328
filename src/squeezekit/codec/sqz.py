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

from squeezekit.codec import bits, blob, lists, pool, skeleton, tensors
from squeezekit.codec.coders import DEFAULT_CODER, Coder, coders_named
from squeezekit.codec.container import Section, Sections, join, split
from squeezekit.codec.flatbuffer import tensor_spans
from squeezekit.codec.layout import (
    MAX_FILE_BYTES,
    POOLED,
    SMALL,
    Layout,
    read_layout,
    within_ratio,
    write_layout,
)
from squeezekit.errors import FormatError

__all__ = [
    "Progress",
    "info_of",
    "layout_of",
    "pack",
    "plans_of",
    "read_info",
    "skeleton_of",
    "unpack",
    "write_info",
]

Progress = Callable[[int, int], None]

MAX_INFO_BYTES = 1 << 24
# Tensors decoded in one go: enough for full lanes, bounded so that memory does not follow the network's size.
_BATCH_BYTES = 1 << 24
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
        tflite: the whole file, at most 1 GiB; whatever is appended to it (a metadata zip) comes along.
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
    sections = _sections(tflite, skeleton.take_apart(tflite), coders, progress)
    if sections is None:
        # No such file is known; but a wrong one must never leave here.
        sections = _sections(tflite, skeleton.take_apart(tflite, outlined=False), coders, progress)
    if sections is None:
        raise AssertionError("A skeleton that does not come back: please report this file.")
    sqz = join([*info_section, *sections])
    if progress is not None:
        progress(len(tflite), len(tflite))
    if coders and not within_ratio(len(tflite), len(sqz)):
        # Only a large network of constants gets here; no decoder would believe so small a file.
        return pack(tflite, info=info, coder="none")
    return sqz


def _sections(
    tflite: bytes, parts: skeleton.Parts, coders: Sequence[Coder], progress: Progress | None
) -> list[tuple[Section, list[bytes]]] | None:
    """All sections but the info; None if the skeleton would not come back as it is."""
    small: list[memoryview] = []
    pooled: list[memoryview] = []
    payloads: list[bytes] = []
    sizes: list[int] = []
    for contents in parts.contents:
        stop = contents.start + contents.size_bytes
        data = memoryview(tflite)[contents.start : stop]
        coded = _choose(data, contents, coders)
        if isinstance(coded, bytes):
            payloads.append(coded)
            sizes.append(len(coded))
        else:
            (pooled if coded == POOLED else small).append(data)
            sizes.append(coded)
        if progress is not None:
            progress(stop, len(tflite))
    pool_payload = b""
    if pooled:
        pool_payload = pool.encode([np.frombuffer(data, "<i4").astype(np.int64) for data in pooled], coders)
    layout = Layout(len(tflite), zlib.crc32(tflite), len(pool_payload), tuple(sizes))
    frame = skeleton.encode(tflite, parts, b"".join(small), coders)
    if not skeleton.restores(frame, tflite, parts):
        return None
    return [
        (Section.LAYOUT, [write_layout(layout)]),
        (Section.SKELETON, [frame]),
        (Section.TENSORS, [pool_payload, *payloads]),
    ]


def _choose(data: memoryview, contents: skeleton.Contents, coders: Sequence[Coder]) -> bytes | int:
    """A payload; or that the contents stay with the skeleton's bytes, or go to the pool."""
    if len(data) < _MIN_TENSOR_BYTES or (contents.owner is None and len(data) <= _MAX_BUFFER_BYTES):
        return SMALL
    shape = contents.owner.shape if contents.owner else ()
    payload = tensors.encode(data, item_bytes=contents.item_bytes, coders=coders, shape=shape)
    if coders and contents.item_bytes == 4:
        values = np.frombuffer(data, "<i4").astype(np.int64)
        if pool.estimate_bytes(values) < len(payload):
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
    return [(Section.INFO, [size, blob.compress(data)])]


def read_info(sqz: bytes) -> dict[str, Any]:
    """Return the info object that `pack` or `encode_tensors` was given; empty when none.

    Raises:
        FormatError: not a `.sqz`, or damaged.
    """
    return info_of(split(sqz, arrays=None))


def info_of(sections: Sections) -> dict[str, Any]:
    """Read the info object of a file taken apart."""
    part = sections.parts.get(Section.INFO)
    if part is None:
        return {}
    size = int.from_bytes(part[:4], "little")
    if size > MAX_INFO_BYTES:
        raise FormatError(f"claims {size:,} bytes of info; at most {MAX_INFO_BYTES:,} are possible")
    try:
        info = json.loads(blob.expand(part[4:], size))
    # Not JSON, not UTF-8, or nested deeper than Python recurses.
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the info section is not JSON ({error})") from error
    if not isinstance(info, dict):
        raise FormatError("the info section is not a JSON object")
    return info


def layout_of(sections: Sections) -> Layout:
    """Read the layout of a file taken apart, checked against the sizes of the other sections."""
    sqz_bytes = sections.header_bytes + sum(map(len, sections.parts.values()))
    tensor_bytes = len(sections.parts[Section.TENSORS])
    return read_layout(sections.parts[Section.LAYOUT], sqz_bytes=sqz_bytes, tensor_bytes=tensor_bytes)


def skeleton_of(sections: Sections, layout: Layout) -> skeleton.Skeleton:
    """Read the skeleton of a file taken apart, and check that it has room for exactly the layout's tensors."""
    frame = skeleton.decode(sections.parts[Section.SKELETON], layout.file_bytes)
    if len(frame.contents) != len(layout.payload_bytes):
        raise FormatError("a skeleton with room for other tensors")
    for contents, size in zip(frame.contents, layout.payload_bytes, strict=True):
        if size == POOLED and contents.item_bytes != 4:
            raise FormatError("a pool with a tensor that is not of four-byte elements")
    return frame


def plans_of(
    sections: Sections, layout: Layout, contents: Sequence[skeleton.Contents]
) -> dict[int, tensors.Plan]:
    """Read how each tensor with a payload of its own is coded, by its number; nothing is decoded yet."""
    payloads, parsers, first = sections.parts[Section.TENSORS], {}, layout.pool_bytes
    for number, (place, size) in enumerate(zip(contents, layout.payload_bytes, strict=True)):
        if size > POOLED:
            payload = payloads[first : first + size]
            parsers[number] = tensors.parser(payload, place.size_bytes, place.item_bytes)
            first += size
    return dict(zip(parsers, lists.together(list(parsers.values())), strict=True))


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
    frame = skeleton_of(sections, layout)
    _fill_contents(frame, layout, sections, progress)
    if zlib.crc32(frame.file) != layout.crc32:
        raise FormatError("damaged: the unpacked file's checksum does not match")
    if progress is not None:
        progress(layout.file_bytes, layout.file_bytes)
    with contextlib.suppress(BufferError):  # still in use: its bytes are copied
        frame.file.release()
    return frame.buffer.getvalue()


def _fill_contents(
    frame: skeleton.Skeleton, layout: Layout, sections: Sections, progress: Progress | None
) -> None:
    plans = plans_of(sections, layout, frame.contents)
    file = np.frombuffer(frame.file, np.uint8)
    _fill_small(file, frame, layout)
    batch: list[tensors.Plan] = []
    outputs: list[np.ndarray] = []
    pooled = _pooled(file, frame, layout)
    if pooled:
        payload = sections.parts[Section.TENSORS][: layout.pool_bytes]
        joined = np.empty(sum(map(len, pooled)), "<u4")
        batch.append(pool.parse(payload, list(map(len, pooled))))
        outputs.append(joined)
    for number, plan in plans.items():
        contents = frame.contents[number]
        batch.append(plan)
        outputs.append(_elements(file, contents))
        if sum(one.nbytes for one in outputs) >= _BATCH_BYTES:
            tensors.decode(batch, outputs)
            batch, outputs = [], []
            if progress is not None:
                progress(contents.start + contents.size_bytes, layout.file_bytes)
    tensors.decode(batch, outputs)
    if pooled:
        ends = np.cumsum([len(elements) for elements in pooled])
        for elements, values in zip(pooled, np.split(joined, ends[:-1]), strict=True):
            elements[...] = values


def _elements(file: np.ndarray, contents: skeleton.Contents) -> np.ndarray:
    stop = contents.start + contents.size_bytes
    return file[contents.start : stop].view(f"<u{contents.item_bytes}")


def _fill_small(file: np.ndarray, frame: skeleton.Skeleton, layout: Layout) -> None:
    reader = bits.Reader(frame.small)
    for contents, size in zip(frame.contents, layout.payload_bytes, strict=True):
        if size == SMALL:
            stop = contents.start + contents.size_bytes
            file[contents.start : stop] = np.frombuffer(reader.take(contents.size_bytes), np.uint8)
    reader.finish()


def _pooled(file: np.ndarray, frame: skeleton.Skeleton, layout: Layout) -> list[np.ndarray]:
    """Where the tensors of the pool go."""
    return [
        _elements(file, contents)
        for contents, size in zip(frame.contents, layout.payload_bytes, strict=True)
        if size == POOLED
    ]
