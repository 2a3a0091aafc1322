"""Coefficients beside numpy and scikit-learn, equivalent samples, degenerate samples, refusals."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import LinearRegression, Ridge, RidgeClassifier

from convexnn.fourier import FourierFeatures, RandomFourierClassifier, RandomFourierRegressor

RNG = np.random.default_rng(5)
X = RNG.normal(size=(24, 3))
Y = np.sin(X.sum(axis=1)) + 0.1 * RNG.normal(size=24)
WEIGHT = RNG.integers(0, 4, size=24).astype(float)
LABELS = np.where(X[:, 0] > 0.5, "right", np.where(X[:, 1] > 0, "top", "bottom"))


def features(model, samples):
    return FourierFeatures(model.random_weights_.T)(samples)


@pytest.mark.parametrize("N", [3, 11, 12, 13, 60])
def test_coefficients_are_those_of_least_norm(seed, N):
    model = RandomFourierRegressor(N, gamma=1.0, fit_intercept=False, random_state=seed).fit(X, Y)
    phi = features(model, X)
    np.testing.assert_allclose(model.coef_, np.linalg.lstsq(phi, Y)[0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.coef_, np.linalg.pinv(phi) @ Y, rtol=1e-8, atol=1e-10)
    assert np.linalg.matrix_rank(phi) == model.rank_ == min(24, 2 * N)
    assert model.intercept_ == 0.0


@pytest.mark.parametrize("N", [3, 11, 60])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_intercept_is_centred_as_in_linear_regression(seed, N, weight):
    model = RandomFourierRegressor(N, gamma=1.0, random_state=seed).fit(X, Y + 100, weight)
    phi = features(model, X)
    expected = LinearRegression().fit(phi, Y + 100, weight)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-9)
    n = 24 if weight is None else np.count_nonzero(weight)
    assert model.rank_ == min(n - 1, 2 * N)
    if n <= 2 * N:
        kept = np.ones(24, dtype=bool) if weight is None else weight > 0
        np.testing.assert_allclose(model.predict(X)[kept], Y[kept] + 100, rtol=1e-10)


@pytest.mark.parametrize("N", [3, 60])
@pytest.mark.parametrize("ridge", [1e-6, 0.1, 1e6])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_ridge_is_that_of_scikit_learn(N, ridge, fit_intercept, weight):
    targets = np.column_stack([Y, Y**2, X[:, 0]])
    model = RandomFourierRegressor(
        N, gamma=1.0, ridge=ridge, fit_intercept=fit_intercept, random_state=0
    ).fit(X, targets, weight)
    expected = Ridge(ridge, fit_intercept=fit_intercept, solver="svd")
    expected.fit(features(model, X), targets, weight)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.predict(X), expected.predict(features(model, X)), rtol=1e-8, atol=1e-10)


def test_shapes_are_those_of_ridge():
    single = RandomFourierRegressor(4, random_state=0).fit(X, Y)
    assert single.coef_.shape == (8,)
    assert isinstance(single.intercept_, float)
    assert single.predict(X).shape == (24,)
    column = RandomFourierRegressor(4, random_state=0).fit(X, Y[:, None])
    assert column.coef_.shape == (1, 8)
    assert column.intercept_.shape == (1,)
    assert column.predict(X).shape == (24, 1)
    np.testing.assert_array_equal(column.predict(X)[:, 0], single.predict(X))


@pytest.mark.parametrize("labels", [LABELS, LABELS == "top"])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_classifier_is_ridge_classifier_on_features(labels, ridge):
    model = RandomFourierClassifier(20, ridge=ridge, random_state=0).fit(X, labels, WEIGHT)
    phi = features(model, X)
    expected = RidgeClassifier(ridge, solver="svd").fit(phi, labels, WEIGHT)
    np.testing.assert_array_equal(model.classes_, expected.classes_)
    # Some versions of RidgeClassifier leave out the axis of the only output.
    np.testing.assert_allclose(model.coef_, np.atleast_2d(expected.coef_), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, np.ravel(expected.intercept_), rtol=1e-8, atol=1e-10)
    scores = expected.decision_function(phi)
    np.testing.assert_allclose(model.decision_function(X), scores, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(model.predict(X), expected.predict(phi))


def test_classifier_interpolates():
    model = RandomFourierClassifier(50, gamma=1.0, random_state=0).fit(X, LABELS)
    assert model.score(X, LABELS) == 1.0
    expected = np.where(LABELS[:, None] == model.classes_, 1.0, -1.0)
    np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-9)


@pytest.mark.parametrize("class_weight", ["balanced", {"top": 5.0, "right": 0.1}])
def test_class_weights_are_those_of_ridge_classifier(class_weight):
    model = RandomFourierClassifier(20, ridge=0.1, class_weight=class_weight, random_state=0)
    model.fit(X, LABELS, WEIGHT)
    phi = features(model, X)
    expected = RidgeClassifier(0.1, solver="svd", class_weight=class_weight).fit(phi, LABELS, WEIGHT)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=1e-8, atol=1e-10)


# Equivalent samples


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5]), st.booleans(), st.integers(1, 30))
def test_order_repetition_and_weights_are_equivalent(seed, ridge, fit_intercept, N):
    rng = np.random.default_rng(seed)
    samples, y = rng.integers(-2, 3, size=(12, 2)).astype(float), rng.integers(-3, 4, size=12).astype(float)
    copies = rng.integers(0, 4, size=12)
    copies[0] += 1
    rows = rng.permutation(np.repeat(np.arange(12), copies))
    model = RandomFourierRegressor(N, ridge=ridge, fit_intercept=fit_intercept, random_state=0)
    weighted = model.fit(samples, y, copies.astype(float))
    coef, intercept, gamma = weighted.coef_, weighted.intercept_, weighted.gamma_
    repeated = model.fit(samples[rows], y[rows])
    np.testing.assert_array_equal(repeated.coef_, coef)
    assert (repeated.intercept_, repeated.gamma_) == (intercept, gamma)


def test_equal_inputs_with_different_targets_count_by_their_mean():
    samples, y = np.vstack([X, X[:3]]), np.append(Y, [5.0, 6.0, 7.0])
    model = RandomFourierRegressor(40, gamma=1.0, random_state=0).fit(samples, y)
    extra = np.array([5.0, 6.0, 7.0])
    expected = np.append((Y[:3] + extra) / 2, Y[3:])
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9, atol=1e-9)
    assert model.rank_ == 23


def test_weights_scale_the_ridge():
    options = {"gamma": 1.0, "random_state": 0}
    one = RandomFourierRegressor(9, ridge=0.3, **options).fit(X, Y)
    ten = RandomFourierRegressor(9, ridge=3.0, **options).fit(X, Y, np.full(24, 10.0))
    np.testing.assert_allclose(ten.coef_, one.coef_, rtol=1e-9)


# Degenerate samples

GRIDS = arrays(
    np.float64, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.sampled_from([-1.0, 0, 1, 2])
)


@settings(max_examples=60)
@given(
    GRIDS,
    st.integers(1, 20),
    st.sampled_from([0.0, 1e-3]),
    st.booleans(),
    st.sampled_from([1e-100, 1.0, 1e100]),
    st.sampled_from([1e-100, 1.0, 1e100]),
    st.integers(0, 2**31),
)
def test_any_samples_give_a_least_squares_solution(grid, N, ridge, fit_intercept, scale, size, seed):
    # Of samples that are all equal and huge the phases have no digits: gamma does not shrink with them.
    assume(scale <= 1 or len(np.unique(grid, axis=0)) > 1)
    rng = np.random.default_rng(seed)
    samples, y = scale * grid, size * rng.integers(-2, 3, size=len(grid))
    model = RandomFourierRegressor(N, ridge=ridge, fit_intercept=fit_intercept, random_state=seed)
    model.fit(samples, y)
    phi = features(model, samples)
    residual = model.predict(samples) - y
    # Stationary in the coefficients and in the intercept.
    bound = 1e-11 * size * (1 + np.linalg.norm(model.coef_ / size))
    assert np.abs(phi.T @ residual + ridge * model.coef_).max() <= bound
    if fit_intercept:
        assert abs(residual.sum()) <= bound
    assert np.isfinite(model.predict(3 * samples)).all()
    assert model.rank_ <= min(len(np.unique(grid, axis=0)) - fit_intercept, 2 * N)


@pytest.mark.parametrize("gamma", ["median", 1e-3, 1e-6])
@pytest.mark.parametrize("N", [10, 20, 300])
def test_smooth_kernels_are_rank_deficient_and_solved_as_lstsq_does(gamma, N):
    samples = np.linspace(0, 1, 40)[:, None]
    y = np.sin(9 * samples[:, 0])
    model = RandomFourierRegressor(N, gamma=gamma, fit_intercept=False, random_state=0).fit(samples, y)
    phi = features(model, samples)
    coef, _, rank, _ = np.linalg.lstsq(phi, y)
    assert model.rank_ < min(40, 2 * N)
    assert abs(model.rank_ - rank) <= 1
    residual = np.linalg.norm(phi @ coef - y)
    assert np.linalg.norm(model.predict(samples) - y) <= 2 * residual + 1e-9
    assert np.linalg.norm(model.coef_) <= 1e13


def test_one_sample():
    model = RandomFourierRegressor(3, random_state=0).fit([[2.0]], [7.0])
    assert not model.coef_.any()
    assert model.rank_ == 0
    np.testing.assert_array_equal(model.predict([[2.0], [5.0]]), [7.0, 7.0])
    model.set_params(fit_intercept=False).fit([[2.0]], [7.0])
    np.testing.assert_allclose(model.predict([[2.0]]), [7.0], rtol=1e-14)
    # The interpolant of least norm is y times the kernel, and the norm of features is one.
    np.testing.assert_allclose(np.linalg.norm(model.coef_), 7.0, rtol=1e-14)


def test_samples_far_from_zero():
    near = np.round(X * 64) / 64
    model = RandomFourierRegressor(40, gamma=1.0, random_state=0)
    expected = model.fit(near, Y).predict(near[:5] + 0.125)
    far = near + 2.0**40
    outputs = model.fit(far, Y + 2.0**30).predict(far[:5] + 0.125)
    np.testing.assert_allclose(outputs - 2.0**30, expected, rtol=0, atol=1e-6)


# Refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_frequencies": 0}, ValueError, "n_frequencies must be at least 1. Got 0"),
        ({"n_frequencies": 2.5}, TypeError, "n_frequencies must be an integer. Got 2.5"),
        ({"n_frequencies": True}, TypeError, "n_frequencies must be an integer. Got True"),
        ({"ridge": -1.0}, ValueError, "ridge must be finite and >= 0. Got -1.0"),
        ({"ridge": np.nan}, ValueError, "ridge must be finite and >= 0. Got nan"),
        ({"ridge": "small"}, TypeError, "ridge must be a real number. Got 'small'"),
        ({"gamma": 0.0}, ValueError, "gamma must be positive and finite. Got 0.0"),
        ({"gamma": np.inf}, ValueError, "gamma must be positive and finite. Got inf"),
        ({"gamma": "auto"}, ValueError, r"gamma must be a positive number or one of \['median', 'scale'\]"),
        ({"gamma": None}, TypeError, "gamma must be a positive number or one of .*Got None"),
        ({"fit_intercept": "yes"}, TypeError, "fit_intercept must be True or False. Got 'yes'"),
        ({"random_state": "seed"}, TypeError, "SeedSequence"),
    ],
)
@pytest.mark.parametrize("estimator_type", [RandomFourierRegressor, RandomFourierClassifier])
def test_parameters_without_meaning_are_refused(estimator_type, options, error, message):
    with pytest.raises(error, match=message):
        estimator_type(**options).fit(X, LABELS == "top")


@pytest.mark.parametrize("estimator_type", [RandomFourierRegressor, RandomFourierClassifier])
def test_samples_without_meaning_are_refused(estimator_type):
    model = estimator_type(random_state=0)
    y = (LABELS == "top").astype(float)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.fit(np.full((24, 3), np.nan), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[1:])
    with pytest.raises(ValueError, match="All sample weights are zero"):
        model.fit(X, y, np.zeros(24))
    with pytest.raises(ValueError, match=r"one entry for each of the 24 samples"):
        model.fit(X, y, [1.0])
    with pytest.raises(ValueError, match="X has 2 features, but"):
        model.fit(X, y).predict(X[:, :2])
    with pytest.raises(ValueError, match="finite products with the frequencies"):
        model.predict(np.full((1, 3), 1e308) * np.sign(model.random_weights_[:, 0]))


def test_one_class_is_refused():
    model = RandomFourierClassifier()
    with pytest.raises(ValueError, match=r"at least two classes.*Got one class only: \['a'\]"):
        model.fit(X, ["a"] * 24)
    with pytest.raises(ValueError, match=r"of positive weight\. Got one class only: \['top'\]"):
        model.fit(X, LABELS, (LABELS == "top").astype(float))
    assert not hasattr(model, "predict_proba")
