"""BatchNorm in one kernel against Keras's own."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest

from squeezekit import training
from squeezekit.preprocess import Preprocess
from squeezekit.training import fitting
from squeezekit.training.fused_batch_norm import fused_batch_norm


def network(frozen: bool = False) -> keras.Model:
    keras.utils.set_random_seed(3)
    pixels = keras.Input((6, 5, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False)(pixels)
    x = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-2, name="norm")(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    # It has two axes, not four, and so stays Keras's.
    x = keras.layers.BatchNormalization(name="flat")(x)
    model = keras.Model(pixels, keras.layers.Dense(2)(x))
    model.get_layer("norm").trainable = not frozen
    return model


def trained(fused: bool, frozen: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
    model = network(frozen)
    random = np.random.default_rng(4)
    pixels = random.normal(2, 3, (24, 6, 5, 3)).astype(np.float32)
    targets = random.normal(size=(24, 2)).astype(np.float32)
    with fused_batch_norm(model) if fused else contextlib.nullcontext():
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
        for _ in range(6):
            model.train_on_batch(pixels, targets)
    return model.get_weights(), model.predict(pixels, verbose=0)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_same_weights_statistics_and_outputs(frozen: bool) -> None:
    (ours, predicted), (reference, expected) = (trained(fused, frozen) for fused in (True, False))
    for mine, theirs in zip(ours, reference, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-4)
    moved = not np.allclose(ours[2], network().get_weights()[2])
    assert moved != frozen


def test_layers_are_restored_even_after_an_error() -> None:
    model = network()

    def changed() -> list[str]:
        return [layer.name for layer in model.layers if "call" in vars(layer)]

    def fail() -> None:
        with fused_batch_norm(model):
            assert changed() == (["norm", "flat"] if keras.backend.backend() == "tensorflow" else [])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not changed()


@pytest.mark.parametrize(("side", "fused"), [(32, True), (48, False)])
def test_only_trainings_on_tiny_images_use_it(stripes, tmp_path, monkeypatch, side, fused) -> None:
    taken = []

    @contextlib.contextmanager
    def watched(model):
        taken.append(model.name)
        with fused_batch_norm(model):
            yield

    monkeypatch.setattr(fitting, "fused_batch_norm", watched)
    settings = dataclasses.replace(training.Settings(), epochs=1, batch_size=16)
    training.train_network(
        "squeezenet-1.1", stripes, Preprocess(side, side), settings, folder=tmp_path, width=0.25
    )
    assert bool(taken) == fused
