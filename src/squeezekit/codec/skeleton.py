"""Everything in a `.tflite` that is not a tensor's contents, in the fewest bytes.

Three parts, each compressed in its own way: the numbers of the outline and of the tables' fields, mostly small
and repetitive; texts and whatever bytes remain, for which `blob` has a dictionary of what such files usually say;
and the quantization scales. See `outline`, `columns`, `names` and `scales`.

The file without contents is built first, the same on both sides; where contents belong, and whose they are, is
then read from that file itself.
"""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from squeezekit.codec import bits, blob, columns, scales, wide
from squeezekit.codec.coders import Coder
from squeezekit.codec.flatbuffer import IDENTIFIER, TensorSpan, tensor_spans
from squeezekit.codec.names import join_digits, split_digits
from squeezekit.codec.outline import FIRST_BYTE, Outline, Stream
from squeezekit.codec.walks import Tape, play, record
from squeezekit.errors import FormatError

__all__ = ["Contents", "Parts", "Skeleton", "decode", "encode", "part_sizes", "restores", "take_apart"]

# All but the vtables, which repeat from file to file and so lie with the texts, for the dictionary's sake.
_STREAMS = [stream for stream in Stream if stream is not Stream.LAYOUT]
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


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """A file taken apart."""

    outline: Outline
    tape: Tape
    texts: list[bytes]
    blank: bytearray
    """The file without contents, scales and whatever belongs to no object."""
    contents: tuple[Contents, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Skeleton:
    """A file without contents, put together again."""

    file: memoryview
    """The whole file, the contents zero; what is written to it goes to `buffer`."""
    buffer: io.BytesIO
    """Holds the file."""
    contents: tuple[Contents, ...]
    """Ascending, not overlapping."""
    small: memoryview
    """Contents that are not coded as tensors, joined."""


def take_apart(tflite: bytes, *, outlined: bool = True) -> Parts:
    """Find objects and contents of a file.

    Args:
        tflite: the whole file, with a TFLite flatbuffer's mark.
        outlined: False to look for none: then the file is one gap. So is a file of too many objects.
    """
    try:
        outline, tape, texts = record(tflite if outlined else tflite[:FIRST_BYTE])
    except FormatError:
        outlined = False
    if not (outlined and _is_moderate(outline, tape, texts)):
        outline, tape, texts = Outline(gaps=[(FIRST_BYTE, len(tflite))], odd=[0]), [[] for _ in Stream], []
    blank = bytearray(tflite)
    outline.settle(blank)
    hidden = outline.gaps + outline.data
    hidden += [(start, start + 4 * count) for start, count in columns.float_spans(outline)]
    for start, stop in hidden:
        blank[start:stop] = bytes(stop - start)
    return Parts(outline, tape, texts, blank, _find_contents(blank, outline))


def _is_moderate(outline: Outline, tape: Tape, texts: list[bytes]) -> bool:
    """Whether a decoder will believe in so many numbers and texts; half its limits leave room for the rest."""
    numbers = sum(map(len, tape)) + sum(map(len, outline.columns.values()))
    numbers += sum(count * len(starts) for (_, count), starts in outline.vectors.items())
    return numbers <= MAX_NUMBERS // 2 and sum(map(len, texts)) + len(texts) <= bits.MAX_TEXT_BYTES


def _find_contents(blank: bytearray | memoryview, outline: Outline) -> tuple[Contents, ...]:
    """Find out whose contents belong where; takes those that lie in no object out of the outline's gaps."""
    try:
        spans = tensor_spans(blank)
    except FormatError:
        spans = []
    owners: dict[tuple[int, int], TensorSpan] = {}
    for span in spans:
        owners.setdefault((span.start, span.stop), span)
    found = {(start, stop): Contents(start, stop - start, 1) for start, stop in outline.data}
    # Behind the flatbuffer, as in files over 2 GB.
    for start, stop in outline.carve(set(owners) - set(found)):
        found[start, stop] = Contents(start, stop - start, 1)
    for place, owner in owners.items():
        if place in found:
            found[place] = Contents(owner.start, owner.size_bytes, owner.item_bytes, owner)
    return tuple(found[place] for place in sorted(found))


def encode(tflite: bytes, parts: Parts, small: bytes, coders: Sequence[Coder]) -> bytes:
    """Build the skeleton section.

    Args:
        tflite: the whole file.
        parts: from `take_apart`.
        small: contents that are not coded as tensors, joined.
        coders: from `coders_named`; none stores everything uncompressed.
    """
    outline, tape = parts.outline, parts.tape
    file = np.frombuffer(tflite, np.uint8)
    flags, payload = scales.write_scales(tflite, parts.blank, columns.float_spans(outline), coders)
    lists = [[len(numbers) for numbers in tape] + [len(parts.texts)], *(tape[stream] for stream in _STREAMS)]
    arrays = [np.array(numbers, np.uint64) for numbers in lists]
    arrays += [*columns.read_columns(file, outline), np.array(flags, np.uint64)]
    numbers = wide.varints(np.concatenate(arrays))
    template, digits = split_digits(b"".join(text + b"\0" for text in parts.texts))
    spans = [(start, start + 4) for start in outline.odd] + outline.blocks + outline.gaps
    rest = b"".join(
        [
            wide.varints(np.array(tape[Stream.LAYOUT], np.uint64)),
            template,
            digits,
            *(tflite[start:stop] for start, stop in spans),
            small,
        ]
    )
    section = b""
    for part in (numbers, rest):
        packed = blob.compress(part, store=not coders)
        section += bits.varint(len(part)) + bits.varint(len(packed)) + packed
    return section + payload


def restores(section: bytes, tflite: bytes, parts: Parts) -> bool:
    """Tell whether `decode` makes of a section all of the file but its contents."""
    expected = bytearray(tflite)
    for contents in parts.contents:
        expected[contents.start : contents.start + contents.size_bytes] = bytes(contents.size_bytes)
    try:
        decoded = decode(section, len(tflite))
    except FormatError:
        return False
    return decoded.file == expected and decoded.contents == parts.contents


def decode(section: bytes | memoryview, file_bytes: int) -> Skeleton:
    """Undo `encode`.

    Args:
        section: the skeleton section.
        file_bytes: size of the `.tflite`, which the caller has bounded.

    Raises:
        FormatError: not the skeleton of such a file.
    """
    if file_bytes < FIRST_BYTE:
        raise FormatError("a skeleton of a file that is too short to be one")
    reader = bits.Reader(section)
    size = reader.varint(10 * MAX_NUMBERS)
    numbers = wide.Numbers(wide.read_varints(blob.expand(reader.take(reader.varint()), size), MAX_NUMBERS))
    # Beyond the file's own bytes at most the vtables and digits of its texts.
    size = reader.varint(3 * file_bytes)
    rest = bits.Reader(blob.expand(reader.take(reader.varint()), size))
    counts = numbers.take(len(Stream) + 1, limit=MAX_NUMBERS).tolist()
    tape: Tape = [[] for _ in Stream]
    for stream in _STREAMS:
        tape[stream] = numbers.take(counts[stream]).tolist()
    tape[Stream.LAYOUT] = wide.read_some(rest, counts[Stream.LAYOUT])
    outline, buffer = play(file_bytes, tape, _read_texts(rest, counts[-1]))
    file = buffer.getbuffer()
    file[4:8] = IDENTIFIER
    data = np.frombuffer(file, np.uint8)
    columns.fill_columns(data, outline, numbers)
    _fill(file, [(start, start + 4) for start in outline.odd] + outline.blocks, rest)
    outline.settle(file)
    contents = _find_contents(file, outline)
    scales.fill_scales(file, columns.float_spans(outline), numbers, reader.rest())
    numbers.finish()
    _fill(file, outline.gaps, rest)
    return Skeleton(file, buffer, contents, rest.rest())


def part_sizes(section: bytes | memoryview) -> dict[str, int]:
    """Bytes of the three parts of a skeleton section; they add up to the section."""
    reader = bits.Reader(section)
    sizes: dict[str, int] = {}
    for name in ("numbers", "texts"):
        before = len(section) - sum(sizes.values())
        reader.varint()
        reader.take(reader.varint())
        sizes[name] = before - reader.left
    return {**sizes, "scales": reader.left}


def _read_texts(rest: bits.Reader, count: int) -> list[bytes]:
    template = rest.until_zero(count)
    text = join_digits(template, bytes(rest.take(template.count(b"0"))))
    return text.split(b"\0")[:-1]


def _fill(file: memoryview, spans: list[tuple[int, int]], rest: bits.Reader) -> None:
    for start, stop in spans:
        file[start:stop] = rest.take(stop - start)
