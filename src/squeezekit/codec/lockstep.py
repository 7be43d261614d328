"""Decoding rANS in lock step: each step takes one symbol from every lane of every stream, by NumPy.

A step costs some twenty NumPy calls however many lanes there are, so what counts is that there are many, and
that streams which take turns (a phase of one waits for nothing in another) take them together.
"""

import dataclasses
from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np

from squeezekit.codec.broad import LEAST_LANES, Broad
from squeezekit.codec.frequencies import fill_decoding_table
from squeezekit.codec.rans import Lanes
from squeezekit.errors import FormatError

__all__ = ["Asking", "Decoder", "Stream", "Tables", "decode"]

# Lanes decoded together, and slots gathered before symbols are looked up: what fits a core's cache.
_GROUP_LANES = 1024
_BLOCK = 1 << 15
# With fewer words than this left to a lane, each step asks whether there are any.
_LEAST_LEFT = 8
# Entries of all tables that are held at once: 32 MB.
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
        self.state = lanes.states.astype(np.int64)
        # Positions among the words of all streams, of which a lane's lie side by side.
        self.position = first_word + np.arange(self.lanes) * lanes.rounds
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
        self._broad: dict[int, Broad] = {}
        self._parts: dict[int, _Part] = {}
        both = list(zip(lanes, tables, strict=True))
        few = [number for number, own in enumerate(lanes) if len(own.counts) < LEAST_LANES]
        # One more of each, so that a lane that is done has something to look at.
        self._words = np.zeros(
            sum(len(lanes[number].counts) * lanes[number].rounds for number in few) + 1, np.int64
        )
        self._entries = np.zeros(sum(tables[number].slots for number in few) + 1, np.int64)
        word = entry = 0
        for number, (own, table) in enumerate(both):
            if len(own.counts) >= LEAST_LANES:
                self._broad[number] = Broad(own, table.symbols, table.frequency, table.precision)
                continue
            self._parts[number] = _Part(own, self._words, word, entry, table)
            fill_decoding_table(table.frequency, table.symbols, self._entries[entry : entry + table.slots])
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
        work = []
        for number, output, own in zip(streams, outputs, tables, strict=True):
            if number in self._broad:
                self._broad[number].decode(output, own)
            else:
                work.append(_Work(self._parts[number], output, own))
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
        for broad in self._broad.values():
            broad.finish()
        for part in self._parts.values():
            if (part.state != 1).any() or (part.position != part.end).any():
                raise FormatError("coded symbols that do not end where they should")

    def _decode_group(self, group: "list[_Work]") -> None:
        if group[0].rows:
            run = _Run(group, [work.part.lanes for work in group], self._words, self._entries)
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
            run = _Run(rest, [work.rest for work in rest], self._words, self._entries)
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


class _Run:
    """The lanes of several streams side by side."""

    def __init__(
        self, group: Sequence[_Work], widths: Sequence[int], words: np.ndarray, entries: np.ndarray
    ) -> None:
        parts = [work.part for work in group]
        pairs = self._pairs = list(zip(parts, widths, strict=True))
        self._words, self._entries = words, entries
        self._state = np.concatenate([part.state[:width] for part, width in pairs])
        self._position = np.concatenate([part.position[:width] for part, width in pairs])
        self._end = np.concatenate([part.end[:width] for part, width in pairs])
        self._shift = np.repeat(np.array([part.precision for part in parts]), widths)
        self._mask = (1 << self._shift) - 1
        self._base = np.repeat(np.array([part.first_entry for part in parts]), widths)
        ends = np.cumsum(widths).tolist()
        self._columns = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]

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
                    own = work.of(work.tables, row, stop).astype(np.int64)
                    own <<= work.part.precision
                    bases[:, columns] += own
        entries = np.empty((rows, lanes), np.int64)
        done = 0
        while done < rows:
            # No lane takes more than a word a step: so long nobody need ask whether one is left.
            left = int((self._end[:lanes] - self._position[:lanes]).min())
            upto = min(rows, done + left) if left >= _LEAST_LEFT else rows
            self._steps(entries[done:upto], bases[done:upto], checked=left < _LEAST_LEFT)
            done = upto
        entries >>= 16
        symbols = entries.astype(np.uint16)
        for work, columns in pairs:
            work.of(work.output, row, stop)[...] = symbols[:, columns]
        return rows

    def _steps(self, entries: np.ndarray, bases: np.ndarray, *, checked: bool) -> None:
        lanes = entries.shape[1]
        state, position, end = self._state[:lanes], self._position[:lanes], self._end[:lanes]
        shift, mask = self._shift[:lanes], self._mask[:lanes]
        some, word = np.empty(lanes, np.int64), np.empty(lanes, np.int64)
        # Whole arrays of them: NumPy takes half a microsecond a call to see what a number is.
        low, sixteen, place, lowest, sign = (
            np.full(lanes, number) for number in (0xFFFF, 16, 32, 1 << 16, 63)
        )
        # All are signed and of 64 bits, as NumPy's indices are, so that nothing is ever converted.
        bitwise_and, left_shift, right_shift = np.bitwise_and, np.left_shift, np.right_shift
        add, subtract, multiply, bitwise_or = np.add, np.subtract, np.multiply, np.bitwise_or
        look_up, next_word = self._entries.take, self._words.take
        for entry, base in zip(entries, bases, strict=True):
            bitwise_and(state, mask, some)
            add(some, base, some)
            look_up(some, None, entry, "clip")
            right_shift(state, shift, state)
            bitwise_and(entry, low, some)
            multiply(state, some, state)
            right_shift(entry, place, some)
            add(state, some, state)
            subtract(state, lowest, some)
            right_shift(some, sign, some)  # all ones where a state lacks a word
            if checked:
                bitwise_and(some, right_shift(subtract(position, end, word), sign, word), some)
            next_word(position, None, word, "clip")
            bitwise_and(word, some, word)
            subtract(position, some, position)
            bitwise_and(some, sixteen, some)
            left_shift(state, some, state)
            bitwise_or(state, word, state)
