"""Recipes stage by stage: promises hold in the plain model, and a kill changes nothing."""

import io
import re

import keras
import numpy as np
import pytest

from squeezekit import compress, training
from squeezekit.training.checkpoint import Checkpoint

RECIPE = "prune(0.5) | share(bits=3) | quantize(8)"


class Killed(Exception):
    """Stands for a `kill -9`."""


@pytest.fixture(scope="module")
def base():
    """A network of three layers with a BatchNorm: the stages do the same to it as to a large one."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(pixels)
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False, name="conv")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.ReLU()(keras.layers.Conv2D(24, 3, strides=2, name="wide")(x))
    x = keras.layers.Dense(2, name="classes")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, keras.layers.Softmax(dtype="float32")(x))


def run(base, stripes, small, folder, precision="float32", recipe=RECIPE, epochs=2):
    settings = training.Settings(
        epochs=epochs, batch_size=16, learning_rate=1e-3, precision=training.Precision(precision)
    )
    return training.compress_in_stages(base, compress.parse(recipe), stripes, small, settings, folder=folder)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_promise_of_the_recipe_holds_in_the_plain_model(base, stripes, small, tmp_path, precision):
    done = run(base, stripes, small, tmp_path, precision)
    squeezed, stages = done.model, done.stages
    assert done.ranges == {}
    assert [stage.recipe for stage in stages][-1] == str(compress.parse(RECIPE))
    assert [len(stage.history.curves) for stage in stages] == [2, 2, 2]
    kernel = squeezed.get_layer("wide").get_weights()[0]
    assert np.mean(kernel == 0) >= 0.5
    assert np.unique(kernel).size <= 8
    steps = kernel / (np.abs(kernel).max() / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in squeezed.layers)
    assert type(squeezed.get_layer("wide")) is keras.layers.Conv2D
    assert not np.array_equal(kernel, base.get_layer("wide").get_weights()[0])


@pytest.mark.parametrize(
    ("recipe", "conv", "wide"),
    [
        ("prune(0.5) | prune_channels(0.25) | share(bits=3) | quantize(8)", 12, (3, 3, 12, 18)),
        ("separable() | prune_channels(0.5) | prune(0.5, smallest=64) | share(bits=3)", 8, (1, 1, 8, 12)),
    ],
)
def test_a_network_that_changes_its_shape_on_the_way_keeps_every_promise(
    base, stripes, small, tmp_path, recipe, conv, wide
):
    """Zeros are counted in the network that is left, not in channels that are gone."""
    done = run(base, stripes, small, tmp_path, recipe=recipe, epochs=1)
    squeezed, stages = done.model, done.stages
    assert stages[-1].recipe == recipe.replace("quantize(8)", "quantize(bits=8)").replace(
        "separable()", "separable(channels=8)"
    )
    assert squeezed.get_layer("conv").filters == conv
    kernel = squeezed.get_layer("wide").get_weights()[0]
    assert kernel.shape == wide
    assert 0.5 <= np.mean(kernel == 0) < 0.55
    assert np.unique(kernel).size <= 8
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in squeezed.layers)


@pytest.mark.parametrize(
    ("recipe", "stages"),
    [
        # When its stage begins every kernel is too small already ...
        ("prune_channels(0.5) | prune(0.8, smallest=900) | quantize(8)", 2),
        # ... or was large enough, and became too small afterwards.
        ("prune(0.8, smallest=900) | prune_channels(0.5) | quantize(8)", 3),
    ],
)
def test_a_technique_for_which_channels_left_no_layer_is_passed_over(
    base, stripes, small, tmp_path, recipe, stages
):
    """`wide` has 3,456 weights, then 864; the others have fewer in any case."""
    words = io.StringIO()
    settings = training.Settings(epochs=1, batch_size=16, learning_rate=1e-3)
    done = training.compress_in_stages(
        base,
        compress.parse(recipe),
        stripes,
        small,
        settings,
        folder=tmp_path,
        progress=training.Progress(words, enabled=True),
    )
    assert len(done.stages) == stages
    assert re.search(r"prune\(0\.8, .*smallest=900\) is skipped", words.getvalue())
    kernel = done.model.get_layer("wide").get_weights()[0]
    assert kernel.shape == (3, 3, 8, 12)
    steps = kernel / (np.abs(kernel).max() / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_a_technique_for_which_there_never_was_a_layer_is_refused_with_what_to_do(
    base, stripes, small, tmp_path
):
    with pytest.raises(
        ValueError,
        match=r"it takes kernels of at least smallest= weights: leave it out, or change its settings",
    ):
        run(base, stripes, small, tmp_path, recipe="prune(0.8, smallest=9999) | quantize(8)", epochs=1)


@pytest.mark.parametrize("death", [1, 4])
def test_a_kill_in_any_stage_changes_nothing(base, stripes, small, tmp_path, monkeypatch, death):
    whole = run(base, stripes, small, tmp_path / "whole").model
    save, saved = Checkpoint.save, []

    def save_and_die(self, path):
        save(self, path)
        saved.append(path)
        if len(saved) == death:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)
    with pytest.raises(Killed):
        run(base, stripes, small, tmp_path / "broken")
    monkeypatch.undo()
    resumed = run(base, stripes, small, tmp_path / "broken").model
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stages_of_another_network_are_refused(base, stripes, small, tmp_path):
    run(base, stripes, small, tmp_path)
    other = keras.models.clone_model(base)
    with pytest.raises(ValueError, match="other start"):
        run(other, stripes, small, tmp_path)


def test_not_one_folder_a_technique_is_refused_before_any_work(base, stripes, small, tmp_path):
    with pytest.raises(ValueError, match="2 for 3"):
        training.compress_in_stages(
            base,
            compress.parse(RECIPE),
            stripes,
            small,
            training.Settings(epochs=1, batch_size=16),
            folder=tmp_path,
            folders=[tmp_path / "a", tmp_path / "b"],
        )
    assert not list(tmp_path.iterdir())
