"""The setting for classes of unequal size reaches the training; without it nothing changes."""

import dataclasses

import keras
import numpy as np
import pytest

from squeezekit import data, training
from squeezekit.preprocess import Preprocess
from squeezekit.training.distil import Distiller

SETTINGS = training.Settings(epochs=1, batch_size=4, precision=training.Precision.FLOAT32)


def net(seed=0):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return keras.Sequential(layers)


@pytest.mark.parametrize(
    ("balance", "weights", "steps"),
    [("none", None, 4), ("weights", {0: 2 / 3, 1: 2.0}, 4), ("sample", None, 6)],
)
def test_classes_of_unequal_size(tmp_path, monkeypatch, balance, weights, steps):
    x, y = np.zeros((20, 8, 8, 3), np.uint8), np.repeat([0, 1], [14, 6])
    np.savez(tmp_path / "a.npz", x_train=x[:16], y_train=y[2:18], x_test=x, y_test=y)
    dataset = data.open_dataset(tmp_path / "a.npz", validation=0)
    given = {}
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **options: given.update(options))
    settings = dataclasses.replace(SETTINGS, balance=training.Balance(balance))
    training.fit(net(), dataset, Preprocess(8, 8), settings, folder=tmp_path, name="net")
    assert given["steps_per_epoch"] == steps
    assert given["class_weight"] == (weights and pytest.approx(weights))
    assert settings.to_dict() == SETTINGS.to_dict() | ({"balance": balance} if balance != "none" else {})


def test_class_weights_apply_to_the_teachers_loss_too():
    x = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    both = Distiller(net(0), training.Distil(net(1)))
    both.compile("sgd", "sparse_categorical_crossentropy")
    y = np.array([0, 1, 1, 0])

    def loss(weights=None):
        return float(both.compute_loss(x, y, both(x), weights))

    assert loss(np.array([4.0, 0, 0, 0])) == pytest.approx(
        float(both.compute_loss(x[:1], y[:1], both(x[:1]))), rel=1e-5
    )
    assert loss(np.ones(4)) == pytest.approx(loss(), rel=1e-6)
