import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.codec.entropy import (
    bits,
    coders_named,
    frequency_tables,
    headers,
    rans,
    rans_decoder,
    streams,
)
from squeezekit.errors import FormatError

RANS = coders_named("rans")[1:]


def parse(stream, count, alphabet):
    return streams.read(bits.Reader(stream), count, alphabet, last=True)


def decode(stream, count, alphabet):
    return streams.decode([parse(stream, count, alphabet)])[0]


def encode(symbols, alphabet):
    return streams.encode(symbols, np.bincount(symbols, minlength=alphabet), RANS)


def entropy_bytes(symbols):
    counts = np.unique(symbols, return_counts=True)[1]
    return float((counts * np.log2(len(symbols) / counts)).sum()) / 8


def laplace(count, spread, seed=0):
    values = np.random.default_rng(seed).laplace(128, spread, count)
    return values.round().clip(0, 255).astype(np.uint8)


# --- frequency tables ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 2**32), min_size=1, max_size=200), st.sampled_from(frequency_tables.PRECISIONS)
)
def test_frequencies_fill_every_slot(weights, precision):
    out = frequency_tables.frequencies(np.array(weights), precision)
    assert out.min() >= 1
    assert out.sum() == 1 << precision


def test_frequencies_are_proportional():
    weight = np.array([[10, 20, 30, 40], [1, 1, 1, 1], [1, 10**6, 1, 1]])
    assert frequency_tables.frequencies(weight, 10).tolist() == [
        [103, 205, 307, 409], [256, 256, 256, 256], [1, 1021, 1, 1]
    ]  # fmt: skip
    assert frequency_tables.frequencies(np.ones(1024, np.int64), 10).tolist() == [1] * 1024


def test_weights_are_powers_of_the_32nd_root_of_two():
    levels = np.arange(frequency_tables.MAX_LEVEL + 1)
    exact = 2.0 ** (12 + levels / 32)
    assert np.abs(frequency_tables.weights(levels) / exact - 1).max() < 2**-11.9
    assert frequency_tables.weights(np.array([frequency_tables.MAX_LEVEL])) == 1 << 32


histograms = st.lists(
    st.one_of(st.just(0), st.integers(1, 5), st.integers(1, 10**6)), min_size=1, max_size=300
)


@settings(max_examples=30, deadline=None)
@given(histograms.filter(any))
def test_tables_come_back(counts):
    histogram = np.array(counts, np.int64)
    table = frequency_tables.choose(histogram)
    reader = bits.Reader(table.data)
    found = headers.run(frequency_tables.parse(reader, len(histogram), int(histogram.sum())))
    reader.finish()
    assert np.array_equal(found.symbols, table.symbols)
    assert np.array_equal(found.levels, table.levels)
    assert found.precision == table.precision
    # Worked out beside others, and alone.
    assert np.array_equal(found.frequencies, table.frequencies)
    assert set(np.flatnonzero(histogram)) <= set(table.symbols.tolist())


def test_smooth_histograms_have_short_tables():
    histogram = np.rint(10**5 * np.exp(-np.abs(np.arange(-127, 128)) / 20)).astype(np.int64) + 1
    table = frequency_tables.choose(histogram)
    assert len(table.data) < 96
    ideal = float((histogram * np.log2(histogram.sum() / histogram)).sum())
    assert frequency_tables.cost_bits(histogram, table.frequencies, table.precision) < 1.003 * ideal


def test_too_many_symbols():
    with pytest.raises(ValueError, match="at most 4096"):
        frequency_tables.choose(np.ones(5000, np.int64))


# --- streams ----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 300), st.integers(1, 5000), st.floats(0.01, 4), st.integers(0, 2**32 - 1))
def test_streams_come_back(alphabet, count, tilt, seed):
    generator = np.random.default_rng(seed)
    weights = np.arange(1, alphabet + 1) ** -tilt
    symbols = generator.choice(alphabet, count, p=weights / weights.sum())
    symbols = symbols.astype(np.uint8 if alphabet <= 256 else np.uint16)
    stream = encode(symbols, alphabet)
    assert np.array_equal(decode(stream, count, alphabet), symbols)
    expected = RANS[0].size_bytes(np.bincount(symbols, minlength=alphabet))
    # What is as good as random is only said to be large.
    assert expected > count or abs(expected - len(stream)) <= 12 + len(stream) // 50


@pytest.mark.parametrize("spread", [0.3, 2, 30])
@pytest.mark.parametrize("count", [30_000, 250_000])
def test_size_within_the_bound(spread, count):
    symbols = laplace(count, spread)
    assert len(encode(symbols, 256)) < 1.015 * entropy_bytes(symbols) + 64


def test_lanes_cost_less_than_two_bytes():
    symbols = laplace(100_000, 12)
    counts = np.bincount(symbols, minlength=256)
    table = frequency_tables.choose(counts)
    frequency = np.zeros(256, np.int64)
    frequency[table.symbols] = table.frequencies
    start = np.cumsum(frequency) - frequency
    one, many = (len(rans.encode([symbols], frequency, start, table.precision, lanes)) for lanes in (1, 512))
    assert 512 < many - one < 1.8 * 512


def test_many_streams_decode_together():
    expected = [
        laplace(60_000, 20), np.zeros(1, np.uint8), laplace(70_000, 1), laplace(3, 1), np.full(9, 200, np.uint8),
        laplace(200_000, 0.2), np.random.default_rng(0).permutation(4096).astype(np.uint16),
    ]  # fmt: skip
    jobs = [parse(encode(symbols, 4096), len(symbols), 4096) for symbols in expected]
    for output, symbols in zip(streams.decode(jobs), expected, strict=True):
        assert np.array_equal(output, symbols)


def test_a_pattern_in_step_with_the_lanes():
    symbols = laplace(256 * 512, 30)
    symbols[np.arange(len(symbols)) % 256 > 0] = 128
    stream = encode(symbols, 256)
    assert np.array_equal(decode(stream, len(symbols), 256), symbols)


@pytest.mark.parametrize(
    ("lanes", "counts"),
    [(1, [300, 1, 38]), (5, [1000, 1, 38, 517]), (64, [1000, 1, 38, 517]), (900, [100_000, 1, 950, 5000])],
)
def test_phases_with_tables_of_their_own(lanes, counts):
    generator = np.random.default_rng(5)
    frequency = frequency_tables.frequencies(generator.integers(1, 1000, (3, 7)), 10)
    start = np.cumsum(frequency, axis=1) - frequency
    which = [generator.integers(0, 3, count) for count in counts]
    symbols = [generator.integers(0, 7, count) for count in counts]
    phases = [own * 7 + symbol for own, symbol in zip(which, symbols, strict=True)]
    data = rans.encode(phases, frequency.reshape(-1), start.reshape(-1), 10, lanes)
    read = headers.run(rans.parse(bits.Reader(data), sum(counts), len(counts)))
    # Beside a copy of itself, all of whose phases are the same.
    decoder = rans_decoder.Decoder([read, read], [rans_decoder.Tables(np.arange(7), frequency, 10)] * 2)
    for own, symbol in zip(which, symbols, strict=True):
        decoded = np.empty((2, len(own)), np.uint8)
        decoder.phase([0, 1], list(decoded), [own, own])
        assert np.array_equal(decoded[0], symbol)
        assert np.array_equal(decoded[1], symbol)
    decoder.finish()


def test_golden_stream():
    # Integer arithmetic only: the same symbols everywhere.
    noise = np.arange(40_000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    symbols = ((noise >> np.uint64(60)) * (noise >> np.uint64(55) & np.uint64(15))).astype(np.uint8)
    stream = encode(symbols, 256)
    assert hashlib.sha256(stream).hexdigest() == GOLDEN
    assert np.array_equal(decode(stream, len(symbols), 256), symbols)


GOLDEN = "19d58825884069ebc15e92ad82f4b0ff16663f53c86b7b375ab638c62559da55"


# --- hostile streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x02", "cut short"),
        (b"\x02\x00", "cannot occur"),
        (b"\x02\x02\x20", "cut short"),
        (b"\x02\x01\x07\x00", "damaged list"),
        (b"\x02\x02\x20\x60\x20\x01", "unknown kind"),
        (b"\x02\x02\x20\x03\x20\x01", "unknown kind"),
        (b"\x02\x02\x20\x00\x20\x00", "without lanes"),
        (b"\x02\x02\x20\x00\x20\x09", "at most 8"),
        (b"\x02\x02\x20\x00\x20\x01\x1fabcde", "fill"),
        (b"\x02\x02\x20\x00\x20\x01\x30abcd", "fill"),
        (b"\x02\x02\x20\x00\x20\x02\x05\x20", "cut short"),
        (b"\x02\x02\x20\x00\x20\x01\x81\x02" + bytes(40), "fill"),
        (b"\x02\x02\x20\x00\x20\x01\x1fabcd", "end where"),
    ],
)
def test_hostile_streams(stream, reason):
    with pytest.raises(FormatError, match=reason):
        decode(stream, 8, 256)


SMALL = laplace(100, 3)


def test_every_flip_and_truncation_is_noticed_or_harmless():
    stream = encode(SMALL, 256)
    for at in range(len(stream)):
        for damaged in (stream[:at] + bytes([stream[at] ^ 1 << at % 8]) + stream[at + 1 :], stream[:at]):
            try:
                output = decode(damaged, len(SMALL), 256)
            except FormatError:
                continue
            assert output.shape == SMALL.shape


def test_damaged_words_are_noticed():
    symbols = laplace(2000, 5)
    stream = encode(symbols, 256)
    noticed = 0
    for at in range(len(stream) - 60, len(stream)):
        try:
            decode(stream[:at] + bytes([stream[at] ^ 255]) + stream[at + 1 :], len(symbols), 256)
        except FormatError:
            noticed += 1
    # Only one that ends in the right state by chance gets through; the file's checksums are there for that.
    assert noticed > 45
