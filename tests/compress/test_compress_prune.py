"""Pruning against its papers' formulas, in values and in gradients."""

import compress_nets as nets
import keras
import numpy as np
import pytest
from compress_nets import built, gradient, weights
from keras import layers, ops

from squeezekit import compress
from squeezekit.compress.techniques.magnitude import drop_lowest, lamp_scores, ramp_sparsity
from squeezekit.compress.techniques.prune import Mask


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

    def note(kind, transforms, weights, progress):
        update(kind, transforms, weights, progress)
        seen[progress.step] = np.count_nonzero(~ops.convert_to_numpy(transforms[0].keep.value))

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


def test_masks_are_chosen_again_when_the_settings_say_so_and_follow_equation_1(monkeypatch):
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
    Mask.update([mask], [weight], compress.TrainingProgress(0, 1))
    return ops.convert_to_numpy(mask.keep.value)


def test_masks_are_those_of_a_sort():
    weight = np.round(weights(3, 3, 8, 6), 1)  # many ties
    np.testing.assert_array_equal(mask_of(weight, 0.7, "constant"), reference_keep(weight, 302))
    several = [np.round(weights(4, 8, seed=seed) * (seed + 1), 1) for seed in range(3)]
    masks = [built(Mask(compress.Prune(0.5, "constant", scope="global")), weight) for weight in several]
    Mask.update(masks, several, compress.TrainingProgress(0, 1))
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
    Mask.update([mask], [weight], compress.TrainingProgress(10, 100))
    early = ops.convert_to_numpy(mask.keep.value)
    assert np.count_nonzero(~early) == np.floor(512 * ramp_sparsity(0.1, 0.5, 0, 0.5) + 0.5)
    Mask.update([mask], [weight], compress.TrainingProgress(50, 100))
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
    Mask.update([mask], [weight], compress.TrainingProgress(30, 100))
    early = ops.convert_to_numpy(mask.keep.value)
    np.testing.assert_allclose(gradient(mask, weight, upstream), upstream * early, rtol=1e-5)
    Mask.update([mask], [np.where(early, weight, 100)], compress.TrainingProgress(80, 100))
    final = ops.convert_to_numpy(mask.keep.value)
    assert not (final & ~early).any()
    assert np.count_nonzero(~final) == 20


def test_settings_for_a_layer_lose_their_schedule_too():
    technique = compress.Prune(0.8, layers={"conv": {"sparsity": 0.5, "start": 0.2}, "fc": 0.1}, smallest=0)
    model = compress.apply(nets.tiny_net(), technique.without_schedule())
    kernels = nets.plain_kernels(compress.strip(model))
    assert np.count_nonzero(model.get_layer("conv").effective_kernel() == 0) == 216
    assert {name: np.count_nonzero(kernel == 0) for name, kernel in kernels.items()} == {"conv": 216, "fc": 8}


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 0.999, 1.0])
def test_masks_drop_exactly_the_smallest(sparsity):
    weight = weights(37, 11)
    (keep,) = drop_lowest([np.abs(weight)], sparsity)
    dropped = int(np.floor(sparsity * weight.size + 0.5))
    assert np.count_nonzero(~keep) == dropped
    if 0 < dropped < weight.size:
        assert np.abs(weight[~keep]).max() <= np.abs(weight[keep]).min()


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
    # A kernel's scale does not decide how much of it is pruned.
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
    Mask.update([mask], [weight], compress.TrainingProgress(30, 100))
    keep = ops.convert_to_numpy(mask.keep.value)
    assert 0 < np.count_nonzero(~keep) < 20
    np.testing.assert_allclose(gradient(mask, weight, upstream), upstream, rtol=1e-5)
    Mask.update([mask], [weight], compress.TrainingProgress(80, 100))
    keep = ops.convert_to_numpy(mask.keep.value)
    assert np.count_nonzero(~keep) == 20
    np.testing.assert_allclose(gradient(mask, weight, upstream), upstream * keep, rtol=1e-5)


def test_a_dropped_weight_that_grew_comes_back_until_the_mask_is_final():
    weight = np.array([0.1, 1, 2, 3], "float32")
    mask = built(Mask(compress.Prune(0.25)), weight)
    Mask.update([mask], [weight], compress.TrainingProgress(49, 100))
    assert not ops.convert_to_numpy(mask.keep.value)[0]
    grown = np.array([5, 1, 2, 3], "float32")
    Mask.update([mask], [grown], compress.TrainingProgress(50, 100))
    np.testing.assert_array_equal(ops.convert_to_numpy(mask.keep.value), [True, False, True, True])
    assert not mask.pending
    Mask.update([mask], [weight], compress.TrainingProgress(100, 100))
    np.testing.assert_array_equal(ops.convert_to_numpy(mask.keep.value), [True, False, True, True])


def test_a_ramp_never_moves_backwards():
    model = compress.apply(nets.tiny_net(), "prune(0.8)")
    compress.advance(model, compress.TrainingProgress(3, 10))
    zeros = np.count_nonzero(model.get_layer("conv").effective_kernel() == 0)
    assert zeros == np.floor(ramp_sparsity(0.3, 0.8, 0, 0.5) * 432 + 0.5)
    compress.advance(model, compress.TrainingProgress(1, 10))
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
