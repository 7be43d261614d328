"""Decoding one rANS stream of so many lanes that it needs no others beside it; see `lockstep` for those that do.

Here what counts is not how many NumPy calls a step takes but how many bytes they move: numbers are of 32 bits, and
only the lanes that lack a word are looked at again.
"""

import numpy as np

from squeezekit.codec.frequencies import fill_decoding_table
from squeezekit.codec.rans import Lanes
from squeezekit.errors import FormatError

__all__ = ["LEAST_LANES", "Broad"]

# From here on it is faster than sharing a step with other streams.
LEAST_LANES = 768
# Slots gathered before symbols are looked up: what fits a core's cache.
_BLOCK = 1 << 16
# With fewer words than this left to a lane, each step asks whether there are any.
_LEAST_LEFT = 8


class Broad:
    """The lanes of one stream and its tables.

    Args:
        lanes: of the stream.
        symbols: int64 (used,).
        frequency: int64 (..., used).
        precision: bits of a table.
    """

    def __init__(self, lanes: Lanes, symbols: np.ndarray, frequency: np.ndarray, precision: int) -> None:
        count = len(lanes.counts)
        self._state = lanes.states.astype(np.uint32)
        # A lane's words lie side by side; one more, so that a lane that is done has something to look at.
        self._words = np.zeros(count * lanes.rounds + 1, np.uint16)
        lanes.lay_out(self._words[:-1])
        self._position = np.arange(count) * lanes.rounds
        self._end = self._position + lanes.counts
        self._precision = precision
        entries = np.empty(frequency.size // len(symbols) << precision, np.int64)
        fill_decoding_table(frequency, symbols, entries)
        self._symbols = (entries >> 16).astype(np.uint8 if int(symbols[-1]) < 256 else np.uint16)
        # Place of the slot within its symbol's slots << 16 | frequency.
        self._entries = (entries >> 32 << 16 | entries & 0xFFFF).astype(np.uint32)

    def decode(self, output: np.ndarray, tables: np.ndarray | None) -> None:
        """Decode the next phase; see `lockstep.Decoder.phase`."""
        lanes = len(self._state)
        whole = len(output) // lanes * lanes
        size = max(1, _BLOCK // lanes) * lanes
        for first in range(0, whole, size):
            part = slice(first, min(first + size, whole))
            self._decode(output[part], None if tables is None else tables[part], lanes)
        if whole < len(output):
            self._decode(output[whole:], None if tables is None else tables[whole:], len(output) - whole)

    def finish(self) -> None:
        """See `lockstep.Decoder.finish`."""
        if (self._state != 1).any() or (self._position != self._end).any():
            raise FormatError("coded symbols that do not end where they should")

    def _decode(self, output: np.ndarray, tables: np.ndarray | None, lanes: int) -> None:
        slots = np.zeros((len(output) // lanes, lanes), np.int64)
        if tables is not None:
            np.left_shift(tables.reshape(slots.shape), self._precision, out=slots, dtype=np.int64)
        done = 0
        while done < len(slots):
            # No lane takes more than a word a step: so long nobody need ask whether one is left.
            left = int((self._end[:lanes] - self._position[:lanes]).min())
            upto = done + left if left >= _LEAST_LEFT else len(slots)
            self._steps(slots[done:upto], checked=left < _LEAST_LEFT)
            done = upto
        output[...] = self._symbols.take(slots, mode="clip").reshape(-1)

    def _steps(self, slots: np.ndarray, *, checked: bool) -> None:
        lanes = slots.shape[1]
        state, position, end = self._state[:lanes], self._position[:lanes], self._end[:lanes]
        entry, share = np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
        below = np.empty(lanes, bool)
        shift, mask, low, sixteen, lowest = (
            np.array(number, np.uint32)
            for number in (self._precision, (1 << self._precision) - 1, 0xFFFF, 16, 1 << 16)
        )
        bitwise_and, right_shift, add, multiply, less = (
            np.bitwise_and, np.right_shift, np.add, np.multiply, np.less
        )  # fmt: skip
        look_up, words = self._entries.take, self._words
        for slot in slots:
            bitwise_and(state, mask, entry)
            add(slot, entry, slot)
            look_up(slot, None, entry, "clip")
            right_shift(state, shift, state)
            bitwise_and(entry, low, share)
            multiply(state, share, state)
            right_shift(entry, sixteen, entry)
            add(state, entry, state)
            less(state, lowest, below)
            lacking = below.nonzero()[0]
            places = position[lacking]
            if checked:
                some = places < end[lacking]
                lacking, places = lacking[some], places[some]
            refilled = state[lacking]
            refilled <<= sixteen
            refilled |= words[places]
            state[lacking] = refilled
            places += 1
            position[lacking] = places
