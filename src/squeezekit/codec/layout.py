"""Where the tensors lie in a `.tflite`, and which of its bytes stay together as the skeleton."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from squeezekit.codec import bits
from squeezekit.codec.flatbuffer import TensorSpan
from squeezekit.codec.tensors import ITEM_BYTES
from squeezekit.errors import FormatError

__all__ = ["MAX_FILE_BYTES", "Layout", "Slot", "choose_spans", "read_layout", "write_layout"]

# No network for a small device comes near it; it bounds what a hostile file can make us allocate.
MAX_FILE_BYTES = 1 << 30
# Such a file may still not unpack to more than 64 MiB plus 1,024 times its own size.
FREE_BYTES = 1 << 26
MAX_RATIO = 1024
MAX_TENSORS = 1 << 20
# Shorter buffers (a quantization parameter, a reshape's target) do better among the graph's bytes.
MIN_TENSOR_BYTES = 128


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One tensor cut out of the file."""

    start: int
    size_bytes: int
    item_bytes: int
    payload_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Everything needed to lay skeleton and tensors together again."""

    file_bytes: int
    crc32: int
    slots: tuple[Slot, ...]
    """Ascending, not overlapping, within the file."""

    @property
    def skeleton_bytes(self) -> int:
        """Bytes of the file that belong to no slot."""
        return self.file_bytes - sum(slot.size_bytes for slot in self.slots)


def choose_spans(spans: Iterable[TensorSpan], *, least_bytes: int = MIN_TENSOR_BYTES) -> list[TensorSpan]:
    """Pick the spans worth cutting out, ascending; of spans that overlap only the first."""
    chosen: list[TensorSpan] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.size_bytes)):
        if span.size_bytes >= least_bytes and (not chosen or span.start >= chosen[-1].stop):
            chosen.append(span)
    return chosen[:MAX_TENSORS]


def write_layout(layout: Layout) -> bytes:
    """Build the layout section."""
    slots = layout.slots
    stops = [0, *(slot.start + slot.size_bytes for slot in slots)]
    columns = (
        [slot.start - stop for slot, stop in zip(slots, stops, strict=False)],
        [slot.size_bytes // slot.item_bytes for slot in slots],
        [ITEM_BYTES.index(slot.item_bytes) for slot in slots],
        [slot.payload_bytes for slot in slots],
    )
    head = bits.varint(layout.file_bytes) + layout.crc32.to_bytes(4, "little") + bits.varint(len(slots))
    return head + b"".join(bits.numbers(np.array(column, np.int64)) for column in columns)


def within_ratio(file_bytes: int, sqz_bytes: int) -> bool:
    """Tell whether a `.sqz` of this size may unpack to so many bytes."""
    return file_bytes <= min(MAX_FILE_BYTES, FREE_BYTES + MAX_RATIO * sqz_bytes)


def read_layout(data: bytes | memoryview, *, sqz_bytes: int, payload_bytes: int) -> Layout:
    """Read and check a layout section.

    Args:
        data: the section.
        sqz_bytes: size of the whole file, which bounds what it may unpack to.
        payload_bytes: size of the tensors section, which the payloads must fill.

    Raises:
        FormatError: sizes that contradict each other or exceed the caps.
    """
    reader = bits.Reader(data)
    file_bytes = reader.varint()
    if not within_ratio(file_bytes, sqz_bytes):
        raise FormatError(f"claims to unpack {sqz_bytes:,} to {file_bytes:,} bytes: too large to be true")
    crc32 = reader.uint32()
    count = reader.varint(min(MAX_TENSORS, file_bytes))
    gaps, counts, item_codes, payloads = (reader.numbers(count) for _ in range(4))
    reader.finish()
    if count == 0:
        items = item_codes
    elif item_codes.max() >= len(ITEM_BYTES) or counts.min() == 0:
        raise FormatError("a tensor without elements, or of elements of no known size")
    else:
        items = np.array(ITEM_BYTES)[item_codes]
    # Every number is below 2**32 and there are at most 2**20 of them: int64 cannot overflow.
    sizes = counts * items
    stops = np.cumsum(gaps + sizes)
    if count and int(stops[-1]) > file_bytes:
        raise FormatError("tensors that lie outside the file")
    if int(payloads.sum()) != payload_bytes:
        raise FormatError("tensors that do not fill their section")
    slots = zip((stops - sizes).tolist(), sizes.tolist(), items.tolist(), payloads.tolist(), strict=True)
    return Layout(file_bytes, crc32, tuple(Slot(*slot) for slot in slots))
