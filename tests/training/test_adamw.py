"""The fused update against Keras's own, which is written out in small operations."""

import keras
import numpy as np
import pytest

from squeezekit.training.fused_adamw import FusedAdamW


def _trained(optimizer: keras.optimizers.Optimizer, steps: int) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    kernel = keras.Variable(random.normal(size=(7, 3)), name="kernel")
    bias = keras.Variable(random.normal(size=(3,)), name="bias")
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build([kernel, bias])
    for _ in range(steps):
        gradients = [
            keras.ops.convert_to_tensor(random.normal(size=each.shape), "float32") for each in (kernel, bias)
        ]
        optimizer.apply(gradients, [kernel, bias])
    return [keras.ops.convert_to_numpy(each.value) for each in [kernel, bias, *optimizer.variables]]


@pytest.mark.parametrize("steps", [1, 20])
def test_the_same_weights_and_state_as_keras(steps: int) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(0.05, 20)
    settings = {"weight_decay": 0.1, "clipnorm": 1.0, "beta_2": 0.99}
    ours = _trained(FusedAdamW(schedule, **settings), steps)
    reference = _trained(keras.optimizers.AdamW(schedule, **settings), steps)
    assert len(ours) == len(reference)
    for mine, expected in zip(ours, reference, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=2e-6, atol=2e-7)


def test_it_decays_what_it_should() -> None:
    decayed, spared = (_trained(FusedAdamW(0.05, weight_decay=decay), 3)[:2] for decay in (0.5, 0.0))
    assert not np.allclose(decayed[0], spared[0])
    np.testing.assert_array_equal(decayed[1], spared[1])
