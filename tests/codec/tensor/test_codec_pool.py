"""Short tensors of integers coded together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit import codec
from squeezekit.codec import tensor
from squeezekit.codec.entropy import coders_named
from squeezekit.codec.tensor import bias_pool

CODERS = coders_named("huffman")


def decode_pool(payload, counts):
    joined = np.empty(sum(counts), "<u4")
    tensor.decode([bias_pool.read(payload, counts)], [joined])
    return joined


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=30),
        min_size=1,
        max_size=5,
    )
)
def test_a_pool_comes_back(lists):
    tensors = [np.array(values, np.int64) for values in lists]
    payload = bias_pool.encode(tensors, CODERS)
    assert np.array_equal(decode_pool(payload, list(map(len, lists))).view(np.int32), np.concatenate(tensors))


def test_a_pool_comes_near_the_entropy_of_its_values():
    generator = np.random.default_rng(1)
    spreads = [50, 300, 2000, 9000] * 4
    tensors = [np.round(generator.normal(0, spread, 128)).astype(np.int64) for spread in spreads]
    ideal = sum(128 * (np.log2(spread) + np.log2(2 * np.pi * np.e) / 2) for spread in spreads) / 8
    payload = bias_pool.encode(tensors, CODERS)
    assert ideal < len(payload) < 1.04 * ideal + 40
    estimate = sum(map(bias_pool.estimate_bytes, tensors))
    assert 0.9 * len(payload) < estimate < 1.15 * len(payload)


def test_biases_go_to_the_pool(int8_tflite):
    lines = codec.describe(codec.pack(int8_tflite)).tensors
    pooled = [line for line in lines if line.coder == "pool"]
    assert {line.dtype for line in pooled} == {"int32"}
    assert max(line.shape for line in pooled) == (64,)
    assert all(0 < line.bytes < line.raw_bytes for line in pooled)
