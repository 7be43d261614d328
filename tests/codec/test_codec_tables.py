"""Which bytes of a file's tensors are tables, and which stand for weights."""

import numpy as np
import pytest
from synthetic_tflite import Tensor, tflite

from squeezekit import codec


def described(values, coder):
    model = tflite([Tensor("weights", values.dtype.name, values.shape, values.tobytes())])
    return codec.describe(codec.pack(model, coder=coder))


def entropy_bytes(values):
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(len(values) / counts)).sum() / 8)


@pytest.mark.parametrize("coder", ["huffman", "rans", "small", "auto"])
def test_without_tables_the_weights_take_their_entropy(coder):
    generator = np.random.default_rng(3)
    values = np.clip(generator.normal(0, 8, 20_000).round(), -127, 127).astype(np.int8)
    found = described(values, coder)
    weights = found.sections["tensors"] - found.tables
    bound = entropy_bytes(values)
    # Over it Huffman's whole bits; under it what rANS's first states hold, two bytes a lane, which count as headings.
    assert 0.99 * bound <= weights <= 1.02 * bound + 300
    assert 10 < found.tables < 400


def test_a_codebook_is_a_table():
    generator = np.random.default_rng(4)
    codebook = generator.normal(size=32).astype(np.float32)
    values = codebook[generator.integers(0, 32, 8000)]
    found = described(values, "huffman")
    assert 32 * 2 <= found.tables <= 32 * 6 + 120
    assert found.sections["tensors"] - found.tables == pytest.approx(8000 * 5 / 8, rel=0.02)


def test_what_is_stored_as_it_is_has_no_tables():
    values = np.random.default_rng(5).integers(-128, 128, 5000).astype(np.int8)
    found = described(values, "none")
    assert found.sections["tensors"] - found.tables == 5000
    assert found.tables == 1
