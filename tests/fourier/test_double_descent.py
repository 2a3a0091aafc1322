"""The curve beside refits, its ends, and what it shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error

from convexnn.fourier import (
    FourierFeatures,
    RandomFourierClassifier,
    RandomFourierRegressor,
    double_descent_curve,
)
from convexnn.fourier.nested import NestedLeastSquares

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(30, 4)), RNG.normal(size=(25, 4))
NOISE = RNG.normal(size=30)
Y, Y_TEST = np.sin(X.sum(axis=1)) + 0.3 * NOISE, np.sin(X_TEST.sum(axis=1))
SIZES = [2, 7, 14, 15, 16, 30, 100]
DATA = X, Y, X_TEST, Y_TEST


def labels(samples, n_classes):
    return np.array(["a", "b", "c"])[np.digitize(samples[:, 0], [0.0, 0.7][: n_classes - 1])]


def test_regression_is_that_of_refits(seed):
    copies = np.vstack([X, X[:4]]), np.append(Y, Y[:4] + 1.0)
    for options in (
        {},
        {"fit_intercept": False},
        {"ridge": 0.01},
        {"ridge": 1.0, "gamma": "scale"},
        {"gamma": 1.0},
    ):
        model = RandomFourierRegressor(**options)
        curve = double_descent_curve(
            model, *copies, X_TEST, Y_TEST, n_frequencies=SIZES, n_repeats=2, random_state=seed
        )
        assert curve.n_frequencies.tolist() == SIZES
        assert curve.n_features.tolist() == [2 * N for N in SIZES]
        assert curve.n_samples == 30
        assert curve.seeds.tolist() == [seed, seed + 1]
        assert curve.train_misclassified is None
        assert curve.test_misclassified is None
        for s, N in enumerate(SIZES):
            for r in range(2):
                refit = clone(model).set_params(n_frequencies=N, random_state=curve.seeds[r]).fit(*copies)
                train = mean_squared_error(copies[1], refit.predict(copies[0]))
                np.testing.assert_allclose(curve.train_error[s, r], train, rtol=1e-8, atol=1e-16)
                test = mean_squared_error(Y_TEST, refit.predict(X_TEST))
                np.testing.assert_allclose(curve.test_error[s, r], test, rtol=1e-8)
                np.testing.assert_allclose(curve.coef_norm[s, r], np.linalg.norm(refit.coef_), rtol=1e-8)
                assert curve.rank[s, r] == refit.rank_


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_classification_is_that_of_refits(n_classes, ridge):
    y, y_test = labels(X, n_classes), labels(X_TEST, n_classes)
    model = RandomFourierClassifier(ridge=ridge, random_state=3)
    curve = double_descent_curve(model, X, y, X_TEST, y_test, n_frequencies=SIZES)
    assert curve.seeds.tolist() == [3]
    for s, N in enumerate(SIZES):
        refit = clone(model).set_params(n_frequencies=N).fit(X, y)
        assert curve.train_misclassified[s, 0] == pytest.approx(1 - refit.score(X, y))
        assert curve.test_misclassified[s, 0] == pytest.approx(1 - refit.score(X_TEST, y_test))
        encoded = np.where(y_test[:, None] == (refit.classes_ if n_classes > 2 else ["b"]), 1.0, -1.0)
        outputs = refit.decision_function(X_TEST).reshape(25, -1)
        np.testing.assert_allclose(curve.test_error[s, 0], np.mean((outputs - encoded) ** 2), rtol=1e-8)
        np.testing.assert_allclose(curve.coef_norm[s, 0], np.linalg.norm(refit.coef_), rtol=1e-8)


def test_several_outputs_are_averaged():
    targets, test = np.column_stack([Y, 2 * Y, X[:, 0]]), np.column_stack([Y_TEST, Y_TEST, X_TEST[:, 0]])
    model = RandomFourierRegressor(ridge=0.1, random_state=0)
    curve = double_descent_curve(model, X, targets, X_TEST, test, n_frequencies=[3, 40])
    for s, N in enumerate([3, 40]):
        refit = clone(model).set_params(n_frequencies=N).fit(X, targets)
        features = FourierFeatures(refit.random_weights_.T)
        phi, phi_test = features(X), features(X_TEST)
        outputs = Ridge(0.1, solver="svd").fit(phi, targets).predict(phi_test)
        np.testing.assert_allclose(curve.test_error[s, 0], np.mean((outputs - test) ** 2), rtol=1e-8)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 12), st.booleans(), st.sampled_from([0.0, 1e-3]))
def test_degenerate_samples_are_those_of_refits(seed, n, fit_intercept, ridge):
    rng = np.random.default_rng(seed)
    samples, y = rng.integers(-1, 2, size=(n, 2)).astype(float), rng.integers(-2, 3, size=n).astype(float)
    model = RandomFourierRegressor(fit_intercept=fit_intercept, ridge=ridge, random_state=seed % 7)
    curve = double_descent_curve(model, samples, y, X_TEST[:, :2], Y_TEST, n_frequencies=[1, 2, 3, 5, 20])
    for s, N in enumerate(curve.n_frequencies):
        refit = clone(model).set_params(n_frequencies=N).fit(samples, y)
        train = mean_squared_error(y, refit.predict(samples))
        # Errors of solutions of norm a are those of rounding times a.
        slack = 1e-12 * (1 + curve.coef_norm[s, 0]) ** 2
        np.testing.assert_allclose(curve.train_error[s, 0], train, rtol=1e-8, atol=slack)
        assert curve.rank[s, 0] == refit.rank_


def test_smooth_kernels_are_solved_by_singular_values():
    samples = np.linspace(0, 1, 40)[:, None]
    y = np.sin(9 * samples[:, 0])
    model = RandomFourierRegressor(random_state=0)
    curve = double_descent_curve(model, samples, y, samples, y, n_frequencies=[5, 15, 20, 21, 200])
    for s, N in enumerate(curve.n_frequencies):
        refit = clone(model).set_params(n_frequencies=N).fit(samples, y)
        assert abs(curve.rank[s, 0] - refit.rank_) <= 1
        # Of features that are dependent in float64 the fit is determined up to rounding, the norm is not.
        assert curve.train_error[s, 0] <= max(2 * mean_squared_error(y, refit.predict(samples)), 1e-15)
    assert (curve.rank[2:, 0] < 39).all()


def test_the_peak_is_where_features_are_as_many_as_samples():
    sizes = [3, 8, 15, 40, 100, 1000]
    model = RandomFourierRegressor(gamma=0.5, fit_intercept=False)
    curve = double_descent_curve(model, *DATA, n_frequencies=sizes, n_repeats=20, random_state=0)
    for figures in (np.median(curve.test_error, axis=1), np.median(curve.coef_norm, axis=1)):
        assert figures.argmax() == 2
        assert (np.diff(figures[2:]) < 0).all()
    assert curve.train_error[2:].max() < 1e-16
    assert curve.train_error[:2].min() > 1e-3
    assert "6 sizes, 6 to 2000 features, 30 distinct samples, 20 repeats" in repr(curve)
    assert f"{curve.test_error.mean(axis=1).max():.3g} at 30 features" in repr(curve)


# Ends


class Clock:
    """A clock that moves when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def solved(monkeypatch):
    """Number of solves so far, and what to do after each."""
    state = {"count": 0, "then": lambda count: None}
    solve = NestedLeastSquares.solve

    def counted(self, *arguments):
        state["count"] += 1
        state["then"](state["count"])
        return solve(self, *arguments)

    monkeypatch.setattr(NestedLeastSquares, "solve", counted)
    return state


def interrupt_at(count):
    def then(current):
        if current == count:
            raise KeyboardInterrupt

    return then


def test_time_limit_keeps_the_sizes_done(solved, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("convexnn.fourier.double_descent.time.perf_counter", clock)

    def tick(count):
        clock.now += 1.0

    solved["then"] = tick
    model = RandomFourierRegressor(random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"with 3 of 7 sizes in 1 of 2 repeats\. Give it more time"):
        curve = double_descent_curve(model, *DATA, n_frequencies=SIZES, n_repeats=2, time_limit=2.5)
    assert curve.n_frequencies.tolist() == SIZES[:3]
    assert curve.test_error.shape == (3, 1)
    clock.now = 0.0
    whole = double_descent_curve(model, *DATA, n_frequencies=SIZES, time_limit=100)
    np.testing.assert_array_equal(whole.test_error[:3], curve.test_error)


def test_interrupts_keep_the_repeats_done(solved):
    model = RandomFourierRegressor(random_state=0)
    solved["then"] = interrupt_at(17)
    with pytest.warns(ConvergenceWarning, match="with 7 of 7 sizes in 2 of 3 repeats"):
        curve = double_descent_curve(model, *DATA, n_frequencies=SIZES, n_repeats=3)
    assert curve.test_error.shape == (7, 2)
    assert curve.seeds.tolist() == [0, 1]
    solved.update(count=0, then=interrupt_at(2))
    with pytest.warns(ConvergenceWarning, match="with 1 of 7 sizes in 1 of 3 repeats"):
        curve = double_descent_curve(model, *DATA, n_frequencies=SIZES, n_repeats=3)
    assert curve.n_features.tolist() == [4]
    solved.update(count=0, then=interrupt_at(1))
    with pytest.raises(KeyboardInterrupt):
        double_descent_curve(model, *DATA, n_frequencies=SIZES)


def test_verbose_prints_a_line_for_each_size(capsys):
    model = RandomFourierRegressor(random_state=0)
    quiet = double_descent_curve(model, *DATA, n_frequencies=[2, 9], n_repeats=2)
    assert capsys.readouterr().out == ""
    double_descent_curve(model, *DATA, n_frequencies=[2, 9], n_repeats=2, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("repeat 1 of 2,     18 features: train error ")
    assert f"test error {quiet.test_error[1, 0]:.4g}, norm {quiet.coef_norm[1, 0]:.4g}, rank 18" in lines[1]


def test_sizes_are_sorted_and_arrays_frozen():
    model = RandomFourierRegressor(random_state=0).fit(X, Y)
    before = model.coef_.copy()
    curve = double_descent_curve(model, *DATA, n_frequencies=[9, 2, 9])
    assert curve.n_frequencies.tolist() == [2, 9]
    np.testing.assert_array_equal(model.coef_, before)
    with pytest.raises(ValueError, match="read-only"):
        curve.test_error[0] = 0.0


# Refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_frequencies": []}, ValueError, r"at least one number of frequencies. Got shape \(0,\)"),
        ({"n_frequencies": 5}, ValueError, r"Got shape \(\); for one size pass \[N\]"),
        ({"n_frequencies": [1.5]}, TypeError, "n_frequencies must be an integer. Got 1.5"),
        ({"n_frequencies": [3, 0]}, ValueError, "n_frequencies must be at least 1. Got 0"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be at least 1. Got 0"),
        ({"n_repeats": 1.0}, TypeError, "n_repeats must be an integer. Got 1.0"),
        ({"time_limit": 0}, ValueError, "time_limit must be None or a positive number of seconds. Got 0"),
        ({"time_limit": "long"}, ValueError, "time_limit must be None or .*Got 'long'"),
    ],
)
def test_options_without_meaning_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        double_descent_curve(RandomFourierRegressor(), *DATA, **{"n_frequencies": [2], **options})


def test_data_that_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"estimator must be a RandomFourierRegressor or .*Got Ridge"):
        double_descent_curve(Ridge(), *DATA, n_frequencies=[2])
    model = RandomFourierRegressor()
    with pytest.raises(ValueError, match=r"y_test must have as many outputs as y, 1\. Got 2"):
        double_descent_curve(model, X, Y, X_TEST, np.column_stack([Y_TEST, Y_TEST]), n_frequencies=[2])
    with pytest.raises(ValueError, match="X has 3 features, but"):
        double_descent_curve(model, X, Y, X_TEST[:, :3], Y_TEST, n_frequencies=[2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        double_descent_curve(model, X, Y, X_TEST, Y_TEST[:3], n_frequencies=[2])
    with pytest.raises(ValueError, match="ridge must be finite"):
        double_descent_curve(RandomFourierRegressor(ridge=-1.0), *DATA, n_frequencies=[2])
    y, y_test = labels(X, 2), labels(X_TEST, 3)
    with pytest.raises(ValueError, match=r"labels of y only, \['a', 'b'\]. Got \['c'\] too"):
        double_descent_curve(RandomFourierClassifier(), X, y, X_TEST, y_test, n_frequencies=[2])
