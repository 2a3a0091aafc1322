"""Input without a meaning has its own error; degenerate input with a meaning has a documented answer."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, enumerate_patterns
from convexnn.exceptions import PatternBudgetError
from convexnn.losses import Huber
from convexnn_solvers import Backend, BackendError, Candidate, SolverNotFoundError, Status, registry

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
    with pytest.raises(ValueError, match="3 features, but .* is expecting 2"):
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
    with pytest.raises(ValueError, match="at least two classes. Got one class only: "):
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
    with pytest.raises(ValueError, match="alpha must be finite and >= 0. Got"):
        estimator_type(alpha=alpha).fit(X, LABELS)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("alpha", ["1", True, None, 1j, [1.0]])
def test_alpha_of_another_type(estimator_type, alpha):
    with pytest.raises(TypeError, match="alpha must be a real number. Got"):
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
    with pytest.raises(ValueError, match="hidden_bias='free' gives any constant.*set fit_intercept=True"):
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
    assert "patterns='auto' or a number of patterns" in text


def test_patterns_of_other_data():
    with pytest.raises(ValueError, match=r"patterns are of data of shape \(8, 2\).*shape \(8, 3\)"):
        ConvexMLPRegressor(patterns=enumerate_patterns(X)).fit(X, Y)
    with pytest.raises(ValueError, match=r"patterns are of data of shape \(7, 3\)"):
        ConvexMLPRegressor(patterns=enumerate_patterns(with_ones(X[:7]))).fit(X, Y)
    with pytest.raises(ValueError, match="disagree with the signs of their generators"):
        ConvexMLPRegressor(patterns=enumerate_patterns(with_ones(X[::-1]))).fit(X, Y)


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


# Scales


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize(("loss", "degree"), [("squared_error", 2), ("absolute_error", 1)])
def test_targets_of_any_scale(loss, degree, hidden_bias, scale):
    # F(c y, c^(degree - 1) alpha) = c^degree F(y, alpha)
    options = {"loss": loss, "hidden_bias": hidden_bias, "patterns": "exact", "tol": 1e-6}
    plain = ConvexMLPRegressor(alpha=0.1, **options).fit(X, Y)
    scaled = ConvexMLPRegressor(alpha=0.1 * scale ** (degree - 1), **options).fit(X, scale * Y)
    assert scaled.result_.converged
    assert scaled.objective_ / scale**degree == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("scale", [1e8, 1e4, 1e-4, 1e-8])
@pytest.mark.parametrize("hidden_bias", ["free", "none"])
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_samples_of_any_scale(estimator_type, hidden_bias, scale):
    # F(c X, c alpha) = F(X, alpha) where no bias is penalised.
    options = {"hidden_bias": hidden_bias, "patterns": "exact", "tol": 1e-6}
    plain, scaled = estimator_type(alpha=0.1, **options), estimator_type(alpha=0.1 * scale, **options)
    plain.fit(X, targets_for(plain))
    scaled.fit(scale * X, targets_for(plain))
    assert scaled.result_.converged
    assert scaled.objective_ == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_weights_of_any_scale(estimator_type, scale):
    # F(c s, c alpha) = c F(s, alpha)
    options = {"patterns": "exact", "tol": 1e-6}
    plain, scaled = estimator_type(alpha=0.1, **options), estimator_type(alpha=0.1 * scale, **options)
    plain.fit(X, targets_for(plain))
    scaled.fit(X, targets_for(plain), sample_weight=np.full(8, scale))
    assert scaled.result_.converged
    assert scaled.objective_ / scale == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_targets_of_any_offset(offset):
    options = {"alpha": 0.1, "patterns": "exact", "tol": 1e-6}
    plain, shifted = (ConvexMLPRegressor(**options).fit(X, Y + c) for c in (0.0, offset))
    assert shifted.result_.converged
    assert shifted.objective_ == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("offset", [10.0, 1e3])
def test_samples_of_any_offset_with_free_bias(offset):
    options = {"alpha": 0.1, "hidden_bias": "free", "patterns": "exact", "tol": 1e-6}
    plain, shifted = (ConvexMLPRegressor(**options).fit(X + c, Y) for c in (0.0, offset))
    assert shifted.result_.converged
    assert shifted.objective_ == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("of", ["X", "y", "both"])
def test_default_alpha_at_any_scale_is_honest(of, scale):
    data, y = X * (scale if of != "y" else 1.0), Y * (scale if of != "X" else 1.0)
    model = ConvexMLPRegressor(patterns="exact")
    try:
        model.fit(data, y)
    except ConvergenceWarning as warning:
        assert "The relative duality gap is" in str(warning)  # noqa: PT017 - either outcome is legal
    assert np.isfinite(model.predict(data)).all()
    assert model.dual_objective_ <= model.objective_ * (1 + 1e-12)
    assert model.objective_ <= 0.5 * np.sum((y - y.mean()) ** 2) * (1 + 1e-9)


# Solvers that stop early


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_iteration_limit(estimator_type):
    model = estimator_type(alpha=0.1, max_iter=1)
    with pytest.warns(ConvergenceWarning, match=r"above tol=0.0001 \(ITERATION_LIMIT\).*larger max_iter"):
        model.fit(X, targets_for(model))
    assert model.result_.status is Status.ITERATION_LIMIT
    assert not model.result_.converged
    assert model.dual_gap_ > model.tol * model.objective_
    assert model.predict(X).shape == (8,)
    converged = estimator_type(alpha=0.1).fit(X, targets_for(model))
    assert model.dual_objective_ <= converged.objective_ <= model.objective_ * (1 + model.tol)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_time_limit(estimator_type):
    model = estimator_type(alpha=0.1, time_limit=1e-9)
    with pytest.warns(ConvergenceWarning, match=r"\(TIME_LIMIT\).*larger time_limit"):
        model.fit(X, targets_for(model))
    assert model.result_.status is Status.TIME_LIMIT
    assert np.isfinite(model.objective_)
    assert model.predict(X).shape == (8,)


class Scripted(Backend):
    """A backend that does what the test tells it to."""

    name = "scripted"
    losses = frozenset({"squared_error"})
    answer = None

    def run(self, program, options):
        blocks, intercept = type(self).answer(program)
        return Candidate(blocks, intercept, None, Status.CONVERGED, 1, "All is well.")


@pytest.fixture
def scripted(monkeypatch):
    class Entry:
        @staticmethod
        def load():
            return Scripted

    monkeypatch.setattr(registry, "_plugins", lambda: {"scripted": Entry})

    def install(answer):
        monkeypatch.setattr(Scripted, "answer", staticmethod(answer))
        return ConvexMLPRegressor(alpha=0.1, solver="scripted")

    return install


def breaks_down(program):
    raise BackendError("the pivot is zero")


def interrupted(program):
    raise KeyboardInterrupt


def claims_zero(program):
    return program.zeros(), np.zeros(program.n_outputs)


def claims_noise(program):
    return RNG.normal(size=program.zeros().shape), RNG.normal(size=program.n_outputs)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (breaks_down, Status.FAILED, "the pivot is zero"),
        (interrupted, Status.INTERRUPTED, "interrupted"),
        (claims_zero, Status.INACCURATE, "All is well."),
        (claims_noise, Status.INACCURATE, "All is well."),
    ],
)
def test_a_failing_solver_keeps_the_best_point(scripted, answer, status, text):
    model = scripted(answer)
    with pytest.warns(ConvergenceWarning, match=rf"above tol=0.0001 \({status.name}\)[^$]*{text}"):
        model.fit(X, Y)
    assert model.result_.status is status
    constant = 0.5 * np.sum((Y - Y.mean()) ** 2)
    optimum = ConvexMLPRegressor(alpha=0.1, tol=1e-7).fit(X, Y)
    assert optimum.dual_objective_ <= model.objective_ <= constant * (1 + 1e-12)
    assert 0 <= model.dual_objective_ <= optimum.objective_
    assert model.objective_ == pytest.approx(model.network_.objective(X, Y, alpha=0.1), rel=1e-12)


def test_a_failing_solver_keeps_the_warm_start(scripted):
    model = ConvexMLPRegressor(alpha=0.1, warm_start=True).fit(X, Y)
    before, outputs = model.objective_, model.predict(X)
    scripted(breaks_down)
    model.set_params(solver="scripted", tol=1e-12)
    with pytest.warns(ConvergenceWarning, match="FAILED"):
        model.fit(X, Y)
    assert model.objective_ <= before * (1 + 1e-9)
    np.testing.assert_allclose(model.predict(X), outputs, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_solver_that_answers_nan_is_not_believed(scripted, value):
    model = scripted(lambda program: (np.full_like(program.zeros(), value), np.zeros(program.n_outputs)))
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    assert not model.result_.converged
    assert model.objective_ <= 0.5 * np.sum((Y - Y.mean()) ** 2) * (1 + 1e-12)
    assert np.isfinite(model.predict(X)).all()


def test_a_solver_says_which_losses_it_takes(scripted):
    model = scripted(claims_zero).set_params(loss="huber")
    with pytest.raises(ValueError, match="does not take the loss 'huber'"):
        model.fit(X, Y)
