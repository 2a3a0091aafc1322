"""adelie: block coordinate descent for group lasso with linear constraints on groups."""

from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

MODULES = ("adelie",)
_THREADS = 2
_PATH = 20


def ladder(_problem: Problem, _options: dict[str, Any]) -> list[float]:
    """Tolerances of coordinate descent."""
    return [1e-7, 1e-10, 1e-13]


def prepare(problem: Problem, _options: dict[str, Any]) -> tuple[Problem, Any, Any]:
    """Return the masks in the order that adelie wants, and the constraint matrices."""
    masks = np.asfortranarray(problem.masks.T)
    rows = None
    if problem.program == "relu":
        rows = np.where(problem.masks, 1.0, -1.0)[:, :, None] * problem.X
    return problem, masks, rows


def solve(
    prepared: tuple[Problem, Any, Any], setting: float, _options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Follow a path down to alpha / n; the loss of adelie is a mean."""
    import adelie as ad

    problem, masks, rows = prepared
    n, d = problem.X.shape
    n_groups = problem.signs * len(problem.gates)
    design = ad.matrix.convex_relu(
        np.asfortranarray(problem.X), masks, gated=problem.program == "gated", n_threads=_THREADS
    )
    constraints = None
    if rows is not None:
        lower, upper = np.zeros(n), np.full(n, np.inf)
        constraints = [ad.constraint.linear(part, lower, upper) for part in np.concatenate([rows, rows])]
    gradient = problem.X.T @ (problem.masks * problem.y).T
    largest = np.linalg.norm(gradient, axis=0).max() / n
    last = problem.alpha / n
    state = ad.grpnet(
        design,
        ad.glm.gaussian(problem.y),
        constraints=constraints,
        groups=np.arange(n_groups) * d,
        penalty=np.ones(n_groups),
        lmda_path=np.geomspace(max(largest, last), last, _PATH),
        tol=setting,
        n_threads=_THREADS,
        early_exit=False,
        intercept=False,
        progress_bar=False,
    )
    blocks = np.asarray(state.betas[-1].todense()).reshape(problem.signs, len(problem.gates), d)
    return {"blocks": blocks}
