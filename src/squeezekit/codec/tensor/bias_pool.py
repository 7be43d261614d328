"""Many short tensors of integers (the biases of a quantized network) coded together.

Each tensor alone is too short for a code table of its own, and they differ in scale; but each divided by a suitable
power of two, their histograms are about the same. So each value is split: its upper bits, of which all tensors
together make one stream with one table, and as many low bits as its tensor needs, which are as good as random.
"""

from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import Coder, bits, streams
from squeezekit.codec.tensor.forms import Plan
from squeezekit.errors import FormatError

__all__ = ["encode", "estimate_bytes", "read"]

# Mean magnitudes of the upper parts that are tried: a few, since tables of more symbols cost more than they bring.
_MAGNITUDES = (2, 4, 8)
_MAX_ALPHABET = 1 << 16


def _shift(values: np.ndarray, magnitude: int) -> int:
    """Low bits to split off so that what is left has about this mean magnitude, and fits the alphabet."""
    mean = int(np.abs(values).sum()) // len(values)
    widest = int(np.abs(values).max()).bit_length() - 15
    return max(0, widest, (mean // magnitude).bit_length())


def estimate_bytes(values: np.ndarray) -> int:
    """Bytes that a tensor of int32 adds to a pool, roughly; `values` are int64, at least one."""
    return 2 + len(values) * (2 * _shift(values, 4) + 9) // 16


def encode(tensors: Sequence[np.ndarray], coders: Sequence[Coder]) -> bytes:
    """Code tensors of int32, given as int64 arrays, none empty."""
    values = np.concatenate(tensors)
    counts = [len(part) for part in tensors]
    splits = []
    for magnitude in _MAGNITUDES:
        shifts = np.array([_shift(part, magnitude) for part in tensors])
        symbols = bits.zigzag(values >> np.repeat(shifts, counts))
        histogram = bits.count(symbols)
        size_bytes = int(shifts @ counts) // 8 + streams.size_bytes(histogram, coders)
        splits.append((size_bytes, shifts, symbols, histogram))
    _, shifts, symbols, histogram = min(splits, key=lambda split: split[0])
    stream = streams.encode(symbols.astype(np.uint16), histogram, coders)
    widths = np.repeat(shifts, counts)
    writer = bits.BitWriter(int(widths.sum()))
    writer.write(values & ((1 << widths) - 1), widths)
    head = bits.varint(len(histogram)) + bits.numbers(shifts)
    return head + streams.framed(stream) + writer.to_bytes()


def read(payload: bytes | memoryview, counts: Sequence[int]) -> Plan:
    """Read a pool up to its stream; the plan fills all tensors, joined, with the bits of int32 values.

    `counts` are the elements of each tensor, at least 1, bounded by the caller.

    Raises:
        FormatError: not a pool of such tensors.
    """
    reader = bits.Reader(payload)
    alphabet = reader.varint(_MAX_ALPHABET)
    shifts = reader.numbers(len(counts))
    if alphabet == 0 or not counts or shifts.max() > 31:
        raise FormatError("a pool of tensors whose bits do not fit them")
    job = streams.read(reader, sum(counts), alphabet, last=False)
    low = np.frombuffer(reader.rest(), np.uint8)
    widths = np.repeat(shifts, counts)
    if len(low) != (int(widths.sum()) + 7) // 8:
        raise FormatError("a pool of tensors of the wrong length")

    def fill(decoded: Sequence[np.ndarray], out: np.ndarray) -> None:
        values = bits.unzigzag(decoded[0]) << widths
        values |= bits.read_bits(low, 0, widths).astype(np.int64)
        out[...] = values.astype(np.uint32)

    return Plan("pool", (job,), fill)
