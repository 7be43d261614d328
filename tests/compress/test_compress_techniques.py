"""Each technique against its paper's formula, in values and in gradients."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.kmeans import kmeans_1d
from squeezekit.compress.masks import lamp_scores
from squeezekit.compress.prune import Mask, magnitude_masks, ramp_sparsity
from squeezekit.compress.quantize import Grid
from squeezekit.compress.share import Codebook, half


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(transform, weight):
    transform.build(weight.shape)
    transform.adapt(weight)
    return transform


def book(weight, *args, **settings):
    return built(Codebook(compress.ShareWeights(*args, **settings)), weight)


def kernel_gradient(transform, weight, upstream):
    return gradient(transform, weight, upstream, of="kernel")


def gradient(transform, weight, upstream, of=None):
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
    variable = transform.codebook if isinstance(transform, Codebook) and of is None else layer.stored_kernel
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


def test_iterative_pruning_takes_equal_steps_and_leaves_each_an_equal_time_to_retrain():
    """Han et al. prune, retrain, prune more; here three rounds between 20 % and 80 % of the stage."""
    due = [
        ramp_sparsity(p / 100, 0.9, 0.2, 0.8, schedule="iterative", rounds=3)
        for p in (0, 19, 20, 39, 40, 59, 60, 99)
    ]
    np.testing.assert_allclose(due, [0, 0, 0.3, 0.3, 0.6, 0.6, 0.9, 0.9], atol=1e-12)
    constant = [ramp_sparsity(p, 0.9, 0.2, 0.8, 0.1, schedule="constant") for p in (0, 0.19, 0.2, 1)]
    assert constant == [0.1, 0.1, 0.9, 0.9]


def watched(technique, steps, monkeypatch, stride=1):
    """{step: zeros} where a schedule of so many steps updated the mask of a kernel of 32 x 10 weights."""
    keras.utils.set_random_seed(0)
    model = compress.apply(keras.Sequential([keras.Input((32,)), layers.Dense(10)]), technique)
    model.steps_per_execution = stride
    seen = {}
    update = Mask.update.__func__

    def note(kind, transforms, weights, moment):
        update(kind, transforms, weights, moment)
        seen[moment.step] = np.count_nonzero(~ops.convert_to_numpy(transforms[0].keep.value))

    monkeypatch.setattr(Mask, "update", classmethod(note))
    schedule = compress.Schedule(model, total_steps=steps)
    schedule.set_model(model)
    schedule.on_train_begin()
    for epoch in range(2):
        schedule.on_epoch_begin(epoch)
        for batch in range(0, steps // 2, stride):
            schedule.on_train_batch_begin(batch)
            schedule.on_train_batch_end(batch + stride - 1)
    return seen


def test_masks_are_chosen_anew_when_the_settings_say_so_and_follow_equation_1(monkeypatch):
    """Zhu and Gupta: the mask is updated every dt steps from t0 on until t0 + n dt."""
    t0, n, dt, s_i, s_f = 10, 4, 20, 0.25, 0.9
    technique = compress.Prune(s_f, start=t0, end=t0 + n * dt, every=dt, initial=s_i)
    seen = watched(technique, 100, monkeypatch)
    assert list(seen) == [0, 20, 40, 60, 80, 90]  # multiples of dt; and the end, to be exact from there on
    for t, zeros in seen.items():
        s_t = s_f + (s_i - s_f) * (1 - min(max(t - t0, 0), n * dt) / (n * dt)) ** 3
        assert zeros == np.floor(320 * s_t + 0.5), t


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"end": 0.5, "every": 0.1}, {0: 0, 10: 156, 20: 251, 30: 300, 40: 318, 50: 320 * 0.9}),
        ({"schedule": "constant", "start": 0.3}, {0: 0, 30: 288}),
        ({"schedule": "iterative", "start": 0.1, "rounds": 4, "end": 50}, None),
        (
            {"schedule": "iterative", "start": 10, "rounds": 4, "end": 50},
            {0: 0, 10: 72, 20: 144, 30: 216, 40: 288},
        ),
        ({"end": 2.0}, None),
        ({"end": 1.0, "every": 1.0}, {0: 0, 100: 288}),
        ({"end": 1000, "every": 60}, {0: 0, 60: 275, 100: 288}),
    ],
)
def test_updates_come_at_steps_or_shares(settings, expected, monkeypatch):
    if expected is None:
        with pytest.raises(ValueError, match="Expected"):
            compress.Prune(0.9, **settings)
        return
    seen = watched(compress.Prune(0.9, **settings), 100, monkeypatch)
    assert list(seen) == list(expected)
    if settings.get("schedule"):
        assert seen == expected


def test_updates_are_not_missed_between_executions_of_several_steps(monkeypatch):
    technique = compress.Prune(0.9, "iterative", start=0.1, end=0.5, rounds=4)
    assert list(watched(technique, 96, monkeypatch, stride=4)) == [0, 12, 20, 32, 40]


def reference_keep(weight, dropped):
    """Masks straight from a stable sort of the magnitudes."""
    keep = np.ones(weight.size, bool)
    keep[np.argsort(np.abs(weight).ravel(), kind="stable")[:dropped]] = False
    return keep.reshape(weight.shape)


def mask_of(weight, *args, **settings):
    """The mask that pruning puts on a kernel now, from a whole model."""
    mask = built(Mask(compress.Prune(*args, **settings), axis=weight.ndim - 2), weight)
    Mask.update([mask], [weight], compress.Moment(0, 1))
    return ops.convert_to_numpy(mask.keep.value)


def test_masks_are_those_of_a_sort():
    weight = np.round(weights(3, 3, 8, 6), 1)  # many ties
    np.testing.assert_array_equal(mask_of(weight, 0.7, "constant"), reference_keep(weight, 302))
    several = [np.round(weights(4, 8, seed=seed) * (seed + 1), 1) for seed in range(3)]
    masks = [built(Mask(compress.Prune(0.5, "constant", scope="global")), weight) for weight in several]
    Mask.update(masks, several, compress.Moment(0, 1))
    received = np.concatenate([ops.convert_to_numpy(mask.keep.value).ravel() for mask in masks])
    expected = reference_keep(np.concatenate([weight.ravel() for weight in several]), 48)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    ("pattern", "sparsity"), [("2:4", 0.5), ("1:4", 0.75), ("1:2", 0.5), ("2:3", 0.3333)]
)
def test_a_pattern_keeps_the_largest_of_every_few_input_channels(pattern, sparsity):
    kept, of = map(int, pattern.split(":"))
    weight = weights(3, 2, 24, 5)
    keep = mask_of(weight, sparsity, "constant", pattern=pattern)
    for place in np.ndindex(3, 2, 5):
        column, mask = weight[place[0], place[1], :, place[2]], keep[place[0], place[1], :, place[2]]
        for first in range(0, 24, of):
            largest = np.argsort(-np.abs(column[first : first + of]))[:kept]
            assert sorted(np.flatnonzero(mask[first : first + of])) == sorted(largest)


def test_a_pattern_is_approached_from_the_smallest_of_what_it_will_drop():
    weight = weights(1, 1, 64, 8)
    mask = built(Mask(compress.Prune(0.5, pattern="2:4"), axis=2), weight)
    Mask.update([mask], [weight], compress.Moment(10, 100))
    early = ops.convert_to_numpy(mask.keep.value)
    assert np.count_nonzero(~early) == np.floor(512 * ramp_sparsity(0.1, 0.5, 0, 0.5) + 0.5)
    Mask.update([mask], [weight], compress.Moment(50, 100))
    final = ops.convert_to_numpy(mask.keep.value)
    assert not (final & ~early).any()
    assert np.abs(weight[~early]).max() <= np.abs(weight[early & ~final]).min()


def test_kernels_that_do_not_fit_a_pattern_stay_dense():
    kernels = nets.plain_kernels(compress.strip(compress.apply(nets.fire_net(), "prune(0.5, pattern='2:4')")))
    dense = {name for name, kernel in kernels.items() if kernel.all()}
    assert dense == {"conv1", "block/depthwise", "head/fc"}  # 3 inputs; no sum over inputs; 160 weights


def test_what_was_dropped_stays_out_without_regrowth():
    weight, upstream = weights(40, 1), weights(40, 1, seed=1)
    mask = built(Mask(compress.Prune(0.5, end=0.8, regrow=False)), weight)
    Mask.update([mask], [weight], compress.Moment(30, 100))
    early = ops.convert_to_numpy(mask.keep.value)
    np.testing.assert_allclose(gradient(mask, weight, upstream), upstream * early, rtol=1e-5)
    Mask.update([mask], [np.where(early, weight, 100)], compress.Moment(80, 100))
    final = ops.convert_to_numpy(mask.keep.value)
    assert not (final & ~early).any()
    assert np.count_nonzero(~final) == 20


def test_settings_for_a_layer_settle_too():
    technique = compress.Prune(0.8, layers={"conv": {"sparsity": 0.5, "start": 0.2}, "fc": 0.1}, smallest=0)
    model = compress.apply(nets.tiny_net(), technique.settled())
    kernels = nets.plain_kernels(compress.strip(model))
    assert np.count_nonzero(model.get_layer("conv").effective_kernel() == 0) == 216
    assert {name: np.count_nonzero(kernel == 0) for name, kernel in kernels.items()} == {"conv": 216, "fc": 8}


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


def test_lamp_scores_are_those_of_the_formula():
    weight = weights(2, 3, 4)
    found = lamp_scores(weight)
    for place in np.ndindex(weight.shape):
        rest = weight[np.abs(weight) >= np.abs(weight[place])]
        assert found[place] == pytest.approx(
            weight[place] ** 2 / np.sum(rest.astype(np.float64) ** 2), rel=1e-6
        )


def test_lamp_empties_no_kernel_however_small_its_weights():
    model = nets.fire_net()
    for factor, name in ((100, "expand3x3"), (0.001, "conv1")):
        model.get_layer(name).kernel.assign(model.get_layer(name).kernel * factor)
    pruned = compress.strip(compress.apply(model, compress.Prune(0.9, "constant", scope="lamp", smallest=0)))
    kernels = nets.plain_kernels(pruned)
    total = sum(kernel.size for kernel in kernels.values())
    assert sum(np.count_nonzero(kernel == 0) for kernel in kernels.values()) == round(0.9 * total)
    assert all(kernel.any() for kernel in kernels.values())
    # A kernel's scale says nothing about how much of it goes.
    assert 0.7 < np.mean(kernels["expand3x3"] == 0) < 0.99


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


@pytest.mark.parametrize("start", ["exact", "linear", "density", "random"])
def test_entries_are_the_clusters_of_the_weights_that_are_not_zero(start):
    weight = weights(400)
    weight[::3] = 0
    shared = ops.convert_to_numpy(book(weight, 3, start)(weight))
    np.testing.assert_array_equal(shared == 0, weight == 0)
    if start == "exact":
        np.testing.assert_allclose(
            np.unique(shared[shared != 0]), kmeans_1d(weight[weight != 0], 7), rtol=1e-6
        )
    assert np.unique(shared).size == 8


def test_half_entries_are_the_nearest_float16_numbers():
    """NumPy's cast on every kind of number: normal, subnormal, halfway between two, beyond the range."""
    random = np.random.default_rng(0)
    values = np.concatenate(
        [
            random.normal(size=500) * 10.0 ** random.integers(-9, 5, 500),
            np.float16(random.normal(size=100)).astype(np.float64) * (1 + 2.0**-11),
            2.0 ** np.arange(-26, 16) * (1 - 2.0**-24),
            1.5 * 2.0 ** np.arange(-26, -13),
            [0, 65504, -65504, 65519],
        ]
    ).astype(np.float32)
    expected = np.float16(values).astype(np.float32)
    np.testing.assert_array_equal(ops.convert_to_numpy(half(ops.convert_to_tensor(values))), expected)
    assert ops.convert_to_numpy(half(ops.convert_to_tensor([1e6]))) == 65504


def test_half_entries_learn_straight_through():
    weight, upstream = weights(200, 1), weights(200, 1, seed=1)
    assigned = ops.convert_to_numpy(book(weight, 3).assignment.value)
    expected = [0] + [upstream[assigned == entry].sum() for entry in range(1, 8)]
    np.testing.assert_allclose(gradient(book(weight, 3, half=True), weight, upstream), expected, atol=1e-4)


def test_a_grid_is_the_uniform_one_and_its_step_learns_for_all_entries():
    weight, upstream = weights(300, 1), 0.01 * weights(300, 1, seed=1)
    shared = book(weight, 3, grid=True)
    kernel = ops.convert_to_numpy(shared(weight))
    step = kernel.max() / 3
    np.testing.assert_allclose(kernel, np.clip(np.rint(weight / step), -3, 3) * step, atol=1e-6)
    # value = n step, so the loss sum(upstream * value) has the slope sum(upstream * n) in the step.
    multiples = np.rint(kernel / step)
    slope = (upstream * multiples).sum()
    power = 2 * (1 + 4 + 9)  # the step is the entries' least-squares fit: sum(n entry) / sum(n^2)
    expected = np.array([0, -3, -2, -1, 1, 2, 3, 0]) * slope / power
    taken = gradient(shared, weight, upstream)
    np.testing.assert_allclose(taken, expected, atol=1e-5)
    np.testing.assert_allclose(
        ops.convert_to_numpy(shared(weight)), multiples * (step - slope / power), atol=1e-5
    )


def test_weights_train_one_by_one_until_they_share():
    weight, upstream = weights(60, 1), weights(60, 1, seed=1)
    shared = book(weight, 3, begin=0.5)
    np.testing.assert_allclose(kernel_gradient(shared, weight, upstream), upstream, rtol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(shared(weight)), weight)
    assert shared.pending
    Codebook.update([shared], [weight], compress.Moment(49, 100))
    assert shared.pending
    Codebook.update([shared], [weight], compress.Moment(50, 100))
    assert not shared.pending
    np.testing.assert_array_equal(
        ops.convert_to_numpy(shared(weight)), ops.convert_to_numpy(book(weight, 3)(weight))
    )
    Codebook.update([shared], [weight * 2], compress.Moment(80, 100))
    assert np.unique(ops.convert_to_numpy(shared(weight * 2))).max() <= weight.max()
    assert not kernel_gradient(shared, weight, upstream).any()


def test_sharing_begins_once_and_on_time():
    shared = Codebook(compress.ShareWeights(3, begin=0.3))
    due = [step for step in range(101) if shared.due(compress.Moment(step, 100), step - 1)]
    assert due == [30]
    by_four = [step for step in range(0, 101, 4) if shared.due(compress.Moment(step, 100), step - 4)]
    assert by_four == [32]
    steps = Codebook(compress.ShareWeights(3, begin=7))
    assert [step for step in range(101) if steps.due(compress.Moment(step, 100), step - 1)] == [7]


def test_sharing_that_begins_after_pruning_keeps_its_zeros_and_spends_no_entry_on_them():
    pruned = compress.apply(nets.tiny_net(), "prune(0.8, 'constant')")
    model = compress.apply(pruned, "share(4, begin=0.5)")
    before = model.get_layer("conv").effective_kernel()
    compress.advance(model, compress.Moment(1, 2))
    kernel = model.get_layer("conv").effective_kernel()
    np.testing.assert_array_equal(kernel == 0, before == 0)
    np.testing.assert_allclose(np.unique(kernel[kernel != 0]), kmeans_1d(before[before != 0], 15), rtol=1e-6)


@pytest.mark.parametrize("extra", ["half=True", "grid=True"])
def test_an_integer_grid_that_would_undo_half_numbers_or_the_books_own_grid_is_refused(extra):
    with pytest.raises(ValueError, match="of the values are"):
        compress.apply(nets.tiny_net(), f"share(4, {extra}) | quantize(8)")


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
