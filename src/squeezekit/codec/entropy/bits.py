"""Bit strings and small integers, written and read by whole NumPy arrays.

Bits run from the most significant of a byte to the least, bytes from first to last. A list of numbers is
stored as an Exp-Golomb code whose prefixes come first and whose suffixes follow, so that NumPy finds all
prefixes at once and then knows where every suffix lies.

Solomon W. Golomb, "Run-length encodings", IEEE Transactions on Information Theory 12 (1966); Jukka Teuhola,
"A compression method for clustered bit-vectors", Information Processing Letters 7 (1978).
"""

import numpy as np

from squeezekit.errors import FormatError

__all__ = [
    "BitWriter", "Reader", "bits_at", "count", "numbers", "numbers_bits", "read_bits", "unzigzag", "varint", "zigzag"
]  # fmt: skip

# The largest value that `numbers` and `varint` hold; every size in a `.sqz` fits.
MAX_NUMBER = 2**32 - 1
# All texts together, with the zero byte behind each.
MAX_TEXT_BYTES = 1 << 22
# Written in place of the Golomb parameter when every number is zero and nothing follows.
ALL_ZERO = 32
# Written in place of the parameter when bit lengths are stored as a list of their own.
BY_LENGTH = 33
# Lists no longer than this are read without NumPy.
_FEW = 96
# Values handled at once: temporaries stay within some ten megabytes however long the input.
_CHUNK = 1 << 20


def count(symbols: np.ndarray, minlength: int = 0) -> np.ndarray:
    """How often each symbol (integers from 0 on) occurs: int64, at least `minlength` long.

    On 32-bit systems too, where NumPy counts no int64.

    Example:
        >>> count(np.array([2, 0, 2]), 4).tolist()
        [1, 0, 2, 0]
    """
    return np.bincount(symbols.astype(np.intp, copy=False), minlength=minlength).astype(np.int64, copy=False)


class BitWriter:
    """Concatenates values of given bit widths, whose sum is `total_bits`, most significant bit first.

    Example:
        >>> writer = BitWriter(11)
        >>> writer.write(np.array([1, 255]), np.array([3, 8]))
        >>> writer.to_bytes().hex()
        '3fe0'
    """

    def __init__(self, total_bits: int) -> None:
        # One word beyond the end takes the (empty) spill of the last value.
        self._words = np.zeros(total_bits // 32 + 2, np.uint32)
        self._size_bytes = (total_bits + 7) // 8
        self._position = 0

    def write(self, values: np.ndarray, widths: np.ndarray) -> None:
        """Append integers, `values[i]` in `widths[i]` bits (0 to 32; the value must fit)."""
        for first in range(0, len(values), _CHUNK):
            self._write_chunk(values[first : first + _CHUNK], widths[first : first + _CHUNK])

    def _write_chunk(self, values: np.ndarray, widths: np.ndarray) -> None:
        ends = np.cumsum(widths, dtype=np.int64)
        ends += self._position
        starts = ends - widths
        words = starts >> 5
        # Each value goes into a 64-bit window that begins at a word; what runs over goes to the next word.
        shifts = (64 - (starts & 31) - widths).astype(np.uint64)
        windows = values.astype(np.uint64) << shifts
        firsts = np.flatnonzero(np.diff(words, prepend=-1))
        targets = words[firsts]
        self._words[targets] |= np.bitwise_or.reduceat(windows >> np.uint64(32), firsts).astype(np.uint32)
        spill = np.bitwise_or.reduceat(windows & np.uint64(0xFFFFFFFF), firsts)
        self._words[targets + 1] |= spill.astype(np.uint32)
        self._position = int(ends[-1])

    def to_bytes(self) -> bytes:
        """Everything written, padded with zero bits to a whole byte."""
        return self._words.astype(">u4").view(np.uint8)[: self._size_bytes].tobytes()


def read_bits(data: np.ndarray, start: int, widths: np.ndarray) -> np.ndarray:
    """Read consecutive values of given bit widths, each in [0, 32], from bit `start` of uint8 data: uint64.

    Raises:
        FormatError: the values run past the end of `data`.
    """
    values = np.empty(len(widths), np.uint64)
    for first in range(0, len(widths), _CHUNK):
        width = widths[first : first + _CHUNK].astype(np.int64)
        ends = np.cumsum(width)
        ends += start
        stop = int(ends[-1])
        if stop > 8 * len(data):
            raise FormatError("cut short inside a list of numbers")
        base = start >> 3
        part = np.zeros((stop + 7) // 8 - base + 8, np.uint8)
        part[:-8] = data[base : (stop + 7) // 8]
        ends -= width + 8 * base
        values[first : first + _CHUNK] = bits_at(part, ends, width)
        start = stop
    return values


def bits_at(data: np.ndarray, starts: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Read values of given bit widths (in [0, 32]) at any bit positions, int64 both: uint64.

    `data` is uint8, contiguous, with eight bytes more than the values need.
    """
    # The eight bytes from any position on, as one number: 32 bits at any of 8 bit offsets lie within.
    windows = np.ndarray(len(data) - 7, ">u8", data, strides=(1,))
    window = windows[starts >> 3].astype(np.uint64)
    window <<= (starts & 7).astype(np.uint64)
    window >>= np.uint64(32)
    window >>= (32 - widths).astype(np.uint64)
    return window


def zigzag(values: np.ndarray) -> np.ndarray:
    """Map signed to unsigned integers, small to small: 0, -1, 1, -2, ... become 0, 1, 2, 3, ..."""
    values = values.astype(np.int64)
    return (values << 1) ^ (values >> 63)


def unzigzag(values: np.ndarray) -> np.ndarray:
    """Undo `zigzag`, of up to 64 bits; int64."""
    values = values.astype(np.uint64)
    return ((values >> np.uint64(1)) ^ (np.uint64(0) - (values & np.uint64(1)))).view(np.int64)


def bit_lengths(values: np.ndarray) -> np.ndarray:
    """Bits of each integer below 2**53 without its leading zeros; int64."""
    # Exact: every such integer is a double, and frexp gives its bit length.
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def numbers(values: np.ndarray) -> bytes:
    """Store integers in [0, 2**32) compactly when most are of a similar size; their count is not stored.

    One byte holds the parameter k. A value v becomes w = v + 2**k; with b = bit length of w, the prefix is
    b - 1 - k zeros and a one, the suffix the low b - 1 bits of w. All prefixes come first, then all suffixes.
    The byte 32 alone says that all values are 0. The byte 33 says that a list of zigzagged differences of
    neighbouring bit lengths follows and then of each value the bits below its highest one: that suits numbers
    which grow and shrink slowly over many octaves, such as the gaps of a codebook of floats.

    Example:
        >>> numbers(np.array([5, 6, 7, 4])).hex()
        '03fbbc'
        >>> Reader(bytes.fromhex("03fbbc")).numbers(4).tolist()
        [5, 6, 7, 4]
    """
    values = np.asarray(values, np.int64)
    if not values.any():
        return bytes([ALL_ZERO]) if len(values) else b""
    plain = _golomb(values)
    if len(values) < 8:
        return plain
    lengths = bit_lengths(values)
    widths = np.maximum(lengths - 1, 0)
    writer = BitWriter(int(widths.sum()))
    writer.write(values - (lengths > 0) * (np.int64(1) << widths), widths)
    by_length = bytes([BY_LENGTH]) + _golomb(zigzag(np.diff(lengths, prepend=0))) + writer.to_bytes()
    return min(plain, by_length, key=len)


def _golomb(values: np.ndarray) -> bytes:
    if not values.any():
        return bytes([ALL_ZERO])
    # The best k lies near the median's bit length; any k would decode.
    middle = int(np.median(values)).bit_length()
    sizes = {k: int(_golomb_bits(values, k)) for k in range(max(0, middle - 3), min(31, middle + 2) + 1)}
    k = min(sizes, key=lambda k: sizes[k])
    shifted = values + (1 << k)
    suffix_widths = bit_lengths(shifted) - 1
    writer = BitWriter(sizes[k])
    ones = np.ones(len(values), np.int64)
    writer.write(ones, suffix_widths - k + 1)
    writer.write(shifted - (ones << suffix_widths), suffix_widths)
    return bytes([k]) + writer.to_bytes()


def _golomb_bits(values: np.ndarray, k: int) -> np.ndarray:
    """Bits of the code with a parameter, for each row of `values` (..., n)."""
    return (2 * bit_lengths(values + (1 << k)) - 1 - k).sum(axis=-1)


def numbers_bits(values: np.ndarray) -> np.ndarray:
    """Size of `numbers` for each row of `values` (..., n), with its first byte, to within a byte or so."""
    return 8 + np.min([_golomb_bits(values, k) for k in range(6)], axis=0)


def varint(value: int) -> bytes:
    """Seven bits a byte, least significant first, the high bit set on all but the last (LEB128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """Reads a byte string from front to back; anything that does not fit is a `FormatError`.

    Example:
        >>> reader = Reader(b"\\x85\\x01rest")
        >>> reader.varint(), bytes(reader.rest())
        (133, b'rest')
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._position

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, not copied."""
        end = self._position + size
        if size < 0 or end > len(self._data):
            raise FormatError("cut short: a part runs past the end of its section")
        part = self._data[self._position : end]
        self._position = end
        return part

    def peek(self, size: int) -> memoryview:
        """Return the next bytes, at most `size`, without moving on."""
        return self._data[self._position : self._position + size]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def uint32(self) -> int:
        """Return the next four bytes as a little-endian integer."""
        return int.from_bytes(self.take(4), "little")

    def varint(self, limit: int = MAX_NUMBER) -> int:
        """Return the next `varint`, which must not exceed `limit`."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise FormatError("a number of more than five bytes")
        if value > limit:
            raise FormatError(f"a size or count of {value:,} where at most {limit:,} is possible")
        return value

    def numbers(self, count: int) -> np.ndarray:
        """Return `count` values stored by `numbers`: int64, each in [0, 2**32).

        A list of zeros costs one byte whatever its length, so the caller must have bounded `count`.
        """
        if count == 0:
            return np.zeros(0, np.int64)
        k = self.byte()
        if k != BY_LENGTH:
            return self.golomb(k, count)
        lengths = np.cumsum(unzigzag(self.golomb(self.byte(), count)))
        if lengths.min() < 0 or lengths.max() > 32:
            raise FormatError("a number of more than 32 bits")
        widths = np.maximum(lengths - 1, 0)
        low = read_bits(np.frombuffer(self._data[self._position :], np.uint8), 0, widths).astype(np.int64)
        self.take((int(widths.sum()) + 7) // 8)
        return low + (lengths > 0) * (np.int64(1) << widths)

    def golomb(self, k: int, count: int) -> np.ndarray:
        """Return `numbers(count)` whose first byte was read already: k, other than `BY_LENGTH`."""
        if k == ALL_ZERO:
            return np.zeros(count, np.int64)
        if count <= _FEW:
            return self._few_numbers(k, count)
        left = np.frombuffer(self._data[self._position :], np.uint8)
        # A prefix has at most 33 bits and a suffix at most 32, so no more than this can belong to the list.
        bits = np.unpackbits(left[: (count * 33 + 7) // 8])
        ones = np.flatnonzero(bits)[:count]
        if k > ALL_ZERO or len(ones) < count:
            raise FormatError("a damaged list of numbers")
        suffix_widths = np.diff(ones, prepend=-1) + (k - 1)
        if suffix_widths.max() > 32:
            raise FormatError("a number of more than 32 bits")
        start = int(ones[-1]) + 1
        suffixes = read_bits(left, start, suffix_widths).astype(np.int64)
        values = suffixes + (np.int64(1) << suffix_widths) - (1 << k)
        if values.max() > MAX_NUMBER:
            raise FormatError("a number of more than 32 bits")
        self.take((start + int(suffix_widths.sum()) + 7) // 8)
        return values

    def _few_numbers(self, k: int, count: int) -> np.ndarray:
        """Do the same number by number: this many are done before NumPy has begun."""
        left = bytes(self.peek((count * 65 + 7) // 8))
        text = bin(int.from_bytes(b"\1" + left, "big"))[3:]
        zeros = list(map(len, text.split("1", count)))[:-1]
        # A number of 32 bits has at most as many zeros before it and k bits more than that behind.
        if k > ALL_ZERO or len(zeros) < count or max(zeros) + k > 32:
            raise FormatError("a damaged list of numbers")
        at = count + sum(zeros)
        if at + sum(zeros) + k * count > len(text):
            raise FormatError("cut short inside a list of numbers")
        values = []
        for zero in zeros:
            end = at + zero + k
            values.append(int("1" + text[at:end], 2))
            at = end
        self.take((at + 7) // 8)
        if max(values) - (1 << k) > MAX_NUMBER:
            raise FormatError("a number of more than 32 bits")
        return np.array(values, np.int64) - (1 << k)

    def until_zero(self, count: int) -> bytes:
        """Return all bytes up to and with the zero byte number `count`."""
        data = bytes(self.peek(MAX_TEXT_BYTES))
        end = 0
        for _ in range(count):
            end = data.find(0, end) + 1
            if end == 0:
                raise FormatError("cut short: a text that does not end")
        return bytes(self.take(end))

    def rest(self) -> memoryview:
        """Return all bytes not read yet."""
        return self.take(self.left)

    def finish(self) -> None:
        """Refuse bytes that nothing has read."""
        if self.left:
            raise FormatError(f"{self.left:,} bytes too many at the end of a part")
