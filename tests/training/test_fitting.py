"""Training learns, and a broken training ends like an unbroken one."""

import dataclasses
import itertools
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from squeezekit import models, training
from squeezekit.errors import FormatError
from squeezekit.training import fitting
from squeezekit.training.checkpoint import Checkpoint
from squeezekit.training.fitting import SmoothedCrossEntropy

SETTINGS = training.Settings(epochs=4, batch_size=8, precision=training.Precision.FLOAT32)


def train(stripes, small, folder, settings=SETTINGS, name="squeezenet-1.1"):
    return training.train_network(name, stripes, small, settings, folder=folder, width=0.25)


def test_a_network_learns(stripes, small, tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=12, learning_rate=3e-3)
    model, history = train(stripes, small, tmp_path, settings)
    assert training.evaluate(model, stripes.test, small) >= 0.9
    assert len(history.curves) == 12
    assert {"loss", "accuracy", "val_accuracy"} <= history.curves[-1].keys()


def test_a_resumed_training_ends_bitwise_like_an_unbroken_one(stripes, small, tmp_path, killed_at):
    whole, history = train(stripes, small, tmp_path / "whole")
    with killed_at(2):
        train(stripes, small, tmp_path / "broken")
    resumed, rest = train(stripes, small, tmp_path / "broken")
    assert rest.resumed_at == 2
    assert rest.curves == history.curves
    np.testing.assert_equal(whole.get_weights(), resumed.get_weights())


def test_a_finished_training_is_loaded_and_not_run_again(stripes, small, tmp_path, monkeypatch):
    first, _ = train(stripes, small, tmp_path)
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    second, history = train(stripes, small, tmp_path)
    assert history.resumed_at == SETTINGS.epochs
    np.testing.assert_equal(first.get_weights(), second.get_weights())


def test_seeds_determine_a_training(stripes, small, tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=1)
    one, _ = train(stripes, small, tmp_path / "a", settings)
    other, _ = train(stripes, small, tmp_path / "b", dataclasses.replace(settings, seed=1))
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


def test_a_large_checkpoint_waits_until_writing_is_a_tenth_of_the_time(stripes, small, tmp_path, monkeypatch):
    saved = []
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: saved.append(self.epoch) or save(self, path))
    monkeypatch.setattr(fitting, "_LARGE_BYTES", 0)
    # A clock that ticks when it is looked at: writing takes one tick, an epoch that is not saved another.
    monkeypatch.setattr(fitting, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    settings = dataclasses.replace(SETTINGS, epochs=13)
    _, history = train(stripes, small, tmp_path, settings)
    assert saved == [1, 10, 13]
    assert len(history.curves) == 13


def test_another_trainings_checkpoint_is_refused_by_what_differs(stripes, small, tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=1)
    train(stripes, small, tmp_path, settings)
    with pytest.raises(ValueError, match="other settings"):
        train(stripes, small, tmp_path, dataclasses.replace(settings, seed=3))


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: b"nonsense", lambda data: b""])
def test_a_damaged_checkpoint_is_named(stripes, small, tmp_path, damage):
    settings = dataclasses.replace(SETTINGS, epochs=1)
    train(stripes, small, tmp_path, settings)
    path = tmp_path / "squeezenet-1.1.checkpoint.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match="delete it to start over"):
        train(stripes, small, tmp_path, settings)


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [(7867, 64, 20), (1440, 64, 69), (300, 18, 94), (40, 8, 300), (5, 5, 1500)],
)
def test_small_sets_get_smaller_batches_and_enough_steps(images, batch_size, epochs):
    settings = training.Settings().for_images(images)
    assert (settings.batch_size, settings.epochs) == (batch_size, epochs)
    assert images // batch_size * epochs >= 1500


def test_what_the_user_chose_is_kept_but_for_a_batch_of_more_than_all_images():
    settings = training.Settings(epochs=3, batch_size=500).for_images(64)
    assert (settings.epochs, settings.batch_size) == (3, 64)


def test_logs_for_tensorboard_are_written(stripes, small, tmp_path):
    train(stripes, small, tmp_path, dataclasses.replace(SETTINGS, epochs=1))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_smoothed_cross_entropy_is_its_formula():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
    targets = 0.9 * np.eye(3)[[0, 1]] + 0.1 / 3
    expected = -(targets * np.log(probabilities)).sum(axis=1).mean()
    loss = SmoothedCrossEntropy(0.1)(np.array([0, 1]), probabilities)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)


def test_the_schedule_warms_up_and_decays():
    schedule = training.Settings(learning_rate=1.0, warmup_steps=100).schedule(1000)
    rates = np.array([float(schedule(step)) for step in range(0, 1001, 50)])
    assert rates[0] == 0
    np.testing.assert_allclose(rates[1], 0.5, atol=1e-6)
    assert rates.argmax() == 2
    np.testing.assert_allclose(rates[-1], 0.01, atol=1e-6)


@pytest.mark.parametrize("optimizer", list(training.Optimizer))
def test_both_optimizers_train(stripes, small, tmp_path, optimizer):
    settings = dataclasses.replace(SETTINGS, epochs=1, optimizer=optimizer)
    _, history = train(stripes, small, tmp_path, settings)
    assert np.isfinite(history.curves[-1]["loss"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch_size": -1},
        {"learning_rate": 0},
        {"weight_decay": -1},
        {"label_smoothing": 1},
        {"clip_norm": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        training.Settings(**wrong)


def test_settings_are_plain_json():
    assert json.loads(json.dumps(SETTINGS.to_dict())) == SETTINGS.to_dict()


def test_bfloat16_is_undone_at_the_end(stripes, small, tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=1, precision=training.Precision.BFLOAT16)
    model, history = train(stripes, small, tmp_path, settings)
    assert history.precision == "bfloat16"
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {weight.dtype for weight in model.weights} == {"float32"}


def test_precision_is_restored_after_an_error():
    model = models.squeezenet((32, 32, 3), 2, width=0.25)

    def fail():
        with training.precision(model, training.Precision.BFLOAT16) as used:
            assert used == "bfloat16"
            assert model.get_layer("conv10").compute_dtype == "bfloat16"
            assert model.get_layer("probabilities").compute_dtype == "float32"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
