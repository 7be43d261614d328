"""Where entropy coders plug in: each codes a stream of small symbols, most of them knowing only their histogram.

A tensor form (`forms`, `tensors`) turns a tensor into streams; for each stream the smallest of the allowed
coders is taken and named in its first byte. A new coder is one more class here and one more line in `CODERS`.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from squeezekit.codec import bits, contexts, fitting, frequencies, huffman, lists, lockstep, rans
from squeezekit.errors import FormatError

__all__ = [
    "CODERS",
    "Coder",
    "HistogramCoder",
    "Huffman",
    "Job",
    "Plain",
    "coders_named",
    "decode_jobs",
    "encode_on_grid",
    "encode_stream",
    "framed",
    "parse_stream",
    "stream_bytes",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One coded stream that waits to be decoded."""

    coder: "Coder"
    payload: memoryview
    count: int
    """Symbols in the stream, at least 1."""
    alphabet: int
    """Symbols lie in [0, alphabet); at most 65,536."""
    out: np.ndarray | None = None
    """Where symbols may be written to at once, (count,) of uint8, of an alphabet of at most 256."""
    meanings: np.ndarray | None = None
    """uint8 or uint16 (alphabet,): what is given back for each symbol; None: itself."""


class Coder(abc.ABC):
    """An entropy coder for streams of uint8 or uint16 symbols; it has no state."""

    tag: int
    """First byte of every stream of this coder; part of the file format."""
    name: str
    decode_with: str
    """Streams of coders that say the same here are decoded together, by any of those coders."""

    @abc.abstractmethod
    def decode(self, jobs: Sequence[Job], around_bytes: int) -> list[np.ndarray]:
        """Decode many streams at once; one array (count,) each.

        Args:
            jobs: of this coder, or of others that say the same in `decode_with`.
            around_bytes: memory that may be taken beside the arrays, roughly.

        Raises:
            FormatError: a stream does not hold `count` symbols of its alphabet.
        """

    @abc.abstractmethod
    def code_bytes(self, job: Job) -> int:
        """Bytes of a stream that are its symbols' codes: without its table and where its lanes begin."""


class HistogramCoder(Coder):
    """A coder that needs to know of its symbols only how often each occurs."""

    @abc.abstractmethod
    def size_bytes(self, histogram: np.ndarray) -> int:
        """Bytes that symbols of this histogram will take, to within a few bytes."""

    @abc.abstractmethod
    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        """Code at least one symbol; `histogram` int64 (alphabet,) counts them."""


# Streams whose headers are read together; what a header makes is bounded, this bounds all that are held at once.
_MOST_JOBS = 256
# Symbols looked up at once.
_CHUNK = 1 << 16
# Steps that a static stream is decoded by at a time.
_STATIC_STEPS = 256


class Plain(HistogramCoder):
    """Every symbol in equally many bits: for mantissas and whatever else is as good as random."""

    tag = 0
    name = decode_with = "plain"

    @staticmethod
    def _width(alphabet: int) -> int:
        return (alphabet - 1).bit_length()

    @classmethod
    def bytes_for(cls, count: int, alphabet: int) -> int:
        """Exact size of a stream."""
        return (count * cls._width(alphabet) + 7) // 8

    def size_bytes(self, histogram: np.ndarray) -> int:
        """See `Coder`."""
        return self.bytes_for(int(histogram.sum()), len(histogram))

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        """See `Coder`."""
        width = self._width(len(histogram))
        if width == 8:
            return symbols.astype(np.uint8).tobytes()
        writer = bits.BitWriter(width * len(symbols))
        writer.write(symbols, np.broadcast_to(np.int64(width), symbols.shape))
        return writer.to_bytes()

    def decode(self, jobs: Sequence[Job], around_bytes: int) -> list[np.ndarray]:
        """See `Coder`."""
        return [self._decode(job) for job in jobs]

    def code_bytes(self, job: Job) -> int:
        """See `Coder`."""
        return len(job.payload)

    def _decode(self, job: Job) -> np.ndarray:
        width = self._width(job.alphabet)
        if len(job.payload) != self.bytes_for(job.count, job.alphabet):
            raise FormatError("a plain stream of the wrong length")
        payload = np.frombuffer(job.payload, np.uint8)
        if width == 8:
            symbols = payload
        else:
            widths = np.broadcast_to(np.int64(width), (job.count,))
            symbols = bits.read_bits(payload, 0, widths).astype(np.uint16)
        if int(symbols.max()) >= job.alphabet:
            raise FormatError("a symbol that cannot occur")
        return symbols


class Huffman(HistogramCoder):
    """Canonical Huffman codes in interleaved lanes, see `squeezekit.codec.huffman`."""

    tag = 1
    name = decode_with = "huffman"

    def size_bytes(self, histogram: np.ndarray) -> int:
        """See `Coder`."""
        return huffman.size_bytes(histogram)

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        """See `Coder`."""
        return huffman.encode(symbols, histogram)

    def decode(self, jobs: Sequence[Job], around_bytes: int) -> list[np.ndarray]:
        """See `Coder`."""
        return huffman.decode([huffman.read(job.payload, job.count, job.alphabet) for job in jobs])

    def code_bytes(self, job: Job) -> int:
        """See `Coder`."""
        return len(huffman.read(job.payload, job.count, job.alphabet).payload)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Static:
    """A stream with one table for all its symbols, read up to its lanes; see `lockstep.Stream`."""

    count: int
    dtype: np.dtype
    table: frequencies.Table
    lanes: tuple[rans.Lanes, ...]
    """None if one symbol is alone."""
    out: np.ndarray | None = None
    """See `Job`."""
    meanings: np.ndarray | None = None
    """See `Job`."""
    held_symbols = 0

    @property
    def steps(self) -> int:
        """See `lockstep.Stream`."""
        return self.count // len(self.lanes[0].counts) if self.lanes else 0

    def tables(self) -> list[lockstep.Tables]:
        """See `lockstep.Stream`."""
        table = self.table
        return [lockstep.Tables(self._symbols(), table.frequencies, table.precision) for _ in self.lanes]

    def _symbols(self) -> np.ndarray:
        return self.table.symbols if self.meanings is None else self.meanings[self.table.symbols]

    def decoding(self) -> lockstep.Asking:
        """See `lockstep.Stream`; asks for some at a time, beside the phases of other streams."""
        out = np.empty(self.count, self.dtype) if self.out is None else self.out
        if not self.lanes:
            out[...] = self._symbols()[0]
        else:
            block = _STATIC_STEPS * len(self.lanes[0].counts)
            for first in range(0, self.count, block):
                yield 0, out[first : first + block], None
        return out


class LockStep(Coder):
    """A coder whose streams are decoded together with those of others like it."""

    decode_with = "lock step"

    @abc.abstractmethod
    def parse(self, job: Job) -> lists.Parser[lockstep.Stream]:
        """Read a stream's headers, beside others."""

    def decode(self, jobs: Sequence[Job], around_bytes: int) -> list[np.ndarray]:
        """See `Coder`."""
        outputs: list[np.ndarray] = []
        for first in range(0, len(jobs), _MOST_JOBS):
            part = jobs[first : first + _MOST_JOBS]
            parsers = [job.coder.parse(job) for job in part if isinstance(job.coder, LockStep)]
            outputs += lockstep.decode(lists.together(parsers), around_bytes)
        return outputs

    def code_bytes(self, job: Job) -> int:
        """See `Coder`; words are of two bytes."""
        return 2 * sum(int(lanes.counts.sum()) for lanes in lists.alone(self.parse(job)).lanes)


class Rans(LockStep, HistogramCoder):
    """Static rANS: fractions of bits, a table of a few dozen bytes; see `squeezekit.codec.rans`."""

    tag = 2
    name = "rans"

    def size_bytes(self, histogram: np.ndarray) -> int:
        """See `Coder`."""
        counts = histogram[histogram > 0]
        entropy_bytes = int((counts * np.log2(counts.sum() / counts)).sum() / 8)
        if (
            entropy_bytes + len(counts) // 8 >= _PLAIN.size_bytes(histogram)
            or len(counts) > frequencies.MAX_SYMBOLS
        ):
            return 2 * int(counts.sum()) + 8  # as good as random: not worth looking for a table
        table = frequencies.choose(histogram)
        if len(table.symbols) == 1:
            return len(table.data)
        counts = histogram[table.symbols]
        code_bytes = frequencies.cost_bits(counts, table.frequencies, table.precision) / 8
        return len(table.data) + rans.size_bytes(int(counts.sum()), code_bytes)

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        """See `Coder`."""
        table = frequencies.choose(histogram)
        if len(table.symbols) == 1:
            return table.data
        return table.data + rans.encode_static(symbols, histogram, table)

    def parse(self, job: Job) -> lists.Parser[lockstep.Stream]:
        """See `LockStep`."""
        reader = bits.Reader(job.payload)
        table = yield from frequencies.read(reader, job.alphabet, job.count)
        dtype = np.dtype(np.uint8 if job.alphabet <= 256 else np.uint16)
        if len(table.symbols) == 1:
            reader.finish()
            return Static(job.count, dtype, table, (), job.out, job.meanings)
        lanes = yield from rans.read(reader, job.count)
        return Static(job.count, dtype, table, (lanes,), job.out, job.meanings)


class Contexts(LockStep):
    """rANS with a table chosen for each symbol by its surroundings; see `squeezekit.codec.contexts`.

    `encode_on_grid` codes: a histogram alone does not tell what a stream takes.
    """

    tag = 3
    name = "contexts"

    def parse(self, job: Job) -> lists.Parser[lockstep.Stream]:
        """See `LockStep`."""
        return contexts.read(job.payload, job.count, job.alphabet, job.out)


_PLAIN, _HUFFMAN, _RANS, _CONTEXTS = Plain(), Huffman(), Rans(), Contexts()
_BY_TAG: Mapping[int, Coder] = MappingProxyType(
    {coder.tag: coder for coder in (_PLAIN, _HUFFMAN, _RANS, _CONTEXTS)}
)

DEFAULT_CODER = "auto"

CODERS: Mapping[str, tuple[Coder, ...]] = MappingProxyType(
    {
        "auto": (_PLAIN, _HUFFMAN, _RANS, _CONTEXTS),
        "huffman": (_PLAIN, _HUFFMAN),
        "rans": (_PLAIN, _RANS),
        "small": (_PLAIN, _RANS, _CONTEXTS),
        "none": (),
    }
)
"""What a user may ask for, and the coders each choice allows; none at all stores every byte as it is."""


def coders_named(name: str) -> tuple[Coder, ...]:
    """Return the coders behind a name of `CODERS`.

    Raises:
        ValueError: no such name.

    Example:
        >>> [coder.name for coder in coders_named("huffman")]
        ['plain', 'huffman']
    """
    if name not in CODERS:
        raise ValueError(f"Expected a coder, one of {', '.join(sorted(CODERS))}. Received: coder={name!r}.")
    return CODERS[name]


def stream_bytes(histogram: np.ndarray, coders: Sequence[Coder]) -> int:
    """Return the size of the smallest stream for symbols of this histogram, to within a few bytes."""
    return 1 + min(coder.size_bytes(histogram) for coder in coders if isinstance(coder, HistogramCoder))


def encode_stream(symbols: np.ndarray, histogram: np.ndarray, coders: Sequence[Coder]) -> bytes:
    """Code symbols with the coder that needs fewest bytes; the first byte names it."""
    able = [coder for coder in coders if isinstance(coder, HistogramCoder)]
    coder = min(able, key=lambda coder: coder.size_bytes(histogram))
    return bytes([coder.tag]) + coder.encode(symbols, histogram)


def encode_on_grid(
    symbols: np.ndarray, histogram: np.ndarray, coders: Sequence[Coder], shape: Sequence[int]
) -> bytes | None:
    """Code symbols that lie in a tensor of this shape by their surroundings.

    Returns:
        The stream; None where no such coder is allowed or none suits.
    """
    grid = fitting.grid_of(tuple(shape), len(symbols))
    if grid is None or not fitting.suits(histogram) or _CONTEXTS not in coders:
        return None
    stream = fitting.encode(symbols, histogram, grid)
    return None if stream is None else bytes([Contexts.tag]) + stream


def framed(stream: bytes) -> bytes:
    """A stream that others follow: with its size, unless that is known from the number of its symbols."""
    return stream if stream[0] == Plain.tag else stream[:1] + bits.varint(len(stream) - 1) + stream[1:]


def parse_stream(reader: bits.Reader, count: int, alphabet: int, *, last: bool) -> Job:
    """Read which coder a stream needs; decoding waits until `decode_jobs`.

    Args:
        reader: moves to behind the stream.
        count: its symbols.
        alphabet: they lie in [0, alphabet).
        last: nothing follows it; otherwise it is `framed`.
    """
    tag = reader.byte()
    if tag not in _BY_TAG:
        raise FormatError(f"stream coder {tag} is unknown to this squeezekit")
    if last:
        payload = reader.rest()
    else:
        payload = reader.take(Plain.bytes_for(count, alphabet) if tag == Plain.tag else reader.varint())
    return Job(_BY_TAG[tag], payload, count, alphabet)


def _looked_up(symbols: np.ndarray, meanings: np.ndarray) -> np.ndarray:
    out = np.empty(len(symbols), meanings.dtype)
    # Piece by piece, because NumPy makes 64-bit indices of symbols.
    for first in range(0, len(out), _CHUNK):
        meanings.take(symbols[first : first + _CHUNK], out=out[first : first + _CHUNK], mode="clip")
    return out


def decode_jobs(jobs: Sequence[Job], around_bytes: int = 0) -> list[np.ndarray]:
    """Decode streams, those of one coder together, and return them in the order of `jobs`.

    Args:
        jobs: from `parse_stream`.
        around_bytes: memory that decoding may take beside its outputs, roughly; a least and a most are set for it.
    """
    outputs: dict[int, np.ndarray] = {}
    kinds = {coder.decode_with: coder for coder in _BY_TAG.values()}
    for kind, coder in kinds.items():
        own = [index for index, job in enumerate(jobs) if job.coder.decode_with == kind]
        outputs.update(zip(own, coder.decode([jobs[index] for index in own], around_bytes), strict=True))
    for index, job in enumerate(jobs):
        if job.meanings is not None and not isinstance(job.coder, Rans):  # whose tables hold them already
            outputs[index] = _looked_up(outputs[index], job.meanings)
    return [outputs[index] for index in range(len(jobs))]
