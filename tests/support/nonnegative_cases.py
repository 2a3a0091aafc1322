"""Programs in non-negative weights, judged and solved without any code of the package."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy import linalg

from convexnn._typing import FloatArray
from convexnn_solvers import NonnegativeProgram

KINDS = [(ridge, sum_to_one) for ridge in (0.0, 0.3) for sum_to_one in (False, True)]


def draw_program(
    seed: int, n: int = 20, m: int = 6, *, ridge: float = 0.0, sum_to_one: bool = False, weighted: bool = True
) -> NonnegativeProgram:
    """Noisy predictions of one target; at the optimum some weights are zero."""
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=n)
    matrix = targets[:, None] * rng.uniform(0.2, 1.5, m) + rng.normal(size=(n, m))
    weight = rng.uniform(0.1, 2.0, n) if weighted else None
    if weighted and n > 2:
        weight[0] = 0.0
    return NonnegativeProgram(matrix, targets, weight, ridge, sum_to_one)


def class_probabilities(
    seed: int, n: int = 60, m: int = 30, noise: float = 0.05
) -> tuple[FloatArray, FloatArray]:
    """Probabilities of three classes by noisy copies of one model, and the indicators of the labels."""
    rng = np.random.default_rng(seed)
    scores = 2 * rng.normal(size=(n, 3))
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    noisy = np.exp(scores + noise * rng.normal(size=(m, n, 3)))
    columns = (noisy / noisy.sum(axis=2, keepdims=True)).reshape(m, -1).T
    return columns, np.eye(3)[labels].ravel()


def stacked(program: NonnegativeProgram) -> tuple[FloatArray, FloatArray]:
    """``A`` and ``b`` with ``|A w - b|^2`` the objective, all rows written out."""
    n, m = program.matrix.shape
    root = np.ones(n) if program.sample_weight is None else np.sqrt(program.sample_weight)
    rows = [root[:, None] * program.matrix, np.sqrt(program.ridge) * np.eye(m)]
    return np.vstack(rows), np.append(root * program.targets, np.zeros(m))


def optimality(program: NonnegativeProgram, weights: FloatArray) -> float:
    """Largest relative violation of the Karush-Kuhn-Tucker conditions, infinite for infeasible weights."""
    A, b = stacked(program)
    if (weights < 0).any() or (program.sum_to_one and abs(weights.sum() - 1) > 1e-14 * weights.size):
        return float("inf")
    if program.sum_to_one:
        # On the simplex |A w - b| = |C w|, and the conditions are C_j.C w >= |C w|^2, equal where w_j > 0.
        A, b = A - b[:, None], np.zeros(b.size)
    norms = np.array([np.sqrt(np.sum((a / (np.abs(a).max() or 1)) ** 2)) * np.abs(a).max() for a in A.T])
    size = norms.min() if program.sum_to_one else float(linalg.norm(b))
    if size == 0:
        return float(np.abs(A @ weights).max())
    units = np.where(norms > 0, A / np.where(norms > 0, norms, 1.0), 0.0)
    shares = weights * (norms / size)
    residual = units @ shares - b / size
    slopes = units.T @ residual
    if program.sum_to_one:
        slopes -= residual @ residual * (size / np.where(norms > 0, norms, np.inf))
    return float(max(-slopes.min(), np.abs(shares * slopes).max(), 0.0))


def restated(program: NonnegativeProgram) -> tuple[FloatArray, float]:
    """Weights and objective by CVXPY and Clarabel, from the formula of the program as it is written."""
    import cvxpy as cp

    n, m = program.matrix.shape
    weight = np.ones(n) if program.sample_weight is None else program.sample_weight
    w = cp.Variable(m)
    errors = cp.square(program.matrix @ w - program.targets)
    constraints = [w >= 0] + ([cp.sum(w) == 1] if program.sum_to_one else [])
    problem = cp.Problem(cp.Minimize(weight @ errors + program.ridge * cp.sum_squares(w)), constraints)
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    return np.asarray(w.value), float(problem.value)


def by_enumeration(program: NonnegativeProgram) -> float:
    """Smallest objective over all supports: each an equality-constrained least-squares problem."""
    A, b = stacked(program)
    best = np.inf if program.sum_to_one else float(b @ b)
    for support in _supports(program.n_weights):
        columns = A[:, support]
        if program.sum_to_one:
            # w = 1/k + N z with N a basis of the vectors of sum zero.
            centre = np.full(len(support), 1 / len(support))
            basis = linalg.null_space(np.ones((1, len(support))))
            z = linalg.lstsq(columns @ basis, b - columns @ centre)[0] if basis.size else np.zeros(0)
            weights = centre + basis @ z
        else:
            weights = linalg.lstsq(columns, b)[0]
        if (weights >= -1e-12 * np.abs(weights).max()).all():
            best = min(best, float(np.sum((columns @ weights - b) ** 2)))
    return best


def _supports(m: int) -> Iterator[list[int]]:
    for size in range(1, m + 1):
        for support in combinations(range(m), size):
            yield list(support)
