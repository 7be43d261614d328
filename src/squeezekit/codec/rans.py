"""Interleaved rANS, decoded by NumPy in many lanes at once; every symbol may have a table of its own.

Symbols are dealt out like cards: of a *phase* of n symbols lane j codes number j, j + lanes, ... A lane is a
32-bit state and a run of 16-bit words. Decoding a symbol takes it out of the state's low bits; a state that
falls below 2**16 takes in the lane's next word, if one is left. Lanes begin (where the encoder began, which is
where the decoder ends) at state 0 and without a word, so that a lane costs about 13 bits and no more, and a
decoder that ends anywhere else has read a damaged stream.

Each step of the decoder takes one symbol from every lane of *every* stream handed to it. Streams may have
several phases, and which table a symbol of one phase has may depend on symbols of the phases before.

Jarek Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with compression
rate of arithmetic coding", arXiv:1311.2540 (2013); Fabian Giesen, "Interleaved entropy coders",
arXiv:1402.3392 (2014).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from squeezekit.codec import bits
from squeezekit.codec.frequencies import decoding_table
from squeezekit.errors import FormatError

__all__ = ["MAX_LANES", "Decoder", "Lanes", "Tables", "encode", "lane_count", "read", "size_bytes"]

# More lanes than this do not decode faster.
MAX_LANES = 4096
# Bytes of code per lane: at some two bytes a lane, lanes cost about 0.2 %.
_LANE_BYTES = 1024
# No more steps than this where it takes two lanes, or at most twice as many as the bytes call for.
_STEPS = 2048
_WORD_BITS = 16
# Lanes decoded together, and slots gathered before symbols are looked up.
_GROUP_LANES = 4096
_BLOCK = 1 << 16


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
    frequency, start = frequency.astype(np.uint64), start.astype(np.uint64)
    precision_bits = np.uint64(precision)
    limit = frequency << np.uint64(32 - precision)
    word_bits, low = np.uint64(_WORD_BITS), np.uint64((1 << _WORD_BITS) - 1)
    rows = sum(-(-len(phase) // lanes) for phase in phases)
    words, used = np.zeros((rows, lanes), np.uint16), np.zeros((rows, lanes), bool)
    state = np.zeros(lanes, np.uint64)
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
    return _write_lanes(state, words, used)


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
    return Lanes(_columns(words, counts), counts)


def _columns(words: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lay words out so that column j holds lane j's; uint32 (rounds, lanes)."""
    columns = np.zeros((int(counts.max()), len(counts)), np.uint32)
    full = int(counts.min())
    columns[:full] = words[: full * len(counts)].reshape(full, len(counts))
    columns[full:][np.arange(full, len(columns))[:, None] < counts] = words[full * len(counts) :]
    return columns


class _Part:
    """One stream in the decoder: its lanes' states, and where its words and tables lie."""

    def __init__(self, lanes: Lanes, first_word: int, first_entry: int, table: "Tables") -> None:
        count, rounds = len(lanes.counts), lanes.words[:2]
        low, high = (rounds[row] if row < len(rounds) else np.zeros(count, np.uint32) for row in (1, 0))
        self.state = np.where(lanes.counts > 1, high << np.uint32(16) | low, high)
        # Positions in the words of all streams, of which a lane's lie `count` apart.
        first = np.arange(first_word, first_word + count)
        self.position = (first + count * np.minimum(lanes.counts, 2)).astype(np.uint32)
        self.end = (first + count * lanes.counts).astype(np.uint32)
        self.first_entry = first_entry
        self.precision, self.dtype = table.precision, table.symbols.dtype

    @property
    def lanes(self) -> int:
        return len(self.state)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Decoding tables of one stream: one or several of the same precision, see `decoding_table`."""

    entries: np.ndarray
    """uint32."""
    symbols: np.ndarray
    """uint8 or uint16, as long."""
    precision: int

    @classmethod
    def of(cls, symbols: np.ndarray, frequency: np.ndarray, precision: int) -> "Tables":
        """Build the tables of some symbols (used,) with frequencies (..., used)."""
        return cls(*decoding_table(symbols, frequency), precision)


class Decoder:
    """Decodes many streams together, phase by phase.

    Args:
        lanes: one for each stream.
        tables: one for each stream.
    """

    def __init__(self, lanes: Sequence[Lanes], tables: Sequence[Tables]) -> None:
        self._parts = []
        word_count = entry_count = 0
        for own, table in zip(lanes, tables, strict=True):
            self._parts.append(_Part(own, word_count, entry_count, table))
            word_count += own.words.size
            entry_count += len(table.entries)
        # One more word, so that a lane that is done has something to look at.
        words = np.concatenate([*(own.words.reshape(-1) for own in lanes), np.zeros(1, np.uint32)])
        entries = np.concatenate([*(table.entries for table in tables), np.zeros(1, np.uint32)])
        symbols = np.concatenate([*(table.symbols for table in tables), np.zeros(1, np.uint8)])
        self._look_up = _LookUp(words, entries, symbols)

    def phase(
        self, streams: Sequence[int], counts: Sequence[int], tables: Sequence[np.ndarray | None]
    ) -> list[np.ndarray]:
        """Decode the next phase of some of the streams.

        Args:
            streams: their numbers, each once.
            counts: symbols of each.
            tables: for each stream, which of its tables each symbol has, integers (count,); None: the first.

        Returns:
            For each stream its symbols, uint8 or uint16 (count,), as its tables have them.
        """
        outputs = [
            np.empty(count, self._parts[number].dtype) for number, count in zip(streams, counts, strict=True)
        ]
        # The most steps first, so that at every step the lanes still at work are a prefix.
        steps = [count // self._parts[number].lanes for number, count in zip(streams, counts, strict=True)]
        order = sorted(range(len(outputs)), key=lambda index: -steps[index])
        group: list[_Work] = []
        for index in order:
            part = self._parts[streams[index]]
            work = _Work(part, outputs[index], tables[index])
            if group and sum(other.part.lanes for other in group) + part.lanes > _GROUP_LANES:
                self._decode_group(group)
                group = []
            group.append(work)
        if group:
            self._decode_group(group)
        return outputs

    def finish(self) -> None:
        """Refuse streams that do not end where their encoder began."""
        for part in self._parts:
            if part.state.any() or (part.position != part.end).any():
                raise FormatError("coded symbols that do not end where they should")

    def _decode_group(self, group: "list[_Work]") -> None:
        run = _Run([work.part for work in group], self._look_up)
        row = 0
        active = list(group)
        while active:
            lanes = sum(work.part.lanes for work in active)
            stop = active[-1].rows  # until the stream with the fewest steps is done
            while row < stop:
                rows = min(stop - row, max(1, _BLOCK // lanes))
                bases = [work.bases(row, rows) for work in active]
                if any(base.ndim == 2 for base in bases):
                    bases = [np.broadcast_to(base, (rows, base.shape[-1])) for base in bases]
                symbols = run.decode(rows, lanes, np.concatenate(bases, axis=-1))
                column = 0
                for work in active:
                    work.put(row, symbols[:, column : column + work.part.lanes])
                    column += work.part.lanes
                row += rows
            while active and active[-1].rows == row:
                active.pop()
        run.store()
        # What is left is less than a step of each stream.
        rest = [work for work in group if work.rest]
        if rest:
            run = _Run([work.part for work in rest], self._look_up, [work.rest for work in rest])
            bases = np.concatenate([work.bases(work.rows, 1).reshape(-1)[: work.rest] for work in rest])
            symbols = run.decode(1, len(bases), bases)[0]
            column = 0
            for work in rest:
                work.output[work.rows * work.part.lanes :] = symbols[column : column + work.rest]
                column += work.rest
            run.store()


class _Work:
    """A phase of one stream: whole steps of all its lanes, and the rest."""

    def __init__(self, part: _Part, output: np.ndarray, tables: np.ndarray | None) -> None:
        self.part, self.output, self.tables = part, output, tables
        self.rows, self.rest = divmod(len(output), part.lanes)

    def bases(self, row: int, rows: int) -> np.ndarray:
        """Where the tables of the next symbols begin: uint32 (lanes,) or (rows, lanes)."""
        part = self.part
        if self.tables is None:
            return np.full(part.lanes, part.first_entry, np.uint32)
        own = self.tables[row * part.lanes : (row + rows) * part.lanes].astype(np.uint32)
        own <<= np.uint32(part.precision)
        own += np.uint32(part.first_entry)
        return own.reshape(rows, -1)

    def put(self, row: int, symbols: np.ndarray) -> None:
        lanes = self.part.lanes
        self.output[row * lanes : (row + len(symbols)) * lanes].reshape(symbols.shape)[...] = symbols


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _LookUp:
    """What all streams of a decoder look things up in."""

    words: np.ndarray
    entries: np.ndarray
    symbols: np.ndarray


class _Run:
    """The lanes of several streams side by side."""

    def __init__(
        self, parts: Sequence[_Part], look_up: _LookUp, widths: Sequence[int] | None = None
    ) -> None:
        self._parts, self._look_up = parts, look_up
        self._widths = [part.lanes for part in parts] if widths is None else widths
        pairs = list(zip(parts, self._widths, strict=True))
        self._state = np.concatenate([part.state[:width] for part, width in pairs])
        self._position = np.concatenate([part.position[:width] for part, width in pairs])
        self._end = np.concatenate([part.end[:width] for part, width in pairs])
        self._stride = np.repeat(np.array([part.lanes for part in parts], np.uint32), self._widths)
        self._bits = np.repeat(np.array([part.precision for part in parts], np.uint32), self._widths)
        self._mask = (np.uint32(1) << self._bits) - np.uint32(1)
        self._uniform = len({part.precision for part in parts}) == 1

    def store(self) -> None:
        first = 0
        for part, width in zip(self._parts, self._widths, strict=True):
            part.state[:width] = self._state[first : first + width]
            part.position[:width] = self._position[first : first + width]
            first += width

    def decode(self, rows: int, lanes: int, bases: np.ndarray) -> np.ndarray:
        """Advance the first `lanes` lanes by `rows` symbols; (rows, lanes)."""
        slots = np.empty((rows, lanes), np.int64)
        done = 0
        while done < rows:
            # No lane takes more than a word a step: so long nobody need ask whether one is left.
            left = int(((self._end[:lanes] - self._position[:lanes]) // self._stride[:lanes]).min())
            stop = min(rows, done + left) if left >= 8 else rows
            own = bases[done:stop] if bases.ndim == 2 else bases
            self._steps(slots[done:stop], own, checked=left < 8)
            done = stop
        return self._look_up.symbols.take(slots, mode="clip")

    def _steps(self, slots: np.ndarray, bases: np.ndarray, *, checked: bool) -> None:
        rows, lanes = slots.shape
        state, position, end = self._state[:lanes], self._position[:lanes], self._end[:lanes]
        shift, mask, stride = self._bits[:lanes], self._mask[:lanes], self._stride[:lanes]
        if self._uniform:  # shifting by one number is several times faster
            shift, mask = shift[0], mask[0]
        entry, share, word, take = (np.empty(lanes, np.uint32) for _ in range(4))
        index = np.empty(lanes, np.int64)
        low, four, sixteen, lowest = np.uint32(0xFFFF), np.uint32(4), np.uint32(16), np.uint32(1 << _WORD_BITS)
        below = np.empty(lanes, bool)
        words, entries = self._look_up.words, self._look_up.entries
        for row in range(rows):
            np.bitwise_and(state, mask, out=entry)
            np.add(entry, bases[row] if bases.ndim == 2 else bases, out=entry)
            np.copyto(slots[row], entry)  # NumPy gathers by 64-bit indices
            entries.take(slots[row], out=entry, mode="clip")
            np.right_shift(state, shift, out=state)
            np.bitwise_and(entry, low, out=share)
            np.multiply(state, share, out=state)
            np.right_shift(entry, sixteen, out=entry)
            np.add(state, entry, out=state)
            np.less(state, lowest, out=below)
            np.copyto(take, below)
            if checked:
                np.multiply(take, position < end, out=take)
            np.copyto(index, position)
            words.take(index, out=word, mode="clip")
            np.multiply(word, take, out=word)
            np.multiply(take, stride, out=share)
            np.add(position, share, out=position)
            np.left_shift(take, four, out=take)
            np.left_shift(state, take, out=state)
            np.bitwise_or(state, word, out=state)
