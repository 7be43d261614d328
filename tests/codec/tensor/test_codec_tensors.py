import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.codec.entropy import CODERS, coders_named
from squeezekit.codec.tensor import encoding
from squeezekit.errors import FormatError

HUFFMAN = coders_named("huffman")


def round_trip(array, coders=HUFFMAN, shape=None):
    """Payload and label after checking that the bytes come back."""
    data = array.tobytes()
    payload = encoding.encode(
        data, item_bytes=array.itemsize, coders=coders, shape=array.shape if shape is None else shape
    )
    assert len(payload) <= len(data) + 1
    plan = encoding.read(payload, len(data), array.itemsize)
    output = np.empty(array.size, f"<u{array.itemsize}")
    encoding.decode([plan], [output])
    assert output.tobytes() == data
    return payload, plan.label


@pytest.mark.parametrize("coder", sorted(CODERS))
@settings(max_examples=50, deadline=None)
@given(data=st.binary(min_size=1, max_size=400), item_bytes=st.sampled_from([1, 2, 4, 8]))
def test_any_bytes(coder, data, item_bytes):
    data = data * item_bytes
    round_trip(np.frombuffer(data, f"<u{item_bytes}"), coders_named(coder))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [0x00000000, 0x80000000, 0x7F800000, 0xFFC00001, 0x7FA12345, 0x00000001, 0xFFFFFFFF]
            ),
            st.integers(0, 2**32 - 1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 3000),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_palettes_of_odd_floats(values, count, sparsity, seed):
    generator = np.random.default_rng(seed)
    array = np.array(values, np.uint32)[generator.integers(0, len(values), count)]
    array[generator.random(count) < sparsity] = array[0]
    round_trip(array)


def kernel(shape, sparsity, seed=0):
    generator = np.random.default_rng(seed)
    # Plus zero: a negative weight times a mask's zero is -0.0, which is another symbol.
    return (generator.normal(0, 0.05, shape) * (generator.random(shape) >= sparsity)).astype(
        np.float32
    ) + np.float32(0)


def shared(array, step=1 / 64):
    return (np.round(array / step) * step).astype(np.float32) + np.float32(0)


@pytest.mark.parametrize(
    ("array", "label"),
    [
        (np.float32(3.5).reshape(()), "raw"),
        (np.zeros(1000, np.float32), "constant"),
        (np.full(1000, -0.0, np.float32), "constant"),
        (kernel((64, 3, 3, 16), 0), "planes/huffman"),
        (kernel((64, 3, 3, 16), 0).astype(np.float16), "planes/huffman"),
        (kernel((64, 3, 3, 16), 0.9), "sparse/planes/huffman"),
        (shared(kernel((64, 3, 3, 16), 0)), "palette/huffman"),
        (shared(kernel((64, 3, 3, 16), 0.9)), "sparse/palette/huffman"),
        ((kernel((64, 3, 3, 16), 0) * 500).astype(np.int8), "planes/huffman"),
        ((kernel((64, 3, 3, 16), 0.9) * 500).astype(np.int8), "sparse/planes/huffman"),
        (np.arange(5000, dtype=np.int32) * 70_001 % 65_536, "planes/huffman"),
        (np.arange(300, dtype=np.int64), "planes/huffman"),
        (np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8), "raw"),
        (np.random.default_rng(0).integers(0, 4, 5000).astype(np.float32), "palette"),
        (
            np.where(np.random.default_rng(0).random(5000) < 0.1, np.float32(0.25), np.float32(0)),
            "sparse/constant",
        ),
    ],
)
def test_the_form_suits_the_tensor(array, label):
    payload, received = round_trip(array)
    assert received.removesuffix("/huffman") == label.removesuffix("/huffman")
    assert len(payload) <= array.nbytes + 1


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.8, 0.95])
def test_size_near_the_entropy(sparsity):
    array = shared(kernel((128, 3, 3, 64), sparsity))
    payload, _ = round_trip(array)
    bound = encoding.entropy_bound_bytes(array.tobytes(), 4)
    values, counts = np.unique(array, return_counts=True)
    assert bound == pytest.approx((counts * np.log2(array.size / counts)).sum() / 8, abs=1)
    # What whole bits, tables and masks cost on 74 thousand weights.
    assert bound < len(payload) < bound * (1.08 if sparsity > 0.9 else 1.04) + 4 * len(values)


def test_kernel_masks_find_whole_zero_kernels():
    array = shared(kernel((64, 3, 3, 48), 0))
    array *= np.random.default_rng(3).random((64, 1, 1, 48)) < 0.2
    array += np.float32(0)
    with_shape, _ = round_trip(array)
    without, _ = round_trip(array, shape=())
    assert len(with_shape) < len(without) * 0.97


def test_forms_over_several_chunks():
    # A chunk is 2**20 elements: the last one is partial, and a value first occurs in the second.
    array = shared(kernel((1 << 20) + 4099, 0))
    array[-5] = np.float32(np.nan)
    assert round_trip(array)[1] == "palette/huffman"
    assert round_trip(kernel((1 << 20) + 4099, 0))[1] == "planes/huffman"
    assert round_trip(kernel((1 << 20) + 4099, 0.9))[1] == "sparse/planes/huffman"


def test_no_coder_stores_raw():
    payload, label = round_trip(np.zeros(100, np.float32), coders_named("none"))
    assert label == "raw"
    assert len(payload) == 401


@pytest.mark.parametrize("coder", ["rans", "small"])
def test_memory_of_a_small_network(coder):
    generator = np.random.default_rng(0)
    kernel = generator.normal(0, 20, (64, 3, 3, 64)).round().astype(np.int8)
    kernel[generator.random(kernel.shape) < 0.7] = 0
    payload = encoding.encode(kernel.tobytes(), item_bytes=1, coders=coders_named(coder), shape=kernel.shape)
    tracemalloc.start()
    outputs = [np.empty(kernel.size, np.uint8) for _ in range(30)]
    encoding.decode([encoding.read(payload, kernel.size, 1) for _ in outputs], outputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(output.tobytes() == kernel.tobytes() for output in outputs)
    assert peak < 3 * kernel.size * len(outputs)


def test_an_output_that_is_not_contiguous():
    data = np.tile(np.array([1, 2, 3, 3], np.uint8), 300)
    payload = encoding.encode(data.tobytes(), item_bytes=1, coders=coders_named("rans"))
    output = np.zeros((1200, 2), np.uint8)
    encoding.decode([encoding.read(payload, 1200, 1)], [output[:, 1]])
    assert output[:, 1].tobytes() == data.tobytes()
    assert not output[:, 0].any()


@pytest.mark.parametrize(("data", "item_bytes"), [(b"", 1), (b"abc", 2), (b"abc", 3)])
def test_not_whole_elements(data, item_bytes):
    with pytest.raises(ValueError, match="whole elements"):
        encoding.encode(data, item_bytes=item_bytes, coders=HUFFMAN)


def decode(payload, size_bytes, item_bytes):
    plan = encoding.read(payload, size_bytes, item_bytes)
    output = np.empty(size_bytes // item_bytes, f"<u{item_bytes}")
    encoding.decode([plan], [output])
    return output


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x09",
        b"\x00abc",
        b"\x00abcdefghi",
        b"\x01abc",
        b"\x02\x02",
        b"\x02\x00\x02\x07\x00",  # unknown stream coder
        b"\x03\x00",  # empty codebook
        b"\x03\x02\x20" + b"\x00\xff\xff",  # plain stream too long
        b"\x04\x00\x00\x00\x00\x08\x01\x00",  # nothing left over
        b"\x04\x00\x00\x00\x00\x09\x01\x01",  # groups of nine do not fit
        b"\x04\x00\x00\x00\x00\x00\x01\x01",  # groups of none
        b"\x04\x00\x00\x00\x00\x08\x01\x01\x02\x00\x03\x01abcd",  # mask over the end
        b"\x04\x00\x00\x00\x00\x08\x01\x01\x02\x00\xc0\x01abcd",  # mask of two, one promised
        b"\x04\x00\x00\x00\x00\x08\x01\x01\x02\x00\x80\x04abcd",  # sparse within sparse
    ],
)
def test_hostile_payloads(payload):
    with pytest.raises(FormatError):
        decode(payload, 8, 4)


def test_a_palette_index_beyond_its_codebook():
    with pytest.raises(FormatError, match="cannot occur"):
        decode(b"\x03\x03\x20\x00\xff\xff", 32, 4)


@pytest.mark.parametrize("array", [shared(kernel((8, 3, 3, 8), 0.7)), kernel(600, 0), kernel(600, 0.8)])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_payloads_never_crash(array, data):
    payload = bytearray(encoding.encode(array.tobytes(), item_bytes=4, coders=HUFFMAN, shape=array.shape))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, min(80, len(payload) - 1)))] = data.draw(st.integers(0, 255))
    try:
        output = decode(bytes(payload), array.nbytes, 4)
    except FormatError:
        return
    assert output.size == array.size
