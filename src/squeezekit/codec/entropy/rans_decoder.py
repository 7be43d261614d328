"""Decoding rANS in lock step: each step takes one symbol from every lane of every stream, by NumPy.

A step costs some twenty NumPy calls however many lanes there are, so many lanes are decoded together, of all
streams that are in a phase: a phase of one stream waits for nothing in another.
"""

import dataclasses
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from squeezekit.codec.entropy.frequency_tables import decoding_tables
from squeezekit.codec.entropy.rans import Lanes
from squeezekit.errors import FormatError

__all__ = ["Decoder", "Phases", "Stream", "Tables", "decode"]

# Lanes decoded together, and slots gathered before symbols are looked up: what fits a core's cache.
_GROUP_LANES = 4096
_BLOCK = 1 << 15
_LEAST_ROWS = 16
# Symbols looked up before they are copied to their streams.
_SYMBOLS = 1 << 17
# With this many lanes the time within NumPy's loops counts, with fewer the number of calls.
_WIDE = 1024
# With fewer words than this left in a lane, each step checks whether there are any.
_LEAST_LEFT = 8
# Memory that streams decoded together may take beside their outputs: the most, and the least.
_MOST_BYTES = 1 << 25
_LEAST_BYTES = 1 << 19
# Bytes of a slot in the tables, and of a symbol of a stream in several phases: its value, its place, its table.
_SLOT_BYTES = 6
_HELD_BYTES = 6

Phases = Generator[tuple[int, np.ndarray, "np.ndarray | None"], None, np.ndarray]
"""Yields for each phase (which part of the stream, where its symbols go, which table each has), and returns the
stream's output; see `Decoder.phase`."""


class Stream(Protocol):
    """A coded stream, its headers read: one or several parts with lanes and tables of their own."""

    @property
    def lanes(self) -> Sequence[Lanes]:
        """The lanes of each part."""

    @property
    def held_symbols(self) -> int:
        """Symbols whose values, places and tables are held until the last is decoded."""

    @property
    def steps(self) -> int:
        """Symbols of the longest lane, of all its parts together."""

    def tables(self) -> "Sequence[Tables]":
        """Build the tables of each part."""

    def decoding(self) -> Phases:
        """Yield one phase after the other."""


def decode(streams: Sequence[Stream], scratch_bytes: int = _MOST_BYTES) -> list[np.ndarray]:
    """Decode streams together, as many at a time as memory allows; their outputs, in order.

    `scratch_bytes` is memory for tables and the like: more makes it faster.

    Raises:
        FormatError: a stream does not end where it should.
    """
    limit = min(max(scratch_bytes, _LEAST_BYTES), _MOST_BYTES)
    outputs: dict[int, np.ndarray] = {}
    batch: list[tuple[Stream, Sequence[Tables]]] = []
    numbers: list[int] = []
    total = 0
    # Streams of about equally many steps go together: a batch takes as many steps as its longest stream.
    for number in sorted(range(len(streams)), key=lambda number: -streams[number].steps):
        tables = streams[number].tables()
        size = _SLOT_BYTES * sum(table.slots for table in tables)
        size += _HELD_BYTES * streams[number].held_symbols
        if batch and total + size > limit:
            outputs.update(zip(numbers, _decode_batch(batch), strict=True))
            batch, numbers, total = [], [], 0
        batch.append((streams[number], tables))
        numbers.append(number)
        total += size
    outputs.update(zip(numbers, _decode_batch(batch) if batch else [], strict=True))
    return [outputs[number] for number in range(len(streams))]


def _decode_batch(batch: Sequence[tuple[Stream, Sequence["Tables"]]]) -> list[np.ndarray]:
    decoder = Decoder(
        [lanes for stream, _ in batch for lanes in stream.lanes],
        [table for _, tables in batch for table in tables],
    )
    firsts = np.cumsum([0, *(len(tables) for _, tables in batch)]).tolist()
    outputs: dict[int, np.ndarray] = {}
    work = {number: stream.decoding() for number, (stream, _) in enumerate(batch)}
    while work:
        phases: dict[int, tuple[int, np.ndarray, np.ndarray | None]] = {}
        for number, decoding in work.items():
            try:
                phases[number] = next(decoding)
            except StopIteration as stop:
                outputs[number] = stop.value
        parts = [firsts[number] + part for number, (part, _, _) in phases.items()]
        decoder.phase(parts, [out for _, out, _ in phases.values()], [own for _, _, own in phases.values()])
        work = {number: work[number] for number in phases}
    decoder.finish()
    return [outputs[number] for number in range(len(batch))]


class _Part:
    """One stream in the decoder: its lanes' states, and where its words and tables lie."""

    def __init__(self, lanes: Lanes, words: np.ndarray, first_word: int, entry: int, table: "Tables") -> None:
        self.lanes = len(lanes.counts)
        self.state = lanes.states.astype(np.uint32)
        # Positions among the words of all streams, where each lane's words lie side by side. NumPy gathers only by
        # integers of the machine's own width.
        self.position = first_word + np.arange(self.lanes, dtype=np.intp) * lanes.rounds
        self.end = self.position + lanes.counts
        lanes.lay_out(words[first_word : first_word + self.lanes * lanes.rounds])
        self.first_entry, self.precision = entry, table.precision


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The frequencies of one stream's tables, of the same precision."""

    symbols: np.ndarray
    """Unsigned or int64 (used,), in any order."""
    frequency: np.ndarray
    """int64 (..., used)."""
    precision: int

    @property
    def slots(self) -> int:
        """Slots of all tables."""
        return self.frequency.size // len(self.symbols) << self.precision


class Decoder:
    """Decodes many streams together, phase by phase; `lanes` and `tables` have an item for each."""

    def __init__(self, lanes: Sequence[Lanes], tables: Sequence[Tables]) -> None:
        # One more of each, so that a lane that is done still reads something.
        words = np.zeros(sum(len(own.counts) * own.rounds for own in lanes) + 1, np.uint16)
        highest = max((int(table.symbols.max()) for table in tables), default=0)
        dtype = np.uint8 if highest < 256 else np.uint16
        frequency = [np.zeros(0, np.int64), *(table.frequency.reshape(-1) for table in tables)]
        symbols = [np.zeros(0, dtype)]
        for table in tables:
            symbols.append(np.resize(table.symbols.astype(dtype), table.frequency.size))
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
        """Decode the next phase of some of the streams, given by number, each once.

        Args:
            streams: their numbers.
            outputs: for each the array of its symbols, uint8 or uint16, contiguous.
            tables: for each which of its tables each symbol has, integers (count,); None: the first.
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
        """The phase's symbols of some steps, or of the rest: (rows, lanes or fewer)."""
        if row is None or stop is None:
            return symbols[self.whole :].reshape(1, -1)
        return symbols[row * self.part.lanes : stop * self.part.lanes].reshape(stop - row, -1)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _LookUp:
    """The arrays that all streams of a decoder read."""

    words: np.ndarray
    """uint16: each lane's lie side by side."""
    entries: np.ndarray
    """See `decoding_tables`."""
    symbols: np.ndarray


class _Run:
    """The lanes of several streams side by side."""

    def __init__(self, group: Sequence[_Work], widths: Sequence[int], look_up: _LookUp) -> None:
        parts = [work.part for work in group]
        pairs = self._pairs = list(zip(parts, widths, strict=True))
        first = 0
        if len(parts) == 1:  # then its tables may begin at 0
            first = parts[0].first_entry
            look_up = dataclasses.replace(
                look_up, entries=look_up.entries[first:], symbols=look_up.symbols[first:]
            )
        self._look_up = look_up
        self._state = np.concatenate([part.state[:width] for part, width in pairs])
        self._position = np.concatenate([part.position[:width] for part, width in pairs])
        self._end = np.concatenate([part.end[:width] for part, width in pairs])
        self._shift = np.repeat(np.array([part.precision for part in parts], np.uint32), widths)
        self._mask = (np.uint32(1) << self._shift) - np.uint32(1)
        self._base = np.repeat(np.array([part.first_entry - first for part in parts], np.uint32), widths)
        ends = np.cumsum(widths).tolist()
        self._slices = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
        # Whole arrays: NumPy takes half a microsecond a call to convert a number.
        self._constants = [np.full(ends[-1], number, np.uint32) for number in (0xFFFF, 16, 1 << 16, 4)]

    def store(self) -> None:
        for (part, width), own_slice in zip(self._pairs, self._slices, strict=True):
            part.state[:width] = self._state[own_slice]
            part.position[:width] = self._position[own_slice]

    def decode(self, active: Sequence[_Work], row: int | None, stop: int | None) -> int:
        """Advance the lanes of the first streams by some steps, or by their rest; returns how many steps."""
        lanes = self._slices[len(active) - 1].stop
        if row is None or stop is None:
            rows = 1
        else:
            rows = min(stop - row, max(1, _SYMBOLS // lanes))
            stop = row + rows
        pairs = list(zip(active, self._slices, strict=False))
        own_tables = any(work.tables is not None for work in active)
        dtype = self._look_up.symbols.dtype
        alone = len(pairs) == 1 and active[0].output.dtype == dtype
        symbols = active[0].of(active[0].output, row, stop) if alone else np.empty((rows, lanes), dtype)
        block = max(_LEAST_ROWS, _BLOCK // lanes)
        slots = np.empty((min(rows, block), lanes), np.intp)
        for first in range(0, rows, block):
            some = slots[: rows - first]
            bases: Iterable[np.ndarray | None] = itertools.repeat(
                self._base[:lanes] if len(self._pairs) > 1 else None, len(some)
            )
            if own_tables:
                bases = self._bases(pairs, row, first, some.shape)
            self._decode_block(some, bases)
            self._look_up.symbols.take(some, out=symbols[first : first + block], mode="clip")
        if not alone:
            for work, own_slice in pairs:
                work.of(work.output, row, stop)[...] = symbols[:, own_slice]
        return rows

    def _bases(
        self, pairs: Sequence[tuple[_Work, slice]], row: int | None, first: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Where the table of each symbol begins, for some steps: uint32 (steps, lanes)."""
        bases = np.empty(shape, np.uint32)
        bases[...] = self._base[: shape[1]]
        start = None if row is None else row + first
        stop = None if start is None else start + shape[0]
        for work, own_slice in pairs:
            if work.tables is not None:
                own = work.of(work.tables, start, stop).astype(np.uint32)
                own <<= np.uint32(work.part.precision)
                bases[:, own_slice] += own
        return bases

    def _decode_block(self, slots: np.ndarray, bases: Iterable[np.ndarray | None]) -> None:
        lanes, bases = slots.shape[1], iter(bases)
        position, end = self._position[:lanes], self._end[:lanes]
        done = 0
        while done < len(slots):
            # No lane takes more than a word a step: for so many steps no check is needed.
            left = int((end - position).min())
            upto = min(len(slots), done + left) if left >= _LEAST_LEFT else len(slots)
            self._steps(slots[done:upto], bases, checked=left < _LEAST_LEFT)
            done = upto

    def _steps(self, slots: np.ndarray, bases: Iterator[np.ndarray | None], *, checked: bool) -> None:
        lanes = slots.shape[1]
        state, position, end = self._state[:lanes], self._position[:lanes], self._end[:lanes]
        shift, mask = self._shift[:lanes], self._mask[:lanes]
        low, sixteen, lowest, four = (own[:lanes] for own in self._constants)
        entry, share = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
        word = np.empty(lanes, np.uint16)
        below, some = np.empty(lanes, bool), np.empty(lanes, bool)
        # For many lanes arrays of one type are faster, for few the mixed types that need one call less.
        wide, by_one = lanes >= _WIDE, np.empty(lanes, np.intp)
        bitwise_and, bitwise_or, add, multiply = np.bitwise_and, np.bitwise_or, np.add, np.multiply
        right_shift, left_shift, copyto, less = np.right_shift, np.left_shift, np.copyto, np.less
        look_up, next_words = self._look_up.entries.take, self._look_up.words.take
        for slot, base in zip(slots, bases, strict=False):
            bitwise_and(state, mask, entry)
            if base is not None:
                add(entry, base, entry)
            copyto(slot, entry, "unsafe")  # NumPy gathers by integers of the width of the machine
            look_up(slot, None, entry, "clip")
            right_shift(state, shift, state)
            bitwise_and(entry, low, share)
            multiply(state, share, state)
            right_shift(entry, sixteen, entry)
            add(state, entry, state)
            less(state, lowest, below)
            if checked:
                less(position, end, some)
                bitwise_and(below, some, below)
            # A state that needs a word moves up by 16 bits and takes it in; another moves by none and takes in 0.
            # Products with true or false instead of branches: no processor can predict which lanes these are.
            next_words(position, None, word, "clip")
            if wide:
                copyto(by_one, below)
                add(position, by_one, position)
                copyto(share, below)
                copyto(entry, word)
                multiply(entry, share, entry)
                left_shift(share, four, share)
                left_shift(state, share, state)
                bitwise_or(state, entry, state)
            else:
                add(position, below, position)
                multiply(word, below, word)
                multiply(sixteen, below, share)
                left_shift(state, share, state)
                bitwise_or(state, word, state)
