"""Everything in a `.tflite` that is not a tensor's contents, in the fewest bytes.

Three parts, each compressed in its own way: the numbers of the traversal and of the tables' fields, mostly small
and repetitive; texts and whatever bytes remain, for which `generic_compression` has a dictionary of the usual
contents of such files; and the quantization scales. See `traversal`, `fields`, `digits` and `scales`.

Encoder and decoder both build the file without contents first; where contents belong, and whose they are, is then
read from that file itself.
"""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import Coder, bits
from squeezekit.codec.flatbuffer import fields, generic_compression, scales, varints
from squeezekit.codec.flatbuffer.digits import join_digits, split_digits
from squeezekit.codec.flatbuffer.record_replay import Recording, record, replay
from squeezekit.codec.flatbuffer.tensors import IDENTIFIER, TensorSpan, tensor_spans
from squeezekit.codec.flatbuffer.traversal import FIRST_BYTE, Regions, Series
from squeezekit.errors import FormatError

__all__ = ["Contents", "Parts", "Skeleton", "decode", "encode", "part_sizes", "restores", "separate"]

# All but the vtables, which repeat from file to file and so go with the texts, where the dictionary has them.
_SERIES = [series for series in Series if series is not Series.LAYOUT]
# No network has more numbers; bounds what they take in memory.
MAX_NUMBERS = 1 << 22


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """Where contents belong: a tensor's, or those of a buffer that is none's."""

    start: int
    size_bytes: int
    """At least 1."""
    item_bytes: int
    """1, 2, 4 or 8; divides `size_bytes`."""
    owner: TensorSpan | None = None
    """The first tensor that has these contents."""

    @property
    def stop(self) -> int:
        """Position after the last byte."""
        return self.start + self.size_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """A file separated into its contents and the rest."""

    regions: Regions
    recording: Recording
    texts: list[bytes]
    blank: bytearray
    """The file without contents, scales and whatever belongs to no object."""
    contents: tuple[Contents, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Skeleton:
    """A file rebuilt without contents."""

    file: memoryview
    """The whole file, the contents zero; what is written to it goes to `buffer`."""
    buffer: io.BytesIO
    contents: tuple[Contents, ...]
    """Ascending, not overlapping."""
    small: memoryview
    """Contents that are not coded as tensors, joined."""


def separate(tflite: bytes, *, traversed: bool = True) -> Parts:
    """Find objects and contents of a whole file that has a TFLite flatbuffer's mark.

    `traversed=False` finds none: then the file is one gap. So is a file of too many objects.
    """
    try:
        regions, recording, texts = record(tflite if traversed else tflite[:FIRST_BYTE])
    except FormatError:
        traversed = False
    if not (traversed and _is_moderate(regions, recording, texts)):
        regions = Regions(gaps=[(FIRST_BYTE, len(tflite))], unresolved=[0])
        recording, texts = [[] for _ in Series], []
    blank = bytearray(tflite)
    regions.write_detached(blank)
    hidden = regions.gaps + regions.data
    hidden += [(start, start + 4 * count) for start, count in fields.float_spans(regions)]
    for start, stop in hidden:
        blank[start:stop] = bytes(stop - start)
    return Parts(regions, recording, texts, blank, _find_contents(blank, regions))


def _is_moderate(regions: Regions, recording: Recording, texts: list[bytes]) -> bool:
    """Whether a decoder will accept so many numbers and texts; half its limits leave room for the rest."""
    numbers = sum(map(len, recording)) + sum(map(len, regions.fields.values()))
    numbers += sum(count * len(starts) for (_, count), starts in regions.vectors.items())
    return numbers <= MAX_NUMBERS // 2 and sum(map(len, texts)) + len(texts) <= bits.MAX_TEXT_BYTES


def _find_contents(blank: bytearray | memoryview, regions: Regions) -> tuple[Contents, ...]:
    """Find whose contents belong where; takes those that lie in no object out of the gaps."""
    try:
        spans = tensor_spans(blank)
    except FormatError:
        spans = []
    owners: dict[tuple[int, int], TensorSpan] = {}
    for span in spans:
        owners.setdefault((span.start, span.stop), span)
    # Behind the flatbuffer, as in files over 2 GB.
    outside = regions.cut_from_gaps(set(owners) - set(regions.data))
    found = []
    for start, stop in sorted([*regions.data, *outside]):
        owner = owners.get((start, stop))
        found.append(Contents(start, stop - start, owner.item_bytes if owner else 1, owner))
    return tuple(found)


def encode(tflite: bytes, parts: Parts, small: bytes, coders: Sequence[Coder]) -> bytes:
    """Build the skeleton section; without coders everything is stored uncompressed.

    `small` are the contents that are not coded as tensors, joined.
    """
    regions, recording = parts.regions, parts.recording
    file = np.frombuffer(tflite, np.uint8)
    flags, payload = scales.write_scales(tflite, parts.blank, fields.float_spans(regions), coders)
    lists = [[*map(len, recording), len(parts.texts)], *(recording[series] for series in _SERIES), flags]
    arrays = [np.array(numbers, np.uint64) for numbers in lists]
    arrays[-1:-1] = fields.read_fields(file, regions)
    numbers = varints.varints(np.concatenate(arrays))
    template, digits = split_digits(b"".join(text + b"\0" for text in parts.texts))
    spans = [(start, start + 4) for start in regions.unresolved] + regions.blocks + regions.gaps
    layouts = varints.varints(np.array(recording[Series.LAYOUT], np.uint64))
    rest = b"".join([layouts, template, digits, *(tflite[start:stop] for start, stop in spans), small])
    section = b""
    for part in (numbers, rest):
        packed = generic_compression.compress(part, store=not coders)
        section += bits.varint(len(part)) + bits.varint(len(packed)) + packed
    return section + payload


def restores(section: bytes, tflite: bytes, parts: Parts) -> bool:
    """Tell whether `decode` makes of a section all of the file but its contents."""
    expected = bytearray(tflite)
    for contents in parts.contents:
        expected[contents.start : contents.stop] = bytes(contents.size_bytes)
    try:
        decoded = decode(section, len(tflite))
    except FormatError:
        return False
    return decoded.file == expected and decoded.contents == parts.contents


def decode(section: bytes | memoryview, file_bytes: int) -> Skeleton:
    """Undo `encode` for a `.tflite` of `file_bytes`, which the caller has bounded.

    Raises:
        FormatError: not the skeleton of such a file.
    """
    if file_bytes < FIRST_BYTE:
        raise FormatError("a skeleton of a file that is too short to be one")
    reader = bits.Reader(section)
    numbers = varints.Numbers(varints.read_varints(_expand(reader, 10 * MAX_NUMBERS), MAX_NUMBERS))
    # Beyond the file's own bytes at most the vtables and digits of its texts.
    rest = bits.Reader(_expand(reader, 3 * file_bytes))
    counts = numbers.take(len(Series) + 1, limit=MAX_NUMBERS).tolist()
    recording: Recording = [[] for _ in Series]
    for series in _SERIES:
        recording[series] = numbers.take(counts[series]).tolist()
    recording[Series.LAYOUT] = varints.read_some(rest, counts[Series.LAYOUT])
    regions, buffer = replay(file_bytes, recording, _read_texts(rest, counts[-1]))
    file = buffer.getbuffer()
    file[4:8] = IDENTIFIER
    fields.fill_fields(np.frombuffer(file, np.uint8), regions, numbers)
    _fill(file, [(start, start + 4) for start in regions.unresolved] + regions.blocks, rest)
    regions.write_detached(file)
    contents = _find_contents(file, regions)
    scales.fill_scales(file, fields.float_spans(regions), numbers, reader.rest())
    numbers.finish()
    _fill(file, regions.gaps, rest)
    return Skeleton(file, buffer, contents, rest.rest())


def _expand(reader: bits.Reader, limit: int) -> bytes:
    size = reader.varint(limit)
    return generic_compression.expand(reader.take(reader.varint()), size)


def part_sizes(section: bytes | memoryview) -> dict[str, int]:
    """Bytes of the three parts of a skeleton section; they add up to the section."""
    reader = bits.Reader(section)
    left = [reader.left]
    for _ in range(2):
        reader.varint()
        reader.take(reader.varint())
        left.append(reader.left)
    return {"numbers": left[0] - left[1], "texts": left[1] - left[2], "scales": left[2]}


def _read_texts(rest: bits.Reader, count: int) -> list[bytes]:
    template = rest.until_zero(count)
    text = join_digits(template, bytes(rest.take(template.count(b"0"))))
    return text.split(b"\0")[:-1]


def _fill(file: memoryview, spans: list[tuple[int, int]], rest: bits.Reader) -> None:
    for start, stop in spans:
        file[start:stop] = rest.take(stop - start)
