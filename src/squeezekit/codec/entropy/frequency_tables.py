"""Frequency tables for rANS: coded in a few dozen bytes, rebuilt by integer arithmetic alone.

A table holds one *level* a symbol, the logarithm of its weight in steps of 1/32 octave. Histograms of weights
are smooth, so levels are written with a coarse step, and only at every second, fourth, ... symbol (a *knot*)
where that pays; those between are interpolated. Weights become frequencies that add up to a power of two.

When not to use it: for more than `MAX_SYMBOLS` different symbols.
"""

import dataclasses
import functools
import math

import numpy as np

from squeezekit.codec.entropy import bits, headers
from squeezekit.errors import FormatError

__all__ = [
    "MAX_LEVEL", "MAX_SYMBOLS", "PRECISIONS", "Table", "choose", "cost_bits", "decoding_tables", "frequencies",
    "longest_precision", "parse", "weights",
]  # fmt: skip

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
    """Return 2 ** (12 + level / 32) for levels in [0, MAX_LEVEL], rounded down in the mantissa: int64.

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

    Weights are positive int64 below 2**33, shape (..., symbols), at most 2**precision of them in the last axis.

    Example:
        >>> frequencies(np.array([1, 3000, 1000]), 8).tolist()
        [1, 191, 64]
    """
    tables = headers.Segments([weight.shape[-1]] * (weight.size // weight.shape[-1]))
    slots = np.full(len(tables.sizes), 1 << precision, np.int64)
    return _frequencies(weight.reshape(-1), slots, tables).reshape(weight.shape)


def _frequencies(weight: np.ndarray, slots: np.ndarray, tables: headers.Segments) -> np.ndarray:
    """Frequencies of many tables, each of which has so many slots."""
    average = np.add.reduceat(weight, tables.firsts) // slots
    excess = tables.sums(np.maximum(weight - average[tables.owner], 0))
    spare = slots - tables.sizes
    total = excess[tables.firsts + tables.sizes - 1]
    ends = excess * spare[tables.owner] // np.maximum(total, 1)[tables.owner]
    shares = ends + 1
    shares[1:] -= ends[:-1]
    # Only when all weights are equal and fill every slot is there no excess, and then nothing is left to share.
    shares[tables.firsts] = ends[tables.firsts] + 1 + np.where(total == 0, spare, 0)
    return shares


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Which symbols occur, how often relative to each other, and the bytes that say so."""

    symbols: np.ndarray
    """int64 (used,), ascending."""
    levels: np.ndarray
    """int64 (used,), in [0, MAX_LEVEL]; [0] when one symbol is alone."""
    precision: int
    frequencies: np.ndarray
    """int64 (used,)."""
    data: bytes = b""

    @classmethod
    def alone(cls, symbols: np.ndarray, data: bytes = b"") -> "Table":
        """The table of one symbol."""
        return cls(symbols, np.zeros(1, np.int64), PRECISIONS[0], np.array([1 << PRECISIONS[0]]), data)


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

    `histogram` is int64 (alphabet,), at least one and at most `MAX_SYMBOLS` of the counts not zero.
    """
    return _choose(np.ascontiguousarray(histogram, np.int64).tobytes())


@functools.lru_cache(maxsize=256)  # called once for the size and once to encode
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
            return Table.alone(used, head)
        exact = _exact_levels(histogram[used])
        best = math.inf
        for spacing in _SPACINGS:
            if spacing > 1 and len(_knots(len(used), spacing)) < 3:
                break
            code_bytes, levels, body = _best_step(histogram[used], exact, spacing)
            total_bytes = len(head) + code_bytes
            choices.append((total_bytes, levels, used, head, body))
            if total_bytes > best + 4:
                break  # the wider, the worse from here on
            best = min(best, total_bytes)
    _, levels, used, head, body = min(choices, key=lambda choice: choice[0])
    # The shortest table, in the decoder's cache, that costs next to nothing more than the longest.
    longest = longest_precision(int(histogram.sum()))
    fitting = [p for p in PRECISIONS if len(used) <= 1 << p and p <= longest]
    shares = {p: frequencies(weights(levels), p) for p in fitting}
    costs = {p: cost_bits(histogram[used], shares[p], p) for p in fitting}
    precision = next(p for p in fitting if costs[p] <= 1.0005 * min(costs.values()) + 4)
    first = bytes([PRECISIONS.index(precision) | body[0] << 2])
    return Table(used, levels, precision, shares[precision], head + first + body[1:])


def _exact_levels(counts: np.ndarray) -> np.ndarray:
    # A symbol that does not occur still needs a level; half a count is what one may expect of it.
    exact = OCTAVE * np.log2(np.maximum(counts, 0.5))
    return np.maximum(exact - exact.min() - max(0, np.ptp(exact) - MAX_LEVEL), 0)


def _best_step(counts: np.ndarray, exact: np.ndarray, spacing: int) -> tuple[float, np.ndarray, bytes]:
    """Of the steps, the one that pays most at this spacing: bytes of levels and codes, levels, and their bytes."""
    used = len(counts)
    smooth = _smoothed(exact, counts, _knots(used, spacing), spacing)
    coarse = np.rint(smooth / np.array(_STEPS)[:, None]).astype(np.int64)  # (steps, knots)
    levels = _interpolate(coarse * np.array(_STEPS)[:, None], used, spacing)
    precision = next((p for p in PRECISIONS if 1 << p >= 16 * used), PRECISIONS[-1])
    log_frequency = np.log2(frequencies(weights(levels), precision))
    differences = bits.zigzag(np.diff(coarse, prepend=0, axis=-1))
    totals = bits.numbers_bits(differences) - (counts * log_frequency).sum(axis=-1)
    best = int(totals.argmin())
    size_bytes = (float(totals[best]) + precision * int(counts.sum())) / 8
    code = bytes([best | _SPACINGS.index(spacing) << 2])
    return size_bytes, levels[best], code + bits.numbers(differences[best])


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


def parse(reader: bits.Reader, alphabet: int, count: int) -> headers.Parser[Table]:
    """Read a table of symbols in [0, alphabet), of which `count` will be decoded, beside others.

    Raises:
        FormatError: not a table of such symbols.
    """
    used = reader.varint(min(alphabet, MAX_SYMBOLS))
    gaps = yield headers.read_numbers, (reader, used)
    symbols = np.cumsum(gaps + 1) - 1
    if used == 0 or symbols[-1] >= alphabet:
        raise FormatError("a frequency table for symbols that cannot occur")
    if used == 1:
        return Table.alone(symbols)
    head = reader.byte()
    precision, step, spacing_code = PRECISIONS[head & 3], _STEPS[head >> 2 & 3], head >> 4
    if spacing_code >= len(_SPACINGS) or used > 1 << precision or precision > longest_precision(count):
        raise FormatError("a frequency table of an unknown kind")
    spacing = _SPACINGS[spacing_code]
    steps = yield headers.read_numbers, (reader, -(-(used - 1) // spacing) + 1)
    levels, shares = yield _rebuild, (steps, step, spacing, used, precision)
    return Table(symbols, levels, precision, shares)


def _rebuild(requests: list[tuple[np.ndarray, int, int, int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Levels and frequencies of many tables: what `_interpolate` and `frequencies` return for each.

    A request has what the knots were written as, step, spacing, number of symbols and precision.
    """
    knots = headers.Segments([len(steps) for steps, *_ in requests])
    step, spacing, used, precision = np.array([request[1:] for request in requests], np.int64).T
    steps = np.concatenate([steps for steps, *_ in requests])
    at_knots = knots.sums(bits.unzigzag(steps)) * step[knots.owner]
    if at_knots.min() < 0 or at_knots.max() > MAX_LEVEL:
        raise FormatError("a frequency table with levels out of range")
    tables = headers.Segments(used.tolist())
    owner = tables.owner
    position = np.arange(len(owner)) - tables.firsts[owner]
    own_spacing, last = spacing[owner], (used - 1)[owner]
    left = np.minimum(position // own_spacing, (knots.sizes - 2)[owner])
    start = left * own_spacing
    distance = np.minimum(start + own_spacing, last) - start
    left += knots.firsts[owner]
    low = at_knots[left]
    levels = low + (at_knots[left + 1] - low) * (position - start) // distance
    shares = _frequencies(weights(levels), np.int64(1) << precision, tables)
    return list(zip(tables.split(levels), tables.split(shares), strict=True))


def decoding_tables(frequency: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a decoder looks up for every slot of every table, and one more of each.

    Args:
        frequency: int64 (n,), of one table after the other, below 2**16.
        symbols: uint8 or uint16 (n,).

    Returns:
        uint32, number of the slot within its symbol's slots << 16 | frequency; and the symbols, as many.
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
