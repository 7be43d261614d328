"""Frequency tables for rANS: coded in a few dozen bytes, rebuilt by integer arithmetic alone.

A table holds one *level* a symbol, the logarithm of its weight in steps of 1/32 octave. Histograms of weights
are smooth, so levels are written with a coarse step, and only at every second, fourth, ... symbol where that
pays; those between are interpolated. Weights become frequencies that add up to a power of two.

When not to use it: for more than `MAX_SYMBOLS` different symbols.
"""

import dataclasses
import functools
import math

import numpy as np

from squeezekit.codec import bits, lists
from squeezekit.errors import FormatError

__all__ = [
    "MAX_LEVEL",
    "MAX_SYMBOLS",
    "PRECISIONS",
    "Table",
    "choose",
    "cost_bits",
    "decoding_tables",
    "frequencies",
    "longest_precision",
    "read",
    "weights",
]

# log2 of what frequencies add up to; two bits of the header choose one. The longest table takes 384 KiB.
PRECISIONS = (10, 12, 14, 16)
MAX_SYMBOLS = 1 << 12
OCTAVE = 32
# 20 octaves: a symbol a million times rarer than another gets the least frequency anyway.
MAX_LEVEL = 20 * OCTAVE
_STEPS = (16, 8, 4, 2)  # levels are multiples of one of these: from half an octave to a sixteenth
_SPACINGS = tuple(1 << power for power in range(6))
_WEIGHT_BITS = 12
_SLOTS_PER_SYMBOL = 64
# Slots that are numbered at once.
_CHUNK = 1 << 16


def _root(value: int) -> int:
    # Five square roots make the 32nd root, rounded down, whatever the processor.
    for _ in range(5):
        value = math.isqrt(value)
    return value


# floor(2**(12 + j/32)) for j = 0 ... 31
_POWERS = np.array([_root(1 << (OCTAVE * _WEIGHT_BITS + j)) for j in range(OCTAVE)], np.int64)


def weights(levels: np.ndarray) -> np.ndarray:
    """Return 2 ** (12 + level / 32), rounded down in the mantissa: int64, of the shape of `levels`.

    Args:
        levels: integers in [0, MAX_LEVEL].

    Example:
        >>> weights(np.array([0, 1, 32, 33])).tolist()
        [4096, 4185, 8192, 8370]
    """
    levels = np.asarray(levels, np.int64)
    return _POWERS[levels & (OCTAVE - 1)] << (levels >> 5)


def frequencies(weight: np.ndarray, precision: int) -> np.ndarray:
    """Share out 2**precision slots in proportion to weights, at least one to each symbol.

    Each symbol gets a slot; the rest is shared in proportion to what a weight exceeds the average slot by.
    With every weight above it that is exactly proportional.

    Args:
        weight: positive int64, shape (..., symbols), at most 2**precision symbols, below 2**33 each.
        precision: one of `PRECISIONS`.

    Returns:
        int64 of the same shape; the last axis adds up to 2**precision.

    Example:
        >>> frequencies(np.array([1, 3000, 1000]), 8).tolist()
        [1, 191, 64]
    """
    slots = 1 << precision
    total = weight.sum(axis=-1, keepdims=True)
    excess = np.maximum(weight - (total >> precision), 0)
    running = np.cumsum(excess, axis=-1)
    # Only when all weights are equal and fill every slot is there no excess, and then nothing is left to share.
    spare = slots - weight.shape[-1]
    ends = running * spare // np.maximum(running[..., -1:], 1)
    out = ends + 1
    out[..., 1:] -= ends[..., :-1]
    out[..., :1] += np.where(running[..., -1:] == 0, spare, 0)
    return out


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Which symbols occur, how often relative to each other, and the bytes that say so."""

    symbols: np.ndarray
    """int64 (used,), ascending."""
    levels: np.ndarray
    """int64 (used,), in [0, MAX_LEVEL]; [0] when one symbol is alone."""
    precision: int
    data: bytes = b""
    shares: np.ndarray | None = None
    """The frequencies, where they are known already."""

    @property
    def frequencies(self) -> np.ndarray:
        """int64 (used,)."""
        return frequencies(weights(self.levels), self.precision) if self.shares is None else self.shares


def _knots(used: int, spacing: int) -> np.ndarray:
    """Positions of the levels that are written: every `spacing`-th symbol, and the last."""
    return np.append(np.arange(0, used - 1, spacing), used - 1)


def _interpolate(at_knots: np.ndarray, used: int, spacing: int) -> np.ndarray:
    """Levels between those at the knots, (..., knots) to (..., used)."""
    if spacing == 1:
        return at_knots
    knots = _knots(used, spacing)
    position = np.arange(used)
    left = np.minimum(position // spacing, len(knots) - 2)
    rise = at_knots[..., left + 1] - at_knots[..., left]
    return at_knots[..., left] + rise * (position - knots[left]) // (knots[left + 1] - knots[left])


def cost_bits(counts: np.ndarray, frequency: np.ndarray, precision: int) -> float:
    """Bits that symbols of these counts take under these frequencies."""
    return float(counts.sum() * precision - (counts * np.log2(frequency)).sum())


def choose(histogram: np.ndarray) -> Table:
    """Find the table for which itself and the symbols coded with it take the fewest bytes.

    Args:
        histogram: int64 counts, shape (alphabet,), at most `MAX_SYMBOLS` of them not zero, at least one.
    """
    return _choose(np.ascontiguousarray(histogram, np.int64).tobytes())


@functools.lru_cache(maxsize=256)  # asked once for the size and once to encode
def _choose(data: bytes) -> Table:
    histogram = np.frombuffer(data, np.int64)
    symbols = np.flatnonzero(histogram)
    if len(symbols) > MAX_SYMBOLS:
        raise ValueError(f"Expected at most {MAX_SYMBOLS} different symbols. Received: {len(symbols)}.")
    lists = [symbols]
    between = np.arange(symbols[0], symbols[-1] + 1)
    if len(symbols) < len(between) <= MAX_SYMBOLS:
        # Symbols that do not occur between those that do: often cheaper to allow than to list.
        lists.append(between)
    choices = []
    for used in lists:
        head = bits.varint(len(used)) + bits.numbers(np.diff(used, prepend=-1) - 1)
        if len(used) == 1:
            return Table(used, np.zeros(1, np.int64), PRECISIONS[0], head)
        exact = _exact_levels(histogram[used])
        best = math.inf
        for spacing in _SPACINGS:
            if spacing > 1 and len(_knots(len(used), spacing)) < 3:
                break
            choice = _coarsest(histogram[used], exact, spacing, used, head)
            choices.append(choice)
            if choice[0] > best + 4:
                break  # the wider, the worse from here on
            best = min(best, choice[0])
    _, levels, used, head, body = min(choices, key=lambda choice: choice[0])
    # The shortest table, in the decoder's cache, that costs next to nothing more than the longest.
    longest = longest_precision(int(histogram.sum()))
    fitting = [p for p in PRECISIONS if len(used) <= 1 << p and p <= longest]
    costs = {p: cost_bits(histogram[used], frequencies(weights(levels), p), p) for p in fitting}
    precision = next(p for p in fitting if costs[p] <= 1.0005 * min(costs.values()) + 4)
    first = bytes([PRECISIONS.index(precision) | body[0] << 2])
    return Table(used, levels, precision, head + first + body[1:])


def _exact_levels(counts: np.ndarray) -> np.ndarray:
    # A symbol that does not occur still needs a level; half a count is what one may expect of it.
    exact = OCTAVE * np.log2(np.maximum(counts, 0.5))
    return np.maximum(exact - exact.min() - max(0, np.ptp(exact) - MAX_LEVEL), 0)


def _coarsest(
    counts: np.ndarray, exact: np.ndarray, spacing: int, used: np.ndarray, head: bytes
) -> tuple[float, np.ndarray, np.ndarray, bytes, bytes]:
    """Of the steps, the one that pays most at this spacing: total bytes, levels, and what was given and written."""
    smooth = _smoothed(exact, counts, _knots(len(used), spacing), spacing)
    coarse = np.rint(smooth / np.array(_STEPS)[:, None]).astype(np.int64)  # (steps, knots)
    levels = _interpolate(coarse * np.array(_STEPS)[:, None], len(used), spacing)
    precision = next((p for p in PRECISIONS if 1 << p >= 16 * len(used)), PRECISIONS[-1])
    log_frequency = np.log2(frequencies(weights(levels), precision))
    differences = bits.zigzag(np.diff(coarse, prepend=0, axis=-1))
    totals = bits.numbers_bits(differences) - (counts * log_frequency).sum(axis=-1)
    best = int(totals.argmin())
    total_bytes = len(head) + (float(totals[best]) + precision * int(counts.sum())) / 8
    code = bytes([best | _SPACINGS.index(spacing) << 2])
    return total_bytes, levels[best], used, head, code + bits.numbers(differences[best])


def _smoothed(exact: np.ndarray, counts: np.ndarray, knots: np.ndarray, spacing: int) -> np.ndarray:
    """Levels at the knots: mean over the neighbours within one spacing, by count and nearness."""
    if spacing == 1:
        return exact
    offsets = np.arange(1 - spacing, spacing)
    at = knots[:, None] + offsets  # (knots, 2 * spacing - 1)
    inside = (at >= 0) & (at < len(exact))
    at = at.clip(0, len(exact) - 1)
    share = inside * (spacing - np.abs(offsets)) * (counts[at] + 0.5)
    return (share * exact[at]).sum(axis=1) / share.sum(axis=1)


def longest_precision(count: int) -> int:
    """The longest table that so many symbols may have: it must not take much more than they do."""
    return max(PRECISIONS[0], (_SLOTS_PER_SYMBOL * count).bit_length() - 1)


def read(reader: bits.Reader, alphabet: int, count: int) -> lists.Parser[Table]:
    """Read a table, beside others.

    Args:
        reader: moves to behind the table.
        alphabet: symbols lie in [0, alphabet).
        count: how many will be decoded.

    Raises:
        FormatError: not a table of such symbols.
    """
    used = reader.varint(min(alphabet, MAX_SYMBOLS))
    gaps = yield lists.numbers, (reader, used)
    symbols = np.cumsum(gaps + 1) - 1
    if used == 0 or symbols[-1] >= alphabet:
        raise FormatError("a frequency table for symbols that cannot occur")
    if used == 1:
        return Table(symbols, np.zeros(1, np.int64), PRECISIONS[0])
    head = reader.byte()
    precision, step, spacing_code = PRECISIONS[head & 3], _STEPS[head >> 2 & 3], head >> 4
    if spacing_code >= len(_SPACINGS) or used > 1 << precision or precision > longest_precision(count):
        raise FormatError("a frequency table of an unknown kind")
    spacing = _SPACINGS[spacing_code]
    steps = yield lists.numbers, (reader, -(-(used - 1) // spacing) + 1)
    levels, shares = yield _shares, (steps, step, spacing, used, precision)
    return Table(symbols, levels, precision, shares=shares)


def _shares(wants: list[tuple[np.ndarray, int, int, int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Levels and frequencies of many tables: what `_interpolate`, `weights` and `frequencies` say of each.

    Args:
        wants: of each table what its knots were written as, step, spacing, symbols and precision.
    """
    firsts, sizes, owner = lists.segments([len(knots) for knots, *_ in wants])
    step, spacing, used, slots = (
        np.array([want[place] for want in wants], np.int64) for place in range(1, 5)
    )
    at_knots = lists.running(bits.unzigzag(np.concatenate([knots for knots, *_ in wants])), firsts, owner)
    at_knots *= step[owner]
    if at_knots.min() < 0 or at_knots.max() > MAX_LEVEL:
        raise FormatError("a frequency table with levels out of range")
    first_knots, knots = firsts, sizes
    firsts, _, owner = lists.segments(used.tolist())
    position = np.arange(len(owner)) - firsts[owner]
    own_spacing, last = spacing[owner], (used - 1)[owner]
    left = np.minimum(position // own_spacing, (knots - 2)[owner])
    start = left * own_spacing
    distance = np.minimum(start + own_spacing, last) - start
    left += first_knots[owner]
    low = at_knots[left]
    levels = low + (at_knots[left + 1] - low) * (position - start) // distance

    weight, slots = weights(levels), np.int64(1) << slots
    average = np.add.reduceat(weight, firsts) // slots
    excess = lists.running(np.maximum(weight - average[owner], 0), firsts, owner)
    spare = slots - used
    total = np.append(excess[firsts[1:] - 1], excess[-1])
    ends = excess * spare[owner] // np.maximum(total, 1)[owner]
    shares = ends + 1
    shares[1:] -= ends[:-1]
    shares[firsts] = ends[firsts] + 1 + np.where(total == 0, spare, 0)
    return list(zip(lists.cut(levels, firsts), lists.cut(shares, firsts), strict=True))


def decoding_tables(frequency: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a decoder looks up for every slot of every table, and one more of each.

    Args:
        frequency: int64 (n,), of one table after the other, below 2**16.
        symbols: uint8 or uint16 (n,).

    Returns:
        uint32 (slots of all tables + 1,): the place of the slot within its symbol's slots << 16 | frequency. The
        symbols, as many.
    """
    # NumPy repeats by no integers wider than the machine's own, which on a 32-bit system int64 is.
    times = frequency.astype(np.intp)
    times[-1:] += 1
    starts = np.cumsum(frequency) - frequency
    # Unsigned arithmetic wraps around, so that one repetition holds what is the same for all slots of a symbol.
    entries = np.repeat((frequency - (starts << 16)).astype(np.uint32), times)
    for first in range(0, len(entries), _CHUNK):
        part = entries[first : first + _CHUNK]
        part += np.arange(first, first + len(part), dtype=np.uint32) << np.uint32(16)
    return entries, np.repeat(symbols, times)
