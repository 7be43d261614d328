"""Interleaved rANS: many lanes side by side; every symbol may have a table of its own.

Symbols are dealt out in turn: of a *phase* of n symbols lane j codes number j, j + lanes, ... A lane is a
32-bit state and a run of 16-bit words. Decoding a symbol takes it out of the state's low bits; a state that
falls below 2**16 takes in the lane's next word, if one is left. The encoder begins a lane at state 1 without
words, and the stream stores the length of each lane to the bit, so that a lane costs no more than its length, a
byte or a byte and a half. A decoder that does not end at state 1 has read a damaged stream.

Streams may have several phases, and which table a symbol of one phase has may depend on symbols of the phases
before. `squeezekit.codec.entropy.rans_decoder` decodes many streams together.

Jarek Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with compression
rate of arithmetic coding", arXiv:1311.2540 (2013); Fabian Giesen, "Interleaved entropy coders",
arXiv:1402.3392 (2014).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import bits, frequency_tables, headers
from squeezekit.errors import FormatError

__all__ = ["MAX_LANES", "Lanes", "encode", "encode_static", "lane_count", "parse", "size_bytes"]

# More lanes than this do not decode faster.
MAX_LANES = 4096
# At a byte and a half a lane, lanes cost about 0.1 % of a stream, and up to 0.3 % of one that would take many steps.
_LANE_BYTES = 1024
_STEPS = 512
_LEAST_LANE_BYTES = 384
_WORD_BITS = 16
_MAX_HOLES = 8
# Words that are moved together; moving one word of every lane at a time would fetch each line of memory as often.
_CACHE_LINE = 32


def lane_count(symbols: int, code_bytes: float, *, steps: int = _STEPS) -> int:
    """Choose the number of lanes, for at most so many steps where that costs little."""
    lanes = max(code_bytes / _LANE_BYTES, min(symbols / steps, code_bytes / _LEAST_LANE_BYTES))
    return max(1, min(math.ceil(lanes), symbols, MAX_LANES))


def size_bytes(symbols: int, code_bytes: float) -> int:
    """Predict the bytes of `encode` for so many symbols whose codes take `code_bytes`, to within a few."""
    lanes = lane_count(symbols, code_bytes)
    return int(code_bytes + 4 + 1.5 * lanes)


def encode(
    phases: Sequence[np.ndarray], frequency: np.ndarray, start: np.ndarray, precision: int, lanes: int
) -> bytes:
    """Code symbols: number of lanes, their lengths, their words.

    `phases` are integer arrays of any length: for each symbol its index in `frequency`, in [1, 2**precision], and in
    `start`, the sum of the frequencies before it in the same table. `lanes` is from `lane_count`.
    """
    state, words, used = _run(phases, frequency, start, precision, lanes)
    counts = used.sum(axis=0)
    if not _balanced(int(counts.max()), lanes, int(counts.sum())):
        # A pattern in step with the lanes: a decoder's table of them would be mostly holes.
        state, words, used = _run(phases, frequency, start, precision, 1)
    return _write_lanes(state, words, used)


def encode_static(symbols: np.ndarray, histogram: np.ndarray, table: frequency_tables.Table) -> bytes:
    """Code symbols (n,) of more than one kind, which `histogram` (alphabet,) counts, with one table."""
    counts = histogram[table.symbols]
    code_bytes = frequency_tables.cost_bits(counts, table.frequencies, table.precision) / 8
    frequency = np.zeros(len(histogram), np.int64)
    frequency[table.symbols] = table.frequencies
    start = np.cumsum(frequency) - frequency
    lanes = lane_count(len(symbols), code_bytes)
    return encode([symbols], frequency, start, table.precision, lanes)


def _run(
    phases: Sequence[np.ndarray], frequency: np.ndarray, start: np.ndarray, precision: int, lanes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lanes' last states (lanes,), the words they wrote and which of these are used (steps, lanes)."""
    frequency, start = frequency.astype(np.uint64), start.astype(np.uint64)
    precision_bits = np.uint64(precision)
    limit = frequency << np.uint64(32 - precision)
    word_bits, low = np.uint64(_WORD_BITS), np.uint64((1 << _WORD_BITS) - 1)
    rows = sum(-(-len(phase) // lanes) for phase in phases)
    words, used = np.zeros((rows, lanes), np.uint16), np.zeros((rows, lanes), bool)
    state = np.ones(lanes, np.uint64)
    row = rows
    # The decoder takes out what was put in last, so everything goes in backwards.
    for phase in reversed(phases):
        for first in reversed(range(0, len(phase), lanes)):
            row -= 1
            entry = phase[first : first + lanes]
            width = len(entry)
            own, share = state[:width], frequency[entry]
            full = own >= limit[entry]
            words[row, :width] = own & low
            used[row, :width] = full
            own >>= np.where(full, word_bits, np.uint64(0))
            quotient = own // share
            # The rANS step: own // share * 2**precision + own % share + start.
            state[:width] = (quotient << precision_bits) + (own - quotient * share) + start[entry]
    return state, words, used


def _balanced(most: int, lanes: int, total: int) -> bool:
    """Whether the lanes have about equally many words: an array (most, lanes) would be mostly full."""
    return most * lanes <= _MAX_HOLES * total + (1 << 14)


def _write_lanes(state: np.ndarray, words: np.ndarray, used: np.ndarray) -> bytes:
    lane_words = used.sum(axis=0)
    state = state.astype(np.int64)
    widths = bits.bit_lengths(state) - 1  # bits below the highest one
    lengths = _WORD_BITS * lane_words + widths
    mean = int(lengths.sum()) // len(state)
    head = bits.varint(len(state)) + bits.varint(mean)
    if len(state) > 1:
        head += bits.numbers(bits.zigzag(lengths - mean))
    writer = bits.BitWriter(int(widths.sum()))
    writer.write(state - (np.int64(1) << widths), widths)
    # In turn like the symbols, so that lanes which are decoded together read words that lie together.
    rounds = np.zeros((int(lane_words.max()), len(state)), np.uint16)
    filled = np.arange(len(rounds))[:, None] < lane_words
    rounds.T[filled.T] = words.T[used.T]
    return head + writer.to_bytes() + rounds[filled].astype("<u2").tobytes()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A stream's lanes, read and checked."""

    states: np.ndarray
    """uint64 (lanes,): what each starts from, below 2**32."""
    words: np.ndarray
    """uint16: the first of each lane, then the second of each that has one, ..."""
    counts: np.ndarray
    """int64 (lanes,): words of each lane."""
    rounds: int
    """Words of the longest lane."""

    def lay_out(self, out: np.ndarray) -> None:
        """Write each lane's words side by side to `out`: zeros (lanes * rounds,), integers."""
        lanes, full = len(self.counts), int(self.counts.min())
        rows = out.reshape(lanes, self.rounds)
        body = self.words[: full * lanes].reshape(full, lanes)
        for first in range(0, full, _CACHE_LINE):
            stop = min(full, first + _CACHE_LINE)
            rows[:, first:stop] = body[first:stop].T
        filled = np.arange(full, self.rounds)[:, None] < self.counts
        rows.T[full:][filled] = self.words[full * lanes :]


def parse(reader: bits.Reader, symbols: int, phases: int = 1) -> headers.Parser[Lanes]:
    """Read lanes, which reach to the reader's end, beside others.

    Raises:
        FormatError: not the lanes of so many symbols.
    """
    count = reader.varint(min(symbols, MAX_LANES))
    if count == 0:
        raise FormatError("a stream without lanes")
    mean = reader.varint()
    lengths = np.array([mean])
    if count > 1:
        differences = yield headers.read_numbers, (reader, count)
        lengths = bits.unzigzag(differences) + mean
    # At most one word a symbol.
    if lengths.min() < 0 or lengths.max() > _WORD_BITS * (2 + phases + symbols // count):
        raise FormatError("lanes that do not fill their stream")
    # A state that lies below 2**16 has taken in all its words.
    counts = np.maximum(lengths // _WORD_BITS - 1, 0)
    widths = lengths - _WORD_BITS * counts
    states = yield headers.read_bits, (reader, widths)
    states |= np.uint64(1) << widths.astype(np.uint64)
    body = reader.rest()
    total, most = int(counts.sum()), int(counts.max())
    if len(body) != 2 * total:
        raise FormatError("lanes that do not fill their stream")
    if not _balanced(most, count, total):
        raise FormatError("lanes of too different lengths")
    return Lanes(states, np.frombuffer(body, "<u2"), counts, most)
