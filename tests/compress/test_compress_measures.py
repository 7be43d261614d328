"""Figures of models against figures worked out by hand or published."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from keras import layers

from squeezekit import compress, models


def test_parameters_and_macs_of_squeezenet_are_the_published_ones():
    """1,235,496 parameters; some 0.35 billion multiply-accumulates at 224 pixels (0.39 of 1.0's 0.86 in 2016)."""
    figures = compress.measure(models.squeezenet((224, 224, 3), 1000))
    assert figures.parameters == 1_235_496
    assert figures.macs == pytest.approx(349e6, rel=0.01)


def test_every_kind_of_kernel_is_counted():
    entry = keras.Input((9, 9, 4))
    x = layers.Conv2D(8, 3, strides=2, groups=2, name="grouped")(entry)  # 4x4 positions, 3*3*2*8 weights
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)  # 4x4, 3*3*8
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dense(5, use_bias=False, name="everywhere")(x)  # 4x4, 8*5
    x = layers.Conv2DTranspose(3, 2, strides=2, name="up")(x)  # from 4x4, 2*2*3*5
    x = layers.SeparableConv2D(6, 3, name="apart")(x)  # 6x6, 3*3*3 + 3*6
    figures = {layer.name: layer for layer in compress.measure(keras.Model(entry, x)).layers}
    assert {name: layer.macs for name, layer in figures.items()} == {
        "grouped": 16 * 144,
        "depthwise": 16 * 72,
        "norm": 0,
        "everywhere": 16 * 40,
        "up": 16 * 60,
        "apart": 36 * 45,
    }
    assert figures["norm"].parameters == 32
    assert figures["norm"].distinct == 0
    assert figures["everywhere"].parameters == 40


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (layers.Conv1D(5, 3, strides=2), (9, 2), 4 * 3 * 2 * 5),
        (layers.Conv3D(5, 2, padding="same"), (3, 4, 5, 2), 60 * 8 * 2 * 5),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 4), 7 * 3 * 4 * 2),
        (layers.Conv1DTranspose(5, 3, strides=2), (9, 2), 9 * 3 * 2 * 5),
        (layers.Conv3DTranspose(5, 2), (3, 4, 5, 2), 60 * 8 * 2 * 5),
        (layers.EinsumDense("abc,cde->abde", (None, 3, 2)), (4, 5), 4 * 5 * 3 * 2),
        (layers.EinsumDense("...x,xy->...y", 6), (3, 4, 5), 3 * 4 * 5 * 6),
        (layers.EinsumDense("abc,bcd->abd", (3, 2)), (3, 5), 3 * 5 * 2),
        (layers.EinsumDense("ab...,bc->ac...", (2, None)), (3, 5), 3 * 5 * 2),
        (layers.EinsumDense("abcd,cde->abe", (None, 7)), (3, 4, 5), 3 * 4 * 5 * 7),
    ],
)
def test_macs_are_those_of_the_definition(layer, shape, macs):
    model = keras.Sequential([keras.Input(shape), layer])
    assert compress.measure(model).macs == macs
    assert compress.measure(compress.apply(model, "quantize")).macs == macs


def test_a_model_with_transforms_measures_like_the_plain_model_it_stands_for():
    model = compress.apply(nets.fire_net(), "prune(0.75, schedule='constant', smallest=0) | share(3)")
    figures = compress.measure(model)
    assert figures == compress.measure(compress.strip(model))
    by_name = {layer.name: layer for layer in figures.layers}
    assert by_name["expand3x3"].nonzero == 2304 // 4  # the biases are zero
    assert by_name["expand3x3"].distinct == 8
    assert by_name["block/depthwise"].kind == "DepthwiseConv2D"
    assert figures.parameters == nets.fire_net().count_params()


def test_an_unknown_size_or_kind_is_refused():
    entry = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="fixed input size"):
        compress.measure(keras.Model(entry, layers.Conv2D(2, 1)(entry)))
    entry = keras.Input((4,), dtype="int32")
    with pytest.raises(ValueError, match="Embedding"):
        compress.measure(keras.Model(entry, layers.Embedding(5, 2)(entry)))


def test_nonzero_counts_what_is_not_zero():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.layers[0].kernel.assign(np.array([[1, 0], [0, 0], [2, 3.0]]))
    assert compress.measure(model).nonzero == 3
