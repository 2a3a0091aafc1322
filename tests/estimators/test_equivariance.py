"""Changes of the data that do not change the problem: the objective stays, and so does convergence."""

import numpy as np
import pytest

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor

BIASES = ["penalized", "free", "none"]
TOL = 1e-7


def draw(seed):
    """Return a random small problem: data, targets, estimator and options."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(6, 14)), int(rng.integers(1, 3))
    X = rng.normal(size=(n, d))
    bias = BIASES[seed % 3]
    loss = ["squared_error", "log_loss", "huber", "squared_hinge"][(seed // 3) % 4]
    classifies = loss in ("log_loss", "squared_hinge")
    y = np.sin(2 * X[:, 0]) + X[:, -1] + 0.1 * rng.normal(size=n)
    y = (y > np.median(y)).astype(int) if classifies else y
    kind = ConvexMLPClassifier if classifies else ConvexMLPRegressor
    alpha = float(10 ** rng.uniform(-2, -0.5))
    return rng, X, y, kind, {"loss": loss, "hidden_bias": bias, "alpha": alpha, "patterns": "exact"}


def scaled(rng, X, y, options):
    if options["hidden_bias"] == "penalized":
        return X, y, {}
    factor = float(10 ** rng.uniform(-6, 6))
    return X * factor, y, {"alpha": options["alpha"] * factor}


def shifted(rng, X, y, options):
    offsets = rng.choice([-1e4, -30.0, 1.0, 300.0, 1e4], size=X.shape[1])
    return (X + offsets if options["hidden_bias"] == "free" else X), y, {}


def permuted(rng, X, y, options):
    rows, columns = rng.permutation(len(X)), rng.permutation(X.shape[1])
    return X[rows][:, columns], y[rows], {}


def repeated_columns(rng, X, y, options):
    """Two columns of ``x / sqrt(2)`` are one of ``x``: the least norm shares the weight equally."""
    copies = rng.integers(1, 4, size=X.shape[1])
    return np.repeat(X / np.sqrt(copies), copies, axis=1), y, {}


def with_constant_column(rng, X, y, options):
    if options["hidden_bias"] != "free":
        return X, y, {}
    return np.column_stack([X, np.full(len(X), rng.normal())]), y, {}


CHANGES = [scaled, shifted, permuted, repeated_columns, with_constant_column]


def check(seed):
    rng, X, y, kind, options = draw(seed)
    plain = kind(tol=TOL, **options).fit(X, y)
    assert plain.result_.converged
    for change in CHANGES:
        moved_X, moved_y, changed = change(rng, X, y, options)
        moved = kind(tol=TOL, **(options | changed)).fit(moved_X, moved_y)
        assert moved.result_.converged, change.__name__
        assert moved.objective_ == pytest.approx(plain.objective_, rel=1e-6), change.__name__
    copies = rng.integers(1, 4, size=len(X))
    again = kind(tol=TOL, **options).fit(np.repeat(X, copies, axis=0), np.repeat(y, copies))
    weighted = kind(tol=TOL, **options).fit(X, y, sample_weight=copies.astype(float))
    assert again.objective_ == pytest.approx(weighted.objective_, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_objective_stays(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 200))
def test_the_objective_stays_in_many_problems(seed):
    check(seed)


@pytest.mark.parametrize(
    ("hidden_bias", "offset", "seeds"),
    [("free", 0.0, 1), ("free", 30.0, 1), ("free", 1e3, 1), ("penalized", 30.0, 3), ("penalized", 100.0, 3)],
)
def test_adaptive_patterns_see_off_centre_data(hidden_bias, offset, seeds):
    """A free bias makes up for an offset; with a penalised one no list of all patterns is better.

    There some neurons' hyperplanes are so much alike that one hides the other from a search.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) + offset
    y = np.abs(X[:, 0] - offset) - X[:, 1]
    optimum = ConvexMLPRegressor(hidden_bias=hidden_bias, patterns="exact", tol=1e-5).fit(X, y)
    assert optimum.gap_scope_ == "global"
    for seed in range(seeds):
        model = ConvexMLPRegressor(hidden_bias=hidden_bias, random_state=seed).fit(X, y)
        assert model.objective_ <= optimum.objective_ * (1 + 2e-4)
    if hidden_bias == "free":
        assert model.objective_ == pytest.approx(2.8080245, rel=1e-4)
