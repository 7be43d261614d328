"""Canonical, length-limited Huffman codes, decoded by NumPy in many interleaved lanes at once.

Of a stream of n symbols lane j codes symbols j, j + lanes, ... into a bit string of its own, and the bit strings
follow one another. Each step of the decoder takes one symbol from every lane of *every* stream given to it, so a
network of many small tensors decodes as fast as one big one.

When not to use it: symbols that are nearly always the same cost a whole bit each. Code masks of the others
instead (`squeezekit.codec.tensor` does), or use a coder that spends fractions of bits.

D. A. Huffman, "A method for the construction of minimum-redundancy codes", Proc. IRE 40 (1952).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from squeezekit.codec.entropy import bits
from squeezekit.codec.entropy.huffman_codes import MAX_FILE_BITS, canonical_codes, code_lengths
from squeezekit.errors import FormatError

__all__ = ["Stream", "decode", "encode", "read", "size_bytes"]

MAX_ALPHABET = 1 << 16
# Bytes of code per lane. A lane's length costs some 9 to 10 bits, so lanes cost under 0.2 % of a stream.
_LANE_BYTES = 768
# Lanes decoded together: enough to make the cost of a NumPy call small, few enough to stay in cache.
_GROUP_LANES = 4096
# Entries of the decoding tables of such lanes, except where one table alone has more: those of a small network's
# layers together would take ten times its bytes.
_GROUP_ENTRIES = 1 << 16
# Table entries, words and windows that are worked on at once.
_BLOCK = 1 << 14
_LENGTH_BITS = 5  # low bits of a decoding table's entry: the code's length, in [1, 16]
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1
_WINDOW = (1 << 64) - 1
# Up to so many lanes Python's own numbers are quicker than a NumPy call for all of them.
_FEW_LANES = 12


def _write_table(histogram: np.ndarray, lengths: np.ndarray) -> bytes:
    used = np.flatnonzero(histogram)
    gaps = np.diff(used, prepend=-1) - 1
    steps = bits.zigzag(np.diff(lengths[used].astype(np.int64), prepend=0))
    return bits.varint(len(used)) + bits.numbers(gaps) + bits.numbers(steps)


def _read_table(reader: bits.Reader, alphabet: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols that occur, ascending, and the lengths of their codes (int64 both)."""
    count = reader.varint(alphabet)
    symbols = np.cumsum(reader.numbers(count) + 1) - 1
    lengths = np.cumsum(bits.unzigzag(reader.numbers(count)))
    if count == 0 or symbols[-1] >= alphabet:
        raise FormatError("a code table for symbols that cannot occur")
    if count == 1:
        complete = lengths[0] == 0
    else:
        in_range = lengths.min() >= 1 and lengths.max() <= MAX_FILE_BITS
        complete = in_range and int((1 << (MAX_FILE_BITS - lengths)).sum()) == 1 << MAX_FILE_BITS
    if not complete:
        raise FormatError("a code table that is not a complete prefix code")
    return symbols, lengths


def size_bytes(histogram: np.ndarray) -> int:
    """Predict the bytes of `encode` for symbols of this histogram (int64 counts), to within a few."""
    lengths = code_lengths(histogram)
    payload = (int(histogram @ lengths.astype(np.int64)) + 7) // 8
    lanes = _lane_count(payload)
    return len(_write_table(histogram, lengths)) + 1 + payload + (lanes > 1) * (3 + lanes * 5 // 4)


def _lane_count(payload_bytes: int) -> int:
    return max(1, payload_bytes // _LANE_BYTES)


def encode(symbols: np.ndarray, histogram: np.ndarray) -> bytes:
    """Code symbols into one stream: table, lanes' lengths, lanes; not their number nor the alphabet.

    `symbols` are uint8 or uint16 (n,), n >= 1; `histogram` counts them, int64, of at most 65,536 symbols.
    """
    lengths = code_lengths(histogram)
    table = _write_table(histogram, lengths)
    if np.count_nonzero(histogram) == 1:
        return table
    codes = canonical_codes(lengths)
    lanes = _lane_count(int(histogram @ lengths.astype(np.int64)) // 8)
    steps = -(-len(symbols) // lanes)
    # The last round is filled up with the cheapest symbol, so that all lanes hold equally many.
    cheapest = np.flatnonzero(lengths)[np.argmin(lengths[lengths > 0])]
    fill = np.full(steps * lanes - len(symbols), cheapest, symbols.dtype)
    last_round = np.concatenate((symbols[(steps - 1) * lanes :], fill))
    rounds = symbols[: (steps - 1) * lanes].reshape(steps - 1, lanes)

    lane_bits = lengths[last_round].astype(np.int64)
    for first in range(0, steps - 1, block := max(1, _BLOCK // lanes)):
        lane_bits += lengths[rounds[first : first + block]].sum(axis=0, dtype=np.int64)
    writer = bits.BitWriter(int(lane_bits.sum()))
    for first in range(0, lanes, block := max(1, 4 * _BLOCK // steps)):
        # (steps, block) -> (block, steps): lane after lane
        part = np.vstack((rounds[:, first : first + block], last_round[first : first + block])).T.ravel()
        writer.write(codes[part], lengths[part])
    head = bits.varint(lanes)
    if lanes > 1:
        mean = int(lane_bits.sum()) // lanes
        head += bits.varint(mean) + bits.numbers(bits.zigzag(lane_bits - mean))
    return table + head + writer.to_bytes()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One coded stream, its header read and checked, ready to be decoded with others."""

    count: int
    alphabet: int
    symbols: np.ndarray
    """int64 (used,), ascending, each below `alphabet`."""
    lengths: np.ndarray
    """int64 (used,), a complete prefix code; [0] when one symbol is alone."""
    ends: np.ndarray
    """int64 (lanes,), ascending; bit position in `payload` after each lane, the last within it."""
    payload: np.ndarray
    """uint8."""

    @property
    def steps(self) -> int:
        """Symbols in each lane, those that fill up the last round included."""
        return -(-self.count // max(1, len(self.ends)))


def read(data: bytes | memoryview, count: int, alphabet: int) -> Stream:
    """Read and check the header of exactly one stream of `count` symbols, at least 1, in [0, alphabet).

    Raises:
        FormatError: not such a stream.
    """
    reader = bits.Reader(data)
    symbols, lengths = _read_table(reader, alphabet)
    if len(symbols) == 1:
        reader.finish()
        return Stream(count, alphabet, symbols, lengths, np.zeros(0, np.int64), np.zeros(0, np.uint8))
    # There are no more lanes than symbols, nor than bits.
    lanes = reader.varint(min(count, 8 * len(data)))
    if lanes == 0:
        raise FormatError("a stream without lanes")
    lane_bits = None
    if lanes > 1:
        mean = reader.varint()
        lane_bits = bits.unzigzag(reader.numbers(lanes)) + mean
    payload = np.frombuffer(reader.rest(), np.uint8)
    ends = np.array([8 * len(payload)]) if lane_bits is None else np.cumsum(lane_bits)
    steps = -(-count // lanes)
    if lane_bits is not None and (lane_bits.min() < steps or (ends[-1] + 7) // 8 != len(payload)):
        raise FormatError("lanes that do not fill their stream")
    if ends[-1] < steps:
        raise FormatError("a stream shorter than its symbols")
    return Stream(count, alphabet, symbols, lengths, ends, payload)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """Some neighbouring lanes of one stream, and where their symbols go."""

    stream: Stream
    first: int
    last: int
    output: np.ndarray
    """uint8 or uint16 (steps, lanes of the stream)."""

    @property
    def lanes(self) -> int:
        return self.last - self.first

    @property
    def entries(self) -> int:
        """Entries of its decoding table."""
        return 1 << int(self.stream.lengths.max())


def decode(streams: Sequence[Stream]) -> list[np.ndarray]:
    """Decode streams together: an array (count,) each; uint8 for alphabets up to 256, else uint16.

    Raises:
        FormatError: the bits are not the codes of so many symbols.
    """
    outputs: list[np.ndarray] = []
    slices = []
    for stream in streams:
        dtype = np.uint8 if stream.alphabet <= 256 else np.uint16
        lanes = len(stream.ends)
        if lanes == 0:
            outputs.append(np.full(stream.count, stream.symbols[0], dtype))
            continue
        output = np.empty((stream.steps, lanes), dtype)
        outputs.append(output)
        for first in range(0, lanes, _GROUP_LANES):
            slices.append(_Slice(stream, first, min(first + _GROUP_LANES, lanes), output))
    # The longest lanes first, so that at every step the lanes still decoding are a prefix.
    slices.sort(key=lambda part: -part.stream.steps)
    group: list[_Slice] = []
    lanes = entries = 0
    for part in slices:
        lanes, entries = lanes + part.lanes, entries + part.entries
        if group and (lanes > _GROUP_LANES or entries > _GROUP_ENTRIES):
            _decode_group(group)
            group, lanes, entries = [], part.lanes, part.entries
        group.append(part)
    if group:
        _decode_group(group)
    return [output.reshape(-1)[: stream.count] for output, stream in zip(outputs, streams, strict=True)]


def _decoding_table(stream: Stream) -> np.ndarray:
    """Entry for every possible next `longest` bits: symbol << 5 | length."""
    order = np.argsort(stream.lengths, kind="stable")
    lengths = stream.lengths[order]
    entries = (stream.symbols[order] << _LENGTH_BITS) | lengths
    # In the machine's own integers: on a 32-bit system NumPy repeats by no wider ones.
    slots = (1 << (int(lengths[-1]) - lengths)).astype(np.intp, copy=False)
    return np.repeat(entries.astype(np.uint32), slots)


def _windows(payloads: list[np.ndarray]) -> np.ndarray:
    """For every 16-bit position of payloads, each `_padded`, the next 32 bits, in the high half of a uint64."""
    padded = np.zeros(sum(_padded(len(payload)) for payload in payloads), ">u2")
    first = 0
    for payload in payloads:
        padded[first:].view(np.uint8)[: len(payload)] = payload
        first += _padded(len(payload))
    words = padded.astype(np.uint64)
    words <<= np.uint64(48)
    # A block at a time, or the shifted words would take as much memory again.
    for first in range(0, len(words) - 1, _BLOCK):
        following = words[first + 1 : first + 1 + _BLOCK]
        words[first : first + len(following)] |= following >> np.uint64(16)
    return words


def _padded(size_bytes: int) -> int:
    """16-bit words of a payload and of the zeros behind it, which its last lane may read."""
    return (size_bytes + 1) // 2 + 2


def _decode_group(group: list[_Slice]) -> None:
    payloads, positions, ends, bases, shifts = [], [], [], [], []
    table = np.empty(sum(part.entries for part in group), np.uint32)
    word_count = table_size = 0
    for part in group:
        stream = part.stream
        starts = np.concatenate(([0], stream.ends[:-1]))[part.first : part.last]
        skipped = int(starts[0]) // 16 * 2  # whole 16-bit words before the slice
        payloads.append(stream.payload[skipped : (int(stream.ends[part.last - 1]) + 7) // 8])
        moved = 16 * word_count - 8 * skipped
        positions.append(starts + moved)
        ends.append(stream.ends[part.first : part.last] + moved)
        table[table_size : table_size + part.entries] = _decoding_table(stream)
        bases.append(np.full(part.lanes, table_size, np.uint64))
        shifts.append(np.full(part.lanes, 64 - int(stream.lengths.max()), np.uint64))
        word_count += _padded(len(payloads[-1]))
        table_size += part.entries
    position = np.concatenate(positions).astype(np.uint64)
    word = _windows(payloads)
    base, shift = np.concatenate(bases), np.concatenate(shifts)

    step = 0
    active = list(group)
    while active:
        lanes = sum(part.lanes for part in active)
        stop = active[-1].stream.steps  # until the shortest lanes are done
        while step < stop:
            rows = min(stop - step, max(1, _BLOCK // lanes))
            decode = _decode_few if lanes <= _FEW_LANES else _decode_steps
            entries = decode(rows, position[:lanes], word, table, base[:lanes], shift[:lanes])
            symbols = (entries >> _LENGTH_BITS).astype(np.uint16)
            lane = 0
            for part in active:
                target = part.output[step : step + rows, part.first : part.last]
                target[...] = symbols[:, lane : lane + part.lanes]
                lane += part.lanes
            step += rows
        while active and active[-1].stream.steps == step:
            active.pop()
    left = np.concatenate(ends) - position.astype(np.int64)
    # A single lane ends within the last byte; of several each end is known to the bit.
    slack = np.concatenate([np.full(part.lanes, 7 if len(part.stream.ends) == 1 else 0) for part in group])
    if (left < 0).any() or (left > slack).any():
        raise FormatError("coded symbols that do not end where they should")


def _decode_few(
    rows: int, position: np.ndarray, word: np.ndarray, table: np.ndarray, base: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Do the same as `_decode_steps`, one lane after the other with Python's own numbers."""
    words, look_up, last = word.data, table.data, len(word) - 1
    entries = np.empty((rows, len(position)), np.uint32)
    for lane in range(len(position)):
        bit, first, down, found = int(position[lane]), int(base[lane]), int(shift[lane]), []
        for _ in range(rows):
            index = bit >> 4
            if index > last:
                index = last
            entry = look_up[first + ((words[index] << (bit & 15) & _WINDOW) >> down)]
            found.append(entry)
            bit += entry & _LENGTH_MASK
        entries[:, lane] = found
        position[lane] = bit
    return entries


def _decode_steps(
    rows: int, position: np.ndarray, word: np.ndarray, table: np.ndarray, base: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """Advance every lane by `rows` symbols; `position` moves along. Returns table entries (rows, lanes)."""
    entries = np.empty((rows, len(position)), np.uint32)
    index = np.empty_like(position)
    window = np.empty_like(position)
    offset = np.empty_like(position)
    length = np.empty(len(position), np.uint32)
    # NumPy gathers by signed indices of the machine's own width: where that is 64 bits, both are views of the unsigned
    # arrays.
    wide = np.intp().itemsize == index.itemsize
    word_index, table_index = (
        (own.view(np.intp) if wide else np.empty(own.shape, np.intp)) for own in (index, window)
    )
    four, fifteen, length_mask = np.uint64(4), np.uint64(15), np.uint32(_LENGTH_MASK)
    for row in entries:
        np.right_shift(position, four, out=index)
        # Clipping keeps a damaged lane inside the array; its end is checked afterwards.
        if not wide:
            np.copyto(word_index, index, "unsafe")
        word.take(word_index, out=window, mode="clip")
        np.bitwise_and(position, fifteen, out=offset)
        np.left_shift(window, offset, out=window)
        np.right_shift(window, shift, out=window)
        np.add(window, base, out=window)
        if not wide:
            np.copyto(table_index, window, "unsafe")
        table.take(table_index, out=row, mode="clip")
        np.bitwise_and(row, length_mask, out=length)
        np.add(position, length, out=position)
    return entries
