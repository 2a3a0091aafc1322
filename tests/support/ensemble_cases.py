"""Ensembles to test on, and their program restated from predictions with NumPy, SciPy and CVXPY only."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]


def regression(seed: int, n: int = 90, d: int = 5, noise: float = 0.5) -> tuple[Array, Array]:
    """Linear data with noise, features of mean zero."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X @ rng.normal(size=d) + noise * rng.normal(size=n)


def classification(seed: int, n: int = 90, d: int = 5, classes: int = 3) -> tuple[Array, Array]:
    """Noisy linear scores of classes named by letters."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    scores = 2 * X @ rng.normal(size=(d, classes)) + rng.gumbel(size=(n, classes))
    return X, np.array(list("abcdefgh"))[scores.argmax(axis=1)]


def least_squares(ensemble, X: Array, y: NDArray, weight: Array | None = None) -> tuple[Array, Array]:
    """``A`` and ``b`` with ``|A w - b|^2`` the objective of a fitted ensemble, from its predictions.

    X, y and weights are those given to `fit`.
    """
    chosen = ensemble.validation_indices_
    weight = np.ones(len(X)) if weight is None else np.asarray(weight)
    predictions = ensemble.submodel_predictions(X[chosen])
    if hasattr(ensemble, "classes_"):
        targets = (y[chosen][:, None] == ensemble.classes_).astype(float)
    else:
        targets = y[chosen]
    shape = (-1,) + (1,) * (targets.ndim - 1)
    root = np.sqrt(weight[chosen]).reshape(shape)
    m = len(predictions)
    A = np.vstack([(root * predictions).reshape(m, -1).T, np.sqrt(ensemble.ridge) * np.eye(m)])
    return A, np.append((root * targets).ravel(), np.zeros(m))


def minimum(A: Array, b: Array, *, sum_to_one: bool = False) -> float:
    """Least ``|A w - b|^2`` over non-negative weights, by SciPy or, with a sum of one, by CVXPY."""
    if not sum_to_one:
        return float(nnls(A, b)[1] ** 2)
    import cvxpy as cp

    # The triangular factor keeps the program small and its optimum accurate.
    factor = np.linalg.qr(np.column_stack([A, b]), mode="r")
    w = cp.Variable(A.shape[1], nonneg=True)
    residual = factor[:, :-1] @ w - factor[:, -1]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(residual)), [cp.sum(w) == 1])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    return float(problem.value)


def kkt_residual(A: Array, b: Array, w: Array, *, sum_to_one: bool = False) -> float:
    """Largest violation of the optimality conditions of ``|A w - b|^2``, relative to ``|A_j| |b|``."""
    gradient = A.T @ (A @ w - b)
    if sum_to_one:
        gradient = gradient - gradient @ w
    norms = np.linalg.norm(A, axis=0)
    scale = np.where(norms > 0, norms, 1.0) * np.linalg.norm(b)
    return float(max((-gradient / scale).max(), np.abs(w * gradient).max() / (b @ b)))
