"""A codebook's lookup and its gradient, whole and in pieces."""

import compress_nets as nets
import keras
import numpy as np

from squeezekit import compress
from squeezekit.compress import lookup


def trained_codebook(monkeypatch, piece):
    monkeypatch.setattr(lookup, "PIECE", piece)
    model = compress.apply(nets.tiny_net(), "share(3)")
    nets.fit(model, how=nets.GRAPH)
    return keras.ops.convert_to_numpy(model.get_layer("conv").transforms[0].codebook)


def test_training_in_pieces_is_training_bit_for_bit(monkeypatch):
    whole = trained_codebook(monkeypatch, 10**9)
    assert nets.tiny_net().get_layer("conv").count_params() == 448
    np.testing.assert_array_equal(trained_codebook(monkeypatch, 100), whole)


def test_a_sum_for_each_entry(monkeypatch):
    random = np.random.default_rng(0)
    upstream = random.normal(size=1000).astype("float32")
    indices = random.integers(0, 5, 1000).astype("int32")
    monkeypatch.setattr(lookup, "PIECE", 7)
    given = keras.ops.convert_to_tensor(upstream), keras.ops.convert_to_tensor(indices)
    found = keras.ops.convert_to_numpy(lookup.sum_by_entry(*given, 6))
    expected = np.zeros(6, "float32")
    for entry, gradient in zip(indices, upstream, strict=True):  # one after another, in float32
        expected[entry] += gradient
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[5] == 0
