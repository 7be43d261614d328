import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tflite import smooth_kernel

from squeezekit.codec.entropy import coders_named, context_fit, masks, streams
from squeezekit.codec.entropy.bits import Reader
from squeezekit.codec.entropy.neighbours import Kernels
from squeezekit.codec.tensor import encoding
from squeezekit.errors import FormatError

SMALL, RANS = coders_named("small"), coders_named("rans")


def decode(stream, count, alphabet):
    return streams.decode([streams.read(Reader(stream), count, alphabet, last=True)])[0]


def kernel(shape, sparsity, seed=0):
    """int8 weights whose neighbours in a kernel are alike, and whose rows and columns differ in scale."""
    generator = np.random.default_rng(seed)
    scale = generator.gamma(3, 0.3, (shape[0], 1, 1, 1)) * generator.gamma(3, 0.3, shape[3])
    weights = generator.normal(0, 1, shape).cumsum(axis=1).cumsum(axis=2) * scale * 20
    return (weights.round().clip(-127, 127) * (generator.random(shape) >= sparsity)).astype(np.int8)


shapes = st.tuples(st.integers(1, 24), st.integers(1, 5), st.integers(1, 5), st.integers(1, 40)).filter(
    lambda shape: 2048 <= np.prod(shape) <= 20_000
)


@settings(max_examples=8, deadline=None)
@given(shapes, st.floats(0, 1), st.integers(2, 300), st.integers(0, 2**32 - 1))
def test_any_symbols_come_back(shape, sparsity, alphabet, seed):
    generator = np.random.default_rng(seed)
    symbols = np.abs(generator.normal(0, alphabet / 3, shape).cumsum(axis=2)).astype(int) % alphabet
    symbols[generator.random(shape) < sparsity] = generator.integers(0, alphabet)
    symbols = symbols.ravel().astype(np.uint8 if alphabet <= 256 else np.uint16)
    stream = streams.encode_kernels(symbols, np.bincount(symbols, minlength=alphabet), SMALL, shape)
    if stream is not None:
        assert np.array_equal(decode(stream, len(symbols), alphabet), symbols)


@pytest.mark.parametrize(
    ("shape", "sparsity", "ratio"),
    [
        ((64, 3, 3, 48), 0, 0.94),
        ((64, 3, 3, 48), 0.5, 0.98),
        ((2, 7, 7, 96), 0, 0.91),
        ((1, 5, 5, 800), 0, 0.9),
    ],
)
def test_smaller_than_without_neighbours(shape, sparsity, ratio):
    weights = kernel(shape, sparsity)
    sizes = []
    for coders in (SMALL, RANS):
        payload = encoding.encode(weights.tobytes(), item_bytes=1, coders=coders, shape=shape)
        output = np.empty(weights.size, np.uint8)
        encoding.decode([encoding.read(payload, weights.size, 1)], [output])
        assert output.tobytes() == weights.tobytes()
        sizes.append(len(payload))
    assert sizes[0] < ratio * sizes[1]


def test_many_streams_of_both_kinds_decode_together():
    payloads, outputs = [], []
    arrays = [kernel((32, 3, 3, 32), 0.5, seed) for seed in range(4)] + [kernel((9, 1, 1, 300), 0.9)]
    for weights in arrays:
        payload = encoding.encode(weights.tobytes(), item_bytes=1, coders=SMALL, shape=weights.shape)
        payloads.append(encoding.read(payload, weights.size, 1))
        outputs.append(np.empty(weights.size, np.uint8))
    encoding.decode(payloads, outputs)
    for weights, output in zip(arrays, outputs, strict=True):
        assert output.tobytes() == weights.tobytes()


@pytest.mark.parametrize("sides", [(5, 9, 3, 7), (4, 4, 2, 11), (6, 5, 5, 4), (1, 6, 2, 3)])
def test_phases_have_each_position_once_and_only_earlier_neighbours(sides):
    kernels, seen = Kernels(*sides), []
    for positions in kernels.phases:
        for position in positions:
            assert set(kernels.neighbours(position)) <= set(seen)
        seen += positions
    assert sorted(seen) == list(range(kernels.positions))


@pytest.mark.parametrize("kernels", [Kernels(5, 9, 3, 7), Kernels(4, 4, 2, 12), Kernels(3, 25, 5, 8)])
def test_masks_unfold(kernels):
    present = np.random.default_rng(0).random((kernels.positions, kernels.count)) < 0.3
    assert np.array_equal(kernels.by_position(kernels.in_order(present)), present)
    ranks = masks.fold(present, kernels)
    assert len(ranks) == kernels.size // masks.group_for(kernels)
    assert np.array_equal(masks.unfold(ranks, kernels), present)


def test_no_masks_where_symbols_are_no_whole_bytes():
    kernels = Kernels(7, 25, 5, 33)
    symbols = kernel((7, 5, 5, 33), 0.3).view(np.uint8).ravel() ^ np.uint8(128)
    stream = context_fit.encode(symbols, np.bincount(symbols, minlength=256), kernels)
    assert stream is not None
    assert np.array_equal(decode(b"\x03" + stream, len(symbols), 256), symbols)


def test_matrices_and_small_kernels_have_no_contexts():
    assert context_fit.kernels_of((64, 99), 64 * 99) is None
    assert context_fit.kernels_of((64, 1, 3, 33), 64 * 99) is None
    assert context_fit.kernels_of((64, 3, 3, 11), 64 * 99) == Kernels(64, 9, 3, 11)


# --- hostile streams ---------------------------------------------------------------------------------------------

SYMBOLS = np.frombuffer(smooth_kernel(), np.uint8) ^ np.uint8(128)
STREAM = b"\x03" + context_fit.encode(SYMBOLS, np.bincount(SYMBOLS, minlength=256), Kernels(8, 9, 3, 64))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_streams_never_crash(data):
    stream = bytearray(STREAM[: data.draw(st.one_of(st.just(len(STREAM)), st.integers(0, len(STREAM))))])
    for _ in range(data.draw(st.integers(0, 3))):
        if stream:
            stream[data.draw(st.integers(0, min(200, len(stream) - 1)))] = data.draw(st.integers(0, 255))
    try:
        output = decode(bytes(stream), len(SYMBOLS), 256)
    except FormatError:
        return
    assert output.shape == SYMBOLS.shape


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"\x03", "cut short"),
        (b"\x03\x09\x03\x00", "kernels"),
        (b"\x03\x00\x03\x40", "kernels"),
        (b"\x03\x09\x0a\x40", "kernels"),
        (b"\x03\x09\x03\x41", "kernels"),
        (b"\x03\xff\x01", "at most 128"),
        (b"\x03\x03\x03\xc0\x01", "kernels"),
        (b"\x03\x09\x03\x40\x80\x02\x00", "at most 255"),
        (b"\x03\x09\x03\x40\x80\x01\x02", "masks"),
        (b"\x03\x09\x03\x40\x80\x01\x01\x02\x01\x20", "all the same"),
        (b"\x03\x09\x03\x40\x80\x01\x00\x01\x20\x11", "unknown kind"),
        (b"\x03\x09\x03\x40\x80\x01\x00\x02\x20\x00\x20\x10", "unknown kind"),
        (b"\x03\x09\x03\x40\x80\x01\x00\x02\x20\x00\x20\x55", "pay for"),
        (
            b"\x03\x09\x03\x40\x80\x01\x00\x02\x20\x00\x20\x21\x1f" + b"\xff" * 800,
            "damaged|range|cut short|bits",
        ),
    ],
)
def test_hostile_streams(stream, reason):
    with pytest.raises(FormatError, match=reason):
        decode(stream, len(SYMBOLS), 256)


def test_too_many_symbols_are_refused():
    with pytest.raises(FormatError, match="at most 4,194,304"):
        decode(STREAM, (1 << 22) + 1, 256)
