"""The entropy coders: each codes streams of small symbols, most of them from their histogram alone.

A new coder is one more class here and one more line in `CODERS`.
"""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import bits, context_model, frequency_tables, headers, huffman, rans
from squeezekit.codec.entropy.rans_decoder import Phases, Stream, Tables
from squeezekit.codec.entropy.rans_decoder import decode as decode_in_lock_step
from squeezekit.errors import FormatError

__all__ = ["BY_TAG", "CODERS", "DEFAULT_CODER", "Coder", "HistogramCoder", "Job", "coders_named"]

# Streams whose headers are read together; what a header makes is bounded, this bounds all that are held at once.
_MOST_JOBS = 256
# Steps that a static stream is decoded by at a time.
_STATIC_STEPS = 256


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
    """Where symbols may be written to directly, (count,) of uint8, of an alphabet of at most 256."""
    values: np.ndarray | None = None
    """uint8 or uint16 (alphabet,): what is returned for each symbol; None: the symbol."""


class Coder(abc.ABC):
    """An entropy coder for streams of uint8 or uint16 symbols; it has no state."""

    tag: int
    """First byte of every stream of this coder; part of the file format."""
    name: str
    decode_with: str
    """Streams of coders with the same value here are decoded together, by any of those coders."""

    @abc.abstractmethod
    def decode(self, jobs: Sequence[Job], scratch_bytes: int) -> list[np.ndarray]:
        """Decode many streams of this coder, or of others with the same `decode_with`; one array (count,) each.

        `scratch_bytes` is memory that may be taken beside the arrays, roughly.

        Raises:
            FormatError: a stream does not hold `count` symbols of its alphabet.
        """

    @abc.abstractmethod
    def code_bytes(self, job: Job) -> int:
        """Bytes of a stream that are its symbols' codes: without its table and the lengths of its lanes."""


class HistogramCoder(Coder):
    """A coder that needs to know of its symbols only how often each occurs."""

    @abc.abstractmethod
    def size_bytes(self, histogram: np.ndarray) -> int:
        """Bytes that symbols of this histogram will take, to within a few bytes."""

    @abc.abstractmethod
    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        """Code at least one symbol; `histogram` int64 (alphabet,) counts them."""


class _Plain(HistogramCoder):
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
        return self.bytes_for(int(histogram.sum()), len(histogram))

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        width = self._width(len(histogram))
        if width == 8:
            return symbols.astype(np.uint8).tobytes()
        writer = bits.BitWriter(width * len(symbols))
        writer.write(symbols, np.broadcast_to(np.int64(width), symbols.shape))
        return writer.to_bytes()

    def decode(self, jobs: Sequence[Job], scratch_bytes: int) -> list[np.ndarray]:
        return [self._decode(job) for job in jobs]

    def code_bytes(self, job: Job) -> int:
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


class _Huffman(HistogramCoder):
    """Canonical Huffman codes in interleaved lanes, see `squeezekit.codec.entropy.huffman`."""

    tag = 1
    name = decode_with = "huffman"

    def size_bytes(self, histogram: np.ndarray) -> int:
        return huffman.size_bytes(histogram)

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        return huffman.encode(symbols, histogram)

    def decode(self, jobs: Sequence[Job], scratch_bytes: int) -> list[np.ndarray]:
        return huffman.decode([huffman.read(job.payload, job.count, job.alphabet) for job in jobs])

    def code_bytes(self, job: Job) -> int:
        return len(huffman.read(job.payload, job.count, job.alphabet).payload)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _StaticStream:
    """A stream with one table for all its symbols, its header read; see `rans_decoder.Stream`."""

    job: Job
    table: frequency_tables.Table
    lanes: tuple[rans.Lanes, ...]
    """None if one symbol is alone."""
    held_symbols = 0

    @property
    def steps(self) -> int:
        return self.job.count // len(self.lanes[0].counts) if self.lanes else 0

    def tables(self) -> list[Tables]:
        table = self.table
        return [Tables(self._symbols(), table.frequencies, table.precision) for _ in self.lanes]

    def _symbols(self) -> np.ndarray:
        return self.table.symbols if self.job.values is None else self.job.values[self.table.symbols]

    def decoding(self) -> Phases:
        # A block at a time, beside the phases of other streams.
        out = self.job.out
        if out is None:
            out = np.empty(self.job.count, np.uint8 if self.job.alphabet <= 256 else np.uint16)
        if not self.lanes:
            out[...] = self._symbols()[0]
        else:
            block = _STATIC_STEPS * len(self.lanes[0].counts)
            for first in range(0, len(out), block):
                yield 0, out[first : first + block], None
        return out


class _LockStep(Coder):
    """A coder whose streams are decoded together with those of others like it."""

    decode_with = "lock step"

    @abc.abstractmethod
    def parse(self, job: Job) -> headers.Parser[Stream]:
        """Read a stream's header, beside others."""

    def decode(self, jobs: Sequence[Job], scratch_bytes: int) -> list[np.ndarray]:
        outputs: list[np.ndarray] = []
        for first in range(0, len(jobs), _MOST_JOBS):
            part = jobs[first : first + _MOST_JOBS]
            parsers = [job.coder.parse(job) for job in part if isinstance(job.coder, _LockStep)]
            outputs += decode_in_lock_step(headers.run_together(parsers), scratch_bytes)
        return outputs

    def code_bytes(self, job: Job) -> int:
        # Words are of two bytes.
        return 2 * sum(int(lanes.counts.sum()) for lanes in headers.run(self.parse(job)).lanes)


class _Rans(_LockStep, HistogramCoder):
    """Static rANS: fractions of bits, a table of a few dozen bytes; see `squeezekit.codec.entropy.rans`."""

    tag = 2
    name = "rans"

    def size_bytes(self, histogram: np.ndarray) -> int:
        counts = histogram[histogram > 0]
        entropy_bytes = int((counts * np.log2(counts.sum() / counts)).sum() / 8)
        as_good_as_random = entropy_bytes + len(counts) // 8 >= PLAIN.size_bytes(histogram)
        if as_good_as_random or len(counts) > frequency_tables.MAX_SYMBOLS:
            return 2 * int(counts.sum()) + 8  # more than plain takes: no table is worth the search
        table = frequency_tables.choose(histogram)
        if len(table.symbols) == 1:
            return len(table.data)
        counts = histogram[table.symbols]
        code_bytes = frequency_tables.cost_bits(counts, table.frequencies, table.precision) / 8
        return len(table.data) + rans.size_bytes(int(counts.sum()), code_bytes)

    def encode(self, symbols: np.ndarray, histogram: np.ndarray) -> bytes:
        table = frequency_tables.choose(histogram)
        lanes = b"" if len(table.symbols) == 1 else rans.encode_static(symbols, histogram, table)
        return table.data + lanes

    def parse(self, job: Job) -> headers.Parser[Stream]:
        reader = bits.Reader(job.payload)
        table = yield from frequency_tables.parse(reader, job.alphabet, job.count)
        if len(table.symbols) == 1:
            reader.finish()
            return _StaticStream(job, table, ())
        return _StaticStream(job, table, ((yield from rans.parse(reader, job.count)),))


class _Contexts(_LockStep):
    """rANS with a table chosen for each symbol by its neighbours; see `squeezekit.codec.entropy.context_model`.

    `streams.encode_kernels` codes: the size of such a stream does not follow from a histogram.
    """

    tag = 3
    name = "contexts"

    def parse(self, job: Job) -> headers.Parser[Stream]:
        return context_model.parse(job.payload, job.count, job.alphabet, job.out)


PLAIN, _HUFFMAN, RANS, CONTEXTS = _Plain(), _Huffman(), _Rans(), _Contexts()
BY_TAG: dict[int, Coder] = {coder.tag: coder for coder in (PLAIN, _HUFFMAN, RANS, CONTEXTS)}
DEFAULT_CODER = "auto"

CODERS: dict[str, tuple[Coder, ...]] = {
    "auto": (PLAIN, _HUFFMAN, RANS, CONTEXTS),
    "huffman": (PLAIN, _HUFFMAN),
    "rans": (PLAIN, RANS),
    "small": (PLAIN, RANS, CONTEXTS),
    "none": (),
}
"""What a user may choose, and the coders each choice allows; no coder at all stores every byte as it is."""


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
