"""The recipes of the page on the architecture: an activation and a layer that the package does not have."""

from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from convexnn import ConvexCNNRegressor, ConvexMLPRegressor, enumerate_patterns
from convexnn._typing import FloatArray
from convexnn.activations import Activation
from convexnn.layers import HiddenLayer, pooling

STEEP = Activation("steep", on=2.0, off=-0.5)


def restated(X: FloatArray, y: FloatArray, alpha: float) -> float:
    """Optimum over all patterns of `STEEP` with a penalised bias and an intercept, by CVXPY."""
    rows = np.column_stack([X, np.ones(len(X))])
    outputs: Any = cp.Variable()
    penalty: Any = 0
    constraints = []
    for pattern in enumerate_patterns(rows).to_dense():
        slopes, sides = np.where(pattern, 2.0, -0.5), np.where(pattern, 1.0, -1.0)
        for sign in (1.0, -1.0):
            v = cp.Variable(rows.shape[1])
            outputs = outputs + sign * cp.multiply(slopes, rows @ v)
            constraints.append(cp.multiply(sides, rows @ v) >= 0)
            penalty = penalty + cp.norm(v)
    program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(outputs - y) + alpha * penalty), constraints)
    return float(program.solve(solver="CLARABEL"))


def test_an_activation_needs_two_slopes() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1]
    model = ConvexMLPRegressor(0.1, activation=STEEP, patterns="exact", tol=1e-7).fit(X, y)
    assert model.gap_scope_ == "global"
    assert model.objective_ == pytest.approx(restated(X, y, 0.1), rel=1e-5)
    steep = np.where(X @ model.coefs_[0] + model.intercepts_[0] >= 0, 2.0, -0.5)
    hidden = steep * (X @ model.coefs_[0] + model.intercepts_[0])
    np.testing.assert_allclose(model.predict(X), hidden @ model.coefs_[1][:, 0] + model.intercepts_[1])


def test_a_known_name_has_its_slopes() -> None:
    with pytest.raises(ValueError, match=r"'relu' has the slopes \(1.0, 0.0\)"):
        Activation("relu", off=0.5)


class FirstRowLayer(HiddenLayer):
    """A layer that looks at the first patch of each sample only, as if the others were zero."""

    def __init__(self, rows: FloatArray, positions: int, activation: Activation, penalized: Any) -> None:
        first = rows.reshape(-1, positions, rows.shape[1])[:, 0]
        super().__init__(np.ascontiguousarray(first), 1, activation, penalized)


def test_a_layer_is_entered_in_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training through the table's entry is training on the first patch."""
    monkeypatch.setitem(pooling.POOLINGS, "average", FirstRowLayer)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(12, 6)), rng.normal(size=12)
    options: dict[str, Any] = {"alpha": 0.2, "patterns": "exact", "tol": 1e-6}
    convolution = ConvexCNNRegressor(kernel_size=2, stride=2, **options).fit(X, y)
    dense = ConvexMLPRegressor(**options).fit(X[:, :2], y)
    assert convolution.result_.objective == pytest.approx(dense.objective_, rel=2e-6)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling must be"):
        pooling.hidden_layer(np.ones((2, 1)), 1, STEEP, np.ones(1, dtype=np.bool_), "median")
