"""Sharing and quantizing against their papers' formulas; exact k-means against brute force and scikit-learn."""

import itertools

import compress_nets as nets
import keras
import numpy as np
import pytest
from compress_nets import book, built, gradient, kernel_gradient, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from sklearn.cluster import KMeans

from squeezekit import compress
from squeezekit.compress.techniques import share as share_module
from squeezekit.compress.techniques.kmeans import (
    EXACT_LIMIT,
    STARTS,
    assign,
    kmeans_1d,
    lloyd_1d,
    uniform_step,
)
from squeezekit.compress.techniques.quantize import Grid
from squeezekit.compress.techniques.share import Codebook, half


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
    Codebook.update([shared], [weight], compress.TrainingProgress(49, 100))
    assert shared.pending
    Codebook.update([shared], [weight], compress.TrainingProgress(50, 100))
    assert not shared.pending
    np.testing.assert_array_equal(
        ops.convert_to_numpy(shared(weight)), ops.convert_to_numpy(book(weight, 3)(weight))
    )
    Codebook.update([shared], [weight * 2], compress.TrainingProgress(80, 100))
    assert np.unique(ops.convert_to_numpy(shared(weight * 2))).max() <= weight.max()
    assert not kernel_gradient(shared, weight, upstream).any()


def test_sharing_begins_once_and_on_time():
    shared = Codebook(compress.ShareWeights(3, begin=0.3))
    due = [step for step in range(101) if shared.due(compress.TrainingProgress(step, 100), step - 1)]
    assert due == [30]
    by_four = [
        step for step in range(0, 101, 4) if shared.due(compress.TrainingProgress(step, 100), step - 4)
    ]
    assert by_four == [32]
    steps = Codebook(compress.ShareWeights(3, begin=7))
    assert [step for step in range(101) if steps.due(compress.TrainingProgress(step, 100), step - 1)] == [7]


def test_sharing_that_begins_after_pruning_keeps_its_zeros_and_spends_no_entry_on_them():
    pruned = compress.apply(nets.tiny_net(), "prune(0.8, 'constant')")
    model = compress.apply(pruned, "share(4, begin=0.5)")
    before = model.get_layer("conv").effective_kernel()
    compress.advance(model, compress.TrainingProgress(1, 2))
    kernel = model.get_layer("conv").effective_kernel()
    np.testing.assert_array_equal(kernel == 0, before == 0)
    np.testing.assert_allclose(np.unique(kernel[kernel != 0]), kmeans_1d(before[before != 0], 15), rtol=1e-6)


@pytest.mark.parametrize("extra", ["half=True", "grid=True"])
def test_an_integer_grid_that_would_undo_half_numbers_or_the_books_own_grid_is_refused(extra):
    with pytest.raises(ValueError, match="of the values are"):
        compress.apply(nets.tiny_net(), f"share(4, {extra}) | quantize(8)")


def trained_codebook(monkeypatch, piece):
    monkeypatch.setattr(share_module, "PIECE", piece)
    model = compress.apply(nets.tiny_net(), "share(3)")
    nets.fit(model, how=nets.GRAPH)
    return keras.ops.convert_to_numpy(model.get_layer("conv").transforms[0].codebook)


def test_training_in_pieces_is_training_bit_for_bit(monkeypatch):
    whole = trained_codebook(monkeypatch, 10**9)
    assert nets.tiny_net().get_layer("conv").count_params() == 448
    np.testing.assert_array_equal(trained_codebook(monkeypatch, 100), whole)


def test_a_sum_for_each_entry(monkeypatch):
    random = np.random.default_rng(0)
    upstream = random.normal(size=1000).astype("float32")
    indices = random.integers(0, 5, 1000).astype("int32")
    monkeypatch.setattr(share_module, "PIECE", 7)
    given = keras.ops.convert_to_tensor(upstream), keras.ops.convert_to_tensor(indices)
    found = keras.ops.convert_to_numpy(share_module.sum_by_entry(*given, 6))
    expected = np.zeros(6, "float32")
    for entry, value in zip(indices, upstream, strict=True):  # one after another, in float32
        expected[entry] += value
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[5] == 0


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


# Clustering


def inertia(values, centroids):
    return np.square(values - centroids[assign(values, centroids)], dtype=np.float64).sum()


def brute_force(values, clusters):
    """Least inertia over all ways to cut the sorted values into `clusters` runs."""
    values = np.sort(values)
    least = np.inf
    for cuts in itertools.combinations(range(1, len(values)), min(clusters, len(values)) - 1):
        parts = np.split(values, cuts)
        least = min(least, sum(np.square(part - part.mean()).sum() for part in parts))
    return least


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=1, max_size=9), st.integers(1, 5))
def test_never_worse_than_any_clustering(values, clusters):
    values = np.array(values)
    centroids = kmeans_1d(values, clusters)
    assert len(centroids) <= clusters
    assert inertia(values, centroids) <= brute_force(values, clusters) + 1e-9


def trained_like(random, count):
    """A kernel as training and pruning leave it: each filter of its own size, the small weights gone."""
    values = random.laplace(size=(count // 50, 50)) * random.gamma(2, 0.02, (count // 50, 1))
    return values[np.abs(values) > 0.02]


KERNELS = {
    "normal": lambda random, count: random.normal(0, 0.05, count),
    "t": lambda random, count: random.standard_t(3, count) * 0.02,
    "trained": trained_like,
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("clusters", [3, 15, 31])
def test_never_worse_than_scikit_learn(kernel, clusters):
    values = KERNELS[kernel](np.random.default_rng(clusters), 3000)
    theirs = KMeans(clusters, n_init=4, random_state=0).fit(values[:, None]).inertia_
    assert inertia(values, kmeans_1d(values, clusters)) <= theirs * (1 + 1e-9)


@pytest.mark.parametrize("start", STARTS)
def test_lloyd_stops_where_scikit_learns_does_from_the_same_start_and_never_beats_the_exact(start):
    values = np.random.default_rng(4).normal(0, 0.05, 3000)
    begin = np.sort(STARTS[start](values, 15, 7))
    theirs = KMeans(15, init=begin[:, None], n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(
        values[:, None]
    )
    ours = lloyd_1d(values, 15, start, seed=7)
    np.testing.assert_allclose(ours, np.sort(theirs.cluster_centers_.ravel()), atol=1e-6)
    assert inertia(values, kmeans_1d(values, 15)) < inertia(values, ours)


def test_the_starts_are_those_of_deep_compression():
    """Section 3.2: even steps between the ends, even steps of the distribution, weights drawn at random."""
    values = np.random.default_rng(5).exponential(size=1000)
    np.testing.assert_allclose(np.diff(STARTS["linear"](values, 9, 0)), np.ptp(values) / 8)
    below = np.searchsorted(np.sort(values), STARTS["density"](values, 10, 0))
    np.testing.assert_allclose(below, np.arange(50, 1000, 100), atol=1)
    drawn = STARTS["random"](values, 9, 0)
    assert np.isin(drawn, values).all()
    assert np.unique(drawn).size == 9
    assert not np.array_equal(drawn, STARTS["random"](values, 9, 1))
    np.testing.assert_array_equal(drawn, STARTS["random"](values, 9, 0))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("levels", [1, 3, 15, 127])
def test_the_uniform_step_is_close_to_the_best_of_a_fine_search(kernel, levels):
    values = KERNELS[kernel](np.random.default_rng(levels), 3000)

    def error(step):
        return np.square(values - np.rint(values / step).clip(-levels, levels) * step).sum()

    searched = min(error(step) for step in np.abs(values).max() / levels * np.geomspace(0.02, 1, 2000))
    assert error(uniform_step(values, levels)) <= searched * 1.03


@pytest.mark.parametrize("used", [1, 4, 15])
def test_values_on_a_uniform_grid_get_it_back(used):
    values = 0.03 * np.random.default_rng(6).integers(-used, used + 1, 1000)
    steps = values / uniform_step(values, 15)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)


def test_never_worse_than_scikit_learn_where_values_are_gathered_into_bins():
    values = (np.random.default_rng(0).standard_t(3, 4 * EXACT_LIMIT) * 0.02).astype(np.float32)
    theirs = KMeans(15, n_init=1, random_state=0).fit(values[:, None].astype(np.float64)).inertia_
    assert inertia(values, kmeans_1d(values, 15)) <= theirs * (1 + 1e-6)


def test_the_optimal_clustering_is_a_fixed_point_of_lloyds_algorithm():
    values = np.random.default_rng(1).normal(size=2000)
    centroids = kmeans_1d(values, 9)
    nearest = assign(values, centroids)
    np.testing.assert_allclose([values[nearest == i].mean() for i in range(9)], centroids, atol=1e-12)


def test_many_weights_of_few_values_keep_them_exactly():
    values = np.random.default_rng(2).choice(np.array([-1.5, 0.25, 3]), 100_000)
    np.testing.assert_array_equal(kmeans_1d(values, 7), [-1.5, 0.25, 3])


def test_assign_takes_the_nearest():
    values, centroids = np.random.default_rng(3).normal(size=(50, 4)), np.array([-1.0, 0.1, 0.9])
    nearest = np.abs(values[..., None] - centroids).argmin(-1)
    np.testing.assert_array_equal(assign(values, centroids), nearest)


@pytest.mark.parametrize(
    ("values", "clusters", "word"), [([], 2, "none"), ([1.0], 0, "clusters=0"), ([1, np.nan], 1, "NaN")]
)
def test_bad_input_is_refused(values, clusters, word):
    with pytest.raises(ValueError, match=word):
        kmeans_1d(np.array(values), clusters)
    with pytest.raises(ValueError, match=word):
        lloyd_1d(np.array(values), clusters)
    with pytest.raises(ValueError, match=word.replace("clusters=0", "levels|clusters")):
        uniform_step(np.array(values), clusters)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="start='kmeans'"):
        lloyd_1d(np.ones(3), 1, "kmeans")
    with pytest.raises(ValueError, match="zeros only"):
        uniform_step(np.zeros(3), 7)
