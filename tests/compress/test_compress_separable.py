"""Convolutions become separable ones: as near as linear algebra allows, in the shapes of the models here."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from keras import layers, ops

from squeezekit import compress, models
from squeezekit.compress.techniques.separable import separated


def kernel(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_the_start_is_numpys_singular_value_decomposition_of_rank_one():
    weight = kernel(3, 3, 5, 7)
    depthwise, pointwise = separated(weight)
    assert depthwise.shape == (3, 3, 5, 1)
    assert pointwise.shape == (1, 1, 5, 7)
    for channel in range(5):
        matrix = weight[:, :, channel].reshape(9, 7)
        left, values, right = np.linalg.svd(matrix)
        product = np.outer(depthwise[:, :, channel].ravel(), pointwise[0, 0, channel])
        np.testing.assert_allclose(product, values[0] * np.outer(left[:, 0], right[0]), atol=1e-5)
        # Eckart and Young: what is missing are the other singular values.
        assert np.sum((matrix - product) ** 2) == pytest.approx(np.sum(values[1:] ** 2), rel=1e-4)
        assert np.linalg.norm(depthwise[:, :, channel]) == pytest.approx(values[0] ** 0.5, rel=1e-4)


def test_no_other_pair_that_was_tried_is_nearer():
    weight = kernel(3, 3, 2, 4)
    depthwise, pointwise = separated(weight)
    best = np.sum((weight - depthwise * pointwise) ** 2)
    for seed in range(20):
        other = depthwise + 0.03 * kernel(*depthwise.shape, seed=seed)
        # The least-squares pointwise for this depthwise.
        scale = np.sum(weight * other, axis=(0, 1)) / np.sum(other**2, axis=(0, 1))
        assert np.sum((weight - other * scale) ** 2) >= best


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("strides", "dilation", "size"), [(1, 1, 3), (2, 1, 3), (1, 2, 3), (2, 1, (5, 3))])
def test_a_kernel_that_is_separable_keeps_its_outputs(padding, strides, dilation, size):
    keras.utils.set_random_seed(0)
    entry = keras.Input((11, 12, 10))
    conv = layers.Conv2D(6, size, strides, padding, dilation_rate=dilation, activation="relu", name="conv")
    model = keras.Model(entry, conv(entry))
    shape = conv.kernel.shape
    conv.set_weights([kernel(*shape[:3], 1) * kernel(1, 1, *shape[2:], seed=1), kernel(6, seed=2)])
    swapped = compress.apply(model, "separable()")
    assert [type(layer) for layer in swapped.layers[1:]] == [layers.DepthwiseConv2D, layers.Conv2D]
    x = kernel(2, 11, 12, 10, seed=3)
    np.testing.assert_allclose(
        ops.convert_to_numpy(swapped(x)), ops.convert_to_numpy(model(x)), atol=2e-4, rtol=1e-4
    )


def test_a_squeezenet_becomes_the_one_with_separable_fire_modules():
    """The same layers by name, shape and place; only the first convolution stays, in both."""
    options = {"input_shape": (40, 40, 3), "classes": nets.CLASSES, "width": 0.5}
    options |= {"bypass": "complex", "norm": "squeeze"}
    model = models.squeezenet(**options)
    swapped = compress.strip(compress.apply(model, "separable(channels=4)"))
    built = models.squeezenet(fire="separable", **options)
    assert [layer.name for layer in swapped.layers] == [layer.name for layer in built.layers]
    assert swapped.count_params() == built.count_params()
    for mine, its in zip(compress.measure(swapped).layers, compress.measure(built).layers, strict=True):
        assert (mine.name, mine.kind, mine.parameters, mine.macs) == (
            its.name,
            its.kind,
            its.parameters,
            its.macs,
        )
    for layer in model.layers:
        if "expand3x3" not in layer.name:
            for ours, theirs in zip(
                layer.get_weights(), swapped.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)


def test_channels_and_where_and_layers_and_skip_pick_layers():
    model = nets.fire_net()

    def swapped(technique, **options):
        names = [layer.name for layer in compress.apply(model, technique, **options).layers]
        return [name.removesuffix("_depthwise") for name in names if name.endswith("_depthwise")]

    assert swapped("separable()") == ["expand3x3"]
    assert swapped("separable(channels=2)") == ["conv1", "expand3x3"]
    assert swapped(compress.Separable(where=("conv1", "expand*"))) == ["conv1", "expand3x3"]
    assert swapped(compress.Separable(layers={"conv1": 0})) == ["conv1", "expand3x3"]
    assert swapped(compress.Separable(channels=2, layers={"expand*": None})) == ["conv1"]
    assert swapped("separable(channels=2)", skip=("expand3x3",)) == ["conv1"]
    with pytest.raises(ValueError, match=r"separable\(channels=100\) applies"):
        compress.apply(model, "separable(100)")
    with pytest.raises(ValueError, match="channels=-1"):
        compress.Separable(-1)


def test_nested_and_sequential_models_and_layers_that_are_called_twice():
    keras.utils.set_random_seed(0)
    conv = layers.Conv2D(10, 3, padding="same", name="conv")
    block = keras.Sequential([keras.Input((6, 6, 10)), conv, layers.ReLU(name="relu")], name="block")
    entry = keras.Input((6, 6, 10))
    model = keras.Model(entry, block(conv(block(entry))))
    conv.kernel.assign(kernel(3, 3, 10, 1) * kernel(1, 1, 10, 10, seed=1) / 10)
    swapped = compress.apply(model, "separable()")
    assert [layer.name for layer in swapped.get_layer("block").layers] == ["conv_depthwise", "conv", "relu"]
    assert swapped.count_params() == 90 + 110
    x = kernel(2, 6, 6, 10)
    np.testing.assert_allclose(ops.convert_to_numpy(swapped(x)), ops.convert_to_numpy(model(x)), atol=1e-5)


def test_grouped_and_unevenly_strided_convolutions_stay():
    entry = keras.Input((9, 9, 16))
    x = layers.Conv2D(16, 3, groups=2)(entry)
    x = layers.Conv2D(16, 3, strides=(1, 2))(x)
    with pytest.raises(ValueError, match="applies"):
        compress.apply(keras.Model(entry, x), "separable()")


def test_it_begins_a_recipe_that_trains_and_keeps_its_invariants(tmp_path):
    model = compress.apply(
        nets.fire_net(batch_norm=True), "separable() | prune(0.7, smallest=0) | share(3) | quantize(8)"
    )
    nets.fit(model)
    assert compress.invariant_violations(model) == []
    model.save(tmp_path / "model.keras")
    plain = compress.strip(keras.saving.load_model(tmp_path / "model.keras"))
    np.testing.assert_allclose(nets.outputs(plain), nets.outputs(model), atol=1e-6)
    for name in ("expand3x3", "expand3x3_depthwise"):
        values = nets.plain_kernels(plain)[name]
        assert np.unique(values).size <= 8
        assert np.count_nonzero(values == 0) >= np.floor(0.7 * values.size + 0.5)
