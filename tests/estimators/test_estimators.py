"""What users of scikit-learn expect of an estimator, and what this package adds to it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, enumerate_patterns, sample_patterns
from convexnn.activations import leaky_relu
from convexnn.exceptions import PatternCountWarning
from convexnn.losses import Huber, LogLoss

ACTIVATIONS = ["relu", "leaky_relu", "absolute_value", "gated_relu"]
REGRESSION_LOSSES = ["squared_error", "huber", "absolute_error"]
CLASSIFICATION_LOSSES = ["log_loss", "hinge", "squared_hinge"]
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


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


# Objective, outputs and layout, computed here from the weights alone


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


# Predictions


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_to_sklearn_predicts_the_same(activation, hidden_bias):
    X, y = draw()
    new = draw(9, n=30)[0]
    options = {"activation": activation, "hidden_bias": hidden_bias, "patterns": 20, "random_state": 0}
    regressor = ConvexMLPRegressor(0.1, **options).fit(X, y)
    converted = regressor.network_.to_sklearn()
    np.testing.assert_allclose(converted.predict(new), regressor.predict(new), rtol=1e-9, atol=1e-12)
    if activation == "relu":
        for ours, theirs in zip(regressor.coefs_, converted.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for n_classes in (2, 3):
        classifier = ConvexMLPClassifier(0.1, **options).fit(X, classes_of(y, n_classes))
        converted = classifier.network_.to_sklearn()
        np.testing.assert_array_equal(converted.predict(new), classifier.predict(new))
        np.testing.assert_allclose(
            converted.predict_proba(new), classifier.predict_proba(new), rtol=1e-9, atol=1e-15
        )


@pytest.mark.parametrize("shape", [(10,), (10, 1), (10, 3)])
def test_predictions_have_the_shape_of_the_targets(shape):
    X, _ = draw()
    y = np.random.default_rng(1).normal(size=shape)
    model = ConvexMLPRegressor(0.1, patterns=20, random_state=0).fit(X, y)
    new = draw(5, n=4)[0]
    assert model.predict(new).shape == (4, *shape[1:])
    assert model.predict(new).dtype == np.float64
    assert model.coefs_[1].shape[1] == (shape[1] if len(shape) == 2 else 1)
    assert np.isfinite(model.score(X, y))


def test_outputs_of_a_column_and_of_a_vector_are_the_same():
    X, y = draw()
    vector, column = (ConvexMLPRegressor(0.1).fit(X, t) for t in (y, y[:, None]))
    np.testing.assert_array_equal(vector.predict(X), column.predict(X)[:, 0])
    assert vector.objective_ == column.objective_


def test_separate_outputs_add_up():
    # With one output per neuron nothing is shared, so the objective of two outputs is the sum of both.
    X, y = draw()
    both = ConvexMLPRegressor(0.1, patterns="exact", tol=1e-7).fit(X, np.column_stack([y, y**2]))
    alone = [ConvexMLPRegressor(0.1, patterns="exact", tol=1e-7).fit(X, t).objective_ for t in (y, y**2)]
    assert both.result_.objective == pytest.approx(sum(alone), rel=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_probabilities(n_classes):
    X, y = draw(n=12)
    model = ConvexMLPClassifier(0.05, patterns=10, random_state=0).fit(X, classes_of(y, n_classes))
    new = draw(3, n=40)[0]
    proba, scores = model.predict_proba(new), model.decision_function(new)
    assert proba.shape == (40, n_classes)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(new), np.log(proba), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(model.predict(new), model.classes_[proba.argmax(axis=1)])
    if n_classes == 2:
        assert scores.shape == (40,)
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-scores)), rtol=1e-12)
        np.testing.assert_array_equal(model.predict(new) == model.classes_[1], scores > 0)
    else:
        ratios = np.exp(scores - scores[:, :1])
        np.testing.assert_allclose(proba, ratios / ratios.sum(axis=1, keepdims=True), rtol=1e-9)


def test_log_probabilities_do_not_underflow():
    X = np.array([[-1.0], [1.0]])
    model = ConvexMLPClassifier(0.01).fit(X, [0, 1])
    log_proba = model.predict_log_proba([[1e6]])
    assert np.isfinite(log_proba).all()
    assert log_proba[0, 0] == pytest.approx(-model.decision_function([[1e6]])[0], rel=1e-9)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_hinge_losses_have_no_probabilities(loss):
    X, y = draw()
    model = ConvexMLPClassifier(loss=loss).fit(X, classes_of(y))
    for method in ("predict_proba", "predict_log_proba"):
        assert not hasattr(model, method)
        with pytest.raises(AttributeError, match=method) as caught:
            getattr(model, method)
        assert "Probabilities need loss='log_loss'" in str(caught.value.__cause__)
    assert hasattr(ConvexMLPClassifier(), "predict_proba")
    assert hasattr(ConvexMLPClassifier(loss=LogLoss()), "predict_proba")


@pytest.mark.parametrize("labels", [("no", "yes"), (-1, 1), (5, 3), (False, True), (b"a", b"b")])
def test_labels_of_any_kind(labels):
    X, y = draw()
    chosen = np.array(labels)[(y > np.median(y)).astype(int)]
    model = ConvexMLPClassifier(0.01).fit(X, chosen)
    np.testing.assert_array_equal(model.classes_, np.unique(chosen))
    assert model.predict(X).dtype == chosen.dtype
    assert model.score(X, chosen) == 1.0
    np.testing.assert_array_equal(model.decision_function(X) > 0, chosen == model.classes_[1])


# Weights


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("patterns", ["exact", 20])
def test_weights_are_repetitions(estimator_type, patterns, seed):
    X, y = draw(seed)
    y = target_for(estimator_type, y)
    counts = np.random.default_rng(seed).integers(1, 4, len(y))
    counts[[0, 1, 2]] = 0, 3, 1
    model = estimator_type(0.2, patterns=patterns, random_state=0)
    weighted = clone(model).fit(X, y, sample_weight=counts)
    repeated = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    dropped = clone(model).fit(X[counts > 0], y[counts > 0], sample_weight=counts[counts > 0])
    new = draw(8, n=20)[0]
    for other in (repeated, dropped):
        assert other.objective_ == pytest.approx(weighted.objective_, rel=1e-12)
        if estimator_type is ConvexMLPRegressor:
            np.testing.assert_allclose(other.predict(new), weighted.predict(new), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_weights_are_sample_weights(n_classes):
    X, y = draw(2, n=11)
    labels = classes_of(y, n_classes)
    classes, counts = np.unique(labels, return_counts=True)
    table = dict(zip(classes.tolist(), [0.5, 2.0, 1.25][:n_classes], strict=True))
    extra = np.random.default_rng(0).uniform(0.5, 1.5, 11)
    balanced = dict(zip(classes.tolist(), 11 / (n_classes * counts), strict=True))
    for class_weight, meaning in ((table, table), ("balanced", balanced)):
        model = ConvexMLPClassifier(0.1, patterns=10, random_state=0, class_weight=class_weight)
        model.fit(X, labels, sample_weight=extra)
        weight = extra * np.array([meaning[label] for label in labels])
        plain = clone(model).set_params(class_weight=None).fit(X, labels, sample_weight=weight)
        assert model.objective_ == pytest.approx(plain.objective_, rel=1e-12)
        np.testing.assert_allclose(model.decision_function(X), plain.decision_function(X), rtol=1e-9)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("patterns", ["exact", 20])
def test_order_of_samples_does_not_matter(estimator_type, patterns, seed):
    X, y = draw(seed)
    y = target_for(estimator_type, y)
    order = np.random.default_rng(seed).permutation(len(y))
    model = estimator_type(0.1, patterns=patterns, random_state=0).fit(X, y)
    permuted = clone(model).fit(X[order], y[order])
    assert permuted.objective_ == pytest.approx(model.objective_, rel=1e-12)
    new = draw(8, n=20)[0]
    np.testing.assert_array_equal(permuted.network_.outputs(new), model.network_.outputs(new))
    np.testing.assert_array_equal(permuted.patterns_.to_dense(), model.patterns_.to_dense()[:, order])


# Patterns and what the gap is about


def test_scope_of_the_gap():
    X, y = draw()
    full = enumerate_patterns(with_ones(X))
    two = np.column_stack([y, y**2])

    def scope(target=y, **options):
        return ConvexMLPRegressor(0.1, **options).fit(X, target).gap_scope_

    assert scope() == "global"
    assert scope(patterns="exact") == "global"
    assert scope(patterns="exact", activation="absolute_value") == "global"
    assert scope(patterns="exact", activation="gated_relu") == "patterns"
    assert scope(patterns="exact", target=two) == "patterns"
    assert scope(patterns=5, random_state=0) == "patterns"
    assert scope(patterns=full) == "patterns"
    with pytest.warns(PatternCountWarning, match=f"Only {len(full)} distinct activation patterns"):
        assert scope(patterns=len(full) + 1, random_state=0) == "global"


def test_scope_of_classifiers():
    X, y = draw()
    assert ConvexMLPClassifier(0.1).fit(X, classes_of(y)).gap_scope_ == "global"
    three = ConvexMLPClassifier(0.1, patterns="exact").fit(X[:6], classes_of(y[:6], 3))
    assert three.gap_scope_ == "patterns"


def test_auto_samples_where_there_are_too_many():
    X, y = draw(n=40, d=12)
    model = ConvexMLPRegressor(5.0, random_state=0).fit(X, y)
    assert model.gap_scope_ == "patterns"
    assert 1 <= len(model.patterns_) <= 200


@pytest.mark.parametrize("hidden_bias", ["penalized", "none"])
def test_a_pattern_set_is_used_as_it_is(hidden_bias):
    X, y = draw()
    X = np.vstack([X, X[:2]])  # repeated samples are merged inside, which the patterns must survive
    y = np.append(y, y[:2] + 1)
    data = with_ones(X) if hidden_bias == "penalized" else X
    patterns = sample_patterns(data, 12, random_state=0)
    model = ConvexMLPRegressor(0.1, patterns=patterns, hidden_bias=hidden_bias).fit(X, y)
    np.testing.assert_array_equal(model.patterns_.to_dense(), patterns.to_dense())
    hidden = data @ np.vstack([model.coefs_[0], model.intercepts_[0]])[: data.shape[1]]
    listed = {tuple(p) for p in patterns.to_dense()}
    size = np.abs(hidden).max(axis=0)
    for column, scale in zip(hidden.T, size, strict=True):
        certain = np.abs(column) > 1e-7 * scale
        assert any((np.array(p)[certain] == (column[certain] > 0)).all() for p in listed)


def test_all_patterns_given_are_as_good_as_exact():
    X, y = draw()
    exact = ConvexMLPRegressor(0.1, patterns="exact", tol=1e-7).fit(X, y)
    given = ConvexMLPRegressor(0.1, patterns=enumerate_patterns(with_ones(X)), tol=1e-7).fit(X, y)
    assert given.objective_ == pytest.approx(exact.objective_, rel=1e-6)
    fewer = ConvexMLPRegressor(0.1, patterns=10, random_state=0).fit(X, y)
    assert len(fewer.patterns_) == 10
    assert fewer.objective_ >= exact.dual_objective_


@pytest.mark.parametrize("make", [lambda: 3, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3)])
def test_random_state(make):
    X, y = draw(n=20)
    first, again = (ConvexMLPRegressor(0.1, patterns=15, random_state=make()).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert first.patterns_ == again.patterns_
    other = ConvexMLPRegressor(0.1, patterns=15, random_state=4).fit(X, y)
    assert other.patterns_ != first.patterns_


# Warm starts


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


# The surroundings


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_feature_names(estimator_type):
    X, y = draw()
    frame = pd.DataFrame(X, columns=["height", "width"])
    model = estimator_type(0.1).fit(frame, pd.Series(target_for(estimator_type, y)))
    assert model.n_features_in_ == 2
    assert model.feature_names_in_.tolist() == ["height", "width"]
    plain = estimator_type(0.1).fit(X, target_for(estimator_type, y))
    assert not hasattr(plain, "feature_names_in_")
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["width", "height"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
def test_pickling(estimator_type, activation):
    X, y = draw()
    model = estimator_type(0.1, activation=activation, patterns=12, random_state=0)
    model.fit(X, target_for(estimator_type, y))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    assert copy.network_ == model.network_
    assert copy.patterns_ == model.patterns_
    assert copy.result_.status is model.result_.status
    assert (copy.objective_, copy.dual_gap_, copy.gap_scope_) == (
        model.objective_,
        model.dual_gap_,
        model.gap_scope_,
    )


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_clone_and_parameters(estimator_type):
    X, y = draw()
    patterns = sample_patterns(with_ones(X), 9, random_state=0)
    model = estimator_type(0.3, patterns=patterns, hidden_bias="penalized", tol=1e-5)
    model.fit(X, target_for(estimator_type, y))
    copy = clone(model)
    assert not hasattr(copy, "network_")
    assert copy.patterns == patterns
    assert {k: v for k, v in copy.get_params().items() if k != "patterns"} == {
        k: v for k, v in model.get_params().items() if k != "patterns"
    }
    np.testing.assert_array_equal(
        copy.fit(X, target_for(estimator_type, y)).network_.outputs(X), model.network_.outputs(X)
    )


def test_repr_is_short():
    assert repr(ConvexMLPRegressor()) == "ConvexMLPRegressor()"
    assert repr(ConvexMLPRegressor(0.5, patterns=7)) == "ConvexMLPRegressor(alpha=0.5, patterns=7)"
    assert repr(ConvexMLPClassifier(loss="hinge")) == "ConvexMLPClassifier(loss='hinge')"
    X, y = draw()
    model = ConvexMLPRegressor(patterns=enumerate_patterns(with_ones(X))).fit(X, y)
    for text in (repr(model), repr(model.result_), repr(model.patterns_), repr(model.network_)):
        assert len(text) < 250


def test_grid_search_over_a_pipeline():
    X, y = draw(n=12)
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", ConvexMLPRegressor(patterns=10, random_state=0))])
    search = GridSearchCV(pipeline, {"mlp__alpha": [0.01, 1.0, 100.0]}, cv=3).fit(X, y)
    best = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict(X), best.predict(X))


def test_metadata_routing():
    X, y = draw(n=12)
    weight = np.random.default_rng(0).uniform(0.1, 3.0, 12)
    with config_context(enable_metadata_routing=True):
        model = ConvexMLPRegressor(patterns=10, random_state=0)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        grid = {"convexmlpregressor__alpha": [0.1]}
        search = GridSearchCV(pipeline, grid, cv=3).fit(X, y, sample_weight=weight)
        routed = search.best_estimator_[-1]
    by_hand = ConvexMLPRegressor(0.1, patterns=10, random_state=0)
    by_hand.fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    assert routed.objective_ == by_hand.objective_
    unweighted = clone(by_hand).fit(StandardScaler().fit_transform(X), y)
    assert routed.objective_ != pytest.approx(unweighted.objective_, rel=1e-3)


def test_iterations_are_counted():
    X, y = draw()
    model = ConvexMLPRegressor(0.1).fit(X, y)
    assert isinstance(model.n_iter_, int)
    assert model.n_iter_ == model.result_.n_iter > 0
    assert ConvexMLPRegressor(1e9).fit(X, y).n_iter_ == 0


def test_a_smaller_tolerance_is_kept():
    X, y = draw()
    gaps = []
    for tol in (1e-2, 1e-5, 1e-8):
        model = ConvexMLPRegressor(0.1, tol=tol).fit(X, y)
        gaps.append(model.dual_gap_ / model.objective_)
        assert gaps[-1] <= tol
    assert gaps[-1] <= gaps[0]


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbosity(capfd, verbose):
    X, y = draw()
    ConvexMLPRegressor(0.1, verbose=verbose).fit(X, y)
    text = capfd.readouterr().out
    assert bool(text) == bool(verbose)
    if verbose:
        assert "CONVERGED" in text
        assert "relative gap" in text


def test_verbosity_of_the_solver(capfd):
    X, y = draw()
    ConvexMLPRegressor(0.1, verbose=2).fit(X, y)
    assert "Clarabel" in capfd.readouterr().out


@pytest.mark.parametrize("solver", ["clarabel", "ecos", "scs", "cvxpy"])
def test_solvers_agree(solver):
    pytest.importorskip({"clarabel": "clarabel"}.get(solver, solver))
    X, y = draw(n=6)
    reference = ConvexMLPRegressor(0.1, tol=1e-7).fit(X, y)
    model = ConvexMLPRegressor(0.1, solver=solver).fit(X, y)
    assert model.result_.solver == solver
    assert model.result_.converged
    assert model.objective_ == pytest.approx(reference.objective_, rel=1.01e-4)
