"""Pack any `.tflite` losslessly into a `.sqz`, and back to the exact bytes.

The weights' bytes are cut out of the flatbuffer and each tensor is entropy-coded on its own; what remains,
the skeleton, is compressed as one blob. `docs/format.md` specifies the file, `docs/codec.md` gives reasons.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from squeezekit.codec import blob, tensors
from squeezekit.codec.coders import DEFAULT_CODER, coders_named
from squeezekit.codec.container import Section, Sections, join, split
from squeezekit.codec.flatbuffer import tensor_spans
from squeezekit.codec.layout import (
    MAX_FILE_BYTES,
    Layout,
    Slot,
    choose_spans,
    read_layout,
    within_ratio,
    write_layout,
)
from squeezekit.errors import FormatError

__all__ = ["Progress", "info_of", "layout_of", "pack", "plans_of", "read_info", "unpack"]

Progress = Callable[[int, int], None]

MAX_INFO_BYTES = 1 << 24
# Tensors decoded in one go: enough for full lanes, bounded so that memory does not follow the network's size.
_BATCH_BYTES = 1 << 24


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
    info_section = _write_info(info)
    if len(tflite) > MAX_FILE_BYTES:
        raise FormatError(f"a .tflite of {len(tflite):,} bytes; at most {MAX_FILE_BYTES:,} can be packed")
    view = memoryview(tflite)
    spans = choose_spans(tensor_spans(view))
    skeleton, slots, payloads, done = bytearray(), [], [], 0
    for span in spans:
        skeleton += view[done : span.start]
        payload = tensors.encode(
            view[span.start : span.stop], item_bytes=span.item_bytes, coders=coders, shape=span.shape
        )
        payloads.append(payload)
        slots.append(Slot(span.start, span.size_bytes, span.item_bytes, len(payload)))
        done = span.stop
        if progress is not None:
            progress(done, len(tflite))
    skeleton += view[done:]
    layout = Layout(len(tflite), zlib.crc32(tflite), tuple(slots))
    sqz = join(
        [
            *info_section,
            (Section.LAYOUT, [write_layout(layout)]),
            (Section.SKELETON, [blob.compress(bytes(skeleton), store=not coders)]),
            (Section.TENSORS, payloads),
        ]
    )
    if progress is not None:
        progress(len(tflite), len(tflite))
    if coders and not within_ratio(len(tflite), len(sqz)):
        # Only a large network of constants gets here; no decoder would believe so small a file.
        return pack(tflite, info=info, coder="none")
    return sqz


def _write_info(info: Mapping[str, Any] | None) -> list[tuple[Section, list[bytes]]]:
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
    """Return the info object that `pack` was given; empty when none.

    Raises:
        FormatError: not a `.sqz`, or damaged.
    """
    return info_of(split(sqz))


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
    payload_bytes = len(sections.parts[Section.TENSORS])
    return read_layout(sections.parts[Section.LAYOUT], sqz_bytes=sqz_bytes, payload_bytes=payload_bytes)


def plans_of(sections: Sections, layout: Layout) -> list[tensors.Plan]:
    """Read how each tensor of a file taken apart is coded; nothing is decoded yet."""
    payloads, plans, first = sections.parts[Section.TENSORS], [], 0
    for slot in layout.slots:
        payload = payloads[first : first + slot.payload_bytes]
        plans.append(tensors.parse(payload, slot.size_bytes, slot.item_bytes))
        first += slot.payload_bytes
    return plans


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
    skeleton = np.frombuffer(blob.expand(sections.parts[Section.SKELETON], layout.skeleton_bytes), np.uint8)
    plans = plans_of(sections, layout)
    file = np.empty(layout.file_bytes, np.uint8)
    done = kept = 0
    for slot in layout.slots:
        gap = slot.start - done
        file[done : slot.start] = skeleton[kept : kept + gap]
        done, kept = slot.start + slot.size_bytes, kept + gap
    file[done:] = skeleton[kept:]

    batch: list[int] = []
    waiting = 0
    for index, slot in enumerate(layout.slots):
        batch.append(index)
        waiting += slot.size_bytes
        if waiting >= _BATCH_BYTES or index == len(plans) - 1:
            outputs = [_elements(file, layout.slots[member]) for member in batch]
            tensors.decode([plans[member] for member in batch], outputs)
            batch, waiting = [], 0
            if progress is not None:
                progress(slot.start + slot.size_bytes, layout.file_bytes)
    if zlib.crc32(file.data) != layout.crc32:
        raise FormatError("damaged: the unpacked file's checksum does not match")
    if progress is not None:
        progress(layout.file_bytes, layout.file_bytes)
    return file.tobytes()


def _elements(file: np.ndarray, slot: Slot) -> np.ndarray:
    return file[slot.start : slot.start + slot.size_bytes].view(f"<u{slot.item_bytes}")
