"""Degenerate input with a meaning: no or enormous regularisation, one sample, constant or repeated data."""

import numpy as np
import pytest
from sklearn.base import clone

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, enumerate_patterns

ESTIMATORS = [ConvexMLPRegressor, ConvexMLPClassifier]
REGRESSION_LOSSES = ["squared_error", "huber", "absolute_error"]
MARGIN_LOSSES = ["hinge", "squared_hinge"]
BIASES = ["penalized", "free", "none"]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 2))
Y = np.sin(2 * X[:, 0]) + X[:, 1]
LABELS = (Y > 0).astype(int)


def targets_for(estimator):
    return LABELS if isinstance(estimator, ConvexMLPClassifier) else Y


# alpha = 0: the best fit of all networks, linear in the weights once the patterns are fixed


def unregularised_fit(data, y, *, fit_intercept):
    """Least sum of squares of any network: without norms, cones drop out as ``v - w`` fills all space."""
    features = [row[:, None] * data for row in enumerate_patterns(data).to_dense()]
    design = np.hstack([*features, np.ones((len(y), 1))] if fit_intercept else features)
    weights = np.linalg.lstsq(design, y, rcond=None)[0]
    return 0.5 * float(np.sum((design @ weights - y) ** 2))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n", [1, 6, 12])
def test_alpha_zero_is_least_squares_on_the_features(n, fit_intercept, seed):
    rng = np.random.default_rng(seed)
    data, y = rng.normal(size=(n, 1)), rng.normal(size=n)
    model = ConvexMLPRegressor(alpha=0, hidden_bias="none", fit_intercept=fit_intercept, patterns="exact")
    model.fit(data, y)
    expected = unregularised_fit(data, y, fit_intercept=fit_intercept)
    assert model.result_.converged
    assert model.objective_ == pytest.approx(expected, rel=1e-4, abs=1e-10 * (y @ y))


@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
def test_alpha_zero_interpolates_where_there_are_neurons_enough(loss, hidden_bias):
    model = ConvexMLPRegressor(alpha=0, loss=loss, hidden_bias=hidden_bias).fit(X, Y)
    assert unregularised_fit(X, Y, fit_intercept=True) < 1e-20
    assert model.result_.converged
    assert model.objective_ <= 1e-6 * np.sum(np.abs(Y))


@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
def test_alpha_zero_with_repeated_samples_that_disagree(loss):
    # Two copies with targets 0 and 2: no network is better than the constant 1.
    model = ConvexMLPRegressor(alpha=0, loss=loss).fit([[1.0], [1.0]], [0.0, 2.0])
    assert model.objective_ == pytest.approx({"absolute_error": 2.0}.get(loss, 1.0), rel=1e-6)
    assert model.result_.converged


@pytest.mark.parametrize("loss", MARGIN_LOSSES)
def test_alpha_zero_of_the_hinge_losses(loss):
    separable = ConvexMLPClassifier(alpha=0, loss=loss).fit(X, LABELS)
    assert separable.objective_ == pytest.approx(0.0, abs=1e-8)
    assert separable.result_.converged
    np.testing.assert_array_equal(separable.predict(X), LABELS)
    # Three copies of which one disagrees: max(0, 1-f) and its square are least at f = 1 and f = 1/3.
    mixed = ConvexMLPClassifier(alpha=0, loss=loss).fit([[1.0]] * 3, [1, 1, 0])
    assert mixed.objective_ == pytest.approx({"hinge": 2.0, "squared_hinge": 8 / 3}[loss], rel=1e-6)


@pytest.mark.parametrize("labels", [LABELS, np.arange(8) % 3])
def test_alpha_zero_has_no_minimum_with_log_loss(labels):
    with pytest.raises(ValueError, match="alpha=0 with the logistic loss has no minimum"):
        ConvexMLPClassifier(alpha=0).fit(X, labels)


# Degenerate data with a meaning


CONSTANTS = {"squared_error": np.mean, "absolute_error": np.median}


@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_enormous_alpha_finds_the_zero_network(loss, hidden_bias, fit_intercept):
    if hidden_bias == "free" and not fit_intercept:
        return
    model = ConvexMLPRegressor(alpha=1e30, loss=loss, hidden_bias=hidden_bias, fit_intercept=fit_intercept)
    model.fit(X, Y)
    assert model.n_neurons_ == 0
    assert model.result_.converged
    assert [w.shape for w in model.coefs_] == [(2, 0), (0, 1)]
    assert np.ptp(model.predict(RNG.normal(size=(5, 2)))) == 0
    if not fit_intercept:
        assert not model.predict(X).any()
    elif loss in CONSTANTS:
        residual = Y - CONSTANTS[loss](Y)
        best = np.sum(np.abs(residual)) if loss == "absolute_error" else np.sum(residual**2) / 2
        assert model.objective_ == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("loss", [*MARGIN_LOSSES, "log_loss"])
def test_enormous_alpha_of_a_classifier(loss):
    model = ConvexMLPClassifier(alpha=1e30, loss=loss).fit(X, LABELS)
    assert model.n_neurons_ == 0
    assert model.result_.converged
    assert len(set(model.predict(X))) == 1
    if loss == "log_loss":
        np.testing.assert_allclose(model.predict_proba(X)[:, 1], LABELS.mean(), rtol=1e-10)


@pytest.mark.parametrize("hidden_bias", BIASES)
def test_one_sample(hidden_bias):
    model = ConvexMLPRegressor(alpha=0.1, hidden_bias=hidden_bias).fit([[2.0]], [3.0])
    assert model.objective_ == 0.0
    assert model.n_neurons_ == 0
    assert model.predict([[-7.0]]) == pytest.approx([3.0])


def test_one_sample_without_intercept():
    # min over t of (t - y)^2 / 2 + alpha |t| / |x~| with |x~| = sqrt(5): soft thresholding.
    model = ConvexMLPRegressor(alpha=0.1, fit_intercept=False, tol=1e-8).fit([[2.0]], [3.0])
    threshold = 0.1 / np.sqrt(5)
    assert model.predict([[2.0]]) == pytest.approx([3 - threshold], rel=1e-5)
    assert model.objective_ == pytest.approx(threshold**2 / 2 + threshold * (3 - threshold), rel=1e-7)


@pytest.mark.parametrize("patterns", ["auto", "exact", 3])
def test_targets_all_zero(patterns):
    model = ConvexMLPRegressor(patterns=patterns).fit(X, np.zeros(8))
    assert model.objective_ == 0.0
    assert model.dual_gap_ == 0.0
    assert not model.predict(X).any()


@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_samples_all_zero(hidden_bias, fit_intercept):
    if hidden_bias == "free" and not fit_intercept:
        return
    model = ConvexMLPRegressor(hidden_bias=hidden_bias, fit_intercept=fit_intercept).fit(0 * X, Y)
    assert model.result_.converged
    if fit_intercept:
        np.testing.assert_allclose(model.predict(X * 0), Y.mean(), rtol=1e-10)
    elif hidden_bias == "none":
        assert not model.predict(X).any()


@pytest.mark.parametrize("hidden_bias", BIASES)
def test_zero_columns_change_nothing(hidden_bias):
    options = {"alpha": 0.1, "hidden_bias": hidden_bias, "patterns": "exact", "tol": 1e-7}
    plain = ConvexMLPRegressor(**options).fit(X, Y)
    padded = ConvexMLPRegressor(**options).fit(np.column_stack([X, np.zeros(8)]), Y)
    assert padded.objective_ == pytest.approx(plain.objective_, rel=1e-6)
    assert len(padded.patterns_) == len(plain.patterns_)


def test_constant_column_with_free_bias_changes_nothing():
    options = {"alpha": 0.1, "hidden_bias": "free", "patterns": "exact", "tol": 1e-7}
    plain = ConvexMLPRegressor(**options).fit(X, Y)
    constant = ConvexMLPRegressor(**options).fit(np.column_stack([X, np.full(8, 5.0)]), Y)
    assert constant.objective_ == pytest.approx(plain.objective_, rel=1e-6)


@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_duplicate_opposite_collinear_and_zero_rows(estimator_type, hidden_bias):
    data = np.vstack([X, X[:3], -X[:2], 3 * X[2:4], np.zeros((2, 2))])
    model = estimator_type(alpha=0.1, hidden_bias=hidden_bias, patterns="exact", tol=1e-6)
    y = np.resize(targets_for(model), len(data))
    model.fit(data, y)
    assert model.result_.converged
    assert model.gap_scope_ == "global"
    order = np.random.default_rng(0).permutation(len(data))
    assert clone(model).fit(data[order], y[order]).objective_ == pytest.approx(model.objective_, rel=1e-9)
