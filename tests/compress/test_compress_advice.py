"""Advice before training: its figures are those of the packed kernels, its remedies help, and it is no noise."""

import ast
import inspect
import re

import keras
import numpy as np
import pytest
from keras import layers

from squeezekit import codec, compress, models
from squeezekit.codec.entropy.coders import coders_named
from squeezekit.codec.tensor.encoding import encode

# What the file that ships is packed with unless told.
CODER = inspect.signature(codec.pack).parameters["coder"].default


@pytest.fixture(scope="module")
def net():
    """Two kernels small enough to be measured whole, of normal weights, and one of very few."""
    random = np.random.default_rng(0)
    net = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(100, name="wide"),
            layers.Dense(64, name="narrow"),
            layers.Dense(1, name="tiny"),
        ]
    )
    for layer in net.layers:
        layer.kernel.assign(random.normal(size=layer.kernel.shape))
    return net


def packed_bytes(model, recipe, names):
    """The kernels as apply and strip leave them, rounded as LiteRT rounds them, in the file's coder."""
    plain = compress.strip(compress.apply(model, recipe))
    total = 0
    for name in names:
        kernel = plain.get_layer(name).get_weights()[0]
        rounded = np.round(kernel.T / np.abs(kernel).max() * 127).astype(np.int8)
        coded = len(encode(rounded.tobytes(), item_bytes=1, coders=coders_named(CODER), shape=rounded.shape))
        # A whole file has a header and the tensor's name more, nothing less.
        assert 0 < len(codec.encode_tensors({name: rounded})) - coded < 80
        total += coded
    return total


def figures(line):
    return [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) (?:bytes|without|distinct)", line)]


def test_the_default_recipe_on_squeezenet_needs_none():
    network = models.squeezenet((96, 96, 3), 6)
    assert compress.advice(network, "prune(0.8) | share(bits=5) | quantize(8)") == []


def test_a_scale_for_each_channel_violates_the_codebooks_invariant(net):
    recipe = "share(bits=5, layers={'tiny': None}) | quantize(8, per_channel=True)"
    (line,) = compress.advice(net, recipe)
    # What apply refuses with is counted by the transforms themselves.
    with pytest.raises(ValueError, match="instead of 32") as refusal:
        compress.apply(net, recipe)
    assert f"wide: {max(figures(line))} distinct" in str(refusal.value)
    assert "instead of 32" in line
    assert "2 layers (wide, narrow)" in line
    assert compress.advice(net, recipe.replace("True", "False")) == []


@pytest.mark.parametrize(
    "order", ["prune(0.3) | share(2) | quantize(8)", "share(2) | prune(0.3) | quantize(8)"]
)
def test_a_sparsity_that_buys_no_bytes(net, order):
    recipe = order.replace("share(2", "share(2, layers={'tiny': None}")
    (line,) = compress.advice(net, recipe)
    assert line.startswith("prune(0.3) saves next to nothing beside ")
    names = ("wide", "narrow")
    with_zeros, without, due = figures(line)[0], figures(line)[1], figures(line)[2]
    start = order.replace("0.3", "0.3, schedule='constant'")
    np.testing.assert_allclose(with_zeros, packed_bytes(net, start, names), rtol=0.005)
    np.testing.assert_allclose(without, packed_bytes(net, "share(2) | quantize(8)", names), rtol=0.005)
    assert with_zeros > 0.95 * without
    # The remedy helps, and is not more than is needed.
    pays = float(re.search(r"sparsity=([\d.]+) on", line)[1])
    assert due <= 0.95 * without
    assert compress.advice(net, recipe.replace("0.3", str(pays))) == []
    assert compress.advice(net, recipe.replace("0.3", f"{pays - 0.05:.2f}")) != []


def test_sparsity_is_judged_in_the_file_that_ships(net):
    assert compress.advice(net, "prune(0.3)") == []
    few = "prune(0.02)"
    assert len(compress.advice(net, few)) == len(compress.advice(net, few, int8=True)) == 1
    # In several steps only the whole counts.
    assert compress.advice(net, "prune(0.02) | prune(0.6) | quantize(8)") == []


def test_a_codebook_dearer_than_the_weights(net):
    recipe = "share(bits=5) | quantize(8)"
    (line,) = compress.advice(net, recipe)
    assert line.startswith("share(bits=5) saves nothing in 1 layer (tiny)")
    coded, plain = figures(line)[:2]
    assert coded == packed_bytes(net, recipe, ["tiny"]) >= packed_bytes(net, "quantize(8)", ["tiny"]) == plain
    remedy = ast.literal_eval(re.search(r"layers=(\{.*\})", line)[1])
    assert compress.advice(net, compress.ShareWeights(5, layers=remedy) | compress.Quantize(8)) == []


def test_what_channels_leave_is_what_later_techniques_are_judged_by():
    entry = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="made")(entry)
    x = layers.Conv2D(12, 3, activation="relu", name="read")(x)
    net = keras.Model(entry, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D()(x)))
    assert compress.advice(net, "prune(0.8) | quantize(8)") == []
    recipe = "prune_channels(0.5) | prune(0.8) | quantize(8)"
    (line,) = compress.advice(net, recipe)
    left = compress.strip(compress.apply(net, "prune_channels(0.5)"))
    largest = max(layer.kernel.shape.num_elements() for layer in left.layers if hasattr(layer, "kernel"))
    assert largest == 3 * 3 * 4 * 6
    assert line.startswith("prune(0.8) finds no layer in the network that prune_channels(0.5) leaves")
    assert f"{largest} weights" in line
    assert compress.advice(net, recipe.replace("0.8", "0.8, smallest=64")) == []


@pytest.mark.parametrize("order", ["prune_channels(0.5) | prune(0.8)", "prune(0.8) | prune_channels(0.5)"])
def test_kernels_that_channels_leave_too_small_to_prune(order):
    entry = keras.Input((16, 16, 3))
    x = layers.Conv2D(12, 3, name="made")(entry)  # 324 weights, 162 with half of its filters
    x = layers.Conv2D(24, 3, name="read")(x)
    net = keras.Model(entry, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D()(x)))
    lines = compress.advice(net, f"{order} | quantize(8)")
    (line,) = [line for line in lines if "too small" in line]
    left = compress.strip(compress.apply(net, "prune_channels(0.5)"))
    total = sum(int(np.prod(layer.kernel.shape)) for layer in left.layers if hasattr(layer, "kernel"))
    assert line.startswith("prune(0.8) has no zeros in 1 layer (made), which prune_channels(0.5) makes")
    assert f"162 of {total} weights" in line
    remedy = re.search(r"take (smallest=\d+)\.", line)[1]
    mended = compress.advice(net, f"{order.replace('(0.8', f'(0.8, {remedy}')} | quantize(8)")
    assert not any("too small" in line for line in mended)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("share(5) | quantize(4)", ["15 values", "32 of share(bits=5)", "quantize(bits=6)", "share(bits=3)"]),
        ("quantize(8) | share(8)", ["255 values", "256 of share(bits=8)", "take share(bits=7)"]),
    ],
)
def test_a_grid_coarser_than_the_codebook(net, recipe, words):
    (line,) = compress.advice(net, recipe)
    assert "3 layers (wide, narrow, tiny)" in line
    for word in words:
        assert word in line
    assert not any("values" in line for line in compress.advice(net, "share(7) | quantize(8)"))


def test_batch_norm_that_is_not_folded():
    network = models.squeezenet((32, 32, 3), 2, width=0.25, norm="squeeze")
    (line,) = compress.advice(network, "prune(0.8) | quantize(8)")
    assert line.startswith("quantize(bits=8) would be undone")
    assert "8 layers" in line
    assert "fold_batch_norm" in line
    assert compress.advice(network, "prune(0.8)") == []


def test_a_model_with_transforms_is_asked_for_its_kernels_in_use(net):
    shared = compress.apply(net, "share(4)")
    assert compress.advice(shared, "quantize(8)") == []
    assert compress.advice(net, "") == []
