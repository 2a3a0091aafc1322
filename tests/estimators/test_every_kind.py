"""Every loss, activation and bias: the objective, outputs and layout, recomputed from the weights alone."""

import numpy as np
import pytest

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor
from convexnn.activations import leaky_relu
from convexnn.losses import Huber

ACTIVATIONS = ["relu", "leaky_relu", "absolute_value", "gated_relu"]
REGRESSION_LOSSES = ["squared_error", "huber", "absolute_error"]
CLASSIFICATION_LOSSES = ["log_loss", "hinge", "squared_hinge"]


def draw(seed=0, n=10, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.2 * rng.normal(size=n)


def classes_of(y, n_classes=2):
    labels = np.array(["cold", "mild", "warm", "hot"])[:n_classes]
    return labels[np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))]


def outputs_from_weights(model, X):
    (U, A), (b, c) = model.coefs_, model.intercepts_
    t = X @ U + b
    slopes = {"relu": 0.0, "leaky_relu": 0.01, "absolute_value": -1.0, "gated_relu": 0.0}
    gates = model.network_.gates
    side = t if gates is None else X @ gates[:-1] + gates[-1]
    return np.where(side >= 0, t, slopes[model.activation] * t) @ A + c


def loss_from_outputs(name, f, y):
    """Sum over samples, by the formulas of the documentation; y in {-1, +1} for the margin losses."""
    r, m = np.abs(f - y), y * f
    elementwise = {
        "squared_error": lambda: r**2 / 2,
        "huber": lambda: np.where(r <= 1, r**2 / 2, r - 0.5),
        "absolute_error": lambda: r,
        "log_loss": lambda: np.log1p(np.exp(-m)),
        "hinge": lambda: np.maximum(0, 1 - m),
        "squared_hinge": lambda: np.maximum(0, 1 - m) ** 2,
    }
    return elementwise[name]().sum(axis=1)


def penalty(model):
    (U, A), (b, _) = model.coefs_, model.intercepts_
    squares = (U**2).sum() + (A**2).sum() + (model.hidden_bias == "penalized") * (b**2).sum()
    return model.alpha / 2 * squares


def check_fit(model, X, loss_values):
    assert model.result_.converged
    assert model.objective_ == pytest.approx(loss_values.sum() + penalty(model), rel=1e-10)
    assert model.objective_ == pytest.approx(model.result_.objective, rel=1e-8)
    assert model.dual_gap_ <= 1.01 * model.tol * model.objective_
    d, m, k = X.shape[1], model.n_neurons_, model.network_.n_outputs
    assert [w.shape for w in model.coefs_] == [(d, m), (m, k)]
    assert [b.shape for b in model.intercepts_] == [(m,), (k,)]
    assert all(w.dtype == np.float64 for w in model.coefs_ + model.intercepts_)
    assert m > 0
    if model.hidden_bias == "none":
        assert not model.intercepts_[0].any()
    if not model.fit_intercept:
        assert not model.intercepts_[1].any()


MODES = [("penalized", True), ("penalized", False), ("free", True), ("none", True), ("none", False)]


@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), MODES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
def test_regressor_of_every_kind(loss, activation, hidden_bias, fit_intercept):
    if hidden_bias == "free" and activation == "gated_relu":
        return
    X, y = draw()
    options = {"activation": activation, "hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    model = ConvexMLPRegressor(0.1, loss=loss, patterns=20, random_state=0, **options).fit(X, y)
    outputs = outputs_from_weights(model, X)
    check_fit(model, X, loss_from_outputs(loss, outputs, y[:, None]))
    np.testing.assert_allclose(model.predict(X), outputs[:, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), MODES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", CLASSIFICATION_LOSSES)
def test_classifier_of_every_kind(loss, activation, hidden_bias, fit_intercept):
    if hidden_bias == "free" and activation == "gated_relu":
        return
    X, y = draw()
    options = {"activation": activation, "hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    model = ConvexMLPClassifier(0.1, loss=loss, patterns=20, random_state=0, **options)
    model.fit(X, classes_of(y))
    outputs = outputs_from_weights(model, X)
    signs = np.where(classes_of(y) == model.classes_[1], 1.0, -1.0)[:, None]
    check_fit(model, X, loss_from_outputs(loss, outputs, signs))
    np.testing.assert_allclose(model.decision_function(X), outputs[:, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", CLASSIFICATION_LOSSES)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_classifier_of_three_classes(loss, hidden_bias):
    X, y = draw(1, n=9)
    labels = classes_of(y, 3)
    model = ConvexMLPClassifier(0.1, loss=loss, hidden_bias=hidden_bias, patterns=10, random_state=0)
    model.fit(X, labels)
    outputs = outputs_from_weights(model, X)
    one_hot = labels[:, None] == model.classes_
    if loss == "log_loss":
        values = np.log(np.exp(outputs).sum(axis=1)) - outputs[one_hot]
    else:
        values = loss_from_outputs(loss, outputs, np.where(one_hot, 1.0, -1.0))
    check_fit(model, X, values)
    np.testing.assert_allclose(model.decision_function(X), outputs, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), model.classes_[outputs.argmax(axis=1)])


def test_loss_and_activation_objects():
    X, y = draw()
    by_name = ConvexMLPRegressor(0.1, loss="huber", activation="leaky_relu").fit(X, y)
    by_object = ConvexMLPRegressor(0.1, loss=Huber(1.0), activation=leaky_relu(0.01)).fit(X, y)
    assert by_object.objective_ == by_name.objective_
    # Huber's loss grows with delta towards the squared error, which is its value for large delta.
    objectives = [ConvexMLPRegressor(0.1, loss=Huber(d)).fit(X, y).objective_ for d in (0.1, 0.5, 100.0)]
    assert objectives[0] < objectives[1] < objectives[2] * (1 + 1e-4)
    assert objectives[2] == pytest.approx(ConvexMLPRegressor(0.1).fit(X, y).objective_, rel=1e-4)
