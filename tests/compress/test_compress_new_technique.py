"""A new technique is one file and one line of the registry: nothing else has to know it."""

import compress_nets as nets
import keras
import numpy as np
import pytest

from examples.low_rank import LowRank
from squeezekit import compress


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(compress.TECHNIQUES, LowRank.name, LowRank)


def rank(model):
    return np.linalg.matrix_rank(nets.plain_kernels(compress.strip(model))["conv"].reshape(-1, 16), rtol=1e-5)


def test_it_is_parsed_applied_trained_saved_and_stripped(tmp_path):
    recipe = compress.parse("low_rank(4, where='conv') | quantize(8, where='fc')")
    assert str(recipe[0]) == "low_rank(4, where='conv')"
    model = compress.apply(nets.tiny_net(), recipe)
    before = nets.outputs(model)
    nets.fit(model)
    trained = nets.outputs(model)
    assert not np.array_equal(before, trained)
    assert compress.invariant_violations(model) == []
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(nets.outputs(reloaded), trained)
    assert rank(reloaded) == 4
    np.testing.assert_allclose(nets.outputs(compress.strip(reloaded)), trained, atol=1e-6)


def test_it_starts_at_the_best_approximation_of_its_rank():
    """Eckart and Young: what is missing are the other singular values."""
    kernel = nets.plain_kernels(nets.tiny_net())["conv"].reshape(-1, 16)
    low = nets.plain_kernels(compress.strip(compress.apply(nets.tiny_net(), "low_rank(4)")))["conv"]
    missing = np.linalg.svd(kernel, compute_uv=False)[4:]
    assert np.sum((kernel - low.reshape(-1, 16)) ** 2) == pytest.approx(np.sum(missing**2), rel=1e-4)


def test_its_invariant_is_kept_or_the_combination_refused_and_advised_against():
    with pytest.raises(ValueError, match=r"after it, conv: rank \d+ instead of 4"):
        compress.apply(nets.tiny_net(), "low_rank(4) | quantize(8)")
    lines = compress.advice(nets.tiny_net(), "low_rank(4) | quantize(8)")
    assert any("quantize(bits=8) violates the invariant of low_rank(4)" in line for line in lines)


def test_advice_measures_its_bytes_and_its_layers():
    (line,) = compress.advice(nets.tiny_net(), "low_rank(4, where='conv')")
    assert "low_rank(4, where='conv') saves next to nothing" in line
    (line,) = compress.advice(nets.tiny_net(), "low_rank(30)")
    assert "finds no layer" in line
    assert "kernels of a higher rank than rank=" in line


def test_the_class_attributes_speak_for_it():
    assert not compress.ships_int8(compress.parse("low_rank(4)"))
    assert compress.ships_int8(compress.parse("low_rank(4) | quantize(8)"))
    assert (LowRank.noun, LowRank.sweep.setting, LowRank.integer) == ("low rank", "rank", False)
    assert compress.parse(LowRank.study_level) == compress.Recipe(LowRank(4))
