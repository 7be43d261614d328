"""The networks against their published sizes, and on inputs of other sizes."""

import keras
import numpy as np
import pytest

from squeezekit import models


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("alexnet", 61_100_840), ("squeezenet-1.0", 1_248_424), ("squeezenet-1.1", 1_235_496)],
)
def test_parameter_counts_are_the_published_ones(name, parameters):
    assert models.build(name, (227, 227, 3), 1000).count_params() == parameters


@pytest.mark.parametrize("name", sorted(models.MODELS))
@pytest.mark.parametrize("shape", [(48, 40, 3), (100, 130, 3)])
def test_every_model_takes_pixels_and_gives_probabilities(name, shape):
    model = models.build(name, shape, 3, width=0.25)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")
    probabilities = keras.ops.convert_to_numpy(model(pixels))
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("version", "side", "places"),
    [
        ("1.1", 32, (16, 8, 4)),
        ("1.1", 47, (24, 12, 6)),
        ("1.1", 48, (22, 10, 4)),
        ("1.0", 32, (16, 8, 4)),
        ("1.0", 40, (20, 10, 5)),
    ],
)
def test_small_inputs_leave_room_for_features(version, side, places):
    model = models.squeezenet((side, side, 3), 10, version=version)
    pools = [layer.output.shape[1] for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert tuple(pools) == places
    assert model.get_layer("conv10").output.shape[1:3] == (places[-1], places[-1])


def test_bypass_adds_where_the_paper_says():
    def additions(kind):
        model = models.squeezenet((64, 64, 3), 5, version="1.0", bypass=kind)
        return [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]

    assert additions("none") == []
    assert additions("simple") == [f"fire{index}_bypass" for index in (3, 5, 7, 9)]
    assert additions("complex") == [f"fire{index}_bypass" for index in range(2, 10)]


def test_separable_fire_keeps_squeeze_and_1x1_and_factors_the_3x3():
    standard = models.squeezenet((64, 64, 3), 5)
    separable = models.squeezenet((64, 64, 3), 5, fire="separable")
    for name in ("fire4_squeeze1x1", "fire4_expand1x1"):
        assert separable.get_layer(name).kernel.shape == standard.get_layer(name).kernel.shape
    assert separable.get_layer("fire4_expand3x3_depthwise").kernel.shape == (3, 3, 32, 1)
    assert separable.get_layer("fire4_expand3x3").kernel.shape == (1, 1, 32, 128)
    assert separable.count_params() < standard.count_params() / 2.5


def test_width_multiplies_channels():
    assert models.squeezenet((64, 64, 3), 5, width=0.5).get_layer("conv1").filters == 32


def test_norm_says_where_batch_norm_is():
    def norms(where):
        model = models.squeezenet((64, 64, 3), 5, norm=where, bypass="complex")
        return [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]

    assert norms("none") == []
    assert norms("squeeze") == [f"fire{index}_squeeze1x1_norm" for index in range(2, 10)]
    assert len(norms("all")) == 1 + 3 * 8 + 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.squeezenet((96, 96, 3), 1),
        lambda: models.squeezenet((96, 96, 1), 5),
        lambda: models.squeezenet((16, 16, 3), 5),
        lambda: models.squeezenet((96, 96, 3), 5, version="2.0"),
        lambda: models.squeezenet((96, 96, 3), 5, fire="water"),
        lambda: models.squeezenet((96, 96, 3), 5, width=0),
        lambda: models.alexnet((16, 16, 3), 5),
        lambda: models.build("vgg", (96, 96, 3), 5),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(ValueError, match=r"Received|valid"):
        make()


@pytest.mark.parametrize(
    ("fire", "norm"), [("standard", "all"), ("separable", "all"), ("standard", "squeeze")]
)
def test_folding_batch_norm_changes_nothing_but_the_layers(fire, norm):
    model = models.squeezenet((64, 64, 3), 4, fire=fire, norm=norm, bypass="complex", width=0.25)
    generator = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Fresh statistics would make folding trivial.
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    generator.uniform(0.5, 1.5, shape),
                    generator.normal(0, 0.2, shape),
                    generator.normal(0, 0.2, shape),
                    generator.uniform(0.5, 2.0, shape),
                ]
            )
    pixels = generator.integers(0, 256, (3, 64, 64, 3)).astype("float32")
    folded = models.fold_batch_norm(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(np.asarray(folded(pixels)), np.asarray(model(pixels)), rtol=1e-3, atol=1e-5)


def test_a_batch_norm_that_cannot_be_folded_stays():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = keras.layers.BatchNormalization()(x)
    folded = models.fold_batch_norm(keras.Model(inputs, outputs))
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
