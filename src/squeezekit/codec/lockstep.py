"""Decoding rANS in lock step: each step takes one symbol from every lane of every stream, by NumPy.

A step costs some twenty NumPy calls however many lanes there are, so what counts is that there are many, and
that streams which take turns (a phase of one waits for nothing in another) take them together.
"""

import dataclasses
from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np

from squeezekit.codec.frequencies import fill_decoding_table
from squeezekit.codec.rans import Lanes
from squeezekit.errors import FormatError

__all__ = ["Asking", "Decoder", "Stream", "Tables", "decode"]

# Lanes decoded together, and slots gathered before symbols are looked up: what fits a core's cache.
_GROUP_LANES = 4096
_BLOCK = 1 << 16
# Entries of all tables that are held at once: 40 MB.
_MAX_ENTRIES = 1 << 23
# Symbols of streams in several phases, some hundred bytes each.
_MAX_HELD = 1 << 22

Asking = Generator[tuple[int, int, "np.ndarray | None"], np.ndarray, np.ndarray]
"""Yields (which part of the stream, how many symbols, which table each has), is sent the symbols, and returns
the stream's output."""


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
    answers: dict[int, np.ndarray | None] = dict.fromkeys(work)
    while answers:
        asked: dict[int, tuple[int, int, np.ndarray | None]] = {}
        for number, answer in answers.items():
            try:
                # A generator that has not begun is sent None.
                asked[number] = work[number].send(answer)  # type: ignore[arg-type]
            except StopIteration as stop:
                outputs[number] = stop.value
        parts = [firsts[number] + part for number, (part, _, _) in asked.items()]
        counts = [count for _, count, _ in asked.values()]
        decoded = decoder.phase(parts, counts, [which for _, _, which in asked.values()])
        answers = dict(zip(asked, decoded, strict=True))
    decoder.finish()
    return [outputs[number] for number in range(len(batch))]


class _Part:
    """One stream in the decoder: its lanes' states, and where its words and tables lie."""

    def __init__(self, lanes: Lanes, first_word: int, first_entry: int, table: "Tables") -> None:
        count = len(lanes.counts)
        self.state = lanes.states.copy()
        # Positions in the words of all streams, of which a lane's lie `count` apart.
        first = np.arange(first_word, first_word + count)
        self.position = first.astype(np.uint32)
        self.end = (first + count * lanes.counts).astype(np.uint32)
        self.first_entry = first_entry
        self.precision, self.dtype, self.lanes = table.precision, table.dtype, count


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

    @property
    def dtype(self) -> np.dtype:
        """Of the symbols: uint8 or uint16."""
        return np.dtype(np.uint8 if int(self.symbols[-1]) < 256 else np.uint16)


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
            entry_count += table.slots
        # One more word, so that a lane that is done has something to look at.
        words = np.concatenate([*(own.words.reshape(-1) for own in lanes), np.zeros(1, np.uint32)])
        entries = np.zeros(entry_count + 1, np.uint32)
        symbols = np.zeros(
            entry_count + 1, max((table.dtype for table in tables), default=np.dtype(np.uint8))
        )
        for part, table in zip(self._parts, tables, strict=True):
            own_slots = slice(part.first_entry, part.first_entry + table.slots)
            fill_decoding_table(table.frequency, table.symbols, entries[own_slots], symbols[own_slots])
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
        lanes = 0
        for index in order:
            part = self._parts[streams[index]]
            work = _Work(part, outputs[index], tables[index])
            if group and lanes + part.lanes > _GROUP_LANES:
                self._decode_group(group)
                group, lanes = [], 0
            group.append(work)
            lanes += part.lanes
        if group:
            self._decode_group(group)
        return outputs

    def finish(self) -> None:
        """Refuse streams that do not end where their encoder began."""
        for part in self._parts:
            if (part.state != 1).any() or (part.position != part.end).any():
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
                bases = np.empty((rows, lanes), np.uint32)
                column = 0
                for work in active:
                    work.bases(row, bases[:, column : column + work.part.lanes])
                    column += work.part.lanes
                symbols = run.decode(bases)
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
            bases = np.empty((1, sum(work.rest for work in rest)), np.uint32)
            column = 0
            for work in rest:
                work.bases(work.rows, bases[:, column : column + work.rest])
                column += work.rest
            symbols = run.decode(bases)[0]
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

    def bases(self, row: int, out: np.ndarray) -> None:
        """Fill in where the tables of the next symbols begin: uint32 (rows, lanes or fewer)."""
        if self.tables is None:
            out[...] = self.part.first_entry
            return
        first = row * self.part.lanes
        own = self.tables[first : first + out.size].reshape(out.shape)
        np.left_shift(own, self.part.precision, out=out, dtype=np.uint32, casting="unsafe")
        out += np.uint32(self.part.first_entry)

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

    def __init__(self, parts: Sequence[_Part], look_up: _LookUp, widths: Sequence[int] | None = None) -> None:
        self._parts, self._look_up = parts, look_up
        self._widths = [part.lanes for part in parts] if widths is None else widths
        pairs = list(zip(parts, self._widths, strict=True))
        self._state = np.concatenate([part.state[:width] for part, width in pairs])
        self._position = np.concatenate([part.position[:width] for part, width in pairs])
        self._end = np.concatenate([part.end[:width] for part, width in pairs])
        self._stride = np.repeat(np.array([part.lanes for part in parts], np.uint32), self._widths)
        self._bits = np.repeat(np.array([part.precision for part in parts], np.uint32), self._widths)
        self._mask = (np.uint32(1) << self._bits) - np.uint32(1)

    def store(self) -> None:
        first = 0
        for part, width in zip(self._parts, self._widths, strict=True):
            part.state[:width] = self._state[first : first + width]
            part.position[:width] = self._position[first : first + width]
            first += width

    def decode(self, bases: np.ndarray) -> np.ndarray:
        """Advance the first lanes, given where their tables begin: (rows, lanes) to symbols (rows, lanes)."""
        rows, lanes = bases.shape
        slots = np.empty((rows, lanes), np.int64)
        done = 0
        while done < rows:
            # No lane takes more than a word a step: so long nobody need ask whether one is left.
            left = int(((self._end[:lanes] - self._position[:lanes]) // self._stride[:lanes]).min())
            stop = min(rows, done + left) if left >= 8 else rows
            self._steps(slots[done:stop], bases[done:stop], checked=left < 8)
            done = stop
        return self._look_up.symbols.take(slots, mode="clip")

    def _steps(self, slots: np.ndarray, bases: np.ndarray, *, checked: bool) -> None:
        rows, lanes = slots.shape
        state, position, end = self._state[:lanes], self._position[:lanes], self._end[:lanes]
        shift, mask, stride = self._bits[:lanes], self._mask[:lanes], self._stride[:lanes]
        entry, share, word, take = (np.empty(lanes, np.uint32) for _ in range(4))
        index = np.empty(lanes, np.int64)
        # Whole arrays of them: NumPy takes half a microsecond a call to see what a number is.
        low, four, sixteen, lowest = (
            np.full(lanes, number, np.uint32) for number in (0xFFFF, 4, 16, 1 << 16)
        )
        below = np.empty(lanes, bool)
        words, entries = self._look_up.words, self._look_up.entries
        for row in range(rows):
            np.bitwise_and(state, mask, out=entry)
            np.add(entry, bases[row], out=entry)
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
