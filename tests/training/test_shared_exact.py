"""Optima of shared outputs in three dimensions, proved once more by listing every face of every cell."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import log_softmax, xlogy

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor

TOL = 1e-6


def signs_around_vertices(rows):
    """Sign patterns of all cells of planes through zero in space, and of the cells of lines in each plane.

    Every cell touches a ray on which two planes meet; it is on one side or the other of these.
    """
    pairs = np.array(list(combinations(range(len(rows)), 2)))
    rays = np.cross(rows[pairs[:, 0]], rows[pairs[:, 1]])
    rays, pairs = np.concatenate([rays, -rays]), np.concatenate([pairs, pairs])
    on = rays @ rows.T > 0
    steps, cells, sides = np.arange(len(rays)), [], []
    for first in (False, True):
        for second in (False, True):
            cell = on.copy()
            cell[steps, pairs[:, 0]], cell[steps, pairs[:, 1]] = first, second
            cells.append(cell)
        # On the plane of either row, beside the ray on either side of the other; the row's own sign is free.
        for owner, other in ((0, 1), (1, 0)):
            side = on.copy()
            side[steps, pairs[:, other]] = first
            sides.append((pairs[:, owner], side))
    return rays, np.unique(np.concatenate(cells), axis=0), sides


def largest_price(rows, theta):
    """``max |theta' relu(rows u)| / |u|`` over space: singular vectors on the cells, their sides and edges.

    On a cell or a side of one the price is that of a matrix, and its maximum there is at an edge or
    stationary. Other vectors of the list do no harm: each counts as what it is.
    """
    rays, cells, sides = signs_around_vertices(rows)
    found = [rays]

    def matrices(patterns):
        return np.einsum("nk,pn,nd->pkd", theta, patterns.astype(float), rows, optimize=True)

    found.append(np.linalg.svd(matrices(cells))[2].reshape(-1, 3))
    for owners, patterns in sides:
        normals = rows[owners] / np.linalg.norm(rows[owners], axis=1, keepdims=True)
        onto = np.eye(3) - normals[:, :, None] * normals[:, None, :]
        found.append(np.linalg.svd(matrices(patterns) @ onto)[2][:, :2].reshape(-1, 3))
    u = np.concatenate([*found, *(-part for part in found)])
    u = u[np.linalg.norm(u, axis=1) > 1e-9]
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return max(
        np.linalg.norm(np.maximum(part @ rows.T, 0) @ theta, axis=1).max() for part in np.array_split(u, 20)
    )


def dual_value(theta, targets, loss):
    """``-L*(-theta)`` where the columns of `theta` sum to zero."""
    if loss == "squared_error":
        return float((theta * targets).sum() - 0.5 * (theta**2).sum())
    shares = targets - theta
    assert shares.min() > -1e-12
    return -float(xlogy(shares, np.maximum(shares, 0)).sum())


def objective(model, X, targets, alpha, loss, bias):
    """``F`` from the weights."""
    (hidden, output), (hidden_bias, intercept) = model.coefs_, model.intercepts_
    outputs = np.maximum(X @ hidden + hidden_bias, 0) @ output + intercept
    fit = 0.5 * ((outputs - targets) ** 2).sum()
    if loss == "log_loss":
        fit = -(targets * log_softmax(outputs, axis=1)).sum()
    penalty = (hidden**2).sum() + (output**2).sum() + ((hidden_bias**2).sum() if bias == "penalized" else 0)
    return float(fit + 0.5 * alpha * penalty)


def draw(seed):
    """One of forty problems: up to 60 samples, two to four outputs, both losses, with and without a bias."""
    rng = np.random.default_rng(seed)
    loss, bias = ("squared_error", "log_loss")[seed % 2], ("penalized", "none")[seed // 2 % 2]
    n, n_outputs = int(rng.integers(8, 61)), 2 + seed // 4 % 3
    if loss == "log_loss":
        n_outputs = max(n_outputs, 3)
    X = rng.normal(size=(n, 2 if bias == "penalized" else 3))
    X = X[np.argsort(X[:, 0])]  # the order of distinct samples in programs, and of their dual points
    scores = np.tanh(X @ rng.normal(size=(X.shape[1], n_outputs))) + 0.3 * rng.normal(size=(n, n_outputs))
    if loss == "log_loss":
        y = np.concatenate([np.arange(n_outputs), scores.argmax(axis=1)[n_outputs:]])
        return X, y, np.eye(n_outputs)[y], loss, bias, float(rng.uniform(0.2, 2.0))
    return X, scores, scores, loss, bias, float(rng.uniform(0.05, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_exact_optima_are_proved_by_listing_all_faces(seed):
    X, y, targets, loss, bias, alpha = draw(seed)
    kind = ConvexMLPClassifier if loss == "log_loss" else ConvexMLPRegressor
    model = kind(alpha, loss=loss, patterns="exact", hidden_bias=bias, tol=TOL, random_state=0).fit(X, y)
    assert model.gap_scope_ == "global"
    upper = objective(model, X, targets, alpha, loss, bias)
    assert model.objective_ == pytest.approx(upper, rel=1e-9)
    theta = model.result_.dual_point
    theta = theta if float((theta * targets).sum()) > 0 else -theta
    theta = theta - theta.mean(axis=0)
    rows = np.column_stack([X, np.ones(len(X))]) if bias == "penalized" else X
    theta = theta * min(1.0, alpha / largest_price(rows, theta))
    lower = dual_value(theta, targets, loss)
    assert lower <= upper * (1 + 1e-12)
    assert upper - lower <= 1.1 * TOL * upper
    # What the fit calls a bound is one: the listing proves as much, but for rounding.
    assert model.dual_objective_ <= upper
    assert model.dual_objective_ == pytest.approx(lower, rel=1.1 * TOL)
