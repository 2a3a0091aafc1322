"""The solvers of this package."""

from typing import Any

import numpy as np

from benchmark_utils.problems import Problem

MODULES = ("convexnn", "convexnn_solvers")


def ladder(_problem: Problem, options: dict[str, Any]) -> list[float]:
    """Relative gaps: an interior-point method gains little from a looser one."""
    return [1e-3, 1e-4, 1e-6] if options["solver"] == "native" else [1e-4, 1e-6, 1e-7]


def prepare(problem: Problem, _options: dict[str, Any]) -> tuple[Problem, Any]:
    """List the patterns."""
    from convexnn import PatternSet

    return problem, PatternSet.from_weights(problem.X, problem.gates)


def solve(prepared: tuple[Problem, Any], setting: float, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Solve; Clarabel gets the whole program at once."""
    from convexnn.programs import two_layer_program
    from convexnn_solvers import solve as solve_program

    problem, patterns = prepared
    program = two_layer_program(
        problem.X,
        problem.y,
        patterns,
        alpha=problem.alpha,
        activation="relu" if problem.program == "relu" else "gated_relu",
        hidden_bias="none",
        fit_intercept=False,
    )
    result = solve_program(program, solver=options["solver"], tol=setting, working_set=False)
    return {"blocks": result.blocks[..., 0, :, :]}
