"""Interleaved rANS: many lanes side by side; every symbol may have a table of its own.

Symbols are dealt out like cards: of a *phase* of n symbols lane j codes number j, j + lanes, ... A lane is a
32-bit state and a run of 16-bit words. Decoding a symbol takes it out of the state's low bits; a state that
falls below 2**16 takes in the lane's next word, if one is left. A lane begins (where the encoder began,
which is where the decoder ends) at state 1 and without words, so that it costs some two bytes and no more, and
a decoder that ends anywhere else has read a damaged stream.

Streams may have several phases, and which table a symbol of one phase has may depend on symbols of the phases
before. `squeezekit.codec.lockstep` decodes many streams together.

Jarek Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with compression
rate of arithmetic coding", arXiv:1311.2540 (2013); Fabian Giesen, "Interleaved entropy coders",
arXiv:1402.3392 (2014).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from squeezekit.codec import bits
from squeezekit.errors import FormatError

__all__ = ["MAX_LANES", "Lanes", "encode", "lane_count", "read", "size_bytes"]

# More lanes than this do not decode faster.
MAX_LANES = 4096
# Bytes of code per lane: at some two bytes a lane, lanes cost about 0.2 %.
_LANE_BYTES = 1024
# No more steps than this where it takes two lanes, or at most twice as many as the bytes call for.
_STEPS = 2048
_WORD_BITS = 16
_MAX_HOLES = 8


def lane_count(symbols: int, code_bytes: float) -> int:
    """Choose how many lanes to deal symbols out to."""
    lanes = code_bytes / _LANE_BYTES
    lanes = max(lanes, min(symbols / _STEPS, max(2, 2 * lanes)))
    return int(max(1, min(lanes + 0.75, symbols, MAX_LANES)))


def size_bytes(symbols: int, code_bytes: float) -> int:
    """Predict the bytes of `encode`, to within a few.

    Args:
        symbols: how many, in all phases.
        code_bytes: what their tables make of them.
    """
    lanes = lane_count(symbols, code_bytes)
    return int(code_bytes + 2 + 1.8 * lanes)


def encode(
    phases: Sequence[np.ndarray], frequency: np.ndarray, start: np.ndarray, precision: int, lanes: int
) -> bytes:
    """Code symbols, given as positions in one long list of frequencies.

    Args:
        phases: unsigned or signed integer arrays, any number long: for each symbol the position of its
            frequency in the two lists that follow.
        frequency: integers in [1, 2**precision].
        start: the sum of the frequencies before it in the same table.
        precision: bits of a table, at most 16.
        lanes: from `lane_count`.

    Returns:
        Number of lanes, their lengths, their words.
    """
    state, words, used = _run(phases, frequency, start, precision, lanes)
    if not _balanced(used.sum(axis=0)):
        # A pattern in step with the lanes: a decoder's table of them would be mostly holes.
        state, words, used = _run(phases, frequency, start, precision, 1)
    return _write_lanes(state, words, used)


def _run(
    phases: Sequence[np.ndarray], frequency: np.ndarray, start: np.ndarray, precision: int, lanes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lanes' last states (lanes,), the words they put out and whether each is one (steps, lanes)."""
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
            # own // share * 2**precision + own % share + start
            state[:width] = (quotient << precision_bits) + (own - quotient * share) + start[entry]
    return state, words, used


def _balanced(counts: np.ndarray) -> bool:
    """Whether a table with a column for each lane's words would be mostly full."""
    return int(counts.max()) * len(counts) <= _MAX_HOLES * int(counts.sum()) + (1 << 14)


def _write_lanes(state: np.ndarray, words: np.ndarray, used: np.ndarray) -> bytes:
    # The state's own words come first, the high one before the low one; zeros at the front are left out.
    halves = np.stack((state >> np.uint64(16), state & np.uint64(0xFFFF))).astype(np.uint16)
    heads = np.stack((state >> np.uint64(16) > 0, state > 0))
    lane_words = used.sum(axis=0) + heads.sum(axis=0)
    head = bits.varint(len(state))
    if len(state) > 1:
        mean = int(lane_words.sum()) // len(state)
        head += bits.varint(mean) + bits.numbers(bits.zigzag(lane_words - mean))
    # Dealt out like the symbols, so that lanes which are decoded together read words that lie together.
    lane_major = np.concatenate((halves, words)).T[np.concatenate((heads, used)).T]
    rounds = np.zeros((int(lane_words.max(initial=0)), len(state)), np.uint16)
    filled = np.arange(len(rounds))[:, None] < lane_words
    rounds.T[filled.T] = lane_major
    return head + rounds[filled].astype("<u2").tobytes()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A stream's lanes, read and checked."""

    words: np.ndarray
    """uint32 (rounds, lanes): a column for each lane's words, then zeros."""
    counts: np.ndarray
    """int64 (lanes,): words of each lane."""


def read(reader: bits.Reader, symbols: int, phases: int = 1) -> Lanes:
    """Read lanes, which reach to the reader's end.

    Raises:
        FormatError: not the lanes of so many symbols.
    """
    count = reader.varint(min(symbols, MAX_LANES))
    if count == 0:
        raise FormatError("a stream without lanes")
    lane_words = None
    if count > 1:
        mean = reader.varint()
        lane_words = bits.unzigzag(reader.numbers(count)) + mean
    body = reader.rest()
    if len(body) % 2:
        raise FormatError("lanes that end within a word")
    words = np.frombuffer(body, "<u2")
    counts = np.array([len(words)]) if lane_words is None else lane_words
    # At most one word a symbol, and two for the state.
    if counts.min() < 0 or counts.max() > 2 + phases + symbols // count or counts.sum() != len(words):
        raise FormatError("lanes that do not fill their stream")
    if not _balanced(counts):
        raise FormatError("lanes of too different lengths")
    return Lanes(_columns(words, counts), counts)


def _columns(words: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lay words out so that column j holds lane j's; uint32 (rounds, lanes)."""
    columns = np.zeros((int(counts.max()), len(counts)), np.uint32)
    full = int(counts.min())
    columns[:full] = words[: full * len(counts)].reshape(full, len(counts))
    columns[full:][np.arange(full, len(columns))[:, None] < counts] = words[full * len(counts) :]
    return columns
