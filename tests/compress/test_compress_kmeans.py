"""Exact one-dimensional k-means against brute force and scikit-learn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from squeezekit.compress.kmeans import EXACT_LIMIT, STARTS, assign, kmeans_1d, lloyd_1d, uniform_step


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
