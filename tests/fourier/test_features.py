"""The features, the kernel that they approximate, and its width."""

import numpy as np
import pytest
from sklearn.kernel_approximation import RBFSampler
from sklearn.metrics.pairwise import rbf_kernel

from convexnn.fourier import FourierFeatures, RandomFourierRegressor
from convexnn.fourier.features import draw_features


def fitted(X, gamma="median", n_frequencies=1, random_state=0, **options):
    model = RandomFourierRegressor(n_frequencies, gamma=gamma, random_state=random_state)
    return model.fit(X, np.arange(len(X)), **options)


def test_features_are_cosines_and_sines_of_each_frequency(seed):
    rng = np.random.default_rng(seed)
    V, X = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    features = FourierFeatures(V)
    assert features.n_features == 8
    phi = features(X)
    assert phi.shape == (6, 8)
    for k, v in enumerate(V):
        np.testing.assert_allclose(phi[:, 2 * k], np.cos(X @ v) / 2, rtol=0, atol=1e-15)
        np.testing.assert_allclose(phi[:, 2 * k + 1], np.sin(X @ v) / 2, rtol=0, atol=1e-15)
    np.testing.assert_allclose((phi**2).sum(axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(FourierFeatures(V[:3]).waves(X), features.waves(X)[:, :6], rtol=0, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.05, 0.5, 3.0])
def test_inner_products_approximate_the_gaussian_kernel(seed, gamma):
    X = np.random.default_rng(seed).normal(size=(12, 3))
    N = 40_000
    phi = draw_features(N, gamma, np.zeros(3), seed)(X)
    # The standard deviation of an entry is at most sqrt(1 / (2N)); six of them.
    np.testing.assert_allclose(phi @ phi.T, rbf_kernel(X, gamma=gamma), atol=6 * np.sqrt(0.5 / N))


def test_the_convention_of_gamma_is_that_of_rbf_sampler():
    X = np.random.default_rng(1).normal(size=(50, 2))
    sampler = RBFSampler(gamma=0.3, n_components=40_000, random_state=0).fit(X)
    weights = fitted(X, gamma=0.3, n_frequencies=40_000).random_weights_
    assert weights.shape == sampler.random_weights_.shape
    np.testing.assert_allclose(weights.std(), sampler.random_weights_.std(), rtol=0.02)
    z = sampler.transform(X)
    phi = FourierFeatures(weights.T)(X)
    np.testing.assert_allclose(phi @ phi.T, z @ z.T, atol=0.04)


@pytest.mark.parametrize(
    "make", [lambda: 3, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3)]
)
def test_frequencies_are_nested(make):
    few = draw_features(5, 0.7, np.zeros(3), make()).frequencies
    many = draw_features(11, 0.7, np.zeros(3), make()).frequencies
    np.testing.assert_array_equal(few, many[:5])
    assert len(np.unique(many)) == many.size


def test_an_origin_keeps_small_differences_far_away():
    # Entries are multiples of 1/8, so that the shift itself is exact.
    X = np.random.default_rng(0).integers(-16, 16, size=(9, 3)) / 8
    V = np.random.default_rng(1).normal(size=(6, 3))
    far = np.full(3, 2.0**40)
    near, shifted = FourierFeatures(V)(X), FourierFeatures(V, far)(X + far)
    np.testing.assert_allclose(shifted @ shifted.T, near @ near.T, rtol=0, atol=1e-14)
    not_far = FourierFeatures(V, np.full(3, 8.0))
    np.testing.assert_allclose(not_far(X), near, rtol=0, atol=2e-14)


def test_features_are_frozen():
    V = np.ones((2, 1))
    features = FourierFeatures(V)
    V[0] = 7.0
    assert features.frequencies.tolist() == [[1.0], [1.0]]
    with pytest.raises(ValueError, match="read-only"):
        features.frequencies[0] = 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0],), r"frequencies must have shape .*Got shape \(2,\)"),
        ((np.zeros((0, 3)),), r"Got shape \(0, 3\)"),
        (([[np.inf]],), r"must be finite.*smaller gamma"),
        (([[1.0, 2.0]], [0.0]), r"origin must have shape \(2,\)"),
        (([[1.0]], [np.nan]), "must be finite"),
    ],
)
def test_unfit_frequencies_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FourierFeatures(*arguments)


def test_unfit_samples_are_refused():
    features = FourierFeatures([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 2\)\. Got shape \(3, 1\)"):
        features(np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"finite products with the frequencies.*scale X"):
        features([[1e308, 1e308]])


# The width


def test_median_is_that_of_the_distances_between_distinct_samples(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(31, 4))
    distances = [np.linalg.norm(X[i] - X[j]) for i in range(31) for j in range(i)]
    gamma = fitted(X).gamma_
    np.testing.assert_allclose(gamma, 0.5 / np.median(distances) ** 2, rtol=1e-12)
    order = rng.permutation(31)
    copies = np.repeat(X, rng.integers(1, 4, size=31), axis=0)
    assert fitted(X[order]).gamma_ == fitted(copies).gamma_ == gamma
    assert fitted(np.vstack([X, X[:2] + 9.0]), sample_weight=[5.0] + [1.0] * 30 + [0.0, 0.0]).gamma_ == gamma


def test_median_of_many_samples_does_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2500, 2))
    gamma = fitted(X).gamma_
    assert fitted(X[rng.permutation(2500)]).gamma_ == gamma
    distances = np.sqrt(((X[:1200, None] - X[None, 1200:2400]) ** 2).sum(axis=2))
    np.testing.assert_allclose(gamma, 0.5 / np.median(distances) ** 2, rtol=0.05)


def test_scale_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal([0.0, 5.0, 1.0], size=(20, 3))
    np.testing.assert_allclose(fitted(X, "scale").gamma_, 1 / (3 * X.var()), rtol=1e-12)
    copies = rng.integers(1, 4, size=20)
    repeated = np.repeat(X, copies, axis=0)
    np.testing.assert_allclose(fitted(repeated, "scale").gamma_, 1 / (3 * repeated.var()), rtol=1e-12)
    weighted = fitted(X, "scale", sample_weight=copies.astype(float)).gamma_
    np.testing.assert_allclose(weighted, 1 / (3 * repeated.var()), rtol=1e-12)


@pytest.mark.parametrize("rule", ["median", "scale"])
def test_equal_samples_have_width_one(rule):
    assert fitted(np.full((4, 2), 3.0), rule).gamma_ == 1.0
    assert fitted([[3.0]], rule).gamma_ == 1.0


@pytest.mark.parametrize("rule", ["median", "scale"])
@pytest.mark.parametrize("exponent", [-480, -30, 30, 480])
def test_width_follows_the_scale_of_samples(rule, exponent):
    X = np.random.default_rng(0).normal(size=(15, 2))
    gamma, scaled = fitted(X, rule).gamma_, fitted(np.ldexp(X, exponent), rule).gamma_
    assert scaled == np.ldexp(gamma, -2 * exponent)


def test_median_is_positive_where_most_samples_almost_coincide():
    X = np.concatenate([np.arange(1, 9) * 1e-200, [1.0]])[:, None]
    assert fitted(X).gamma_ == pytest.approx(0.5)


@pytest.mark.parametrize("rule", ["median", "scale"])
@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e308])
def test_width_out_of_range_is_refused(rule, scale):
    with pytest.raises(ValueError, match=rf"gamma={rule!r} gives no number in range.*Scale X"):
        fitted([[-scale], [0.0], [scale]], rule)
