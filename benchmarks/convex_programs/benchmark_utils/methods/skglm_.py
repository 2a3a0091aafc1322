"""skglm: block coordinate descent with working sets on explicit masked features."""

from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

MODULES = ("skglm",)


def ladder(_problem: Problem, _options: dict[str, Any]) -> list[float]:
    """Distances to the subdifferential, relative to the strength of regularisation."""
    return [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]


def prepare(problem: Problem, _options: dict[str, Any]) -> tuple[Problem, Any]:
    """Write the features out."""
    features = (problem.masks.T[:, :, None] * problem.X[:, None, :]).reshape(len(problem.X), -1)
    return problem, np.asfortranarray(features)


def solve(prepared: tuple[Problem, Any], setting: float, _options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Solve; the loss of skglm is a mean, so that its strength is alpha / n."""
    from skglm.datafits import QuadraticGroup
    from skglm.penalties import WeightedGroupL2
    from skglm.solvers import GroupBCD
    from skglm.utils.data import grp_converter

    problem, features = prepared
    n, d = problem.X.shape
    indices, ends = grp_converter(d, features.shape[1])
    strength = problem.alpha / n
    penalty = WeightedGroupL2(strength, np.ones(len(problem.gates)), ends, indices)
    solver = GroupBCD(max_iter=1000, max_epochs=100_000, tol=setting * strength, fit_intercept=False)
    weights, _, _ = solver.solve(features, problem.y, QuadraticGroup(ends, indices), penalty)
    return {"blocks": weights.reshape(1, len(problem.gates), d)}
