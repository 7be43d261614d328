"""What is in a `.sqz` or `.tflite`, and where its bytes go."""

import dataclasses
from typing import Any

from squeezekit.codec import tensors
from squeezekit.codec.container import is_sqz, split
from squeezekit.codec.flatbuffer import tensor_spans
from squeezekit.codec.layout import choose_spans
from squeezekit.codec.sqz import info_of, layout_of, plans_of, unpack

__all__ = ["Description", "TensorLine", "describe"]


@dataclasses.dataclass(frozen=True, slots=True)
class TensorLine:
    """One tensor that has contents."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    coder: str
    """Form and entropy coders, such as "sparse/palette/huffman"; "raw" in a `.tflite`. "skeleton": too short
    to be coded apart; "shared": the bytes of another tensor, which is listed before."""
    bytes: int
    """What the tensor takes in this file; 0 for "skeleton" in a `.sqz` and for "shared"."""
    entropy_bound_bytes: int
    """See `squeezekit.codec.tensors.entropy_bound_bytes`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """A file's contents; the sections' bytes add up to `bytes`."""

    bytes: int
    tensors: tuple[TensorLine, ...]
    sections: dict[str, int]
    info: dict[str, Any]


def describe(data: bytes) -> Description:
    """Say what a `.sqz` or `.tflite` holds, tensor by tensor.

    Args:
        data: the whole file. A `.sqz` is unpacked for it, since the names lie in the `.tflite`.

    Raises:
        FormatError: neither, or damaged.
    """
    if not is_sqz(data):
        # Every tensor that does not overlap another takes what it is long.
        spans = choose_spans(tensor_spans(data), least_bytes=1)
        lines = _lines(data, {span.start: ("raw", span.size_bytes) for span in spans})
        in_tensors = sum(line.bytes for line in lines)
        sections = {"skeleton": len(data) - in_tensors, "tensors": in_tensors}
        return Description(len(data), lines, sections, {})
    sections_of_file = split(data)
    layout = layout_of(sections_of_file)
    coded = {
        slot.start: (plan.label, slot.payload_bytes)
        for slot, plan in zip(layout.slots, plans_of(sections_of_file, layout), strict=True)
    }
    sizes = {kind.name.lower(): len(part) for kind, part in sections_of_file.parts.items()}
    sizes = {"header": sections_of_file.header_bytes, **sizes}
    return Description(len(data), _lines(unpack(data), coded), sizes, info_of(sections_of_file))


def _lines(tflite: bytes, coded: dict[int, tuple[str, int]]) -> tuple[TensorLine, ...]:
    """One line a tensor; `coded` maps a position in the file to coder and bytes there."""
    spans = tensor_spans(tflite)
    lines, seen = [], set()
    for span in spans:
        coder, size = coded.get(span.start, ("skeleton", 0))
        if span.start in seen:
            coder, size = "shared", 0
        seen.add(span.start)
        bound = tensors.entropy_bound_bytes(memoryview(tflite)[span.start : span.stop], span.item_bytes)
        lines.append(TensorLine(span.name, span.shape, span.dtype, coder, size, bound))
    return tuple(lines)
