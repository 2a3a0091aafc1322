"""The convex program of a two-layer network, written out once more in CVXPY.

Dense arrays, an explicit ``D_i X`` and variables ``v_i, w_i`` for each pattern: slow, and it shares no code
with the package.
"""

import warnings

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ACCURACY = 1e-9
_SETTINGS = {
    "CLARABEL": {"tol_gap_abs": ACCURACY, "tol_gap_rel": ACCURACY, "tol_feas": ACCURACY},
    "ECOS": {"abstol": ACCURACY, "reltol": ACCURACY, "feastol": ACCURACY, "max_iters": 300},
}


def with_bias(X: Array, hidden_bias: str) -> Array:
    """Data as the hidden layer sees it."""
    return X if hidden_bias == "none" else np.column_stack([X, np.ones(len(X))])


def loss_of(name: str, f: cp.Expression, y: Array, delta: float) -> cp.Expression:
    """Loss of each sample, shape (n,), for outputs `f` and encoded targets `y` of shape (n, K)."""
    margin = cp.multiply(y, f)
    if name == "softmax":
        return cp.log_sum_exp(f, axis=1) - cp.sum(margin, axis=1)
    elementwise = {
        "squared_error": lambda: 0.5 * cp.square(f - y),
        # CVXPY's Huber function is r^2 near zero, twice the usual one.
        "huber": lambda: 0.5 * cp.huber(f - y, delta),
        "absolute_error": lambda: cp.abs(f - y),
        "log_loss": lambda: cp.logistic(-margin),
        "hinge": lambda: cp.maximum(0.0, 1.0 - margin),
        "squared_hinge": lambda: cp.square(cp.maximum(0.0, 1.0 - margin)),
    }
    return cp.sum(elementwise[name](), axis=1)


def _solve(problem: cp.Problem, solver: str) -> str:
    with warnings.catch_warnings():
        # The status says the same as CVXPY's warning, and is looked at.
        warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
        try:
            problem.solve(solver=solver, **_SETTINGS[solver])
        except cp.error.SolverError:
            return "solver failed"
    return str(problem.status)


def restated_optimum(
    X: Array,
    y: Array,
    patterns: NDArray[np.bool_],
    *,
    alpha: float,
    loss: str = "squared_error",
    delta: float = 1.0,
    slopes: tuple[float, float] = (1.0, 0.0),
    gated: bool = False,
    hidden_bias: str = "penalized",
    fit_intercept: bool = True,
    sample_weight: Array | None = None,
    solvers: tuple[str, ...] = ("CLARABEL", "ECOS"),
) -> float:
    """Optimum of the program of design and patterns, pattern after pattern.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Without the column of ones.
    y : ndarray of shape (n, K)
        Encoded targets.
    patterns : ndarray of bool, shape (P, n)
    delta : float
        Of the Huber loss.
    slopes : tuple of float
        Slopes of the activation on the positive and the negative side.
    solvers : tuple of str
        Tried in this order until one reports an optimum of full accuracy.
    """
    data = with_bias(X, hidden_bias)
    n, d = data.shape
    n_penalized = d - (hidden_bias == "free")
    n_outputs = y.shape[1]
    weight = np.ones(n) if sample_weight is None else sample_weight
    columns, constraints, norms = [], [], []
    for _ in range(n_outputs):
        output = np.zeros(n)
        for pattern in patterns:
            layer = np.diag(np.where(pattern, slopes[0], slopes[1])) @ data
            v = cp.Variable(d)
            output = output + layer @ v
            norms.append(cp.norm(v[:n_penalized]))
            if gated:
                continue
            w = cp.Variable(d)
            output = output - layer @ w
            norms.append(cp.norm(w[:n_penalized]))
            cone = np.diag(np.where(pattern, 1.0, -1.0)) @ data
            constraints += [cone @ v >= 0, cone @ w >= 0]
        columns.append(output + (cp.Variable() if fit_intercept else 0.0))
    f = cp.vstack(columns).T
    cost = cp.sum(cp.multiply(weight, loss_of(loss, f, y, delta))) + alpha * cp.sum(cp.hstack(norms))
    problem = cp.Problem(cp.Minimize(cost), constraints)
    for solver in solvers:
        if _solve(problem, solver) == cp.OPTIMAL:
            return float(problem.value)
    raise RuntimeError(f"None of {solvers} finds the restated optimum; the last says {problem.status!r}.")


def restated_shared_optimum(
    X: Array,
    y: Array,
    pairs: list[tuple[NDArray[np.bool_], Array]],
    *,
    alpha: float,
    loss: str = "squared_error",
    delta: float = 1.0,
    slopes: tuple[float, float] = (1.0, 0.0),
    hidden_bias: str = "penalized",
    fit_intercept: bool = True,
    sample_weight: Array | None = None,
) -> float:
    """Optimum over blocks on given pairs of a pattern (n,) and an output direction (K,)."""
    data = with_bias(X, hidden_bias)
    n, d = data.shape
    n_penalized = d - (hidden_bias == "free")
    weight = np.ones(n) if sample_weight is None else sample_weight
    f = np.ones((n, 1)) @ cp.reshape(
        cp.Variable(y.shape[1]) if fit_intercept else np.zeros(y.shape[1]), (1, y.shape[1]), order="C"
    )
    constraints, norms = [], []
    for pattern, direction in pairs:
        z = cp.Variable((d, 1))
        f = f + np.diag(np.where(pattern, slopes[0], slopes[1])) @ data @ z @ direction[None, :]
        constraints.append(np.diag(np.where(pattern, 1.0, -1.0)) @ data @ z >= 0)
        norms.append(cp.norm(z[:n_penalized, 0]))
    cost = cp.sum(cp.multiply(weight, loss_of(loss, f, y, delta))) + alpha * cp.sum(cp.hstack(norms))
    problem = cp.Problem(cp.Minimize(cost), constraints)
    for solver in ("CLARABEL", "ECOS"):
        if _solve(problem, solver) == cp.OPTIMAL:
            return float(problem.value)
    raise RuntimeError(f"No solver finds the restated optimum; the last says {problem.status!r}.")


def restated_support(X: Array, pattern: NDArray[np.bool_], gradient: Array, *, n_penalized: int) -> float:
    """``max g.u`` over ``u`` in the cone of a pattern of `X` with unit norm of its first coordinates."""
    u = cp.Variable(X.shape[1])
    sizes = np.linalg.norm(X, axis=1)
    rows = np.where(pattern, 1.0, -1.0)[:, None] * X / np.where(sizes > 0, sizes, 1.0)[:, None]
    problem = cp.Problem(cp.Maximize(gradient @ u), [rows @ u >= 0, cp.norm(u[:n_penalized]) <= 1])
    for solver in ("CLARABEL", "ECOS"):
        status = _solve(problem, solver)
        if status == cp.UNBOUNDED:
            return float("inf")
        if status == cp.OPTIMAL:
            return float(problem.value)
    raise RuntimeError(f"No solver finds the support function; the last says {problem.status!r}.")


def restated_proximal_point(point: Array, rows: Array, shrinkage: float, *, n_penalized: int) -> Array:
    """``argmin 1/2 |u - point|^2 + shrinkage |u[:n_penalized]|`` over ``rows u >= 0``."""
    u = cp.Variable(len(point))
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    constraints = [rows / np.where(sizes > 0, sizes, 1.0) @ u >= 0] if len(rows) else []
    cost = 0.5 * cp.sum_squares(u - point) + shrinkage * cp.norm(u[:n_penalized])
    problem = cp.Problem(cp.Minimize(cost), constraints)
    for solver in ("CLARABEL", "ECOS"):
        if _solve(problem, solver) == cp.OPTIMAL:
            return np.asarray(u.value, dtype=np.float64)
    raise RuntimeError(f"No solver finds the proximal point; the last says {problem.status!r}.")
