"""The program restated in CVXPY, for the cone solvers that CVXPY calls."""

import warnings
from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

MODULES = ("cvxpy", "clarabel", "ecos", "scs")

_TOLERANCES = {
    "CLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    "ECOS": ("abstol", "reltol", "feastol"),
    "SCS": ("eps_abs", "eps_rel"),
}
_MORE = {"CLARABEL": {}, "ECOS": {"max_iters": 300}, "SCS": {"max_iters": 1_000_000}}


def ladder(_problem: Problem, _options: dict[str, Any]) -> list[float]:
    """Absolute and relative tolerances."""
    return [1e-4, 1e-6, 1e-8]


def prepare(problem: Problem, _options: dict[str, Any]) -> Problem:
    """Arrays are what CVXPY takes."""
    return problem


def solve(problem: Problem, setting: float, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Model, compile and solve."""
    import cvxpy as cp

    solver = options["solver"]
    masks = problem.masks.T.astype(np.float64)
    blocks = [cp.Variable((problem.X.shape[1], len(problem.gates))) for _ in range(problem.signs)]
    signed = blocks[0] - blocks[1] if problem.signs == 2 else blocks[0]
    outputs = cp.sum(cp.multiply(masks, problem.X @ signed), axis=1)
    norms = sum(cp.sum(cp.norm(part, 2, axis=0)) for part in blocks)
    fit = 0.5 * cp.sum_squares(outputs - problem.y)
    cones = [cp.multiply(2 * masks - 1, problem.X @ part) >= 0 for part in blocks if problem.signs == 2]
    model = cp.Problem(cp.Minimize(fit + problem.alpha * norms), cones)
    settings: dict[str, Any] = dict.fromkeys(_TOLERANCES[solver], setting) | _MORE[solver]
    with warnings.catch_warnings():
        # An inaccurate solution is judged by what it is worth.
        warnings.simplefilter("ignore")
        model.solve(solver=solver, **settings)
    return {"blocks": np.stack([part.value.T for part in blocks])}
