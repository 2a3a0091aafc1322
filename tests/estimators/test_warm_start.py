"""Warm starts: never worse than the network they start from, and cold where that does not fit."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor

ESTIMATORS = [ConvexMLPRegressor, ConvexMLPClassifier]


def draw(seed=0, n=10, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.2 * rng.normal(size=n)


def classes_of(y, n_classes=2):
    labels = np.array(["cold", "mild", "warm", "hot"])[:n_classes]
    return labels[np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))]


def target_for(estimator, y):
    estimator_type = estimator if isinstance(estimator, type) else type(estimator)
    return classes_of(y) if estimator_type is ConvexMLPClassifier else y


@pytest.mark.parametrize("patterns", ["exact", 10])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_warm_start_is_never_worse_than_the_old_network(estimator_type, hidden_bias, patterns, seed):
    X, y = draw(seed)
    options = {"hidden_bias": hidden_bias, "patterns": patterns, "random_state": seed}
    model = estimator_type(0.05, warm_start=True, **options).fit(X, target_for(estimator_type, y))
    old = model.network_
    rng = np.random.default_rng(seed)
    moved, weight = X + 0.05 * rng.normal(size=X.shape), rng.uniform(0.5, 1.5, len(y))
    y = target_for(estimator_type, y + 0.05 * rng.normal(size=len(y)))
    loss = model.loss
    model.set_params(alpha=0.07, random_state=seed + 100, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        model.fit(moved, y, sample_weight=weight)
    before = old.objective(moved, y, alpha=0.07, loss=loss, sample_weight=weight)
    assert model.objective_ <= before * (1 + 1e-9)


def test_warm_start_on_the_same_problem_needs_no_iteration():
    X, y = draw()
    model = ConvexMLPRegressor(0.1, warm_start=True).fit(X, y)
    assert model.n_iter_ > 0
    objective = model.objective_
    model.set_params(tol=1e-2).fit(X, y)
    assert model.n_iter_ == 0
    assert model.objective_ <= objective * (1 + 1e-9)


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_warm_start_of_several_outputs(n_outputs):
    X, _ = draw()
    y = np.random.default_rng(0).normal(size=(10, n_outputs))
    model = ConvexMLPRegressor(0.1, warm_start=True, patterns=15, random_state=0).fit(X, y)
    old = model.network_
    model.set_params(alpha=0.12, random_state=7).fit(X, y)
    assert model.objective_ <= old.objective(X, y, alpha=0.12) * (1 + 1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_bias": "none"},
        {"hidden_bias": "free"},
        {"activation": "absolute_value"},
        {"activation": "gated_relu"},
        {"fit_intercept": False},
        {"loss": "absolute_error"},
        {"patterns": 7},
    ],
)
def test_warm_start_after_a_change_of_options(change):
    X, y = draw()
    y = y + 3.0
    cold = ConvexMLPRegressor(0.1, random_state=0, tol=1e-7, **change).fit(X, y)
    warm = ConvexMLPRegressor(0.1, random_state=0, tol=1e-7, warm_start=True).fit(X, y)
    warm.set_params(**change).fit(X, y)
    assert warm.result_.converged
    if "patterns" in change:
        assert warm.objective_ <= cold.objective_ * (1 + 1e-6)
    else:
        assert warm.objective_ == pytest.approx(cold.objective_, rel=1e-6)
    if change == {"fit_intercept": False}:
        assert not warm.intercepts_[1].any()


def test_warm_start_on_other_shapes_is_cold():
    X, y = draw()
    model = ConvexMLPRegressor(0.1, warm_start=True).fit(X, y)
    wider = np.column_stack([X, X[:, 0] ** 2])
    model.fit(wider, y)
    assert model.coefs_[0].shape[0] == 3
    assert model.objective_ == ConvexMLPRegressor(0.1).fit(wider, y).objective_
    model.fit(wider, np.column_stack([y, -y]))
    assert model.predict(wider).shape == (10, 2)
    model.fit(X[:4], y[:4])
    assert model.objective_ == ConvexMLPRegressor(0.1).fit(X[:4], y[:4]).objective_


def test_warm_start_of_a_classifier_with_other_labels():
    X, y = draw()
    model = ConvexMLPClassifier(0.1, warm_start=True).fit(X, classes_of(y))
    model.fit(X, classes_of(y, 3))
    assert len(model.classes_) == 3
    assert model.decision_function(X).shape == (10, 3)
    model.fit(X, (y > 0).astype(int))
    np.testing.assert_array_equal(model.classes_, [0, 1])
    assert model.network_.classes == (0, 1)


def test_without_warm_start_history_does_not_matter():
    X, y = draw()
    model = ConvexMLPRegressor(0.1).fit(X, y + 5)
    model.fit(X, y)
    np.testing.assert_array_equal(model.predict(X), ConvexMLPRegressor(0.1).fit(X, y).predict(X))
