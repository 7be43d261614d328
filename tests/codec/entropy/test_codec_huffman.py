import hashlib
import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.codec.entropy import bits, huffman, huffman_codes
from squeezekit.errors import FormatError

histograms = st.lists(st.one_of(st.integers(0, 4), st.integers(0, 10**7)), min_size=2, max_size=80).filter(
    lambda counts: sum(count > 0 for count in counts) >= 2
)


def optimal_bits(counts):
    """Cost of an optimal unlimited Huffman code: the sum of all merges, by the textbook heap."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def optimal_limited_bits(counts, limit):
    """Cost of an optimal limited code, by trying every multiset of lengths that fills the Kraft sum."""
    counts = sorted((count for count in counts if count), reverse=True)
    best = float("inf")

    def search(index, room, shortest, cost):
        nonlocal best
        if index == len(counts):
            best = min(best, cost)
            return
        for length in range(shortest, limit + 1):
            left = room - (1 << (limit - length))
            if left >= len(counts) - index - 1:
                search(index + 1, left, length, cost + counts[index] * length)

    search(0, 1 << limit, 1, 0)
    return best


def entropy_bits(counts):
    used = counts[counts > 0].astype(float)
    return float((used * np.log2(used.sum() / used)).sum())


def decode(data, count, alphabet):
    return huffman.decode([huffman.read(data, count, alphabet)])[0]


@settings(deadline=None)
@given(histograms)
def test_lengths_are_optimal(counts):
    counts = np.array(counts)
    lengths = huffman_codes.code_lengths(counts, 64 if len(counts) > 60 else 60).astype(int)
    assert ((lengths > 0) == (counts > 0)).all()
    assert int(counts @ lengths) == optimal_bits(counts.tolist())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=8), st.integers(3, 5))
def test_limited_lengths_are_optimal(counts, limit):
    lengths = huffman_codes.code_lengths(np.array(counts), limit).astype(int)
    assert lengths.max() <= limit
    assert int(np.array(counts) @ lengths) == optimal_limited_bits(counts, limit)


@settings(deadline=None)
@given(histograms)
def test_codes_are_canonical_and_prefix_free(counts):
    lengths = huffman_codes.code_lengths(np.array(counts))
    codes = huffman_codes.canonical_codes(lengths)
    words = [f"{code:0{length}b}" for code, length in zip(codes, lengths, strict=True) if length]
    assert len(set(words)) == len(words)
    assert sum(2.0 ** -len(word) for word in words) == 1
    assert not any(one != other and other.startswith(one) for one in words for other in words)
    order = sorted(range(len(words)), key=lambda index: (len(words[index]), index))
    assert [words[index] for index in order] == sorted(words)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(1, 6000), st.floats(0.01, 3), st.integers(0, 2**32 - 1))
def test_streams_come_back_and_keep_the_bound(alphabet, count, tilt, seed):
    generator = np.random.default_rng(seed)
    weights = np.arange(1, alphabet + 1) ** -tilt
    symbols = generator.choice(alphabet, count, p=weights / weights.sum())
    symbols = symbols.astype(np.uint8 if alphabet <= 256 else np.uint16)
    counts = np.bincount(symbols, minlength=alphabet)
    data = huffman.encode(symbols, counts)
    assert np.array_equal(decode(data, count, alphabet), symbols)
    assert abs(huffman.size_bytes(counts) - len(data)) <= 8
    table = 5 + 2 * np.count_nonzero(counts)
    assert entropy_bits(counts) / 8 <= len(data)
    assert len(data) <= (entropy_bits(counts) + count) / 8 + table + 5


def test_many_streams_decode_together():
    generator = np.random.default_rng(2)
    jobs, expected = [], []
    for count, spread in ((200_000, 20), (1, 1), (70_000, 2), (3, 1), (9_000, 60), (5_000_000, 1)):
        symbols = np.clip(generator.normal(128, spread, count).round(), 0, 255).astype(np.uint8)
        jobs.append(huffman.read(huffman.encode(symbols, np.bincount(symbols, minlength=256)), count, 256))
        expected.append(symbols)
    assert len(jobs[0].ends) > 100
    assert jobs[0].steps != jobs[2].steps
    for output, symbols in zip(huffman.decode(jobs), expected, strict=True):
        assert np.array_equal(output, symbols)


def test_lanes_cost_little():
    generator = np.random.default_rng(4)
    for spread in (1, 12):
        symbols = np.clip(generator.normal(128, spread, 300_000).round(), 0, 255).astype(np.uint8)
        counts = np.bincount(symbols, minlength=256)
        data = huffman.encode(symbols, counts)
        stream = huffman.read(data, len(symbols), 256)
        coded = int(counts @ huffman_codes.code_lengths(counts).astype(int)) / 8
        table = len(huffman._write_table(counts, huffman_codes.code_lengths(counts)))
        assert len(stream.ends) > 30
        assert len(data) - table <= coded * 1.002


def test_all_65536_symbols():
    symbols = np.random.default_rng(0).permutation(65536).astype(np.uint16)
    data = huffman.encode(symbols, np.bincount(symbols))
    assert len(data) <= 2 * 65536 * 1.002 + 65536 // 8 + 10
    assert np.array_equal(decode(data, 65536, 65536), symbols)


def test_one_symbol_needs_no_bits():
    symbols = np.full(100_000, 7, np.uint8)
    data = huffman.encode(symbols, np.bincount(symbols, minlength=256))
    assert len(data) < 6
    assert np.array_equal(decode(data, 100_000, 256), symbols)


def test_too_many_symbols_for_the_limit():
    with pytest.raises(ValueError, match="at most 65536"):
        huffman_codes.code_lengths(np.ones(65537, np.int64))


def test_golden_stream_of_many_lanes():
    # Integer arithmetic only: the same symbols everywhere.
    noise = np.arange(40_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    symbols = ((noise >> np.uint64(60)) * (noise >> np.uint64(55) & np.uint64(15))).astype(np.uint8)
    data = huffman.encode(symbols, np.bincount(symbols, minlength=256))
    assert len(huffman.read(data, len(symbols), 256).ends) > 20
    assert (
        hashlib.sha256(data).hexdigest() == "e426fad915b099dafccadc5dcf9dba680bd6f9eabff0be622d5aeaba587f5738"
    )
    assert np.array_equal(decode(data, len(symbols), 256), symbols)


def table(symbols, lengths):
    gaps = np.diff(symbols, prepend=-1) - 1
    return (
        bits.varint(len(symbols))
        + bits.numbers(gaps)
        + bits.numbers(bits.zigzag(np.diff(lengths, prepend=0)))
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (table([0, 1], [1, 2]) + b"\x01\x00", "complete"),
        (table([0, 1, 2], [1, 1, 1]) + b"\x01\x00", "complete"),
        (table([0, 1], [17, 1]) + b"\x01\x00", "complete"),
        (table([0, 1], [0, 1]) + b"\x01\x00", "complete"),
        (table([5], [3]), "complete"),
        (table([1, 256], [1, 1]) + b"\x01\x00", "cannot occur"),
        (bits.varint(0), "cannot occur"),
        (bits.varint(257), "at most 256"),
        (table([3], [0]) + b"x", "too many"),
        (table([0, 1], [1, 1]) + b"\x00\x00", "without lanes"),
        (table([0, 1], [1, 1]) + b"\x09\x00", "at most 8"),
        (table([0, 1], [1, 1]) + b"\x01", "shorter"),
        (table([0, 1], [1, 1]) + b"\x02\x04\x20\x00\x00", "fill"),
        (table([0, 1], [1, 1]) + b"\x01\x00\x00", "end where"),
    ],
)
def test_hostile_streams(data, reason):
    with pytest.raises(FormatError, match=reason):
        decode(data, 8, 256)


_SYMBOLS = np.random.default_rng(1).integers(0, 9, 3000).astype(np.uint8) ** 2
DAMAGED = huffman.encode(_SYMBOLS, np.bincount(_SYMBOLS, minlength=256))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_streams_never_crash(data):
    stream = bytearray(DAMAGED)
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, min(60, len(stream) - 1)))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(stream), 3000, 256)
    except FormatError:
        return
    assert decoded.shape == (3000,)
