"""Layers of a user's own class with stock layers in them: transformed where they stand, and given back plain."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from compress_blocks import (
    Apart,
    Closed,
    Fire,
    Forgetful,
    Generous,
    Late,
    Mixed,
    Perceptron,
    Scaled,
    Tower,
    Wrong,
)
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.apply import hooked_layers
from squeezekit.compress.graph.nested_layers import HookedBlock
from squeezekit.compress.hooked_layers import KernelHook

ALL = "prune(0.6, schedule='constant', smallest=0) | share(3) | quantize(8)"


def fires(seed=0):
    """Kernels: conv 16x3x3x3; fire 32x16; 1x1x32x8; 8x8, 3x3x8x8; late 3x3x16x6, 3x3x6; fc 6x5."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            Fire(8, 8, name="fire"),
            Late(6, name="late"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(nets.CLASSES, activation="softmax", name="fc"),
        ],
        name="fires",
    )


def tower(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((10, 10, 3)), Tower(6)], name="around")


KERNELS = {
    fires: ["conv", "fire/squeeze", "fire/expand/0", "fire/expand/1", "late/down", "late/mix", "fc"],
    tower: [
        "tower/fire/squeeze",
        "tower/fire/expand/0",
        "tower/fire/expand/1",
        "tower/body/0",
        "tower/heads/class",
    ],
}


def kernels(model):
    """{name: kernel in use}; asks the user's blocks themselves, not the code under test."""
    found = {}
    for layer in model.layers:
        block = layer.block if isinstance(layer, HookedBlock) else layer
        if isinstance(block, Fire | Late | Tower):
            inner = {
                Fire: lambda b: {"squeeze": b.squeeze, "expand/0": b.expand[0], "expand/1": b.expand[1]},
                Late: lambda b: {"down": b.down, "mix": b.mix},
                Tower: lambda b: {
                    "fire/squeeze": b.fire.squeeze,
                    "fire/expand/0": b.fire.expand[0],
                    "fire/expand/1": b.fire.expand[1],
                    "body/0": b.body.layers[0],
                    "heads/class": b.heads["class"],
                },
            }[type(block)](block)
            found |= {f"{layer.name}/{path}": part for path, part in inner.items()}
        elif isinstance(layer, layers.Conv2D | layers.Dense):
            found[layer.name] = layer
    return {name: ops.convert_to_numpy(ops.convert_to_tensor(layer.kernel)) for name, layer in found.items()}


@pytest.mark.parametrize("make", [fires, tower])
def test_blocks_train_save_strip_and_keep_their_invariants(make, tmp_path):
    model = make()
    original, before = kernels(model), nets.outputs(model)
    names = [layer.name for layer in model.layers]
    copy = compress.apply(model, "quantize(8)")
    assert [name for name, _ in hooked_layers(copy)] == KERNELS[make]
    np.testing.assert_array_equal(nets.outputs(model), before)

    copy = compress.apply(compress.apply(model, "prune(0.6, end=0.7, smallest=0)"), "share(3) | quantize(8)")
    assert [layer.name for layer in copy.layers] == names
    started = kernels(copy)
    nets.fit(copy, how=nets.COMPILED)
    trained, used = nets.outputs(copy), kernels(copy)
    assert sorted(used) == sorted(KERNELS[make])
    assert compress.invariant_violations(copy) == []
    for name, kernel in used.items():
        assert not np.array_equal(kernel, started[name]), f"{name} was not trained"
        assert np.count_nonzero(kernel == 0) >= np.floor(0.6 * kernel.size + 0.5), name
        assert np.unique(kernel).size <= 8, name

    copy.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(nets.outputs(reloaded), trained)
    assert compress.invariant_violations(reloaded) == []
    assert [name for name, _ in hooked_layers(reloaded)] == KERNELS[make]

    plain = compress.strip(reloaded)
    np.testing.assert_allclose(nets.outputs(plain), trained, atol=1e-6, rtol=0)
    assert not any(isinstance(layer, HookedBlock | KernelHook) for layer in plain._flatten_layers())
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]
    for name, kernel in kernels(plain).items():
        np.testing.assert_array_equal(kernel, used[name])
    plain.save(tmp_path / "plain.keras")
    assert b"squeezekit" not in (tmp_path / "plain.keras").read_bytes()

    for name, kernel in kernels(model).items():
        np.testing.assert_array_equal(kernel, original[name]), "the model given was changed"
    assert not any(isinstance(layer, KernelHook) for layer in model._flatten_layers())


def test_a_block_trains_under_xla():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((10, 10, 3)), layers.Flatten(), Perceptron(), layers.Softmax()])
    model = compress.apply(model, "prune(0.6, smallest=0) | share(3) | quantize(8)")
    before = nets.outputs(model)
    nets.fit(model, how=nets.JIT)
    assert not np.array_equal(before, nets.outputs(model))
    assert len(list(hooked_layers(model))) == 2
    assert compress.invariant_violations(model) == []


def test_a_block_of_several_tensors_and_settings():
    x, y = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([x, y], Apart(name="apart")(x, y, sign=-1.0))
    copy = compress.apply(model, "prune(0.5, schedule='constant', smallest=0)")
    plain = compress.strip(copy)
    values = list(np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32"))
    for expected, received, back in zip(model(values), copy(values), plain(values), strict=True):
        assert not np.allclose(expected, received)
        np.testing.assert_allclose(back, received, atol=1e-6)
    assert plain.get_layer("apart").left.kernel.shape == (5, 4)
    zeros = [np.count_nonzero(part.effective_kernel() == 0) for _, part in hooked_layers(copy)]
    assert zeros == [10, 10]


def test_a_block_tells_its_output_shape():
    for layer in compress.apply(fires(), "quantize").layers[1:3]:
        given, expected = (
            ((4, 8, 8, 16), (4, 8, 8, 16)) if layer.name == "fire" else ((4, 8, 8, 16), (4, 3, 3, 6))
        )
        assert layer.compute_output_shape(given) == expected
    with pytest.raises(NotImplementedError):  # what makes the test one: Keras itself cannot say
        Fire(8, 8).compute_output_shape((4, 8, 8, 16))


def test_where_layers_and_skip_reach_into_blocks():
    model = fires()

    def reached(technique, **kwargs):
        return {name for name, _ in hooked_layers(compress.apply(model, technique, **kwargs))}

    everything, fire = set(KERNELS[fires]), {"fire/squeeze", "fire/expand/0", "fire/expand/1"}
    assert reached("quantize", skip=("late/mix", "fire")) == {"conv", "late/down", "fc"}
    assert reached("quantize(where='fire/expand/*')") == fire - {"fire/squeeze"}
    assert reached("quantize(where='fire')") == fire
    assert reached("quantize(layers={'fire/expand/*': None})") == everything - fire | {"fire/squeeze"}
    assert reached(compress.Quantize(where=lambda kernel: kernel.shape[-1] == 1)) == {"late/mix"}
    pruned = kernels(compress.apply(model, "prune(0.5, 'constant', layers={'late': 0.9}, smallest=0)"))
    assert np.count_nonzero(pruned["late/down"] == 0) == round(0.9 * 864)
    assert np.count_nonzero(pruned["fire/squeeze"] == 0) == 64
    with pytest.raises(ValueError, match="'fire/pinch'"):
        compress.apply(model, "quantize(2, where='fire/pinch')")


def test_the_figures_of_a_block_are_those_of_its_layers():
    expected = {
        "conv": (448, 64 * 432),
        "fire/squeeze": (136, 64 * 128),
        "fire/expand/0": (72, 64 * 64),
        "fire/expand/1": (584, 64 * 576),
        "late/down": (864, 9 * 864),  # 8x8 to 3x3, though the layer was built for any size
        "late/mix": (60, 9 * 54),
        "late/norm": (24, 0),
        "fc": (35, 30),
        "late": (16, 0),
    }
    model = fires()
    figures = compress.measure(model)
    assert {layer.name: (layer.parameters, layer.macs) for layer in figures.layers} == expected
    assert {layer.name: layer.kind for layer in figures.layers}["late"] == "Late"
    copy = compress.apply(model, ALL)
    assert compress.measure(copy) == compress.measure(compress.strip(copy))
    assert {layer.name: (layer.parameters, layer.macs) for layer in compress.measure(copy).layers} == expected
    assert all("call" not in vars(layer) for layer in copy._flatten_layers()), (
        "a layer is still being watched"
    )


def test_what_a_block_learned_and_froze_travels():
    model = fires()
    late = model.get_layer("late")
    late.gain.assign(np.arange(16.0))
    late.norm.moving_mean.assign(np.arange(6.0))
    late.mix.trainable = False
    model.get_layer("fire").trainable = False
    copy = compress.apply(model, "quantize(8)")
    for after in (copy.get_layer("late").block, compress.strip(copy).get_layer("late")):
        np.testing.assert_array_equal(ops.convert_to_numpy(after.gain.value), np.arange(16))
        np.testing.assert_array_equal(ops.convert_to_numpy(after.norm.moving_mean.value), np.arange(6))
        assert not after.mix.trainable
        assert after.down.trainable
    assert copy.get_layer("fire").trainable_weights == []
    assert len(copy.trainable_weights) == 2 + 1 + 1 + 2 + 2  # conv, gain, down, norm, fc


def test_a_frozen_block_thaws_but_for_the_kernels_under_codebooks():
    copy = compress.apply(fires(), "share(3)")
    paths = [weight.path for weight in copy.trainable_weights]
    assert not any(path.endswith("/kernel") for path in paths)
    assert sum("codebook" in path for path in paths) == 7
    assert len(set(paths)) == len(paths)
    copy.trainable = False
    copy.trainable = True
    assert [weight.path for weight in copy.trainable_weights] == paths


def test_transforms_in_a_block_compute_in_float32_under_a_mixed_policy():
    model = compress.apply(fires(), ALL)
    exact = kernels(model)
    part = model.get_layer("fire").block.squeeze
    for every in model._flatten_layers():
        every.dtype_policy = "mixed_bfloat16"
    x = np.ones((1, 8, 8, 16), "float32")
    assert keras.backend.standardize_dtype(model.get_layer("fire")(x).dtype) == "bfloat16"
    np.testing.assert_array_equal(part.effective_kernel(), exact["fire/squeeze"])
    for every in model._flatten_layers():
        every.dtype_policy = "float32"
    assert not part.stored_kernel._autocast


def around(layer):
    return keras.Sequential([keras.Input((6, 6, 3)), layer], name="around")


def sharing():
    conv = layers.Conv2D(3, 1)
    return keras.Sequential([keras.Input((6, 6, 3)), Closed(conv), conv])


def hooks_inside():
    hooked = compress.apply(around(layers.Conv2D(3, 1)), "quantize()").layers[0]
    return around(Closed(hooked))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: around(Closed(layers.Conv2D(3, 1))), "closed of the kind Closed"),
        (lambda: around(Wrong(layers.Conv2D(3, 1))), "closed of the kind Wrong"),
        (lambda: around(Generous(layers.Conv2D(3, 1))), "closed of the kind Generous.*the very layers"),
        (lambda: around(Forgetful(2, 5, name="odd")), "odd, whose copy has other layers or weights"),
        (lambda: around(Scaled(2, 5, name="scaled")), "scaled of the kind Scaled"),
        (
            lambda: around(Mixed(name="mixed")),
            "mixed/apart of the kind SeparableConv2D; write it as Depthwise",
        ),
        (sharing, "share no layer"),
        (hooks_inside, "with transforms in closed"),
        (lambda: Tower(4), "keras.Input.*tower, which is of the class Tower"),
    ],
)
def test_blocks_that_cannot_be_transformed_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        compress.apply(make(), "quantize(8)")


def test_what_cannot_be_transformed_may_be_left_out_of_a_block():
    model = around(Mixed(name="mixed"))
    for copy in (
        compress.apply(model, "quantize(2)", skip=("mixed/apart",)),
        compress.apply(model, "quantize(2, where='mixed/conv')"),
        compress.apply(model, "quantize(2, layers={'mixed/apart': None})"),
    ):
        assert [name for name, _ in hooked_layers(copy)] == ["mixed/conv"]
    with pytest.raises(ValueError, match="SeparableConv2D"):
        compress.apply(model, "quantize(2, where='mixed')")
    copy = compress.apply(around(Scaled(2, 5, name="scaled")), "quantize(2, where='scaled/*')")
    assert len(list(hooked_layers(copy))) == 3
