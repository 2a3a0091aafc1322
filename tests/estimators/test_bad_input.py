"""Input without a meaning has its own error; degenerate input with a meaning has a documented answer."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, enumerate_patterns
from convexnn.exceptions import PatternBudgetError
from convexnn.losses import Huber
from convexnn_solvers import SolverNotFoundError

ESTIMATORS = [ConvexMLPRegressor, ConvexMLPClassifier]
REGRESSION_LOSSES = ["squared_error", "huber", "absolute_error"]
MARGIN_LOSSES = ["hinge", "squared_hinge"]
BIASES = ["penalized", "free", "none"]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 2))
Y = np.sin(2 * X[:, 0]) + X[:, 1]
LABELS = (Y > 0).astype(int)


def with_ones(data):
    return np.column_stack([data, np.ones(len(data))])


def targets_for(estimator):
    return LABELS if isinstance(estimator, ConvexMLPClassifier) else Y


# Samples


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(("value", "text"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_non_finite_samples(estimator_type, value, text):
    model = estimator_type()
    bad = X.copy()
    bad[3, 1] = value
    with pytest.raises(ValueError, match=f"Input X contains {text}"):
        model.fit(bad, targets_for(model))
    model.fit(X, targets_for(model))
    with pytest.raises(ValueError, match=f"Input X contains {text}"):
        model.predict(bad)


@pytest.mark.parametrize(("value", "text"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_non_finite_targets(value, text):
    with pytest.raises(ValueError, match=f"y contains {text}"):
        ConvexMLPRegressor().fit(X, np.append(Y[:-1], value))
    with pytest.raises(ValueError, match=f"y contains {text}"):
        ConvexMLPClassifier().fit(X, np.append(LABELS[:-1].astype(float), value))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_no_samples_or_no_features(estimator_type):
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        estimator_type().fit(X[:0], LABELS[:0])
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        estimator_type().fit(X[:, :0], LABELS)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_wrong_dimensions_and_lengths(estimator_type):
    model = estimator_type()
    y = targets_for(model)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        model.fit(X[:, 0], y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:5])
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    with pytest.raises(ValueError, match=r"3 features, but .* is expecting 2"):
        model.fit(X, y).predict(with_ones(X))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_non_numeric_samples(estimator_type):
    with pytest.raises(ValueError, match="could not convert string to float"):
        estimator_type().fit(np.full((8, 1), "a"), LABELS)


def test_non_numeric_targets_of_a_regressor():
    with pytest.raises(ValueError, match="could not convert string to float"):
        ConvexMLPRegressor().fit(X, list("abcdefgh"))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_samples(estimator_type, container):
    with pytest.raises(TypeError, match="dense data is required"):
        estimator_type().fit(container(X), LABELS)


@pytest.mark.parametrize("n_classes", [0, 1])
def test_one_class(n_classes):
    samples = X[:1] if n_classes == 0 else X
    with pytest.raises(ValueError, match=r"at least two classes. Got one class only: "):
        ConvexMLPClassifier().fit(samples, np.full(len(samples), "spam"))


def test_continuous_labels():
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        ConvexMLPClassifier().fit(X, Y)


# Weights


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (np.ones(3), r"one entry for each of the 8 samples.*Got shape \(3,\)"),
        (np.ones((8, 1)), r"Got shape \(8, 1\)"),
        (2.0, r"Got shape \(\)"),
        (np.append(np.ones(7), -1.0), "must not be negative. Got -1.0"),
        (np.append(np.ones(7), np.nan), "must be finite"),
        (np.append(np.ones(7), np.inf), "must be finite"),
        (np.zeros(8), "All sample weights are zero"),
        (["a"] * 8, "could not convert string to float"),
    ],
)
def test_weights(estimator_type, weight, text):
    model = estimator_type()
    with pytest.raises(ValueError, match=text):
        model.fit(X, targets_for(model), sample_weight=weight)


def test_a_class_of_weight_zero():
    with pytest.raises(ValueError, match=r"class\(es\) \[1\] have weight zero"):
        ConvexMLPClassifier().fit(X, LABELS, sample_weight=1.0 - LABELS)
    with pytest.raises(ValueError, match=r"class\(es\) \[0\] have weight zero"):
        ConvexMLPClassifier(class_weight={0: 0.0, 1: 1.0}).fit(X, LABELS)


@pytest.mark.parametrize("class_weight", [{0: -1.0, 1: 1.0}, {0: np.nan, 1: 1.0}])
def test_class_weights_are_weights(class_weight):
    with pytest.raises(ValueError, match="sample_weight must"):
        ConvexMLPClassifier(class_weight=class_weight).fit(X, LABELS)


# Parameters


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("alpha", [-1, -1e-300, np.nan, np.inf])
def test_alpha_out_of_range(estimator_type, alpha):
    with pytest.raises(ValueError, match=r"alpha must be finite and >= 0. Got"):
        estimator_type(alpha=alpha).fit(X, LABELS)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("alpha", ["1", True, np.True_, None, 1j, [1.0]])
def test_alpha_of_another_type(estimator_type, alpha):
    with pytest.raises(TypeError, match=r"alpha must be a real number. Got"):
        estimator_type(alpha=alpha).fit(X, LABELS)


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), np.float16(0.25)])
def test_alpha_of_any_precision_gives_double_precision(number):
    plain, other = (ConvexMLPRegressor(alpha=alpha, tol=1e-7).fit(X, Y) for alpha in (0.25, number))
    for name in ("objective_", "dual_objective_", "dual_gap_"):
        assert isinstance(getattr(other, name), float)
        assert getattr(other, name) == getattr(plain, name)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", "foo", "Unknown loss 'foo'. Choose one of"),
        ("activation", "tanh", "Unknown activation 'tanh'. Choose one of"),
        ("hidden_bias", "foo", "hidden_bias must be 'penalized', 'free' or 'none'. Got 'foo'"),
        ("solver", "foo", "Unknown solver 'foo'. Known: 'auto', 'clarabel'"),
        ("tol", 0.0, "tol must be positive; got 0.0"),
        ("tol", -1.0, "tol must be positive; got -1.0"),
        ("tol", np.nan, "tol must be positive; got nan"),
        ("max_iter", 0, "max_iter must be None or at least 1; got 0"),
        ("time_limit", 0.0, "time_limit must be None or positive; got 0.0"),
        *[
            ("patterns", value, "patterns must be 'auto', 'exact', a positive number")
            for value in ("foo", 0, -1, True, 1.5, None, [1])
        ],
    ],
)
def test_options_without_a_meaning(estimator_type, name, value, text):
    model = estimator_type(**{name: value})
    with pytest.raises(ValueError, match=text):
        model.fit(X, targets_for(model))


def test_unknown_solver_has_its_own_error():
    with pytest.raises(SolverNotFoundError):
        ConvexMLPRegressor(solver="foo").fit(X, Y)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss", "softmax"])
def test_classification_loss_in_the_regressor(loss):
    with pytest.raises(ValueError, match="ConvexMLPRegressor needs a regression loss"):
        ConvexMLPRegressor(loss=loss).fit(X, Y)


@pytest.mark.parametrize("loss", [*REGRESSION_LOSSES, Huber(0.5)])
def test_regression_loss_in_the_classifier(loss):
    with pytest.raises(ValueError, match="ConvexMLPClassifier needs a classification loss"):
        ConvexMLPClassifier(loss=loss).fit(X, LABELS)


def test_softmax_by_name_needs_more_than_two_classes():
    with pytest.raises(ValueError, match="'softmax' needs at least two outputs"):
        ConvexMLPClassifier(loss="softmax").fit(X, LABELS)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_free_bias_needs_an_intercept_and_no_gates(estimator_type):
    with pytest.raises(ValueError, match=r"hidden_bias='free' gives any constant.*set fit_intercept=True"):
        estimator_type(hidden_bias="free", fit_intercept=False).fit(X, LABELS)
    with pytest.raises(ValueError, match="lets a gated unit fit its gate's indicator"):
        estimator_type(hidden_bias="free", activation="gated_relu").fit(X, LABELS)


def test_exact_over_budget_gives_count_memory_and_alternatives():
    rng = np.random.default_rng(1)
    with pytest.raises(PatternBudgetError) as caught:
        ConvexMLPRegressor(patterns="exact").fit(rng.normal(size=(200, 20)), rng.normal(size=200))
    text = str(caught.value)
    assert "10^27 activation patterns" in text
    assert "EB" in text
    assert "patterns='auto'" in text
    assert "a number of patterns to sample" in text


def test_patterns_of_other_data():
    with pytest.raises(ValueError, match=r"patterns are of data of shape \(8, 2\).*shape \(8, 3\)"):
        ConvexMLPRegressor(patterns=enumerate_patterns(X)).fit(X, Y)
    with pytest.raises(ValueError, match=r"patterns are of data of shape \(7, 3\)"):
        ConvexMLPRegressor(patterns=enumerate_patterns(with_ones(X[:7]))).fit(X, Y)
    with pytest.raises(ValueError, match="disagree with the signs of their generators"):
        ConvexMLPRegressor(patterns=enumerate_patterns(with_ones(X[::-1]))).fit(X, Y)
