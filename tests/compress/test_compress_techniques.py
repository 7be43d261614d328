"""Each technique against its paper's formula, in values and in gradients."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.prune import Mask, magnitude_masks, ramp_sparsity
from squeezekit.compress.quantize import Grid
from squeezekit.compress.share import Codebook


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(transform, weight):
    transform.build(weight.shape)
    transform.adapt(weight)
    return transform


def book(weight, *args, **settings):
    return built(Codebook(compress.ShareWeights(*args, **settings)), weight)


def gradient(transform, weight, upstream):
    """What SGD with rate 1 takes from the kernel (or codebook) for the loss sum(upstream * kernel).

    Through a whole Keras step, so that it runs on every backend.
    """
    size = weight.size
    model = keras.Sequential([keras.Input((size,)), layers.Dense(1, use_bias=False, name="fc")])
    hooked = compress.apply(model, compress.Quantize(8))
    layer = hooked.get_layer("fc")
    layer = type(layer).from_config(layer.stock_config() | {"transforms": [transform]})
    hooked = keras.Sequential([keras.Input((size,)), layer])
    layer.stored_kernel.assign(weight.reshape(size, 1))
    hooked.compile(keras.optimizers.SGD(1.0), loss=lambda _, guess: ops.sum(guess), jit_compile=False)
    variable = transform.codebook if isinstance(transform, Codebook) else layer.stored_kernel
    before = ops.convert_to_numpy(variable.value).copy()
    hooked.train_on_batch(upstream.reshape(1, size), np.zeros((1, 1), "float32"))
    return before - ops.convert_to_numpy(variable.value)


# Prune


def test_the_ramp_is_zhu_and_guptas_equation_1():
    """Their equation in its own symbols, at t in {t0, t0 + dt, ..., t0 + n dt} of 1,000 steps."""
    t0, n, dt, s_i, s_f = 100, 16, 50, 0.25, 0.9
    for t in range(t0, t0 + n * dt + 1, dt):
        expected = s_f + (s_i - s_f) * (1 - (t - t0) / (n * dt)) ** 3
        received = ramp_sparsity(t / 1000, s_f, t0 / 1000, (t0 + n * dt) / 1000, s_i)
        assert received == pytest.approx(expected, abs=1e-12)
    assert ramp_sparsity(0.05, s_f, 0.1, 0.9, s_i) == s_i
    assert ramp_sparsity(0.95, s_f, 0.1, 0.9, s_i) == s_f


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 0.999, 1.0])
def test_masks_drop_exactly_the_smallest(sparsity):
    weight = weights(37, 11)
    (keep,) = magnitude_masks([weight], sparsity)
    dropped = int(np.floor(sparsity * weight.size + 0.5))
    assert np.count_nonzero(~keep) == dropped
    if 0 < dropped < weight.size:
        assert np.abs(weight[~keep]).max() <= np.abs(weight[keep]).min()


def test_ties_are_split_to_reach_the_exact_number():
    (keep,) = magnitude_masks([np.array([1, -1, 1, 2, -1.0])], 0.4)
    np.testing.assert_array_equal(keep, [False, False, True, True, True])


def test_the_global_scope_ranks_all_kernels_together():
    model = nets.fire_net()
    model.get_layer("expand3x3").kernel.assign(model.get_layer("expand3x3").kernel * 100)
    pruned = compress.strip(
        compress.apply(model, compress.Prune(0.5, "constant", scope="global", smallest=0))
    )
    kernels = nets.plain_kernels(pruned)
    total = sum(kernel.size for kernel in kernels.values())
    assert sum(np.count_nonzero(kernel == 0) for kernel in kernels.values()) == total // 2
    large = kernels.pop("expand3x3")
    assert not any(kernel.any() for kernel in kernels.values())
    assert np.count_nonzero(large == 0) == total // 2 - (total - large.size)


def test_small_kernels_and_biases_stay_dense():
    model = nets.tiny_net()
    model.get_layer("conv").bias.assign(np.arange(16.0))
    pruned = compress.strip(compress.apply(model, "prune(0.9, schedule='constant')"))
    assert np.count_nonzero(nets.plain_kernels(pruned)["fc"]) == 80
    np.testing.assert_array_equal(pruned.get_layer("conv").bias, np.arange(16))


def test_dropped_weights_learn_straight_through_until_the_ramp_ends():
    weight, upstream = weights(40, 1), weights(40, 1, seed=1)
    mask = built(Mask(compress.Prune(0.5, end=0.8)), weight)
    Mask.update([mask], [weight], compress.Moment(30, 100))
    keep = ops.convert_to_numpy(mask.keep.value)
    assert 0 < np.count_nonzero(~keep) < 20
    np.testing.assert_allclose(gradient(mask, weight, upstream), upstream, rtol=1e-5)
    Mask.update([mask], [weight], compress.Moment(80, 100))
    keep = ops.convert_to_numpy(mask.keep.value)
    assert np.count_nonzero(~keep) == 20
    np.testing.assert_allclose(gradient(mask, weight, upstream), upstream * keep, rtol=1e-5)


def test_a_dropped_weight_that_grew_comes_back_until_the_mask_is_final():
    weight = np.array([0.1, 1, 2, 3], "float32")
    mask = built(Mask(compress.Prune(0.25)), weight)
    Mask.update([mask], [weight], compress.Moment(49, 100))
    assert not ops.convert_to_numpy(mask.keep.value)[0]
    grown = np.array([5, 1, 2, 3], "float32")
    Mask.update([mask], [grown], compress.Moment(50, 100))
    np.testing.assert_array_equal(ops.convert_to_numpy(mask.keep.value), [True, False, True, True])
    assert not mask.pending
    Mask.update([mask], [weight], compress.Moment(100, 100))
    np.testing.assert_array_equal(ops.convert_to_numpy(mask.keep.value), [True, False, True, True])


def test_a_ramp_never_moves_backwards():
    model = compress.apply(nets.tiny_net(), "prune(0.8)")
    compress.advance(model, compress.Moment(3, 10))
    zeros = np.count_nonzero(model.get_layer("conv").effective_kernel() == 0)
    assert zeros == np.floor(ramp_sparsity(0.3, 0.8, 0, 0.5) * 432 + 0.5)
    compress.advance(model, compress.Moment(1, 10))
    assert np.count_nonzero(model.get_layer("conv").effective_kernel() == 0) == zeros


@pytest.mark.parametrize("settings", ["every=3", "every=100", "every=0.01", "schedule='iterative'"])
def test_the_schedule_ends_at_the_exact_sparsity(settings):
    model = nets.compiled(compress.apply(nets.tiny_net(), f"prune(0.8, end=1.0, {settings})"))
    x, y = nets.batch(10)
    schedule = compress.Schedule(model, total_steps=10)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[schedule])
    kernel = model.get_layer("conv").effective_kernel()
    assert np.count_nonzero(kernel == 0) == round(0.8 * 432)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"total_steps": 0}, "total_steps=0"),
        ({"total_steps": 5, "initial_step": 6}, "initial_step=6"),
    ],
)
def test_a_schedule_out_of_range_is_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        compress.Schedule(compress.apply(nets.tiny_net(), "quantize()"), **settings)
    with pytest.raises(ValueError, match="no transforms"):
        compress.Schedule(nets.tiny_net(), total_steps=5)


# ShareWeights


def test_a_centroids_gradient_is_the_sum_of_its_weights():
    """Deep Compression, equation 3."""
    weight, upstream = weights(200, 1), weights(200, 1, seed=1)
    weight[:50] = 0
    shared = book(weight, 3)
    assigned = ops.convert_to_numpy(shared.assignment.value)
    expected = np.array([upstream[assigned == entry].sum() for entry in range(8)])
    expected[0] = 0  # the zero stays zero
    np.testing.assert_allclose(gradient(shared, weight, upstream), expected, atol=1e-4)


def test_zeros_have_an_entry_of_their_own():
    weight = weights(500)
    weight[weight < 0.5] = 0
    shared = ops.convert_to_numpy(book(weight, 3)(weight))
    np.testing.assert_array_equal(shared == 0, weight == 0)
    assert np.unique(shared).size == 8


def test_few_values_are_kept_as_they_are():
    weight = np.array([[0, 0.5], [-2, 0.5]], "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(book(weight, 4)(weight)), weight)
    zeros = np.zeros((3, 3), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(book(zeros, 4)(zeros)), zeros)


# Quantize


def reference_grid(weight, bits, axes):
    """Round half to even on a symmetric grid, in float64."""
    weight = weight.astype(np.float64)
    scale = np.abs(weight).max(axis=axes, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.rint(weight / scale) * scale


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("axes", [None, (0, 1, 2), (0, 1)])
def test_the_grid_is_the_symmetric_one(bits, axes):
    weight = weights(3, 3, 8, 6)
    received = ops.convert_to_numpy(Grid(bits, axes)(weight))
    np.testing.assert_allclose(received, reference_grid(weight, bits, axes), atol=1e-6)
    assert np.unique(received).size <= (2**bits - 1) * (1 if axes is None else 48)
    steps = np.abs(received).max() / (2 ** (bits - 1) - 1)
    assert np.abs(received - weight).max() <= steps / 2 + 1e-6


def test_the_grid_is_that_of_keras_own_fake_quantization():
    weight = weights(3, 3, 8, 6)
    peak = np.abs(weight).max()
    theirs = keras.quantizers.fake_quant_with_min_max_vars(
        ops.convert_to_tensor(weight), -peak, peak, num_bits=8, narrow_range=True
    )
    ours = ops.convert_to_numpy(Grid(8)(weight))
    np.testing.assert_allclose(ours, ops.convert_to_numpy(theirs), atol=1e-6)


def test_quantizing_twice_is_quantizing_once():
    once = ops.convert_to_numpy(Grid(8)(weights(64, 64)))
    np.testing.assert_array_equal(ops.convert_to_numpy(Grid(8)(once)), once)


def test_per_channel_axes_follow_the_layer():
    model = compress.apply(nets.fire_net(), "quantize(4, per_channel=True)")
    kernels = nets.plain_kernels(compress.strip(model))
    assert max(np.unique(channel).size for channel in kernels["expand3x3"].reshape(-1, 16).T) <= 15
    assert max(np.unique(channel).size for channel in kernels["block/depthwise"].reshape(9, 32).T) <= 9
    assert np.unique(kernels["expand3x3"]).size > 15


def test_gradients_pass_the_grid_straight_through():
    weight, upstream = weights(60, 1), weights(60, 1, seed=1)
    np.testing.assert_allclose(
        gradient(built(Grid(3), weight), weight, upstream), upstream, rtol=1e-4, atol=1e-6
    )


def test_a_kernel_of_zeros_stays_one():
    zeros = np.zeros((4, 4), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(Grid(8)(zeros)), zeros)
