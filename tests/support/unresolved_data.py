"""Finite data whose cells float64 cannot tell apart."""

import numpy as np
from scipy.special import expit


def saturated_probabilities(n=40, seed=0):
    """Probabilities that two confident classifiers give, as stacking sees them, and the labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    z = 3 * (2 * y - 1) + rng.normal(size=n)
    return np.column_stack([expit(4 * z), expit(3 * z + rng.normal(size=n))]), y


def _collinear_far_off(rng):
    X = rng.normal(size=(15, 2))
    return np.column_stack([X, X @ rng.normal(size=2)]) + 1e14


UNRESOLVED = {
    "saturated": lambda rng: np.column_stack([saturated_probabilities(seed=rng.integers(9))[0], np.ones(40)]),
    "far off": lambda rng: np.column_stack([rng.normal(size=(20, 2)) + 1e13, np.ones(20)]),
    "collinear and far off": _collinear_far_off,
    "rounded copy": lambda rng: _with_rounded_copy(rng.normal(size=25)),
    "entries of all sizes": lambda rng: rng.normal(size=(18, 3)) * 10.0 ** rng.integers(-8, 8, size=(18, 3)),
}


def _with_rounded_copy(column):
    return np.column_stack([column, np.round(1.8 * column + 32, 11), np.ones(25)])


def intersections(X, rng, n_weights=20):
    """Weights on as many hyperplanes as possible, up to rounding."""
    scale = np.abs(X).max(axis=0)
    rows = [X[rng.choice(len(X), X.shape[1] - 1, replace=False)] / scale for _ in range(n_weights)]
    return np.array([np.linalg.svd(some)[2][-1] for some in rows]) / scale
