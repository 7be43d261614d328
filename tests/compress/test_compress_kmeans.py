"""Exact one-dimensional k-means against brute force and scikit-learn."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from squeezekit.compress.kmeans import EXACT_LIMIT, assign, kmeans_1d


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


@pytest.mark.parametrize("clusters", [2, 7, 15])
def test_never_worse_than_scikit_learn(clusters):
    values = np.random.default_rng(0).standard_t(3, 3000) * 0.02
    theirs = KMeans(clusters, n_init=3, random_state=0).fit(values[:, None]).inertia_
    assert inertia(values, kmeans_1d(values, clusters)) <= theirs * (1 + 1e-9)


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
