"""Decoding rANS in lock step: each step takes one symbol from every lane of every stream, by NumPy.

A step costs some twenty NumPy calls however many lanes there are, so what counts is that there are many, and
that streams which take turns (a phase of one waits for nothing in another) take them together.
"""

import dataclasses
from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np

from squeezekit.codec.frequencies import decoding_tables
from squeezekit.codec.rans import Lanes
from squeezekit.errors import FormatError

__all__ = ["Asking", "Decoder", "Stream", "Tables", "decode"]

# Lanes decoded together, and slots gathered before symbols are looked up: what fits a core's cache.
_GROUP_LANES = 4096
_BLOCK = 1 << 16
# With fewer lanes than this, or where a larger share of them lacks a word, every lane's next word is looked at.
_FEW_LANES = 1536
_OFTEN = 0.3
# With fewer words than this left to a lane, each step asks whether there are any.
_LEAST_LEFT = 8
# Entries of all tables that are held at once: 24 MB.
_MAX_ENTRIES = 1 << 22
# Symbols of streams in several phases, some hundred bytes each.
_MAX_HELD = 1 << 22

Asking = Generator[tuple[int, np.ndarray, "np.ndarray | None"], None, np.ndarray]
"""Yields (which part of the stream, where its next symbols go, which table each has), and returns the stream's
output; see `Decoder.phase`."""


class Stream(Protocol):
    """A coded stream, its headers read: one or several parts with lanes and tables of their own."""

    @property
    def lanes(self) -> Sequence[Lanes]:
        """Of each part."""

    @property
    def held_symbols(self) -> int:
        """Symbols that everything is kept of until the last is decoded."""

    def tables(self) -> "Sequence[Tables]":
        """Build the tables of each part."""

    def decoding(self) -> Asking:
        """Ask for one phase after the other."""


def decode(streams: Sequence[Stream]) -> list[np.ndarray]:
    """Decode streams together; their outputs, in order.

    Raises:
        FormatError: a stream does not end where it should.
    """
    outputs: list[np.ndarray] = []
    batch: list[tuple[Stream, Sequence[Tables]]] = []
    entries = held = 0
    for stream in streams:
        tables = stream.tables()
        entries += sum(table.slots for table in tables)
        held += stream.held_symbols
        if batch and (entries > _MAX_ENTRIES or held > _MAX_HELD):
            outputs += _decode_batch(batch)
            batch = []
            entries, held = sum(table.slots for table in tables), stream.held_symbols
        batch.append((stream, tables))
    return outputs + (_decode_batch(batch) if batch else [])


def _decode_batch(batch: Sequence[tuple[Stream, Sequence["Tables"]]]) -> list[np.ndarray]:
    decoder = Decoder(
        [lanes for stream, _ in batch for lanes in stream.lanes],
        [table for _, tables in batch for table in tables],
    )
    firsts = np.cumsum([0, *(len(tables) for _, tables in batch)]).tolist()
    outputs: dict[int, np.ndarray] = {}
    work = {number: stream.decoding() for number, (stream, _) in enumerate(batch)}
    waiting = list(work)
    while waiting:
        asked: dict[int, tuple[int, np.ndarray, np.ndarray | None]] = {}
        for number in waiting:
            try:
                asked[number] = next(work[number])
            except StopIteration as stop:
                outputs[number] = stop.value
        parts = [firsts[number] + part for number, (part, _, _) in asked.items()]
        decoder.phase(parts, [out for _, out, _ in asked.values()], [which for _, _, which in asked.values()])
        waiting = list(asked)
    decoder.finish()
    return [outputs[number] for number in range(len(batch))]


class _Part:
    """One stream in the decoder: its lanes' states, and where its words and tables lie."""

    def __init__(self, lanes: Lanes, words: np.ndarray, first_word: int, entry: int, table: "Tables") -> None:
        self.lanes = len(lanes.counts)
        self.state = lanes.states.astype(np.uint32)
        # Positions among the words of all streams, of which a lane's lie side by side. NumPy gathers by integers of the
        # machine's own width and no others.
        self.position = first_word + np.arange(self.lanes, dtype=np.intp) * lanes.rounds
        self.end = self.position + lanes.counts
        lanes.lay_out(words[first_word : first_word + self.lanes * lanes.rounds])
        self.first_entry, self.precision = entry, table.precision


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What the decoding tables of one stream are made from: one or several of the same precision."""

    symbols: np.ndarray
    """int64 (used,)."""
    frequency: np.ndarray
    """int64 (..., used)."""
    precision: int

    @property
    def slots(self) -> int:
        """Slots of all tables."""
        return self.frequency.size // len(self.symbols) << self.precision


class Decoder:
    """Decodes many streams together, phase by phase.

    Args:
        lanes: one for each stream.
        tables: one for each stream.
    """

    def __init__(self, lanes: Sequence[Lanes], tables: Sequence[Tables]) -> None:
        # One more of each, so that a lane that is done has something to look at.
        words = np.zeros(sum(len(own.counts) * own.rounds for own in lanes) + 1, np.uint16)
        highest = max((int(table.symbols[-1]) for table in tables), default=0)
        dtype = np.uint8 if highest < 256 else np.uint16
        frequency = [table.frequency.reshape(-1) for table in tables]
        symbols = [
            np.resize(table.symbols.astype(dtype), len(own)) for table, own in zip(tables, frequency, strict=True)
        ]
        self._look_up = _LookUp(words, *decoding_tables(np.concatenate(frequency), np.concatenate(symbols)))
        self._parts = []
        word = entry = 0
        for own, table in zip(lanes, tables, strict=True):
            self._parts.append(_Part(own, words, word, entry, table))
            word += len(own.counts) * own.rounds
            entry += table.slots

    def phase(
        self, streams: Sequence[int], outputs: Sequence[np.ndarray], tables: Sequence[np.ndarray | None]
    ) -> None:
        """Decode the next phase of some of the streams.

        Args:
            streams: their numbers, each once.
            outputs: arrays of uint8 or uint16, contiguous, that the symbols of each are written to.
            tables: for each stream, which of its tables each symbol has, integers (count,); None: the first.
        """
        work = [
            _Work(self._parts[number], output, own)
            for number, output, own in zip(streams, outputs, tables, strict=True)
        ]
        # The most steps first, so that at every step the lanes still at work are a prefix.
        work.sort(key=lambda one: -one.rows)
        group: list[_Work] = []
        lanes = 0
        for one in work:
            if group and lanes + one.part.lanes > _GROUP_LANES:
                self._decode_group(group)
                group, lanes = [], 0
            group.append(one)
            lanes += one.part.lanes
        if group:
            self._decode_group(group)

    def finish(self) -> None:
        """Refuse streams that do not end where their encoder began."""
        for part in self._parts:
            if (part.state != 1).any() or (part.position != part.end).any():
                raise FormatError("coded symbols that do not end where they should")

    def _decode_group(self, group: "list[_Work]") -> None:
        if group[0].rows:
            run = _Run(group, [work.part.lanes for work in group], self._look_up)
            row = 0
            active = list(group)
            while active:
                stop = active[-1].rows  # until the stream with the fewest steps is done
                while row < stop:
                    row += run.decode(active, row, stop)
                while active and active[-1].rows == row:
                    active.pop()
            run.store()
        # What is left is less than a step of each stream.
        rest = [work for work in group if work.rest]
        if rest:
            run = _Run(rest, [work.rest for work in rest], self._look_up)
            run.decode(rest, None, None)
            run.store()


class _Work:
    """A phase of one stream: whole steps of all its lanes, and the rest."""

    def __init__(self, part: _Part, output: np.ndarray, tables: np.ndarray | None) -> None:
        self.part, self.output, self.tables = part, output, tables
        self.rows, self.rest = divmod(len(output), part.lanes)
        self.whole = self.rows * part.lanes

    def of(self, symbols: np.ndarray, row: int | None, stop: int | None) -> np.ndarray:
        """Of the phase's symbols those of some steps, or of the rest: (rows, lanes or fewer)."""
        if row is None or stop is None:
            return symbols[self.whole :].reshape(1, -1)
        return symbols[row * self.part.lanes : stop * self.part.lanes].reshape(stop - row, -1)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _LookUp:
    """What all streams of a decoder look things up in."""

    words: np.ndarray
    """uint16: a lane's lie side by side."""
    entries: np.ndarray
    """See `decoding_tables`."""
    symbols: np.ndarray


class _Run:
    """The lanes of several streams side by side."""

    def __init__(self, group: Sequence[_Work], widths: Sequence[int], look_up: _LookUp) -> None:
        parts = [work.part for work in group]
        pairs = self._pairs = list(zip(parts, widths, strict=True))
        self._look_up = look_up
        self._state = np.concatenate([part.state[:width] for part, width in pairs])
        self._position = np.concatenate([part.position[:width] for part, width in pairs])
        self._end = np.concatenate([part.end[:width] for part, width in pairs])
        self._shift = np.repeat(np.array([part.precision for part in parts], np.uint32), widths)
        self._mask = (np.uint32(1) << self._shift) - np.uint32(1)
        self._base = np.repeat(np.array([part.first_entry for part in parts], np.uint32), widths)
        ends = np.cumsum(widths).tolist()
        self._columns = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        # Whole arrays of them: NumPy takes half a microsecond a call to see what a number is.
        self._low, self._sixteen, self._lowest = (
            np.full(ends[-1], number, np.uint32) for number in (0xFFFF, 16, 1 << 16)
        )
        self._often = ends[-1] < _FEW_LANES

    def store(self) -> None:
        for (part, width), columns in zip(self._pairs, self._columns, strict=True):
            part.state[:width] = self._state[columns]
            part.position[:width] = self._position[columns]

    def decode(self, active: Sequence[_Work], row: int | None, stop: int | None) -> int:
        """Advance the lanes of the first streams by some steps, or by their rest; returns how many steps."""
        lanes = self._columns[len(active) - 1].stop
        if row is None or stop is None:
            rows = 1
        else:
            rows = min(stop - row, max(1, _BLOCK // lanes))
            stop = row + rows
        bases = np.broadcast_to(self._base[:lanes], (rows, lanes))
        pairs = list(zip(active, self._columns, strict=False))
        if any(work.tables is not None for work in active):
            bases = bases.copy()
            for work, columns in pairs:
                if work.tables is not None:
                    own = work.of(work.tables, row, stop).astype(np.uint32)
                    own <<= np.uint32(work.part.precision)
                    bases[:, columns] += own
        slots = np.empty((rows, lanes), np.intp)
        before = int(self._position[:lanes].sum()) if lanes >= _FEW_LANES else 0
        done = 0
        while done < rows:
            # No lane takes more than a word a step: so long nobody need ask whether one is left.
            left = int((self._end[:lanes] - self._position[:lanes]).min())
            upto = min(rows, done + left) if left >= _LEAST_LEFT else rows
            self._steps(slots[done:upto], bases[done:upto], checked=left < _LEAST_LEFT)
            done = upto
        if lanes >= _FEW_LANES:
            self._often = int(self._position[:lanes].sum()) - before > _OFTEN * rows * lanes
        symbols = self._look_up.symbols.take(slots, mode="clip")
        for work, columns in pairs:
            work.of(work.output, row, stop)[...] = symbols[:, columns]
        return rows

    def _steps(self, slots: np.ndarray, bases: np.ndarray, *, checked: bool) -> None:
        lanes = slots.shape[1]
        state, position, end = self._state[:lanes], self._position[:lanes], self._end[:lanes]
        shift, mask = self._shift[:lanes], self._mask[:lanes]
        low, sixteen, lowest = self._low[:lanes], self._sixteen[:lanes], self._lowest[:lanes]
        entry, share, below = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32), np.empty(lanes, bool)
        word, some = np.empty(lanes, np.uint16), np.empty(lanes, bool)
        word_bits = np.array(16, np.uint32)
        bitwise_and, bitwise_or, add, multiply, less = np.bitwise_and, np.bitwise_or, np.add, np.multiply, np.less
        right_shift, left_shift, copyto, find = np.right_shift, np.left_shift, np.copyto, below.nonzero
        look_up, next_words, putmask = self._look_up.entries.take, self._look_up.words.take, np.putmask
        often = self._often
        for slot, base in zip(slots, bases, strict=True):
            bitwise_and(state, mask, entry)
            add(entry, base, entry)
            copyto(slot, entry, "unsafe")  # NumPy gathers by integers of the width of the machine
            look_up(slot, None, entry, "clip")
            right_shift(state, shift, state)
            bitwise_and(entry, low, share)
            multiply(state, share, state)
            right_shift(entry, sixteen, entry)
            add(state, entry, state)
            less(state, lowest, below)
            if often:
                # Every lane's next word, then those that are needed.
                if checked:
                    less(position, end, some)
                    bitwise_and(below, some, below)
                next_words(position, None, word, "clip")
                left_shift(state, sixteen, share)
                bitwise_or(share, word, share)
                putmask(state, below, share)
                add(position, below, position)
                continue
            # Most lanes have enough; those that lack a word are few enough to pick out.
            lacking = find()[0]
            places = position.take(lacking)
            if checked:
                some = places < end.take(lacking)
                lacking, places = lacking[some], places[some]
            refilled = state.take(lacking)
            refilled <<= word_bits
            refilled |= next_words(places)
            state[lacking] = refilled
            places += 1
            position[lacking] = places
