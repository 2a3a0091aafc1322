"""Proximal Newton: logistic losses through a sequence of quadratic programs.

Interior-point codes solve the logistic losses' exponential cones unreliably. Here the loss is replaced by
its quadratic model at the current outputs, the cone program of the model is solved, and a step towards its
solution is taken; every point is feasible because the cones are convex. Convergence is global with the line
search and quadratic near the optimum (Lee, Sun and Saunders, "Proximal Newton-type methods for minimizing
composite functions", SIAM J. Optim. 2014, theorem 3.4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Candidate
from convexnn_solvers.conic.model import QuadraticModel
from convexnn_solvers.curvature import Curvature
from convexnn_solvers.dual import dual_bound
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status, relative_gap

__all__ = ["proximal_newton"]

_MAX_MODELS = 60
_SUFFICIENT = 0.01
_SHORTEST_STEP = 1e-6
_NOTHING = 1e-13
# Keeps the model of a saturated sample, whose curvature underflows, bounded.
_LEAST_CURVATURE = 1e-8

QuadraticSolver = Callable[
    [ConvexProgram, QuadraticModel, SolveOptions, tuple[FloatArray, FloatArray]], Candidate
]


def proximal_newton(
    program: ConvexProgram,
    options: SolveOptions,
    solve: QuadraticSolver,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> Candidate:
    """Minimise a program with a smooth loss; `solve` minimises the program of a quadratic model.

    The multipliers of a model are dual points whose bound is wrong to second order only. Stops when the gap
    to the best of them is within a tenth of `tol`, or when a model promises nothing any more. `max_iter` and
    `time_limit` bound all quadratic programs together.
    """
    point = _start(program, start)
    dual, bound = np.zeros_like(program.targets), -np.inf
    n_iter, stopped, message = 0, Status.INACCURATE, "no model solved"
    for n_models in range(1, _MAX_MODELS + 1):
        left = options.after(n_iter)
        if isinstance(left, Status):
            stopped = left
            break
        model = _model(program, point)
        answer = solve(program, model, left, (point.blocks, point.intercept))
        n_iter += answer.n_iter
        message = f"{n_models} quadratic models, the last one: {answer.message}"
        if answer.dual is not None:
            found = dual_bound(program, answer.dual, options.clock)
            dual, bound = max((dual, bound), found, key=lambda pair: pair[1])
        if answer.stopped in (Status.TIME_LIMIT, Status.ITERATION_LIMIT):
            stopped = answer.stopped
            break
        promised = _promise(program, model, point, answer)
        point = _step(program, point, answer, promised)
        if (
            relative_gap(point.objective, bound) <= 0.1 * options.tol
            or -promised <= _NOTHING * point.objective
        ):
            stopped = Status.CONVERGED
            break
    return Candidate(point.blocks, point.intercept, dual, stopped, n_iter, message)


@dataclass(frozen=True, eq=False)
class _Point:
    blocks: FloatArray
    intercept: FloatArray
    objective: float


def _start(program: ConvexProgram, start: tuple[FloatArray, FloatArray] | None) -> _Point:
    """Return the given point, else the zero network with its best intercept."""
    blocks, intercept = start if start is not None else (program.zeros(), np.zeros(program.n_outputs))
    if start is None and program.fit_intercept:
        outputs = program.outputs(blocks, intercept)
        intercept = program.loss.optimal_intercept(outputs, program.targets, program.sample_weight)
    return _Point(blocks, intercept, program.objective(blocks, intercept))


def _model(program: ConvexProgram, point: _Point) -> QuadraticModel:
    outputs = program.outputs(point.blocks, point.intercept)
    targets, weight = program.targets, program.sample_weight
    curvature = Curvature(*program.loss.curvature(outputs, targets, weight)).matrices()
    curvature += _LEAST_CURVATURE * weight[:, None, None] * np.eye(program.n_outputs)
    return QuadraticModel(
        center=outputs,
        slope=program.loss.gradient(outputs, targets, weight),
        curvature=curvature,
    )


def _promise(program: ConvexProgram, model: QuadraticModel, point: _Point, answer: Candidate) -> float:
    """Change of the objective that the model predicts to first order, negative until the optimum."""
    step = program.outputs(answer.blocks, answer.intercept) - model.center
    norms = program.block_norms(answer.blocks).sum() - program.block_norms(point.blocks).sum()
    return float((model.slope * step).sum() + program.alpha * norms)


def _step(program: ConvexProgram, point: _Point, answer: Candidate, promised: float) -> _Point:
    """Backtrack from the model's solution until the objective falls by a fair part of the promise."""
    length = 1.0
    while promised < 0 and length > _SHORTEST_STEP:
        blocks = point.blocks + length * (answer.blocks - point.blocks)
        intercept = point.intercept + length * (answer.intercept - point.intercept)
        objective = program.objective(blocks, intercept)
        if objective <= point.objective + _SUFFICIENT * length * promised:
            return _Point(blocks, intercept, objective)
        length /= 2
    return point
