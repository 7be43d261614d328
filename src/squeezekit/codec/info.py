"""What is in a `.sqz` or `.tflite`, and where its bytes go."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from squeezekit.codec import arrays, tensor
from squeezekit.codec.container import Section, Sections, is_sqz, split
from squeezekit.codec.flatbuffer import TensorSpan, skeleton, tensor_spans
from squeezekit.codec.layout_section import POOLED, SMALL, Layout
from squeezekit.codec.sqz import info_of, layout_of, plans_of, skeleton_of, unpack

__all__ = ["Description", "TensorLine", "describe"]


@dataclasses.dataclass(frozen=True, slots=True)
class TensorLine:
    """One tensor that has contents."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    coder: str
    """Form and entropy coders, such as "sparse/palette/huffman"; "raw" in a `.tflite`. "pool": coded together with
    other short tensors; "skeleton": too short to be coded on its own; "shared": the bytes of another tensor, which
    is listed before."""
    bytes: int
    """What the tensor takes in this file (of the pool: its share); 0 for "skeleton" in a `.sqz` and for "shared"."""
    entropy_bound_bytes: int
    """See `squeezekit.codec.tensor.entropy_bound_bytes`."""
    elements: int
    raw_bytes: int
    """What the tensor takes uncoded."""

    @property
    def bits_per_element(self) -> float:
        """Bits that one element takes in this file."""
        return 8 * self.bytes / self.elements

    @property
    def overhead_bytes(self) -> int:
        """Bytes beyond the bound; negative for a coder that knows more than how often each value occurs."""
        return self.bytes - self.entropy_bound_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """A file's contents; the sections' bytes add up to `bytes`."""

    bytes: int
    tensors: tuple[TensorLine, ...]
    sections: dict[str, int]
    skeleton: dict[str, int]
    """Bytes of the skeleton's parts, which add up to that section: numbers, texts, scales; empty for a `.tflite`."""
    info: dict[str, Any]
    tables: int = 0
    """Bytes of the section `tensors` that are codebooks, code tables and headers of payloads; of a network only."""


def describe(data: bytes) -> Description:
    """Say what a `.sqz` (of a network or of arrays) or `.tflite` holds, tensor by tensor.

    A `.sqz` is unpacked, since the names lie in the `.tflite`.

    Raises:
        FormatError: neither, or damaged.
    """
    if not is_sqz(data):
        # Every tensor that does not overlap another takes its own size.
        coded: dict[int, tuple[str, int]] = {}
        stop = 0
        for span in sorted(tensor_spans(data), key=lambda span: (span.start, -span.size_bytes)):
            if span.start >= stop:
                coded[span.start], stop = ("raw", span.size_bytes), span.stop
        lines = _lines(data, coded)
        in_tensors = sum(line.bytes for line in lines)
        sizes = {"skeleton": len(data) - in_tensors, "tensors": in_tensors}
        return Description(len(data), lines, sizes, {}, {})
    sections = split(data, arrays=None)
    sizes = {kind.name.lower(): len(part) for kind, part in sections.parts.items()}
    sizes = {"header": sections.header_bytes, **sizes}
    if Section.ARRAYS in sections.parts:
        return Description(len(data), _array_lines(data, sections), sizes, {}, info_of(sections))
    layout = layout_of(sections)
    rebuilt = skeleton_of(sections, layout)
    plans = plans_of(sections, layout, rebuilt.contents)
    lines = _lines(unpack(data), _coded(layout, rebuilt, plans))
    pieces = skeleton.part_sizes(sections.parts[Section.SKELETON])
    tables = sum(layout.payload_bytes[number] - plan.weight_bytes for number, plan in plans.items())
    return Description(len(data), lines, sizes, pieces, info_of(sections), tables)


def _array_lines(data: bytes, sections: Sections) -> tuple[TensorLine, ...]:
    values = arrays.decode_tensors(data)
    lines = []
    for entry, plan in arrays.plans_of(sections, arrays.read_directory(sections)):
        array = values[entry.name]
        if plan is not None:
            bound = tensor.entropy_bound_bytes(array.astype(entry.dtype).tobytes(), entry.item_bytes)
            about = (entry.name, entry.shape, entry.dtype.name, plan.label, entry.payload_bytes)
            lines.append(TensorLine(*about, bound, array.size, array.nbytes))
    return tuple(lines)


def _coded(
    layout: Layout, rebuilt: skeleton.Skeleton, plans: Mapping[int, tensor.Plan]
) -> dict[int, tuple[str, int]]:
    """Coder and bytes by position in the `.tflite`."""
    coded = {}
    items = list(zip(rebuilt.contents, layout.payload_bytes, strict=True))
    pooled = sum(contents.size_bytes for contents, size in items if size == POOLED)
    left = layout.pool_bytes
    for number, (contents, size) in enumerate(items):
        if size == SMALL:
            coded[contents.start] = ("skeleton", 0)
        elif size == POOLED:
            share = left * contents.size_bytes // pooled
            left, pooled = left - share, pooled - contents.size_bytes
            coded[contents.start] = ("pool", share)
        else:
            coded[contents.start] = (plans[number].label, size)
    return coded


def _lines(tflite: bytes, coded: Mapping[int, tuple[str, int]]) -> tuple[TensorLine, ...]:
    """One line a tensor; `coded` maps a position in the file to coder and bytes there."""
    lines, seen = [], set()
    for span in tensor_spans(tflite):
        coder, size = coded.get(span.start, ("skeleton", 0))
        if span.start in seen:
            coder, size = "shared", 0
        seen.add(span.start)
        bound = tensor.entropy_bound_bytes(memoryview(tflite)[span.start : span.stop], span.item_bytes)
        about = (span.name, span.shape, span.dtype, coder, size)
        lines.append(TensorLine(*about, bound, _elements(span), span.size_bytes))
    return tuple(lines)


def _elements(span: TensorSpan) -> int:
    # Of types of half a byte only the shape gives the number.
    count = math.prod(side for side in span.shape)
    return count if min(span.shape, default=1) > 0 else span.size_bytes // span.item_bytes
