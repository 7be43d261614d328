"""Many short tensors of integers (the biases of a quantized network) coded together.

Each tensor alone is too short for a code table of its own, and they differ in scale; but divided by a power of two of
the right size they are all alike. So each value is split: its upper bits, of which all tensors together make one
stream with one table, and as many low bits as its tensor needs, which are as good as random.
"""

from collections.abc import Sequence

import numpy as np

from squeezekit.codec import bits
from squeezekit.codec.coders import Coder, encode_stream, framed, parse_stream, stream_bytes
from squeezekit.codec.forms import Plan
from squeezekit.errors import FormatError

__all__ = ["encode", "estimate_bytes", "parse"]

# Mean magnitudes of the upper parts that are tried: a few, since tables of more symbols cost more than they bring.
_MAGNITUDES = (2, 4, 8)
_MAX_ALPHABET = 1 << 16


def _shift(values: np.ndarray, magnitude: int) -> int:
    """Low bits to split off so that what is left has about this mean magnitude, and fits the alphabet."""
    mean = int(np.abs(values).sum()) // len(values)
    widest = int(np.abs(values).max()).bit_length() - 15
    return max(0, widest, (mean // magnitude).bit_length())


def estimate_bytes(values: np.ndarray) -> int:
    """Bytes that a tensor of int32 adds to a pool, roughly.

    Args:
        values: int64, shape (n,), n >= 1.
    """
    return 2 + len(values) * (2 * _shift(values, 4) + 9) // 16


def encode(tensors: Sequence[np.ndarray], coders: Sequence[Coder]) -> bytes:
    """Code tensors of int32.

    Args:
        tensors: int64 arrays, none empty; at least one.
        coders: from `coders_named`, at least one.
    """
    values = np.concatenate(tensors)
    counts = [len(part) for part in tensors]
    sizes = {}
    for magnitude in _MAGNITUDES:
        shifts = np.array([_shift(part, magnitude) for part in tensors])
        symbols = bits.zigzag(values >> np.repeat(shifts, counts))
        sizes[magnitude] = int(shifts @ counts) // 8 + stream_bytes(bits.count(symbols), coders)
    magnitude = min(sizes, key=lambda magnitude: sizes[magnitude])
    shifts = np.array([_shift(part, magnitude) for part in tensors])
    widths = np.repeat(shifts, counts)
    symbols = bits.zigzag(values >> widths)
    histogram = bits.count(symbols)
    stream = encode_stream(symbols.astype(np.uint16), histogram, coders)
    writer = bits.BitWriter(int(widths.sum()))
    writer.write(values & ((1 << widths) - 1), widths)
    head = bits.varint(len(histogram)) + bits.numbers(shifts)
    return head + framed(stream) + writer.to_bytes()


def parse(payload: bytes | memoryview, counts: Sequence[int]) -> Plan:
    """Read a pool up to its stream.

    Args:
        payload: what `encode` returned.
        counts: elements of each tensor, at least 1, bounded by the caller.

    Returns:
        How to decode all tensors, joined: the int32 values' bits.

    Raises:
        FormatError: not a pool of such tensors.
    """
    reader = bits.Reader(payload)
    alphabet = reader.varint(_MAX_ALPHABET)
    shifts = reader.numbers(len(counts))
    if alphabet == 0 or not counts or shifts.max() > 31:
        raise FormatError("a pool of tensors whose bits do not fit them")
    job = parse_stream(reader, sum(counts), alphabet, last=False)
    low = np.frombuffer(reader.rest(), np.uint8)
    widths = np.repeat(shifts, counts)
    if len(low) != (int(widths.sum()) + 7) // 8:
        raise FormatError("a pool of tensors of the wrong length")

    def fill(streams: Sequence[np.ndarray], out: np.ndarray) -> None:
        values = bits.unzigzag(streams[0]) << widths
        values |= bits.read_bits(low, 0, widths).astype(np.int64)
        out[...] = values.astype(np.uint32)

    return Plan("pool", (job,), fill)
