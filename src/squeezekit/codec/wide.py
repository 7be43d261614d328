"""Long lists of numbers as bytes: small ones take one byte, so that a general compressor sees what repeats.

Seven bits a byte, least significant first, the high bit set on all but a number's last (LEB128).
"""

import numpy as np

from squeezekit.codec.bits import Reader
from squeezekit.errors import FormatError

__all__ = ["Numbers", "read_some", "read_varints", "varints"]

# Bytes of a number of 64 bits.
_LONGEST = 10


def varints(values: np.ndarray) -> bytes:
    """Write integers one after the other, each as `bits.varint` does, in ten bytes at most.

    Args:
        values: uint64 array, shape (n,).

    Example:
        >>> varints(np.array([5, 300], np.uint64)).hex()
        '05ac02'
    """
    values = values.astype(np.uint64)
    columns = []  # byte k of every value that has one
    rest, used = values, np.ones(len(values), bool)
    while used.any():
        columns.append((rest & np.uint64(0x7F), used))
        rest = rest >> np.uint64(7)
        used = rest > 0
    if not columns:
        return b""
    grid = np.stack([column for column, _ in columns], axis=1).astype(np.uint8)
    flags = np.stack([flag for _, flag in columns], axis=1)
    grid[:, :-1] |= flags[:, 1:].astype(np.uint8) << 7
    return grid[flags].tobytes()


def read_varints(data: bytes | memoryview, limit: int) -> np.ndarray:
    """Undo `varints`: uint64, as many as there are.

    Raises:
        FormatError: more than `limit` numbers, a number of more than 64 bits, or cut short.
    """
    stream = np.frombuffer(data, np.uint8)
    if np.count_nonzero(stream < 0x80) > limit:
        raise FormatError(f"a list of more than {limit:,} numbers")
    ends = np.flatnonzero(stream < 0x80)
    if len(stream) and (len(ends) == 0 or ends[-1] != len(stream) - 1):
        raise FormatError("a list of numbers that is cut short")
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    sizes = ends - starts + 1
    longest = int(sizes.max(initial=0))
    if longest > _LONGEST or (longest == _LONGEST and (stream[ends[sizes == _LONGEST]] > 1).any()):
        raise FormatError("a number of more than 64 bits")
    values = (stream[starts] & 0x7F).astype(np.uint64)
    for place in range(1, longest):
        some = np.flatnonzero(sizes > place)
        part = (stream[starts[some] + place] & 0x7F).astype(np.uint64)
        values[some] |= part << np.uint64(7 * place)
    return values


def read_some(reader: Reader, count: int) -> list[int]:
    """Read the next `count` numbers that `varints` wrote, and nothing behind them.

    Raises:
        FormatError: fewer than that, or one of more than 64 bits.
    """
    if count == 0:
        return []
    left = np.frombuffer(reader.peek(_LONGEST * count), np.uint8)
    ends = np.flatnonzero(left < 0x80)
    if len(ends) < count:
        raise FormatError("a list of numbers that is cut short")
    return read_varints(reader.take(int(ends[count - 1]) + 1), count).tolist()


class Numbers:
    """Hands out a long list of numbers in pieces."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self._position = 0

    def take(self, count: int, *, limit: int | None = None) -> np.ndarray:
        """Return the next `count` numbers, uint64, none above `limit`."""
        part = self._values[self._position : self._position + count]
        if len(part) != count or (limit is not None and count and int(part.max()) > limit):
            raise FormatError("a list with too few numbers, or one too large")
        self._position += count
        return part

    def finish(self) -> None:
        """Refuse numbers that nothing has taken."""
        if self._position != len(self._values):
            raise FormatError("a list with numbers left over")
