"""Long lists of numbers as bytes: small ones take one byte, so that a general compressor sees what repeats.

Seven bits a byte, least significant first, the high bit set on all but a number's last (LEB128), up to 64 bits.
"""

import numpy as np

from squeezekit.codec.entropy.bits import Reader
from squeezekit.errors import FormatError

__all__ = ["Numbers", "read_some", "read_varints", "varints"]

# Bytes of a number of 64 bits.
_LONGEST = 10


def varints(values: np.ndarray) -> bytes:
    """Write integers, uint64 (n,), one after the other, each as `bits.varint` does, in ten bytes at most.

    Example:
        >>> varints(np.array([5, 300], np.uint64)).hex()
        '05ac02'
    """
    shifts = np.arange(0, 7 * _LONGEST, 7, dtype=np.uint64)
    rest = values.astype(np.uint64)[:, None] >> shifts  # (n, bytes of a number)
    used = rest > 0
    used[:, 0] = True
    out = (rest & np.uint64(0x7F)).astype(np.uint8)
    out[:, :-1] |= used[:, 1:].astype(np.uint8) << 7
    return out[used].tobytes()


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
    sizes = np.diff(ends, prepend=-1)
    starts = ends - sizes + 1
    longest = int(sizes.max(initial=0))
    if longest > _LONGEST or (longest == _LONGEST and (stream[ends[sizes == _LONGEST]] > 1).any()):
        raise FormatError("a number of more than 64 bits")
    values = (stream[starts] & 0x7F).astype(np.uint64)
    for index in range(1, longest):
        some = np.flatnonzero(sizes > index)
        part = (stream[starts[some] + index] & 0x7F).astype(np.uint64)
        values[some] |= part << np.uint64(7 * index)
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
