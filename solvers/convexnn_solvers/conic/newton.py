"""Proximal Newton: logistic losses through a sequence of quadratic programs.

Interior-point codes solve the logistic losses' exponential cones unreliably. Here the loss is replaced by
its quadratic model at the current outputs, the cone program of the model is solved, and a step towards its
solution is taken; every point is feasible because the cones are convex. Convergence is global with the line
search and quadratic near the optimum (Lee, Sun and Saunders, "Proximal Newton-type methods for minimizing
composite functions", SIAM J. Optim. 2014, theorem 3.4).
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Candidate
from convexnn_solvers.conic.model import QuadraticModel
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

QuadraticSolver = Callable[[ConvexProgram, QuadraticModel, SolveOptions], Candidate]


def proximal_newton(program: ConvexProgram, options: SolveOptions, solve: QuadraticSolver) -> Candidate:
    """Minimise a program with a smooth loss; `solve` minimises the program of a quadratic model.

    Stops when the gap of the gradient's dual point is within a tenth of `tol`, or when a model promises
    nothing any more. `max_iter` and `time_limit` bound all quadratic programs together.
    """
    began = time.perf_counter()
    blocks = program.zeros()
    intercept = np.zeros(program.n_outputs)
    if program.fit_intercept:
        intercept = program.loss.optimal_intercept(
            program.outputs(blocks, intercept), program.targets, program.sample_weight
        )
    objective = program.objective(blocks, intercept)
    n_iter, message = 0, "no model solved"
    for n_models in range(1, _MAX_MODELS + 1):
        left = _remaining(options, n_iter, time.perf_counter() - began)
        if isinstance(left, Status):
            return Candidate(blocks, intercept, None, left, n_iter, message)
        model = _model(program, blocks, intercept)
        answer = solve(program, model, left)
        n_iter += answer.n_iter
        message = f"{n_models} quadratic models, the last one: {answer.message}"
        promised = _change(program, model, (blocks, intercept), answer)
        if promised < 0:
            blocks, intercept, objective = _step(program, (blocks, intercept), answer, objective, promised)
        if -promised <= _NOTHING * abs(objective) or _gap(program, blocks, intercept, objective) <= 0.1 * options.tol:
            return Candidate(blocks, intercept, None, Status.CONVERGED, n_iter, message)
        if answer.stopped in (Status.TIME_LIMIT, Status.ITERATION_LIMIT):
            return Candidate(blocks, intercept, None, answer.stopped, n_iter, message)
    return Candidate(blocks, intercept, None, Status.INACCURATE, n_iter, message)


def _remaining(options: SolveOptions, n_iter: int, elapsed: float) -> SolveOptions | Status:
    """Options with what is left of the limits, or which limit is used up."""
    max_iter, time_limit = options.max_iter, options.time_limit
    if max_iter is not None:
        max_iter -= n_iter
        if max_iter < 1:
            return Status.ITERATION_LIMIT
    if time_limit is not None:
        time_limit -= elapsed
        if time_limit <= 0:
            return Status.TIME_LIMIT
    return replace(options, max_iter=max_iter, time_limit=time_limit)


def _model(program: ConvexProgram, blocks: FloatArray, intercept: FloatArray) -> QuadraticModel:
    outputs = program.outputs(blocks, intercept)
    targets, weight = program.targets, program.sample_weight
    curvature = program.loss.curvature(outputs, targets, weight)
    curvature += _LEAST_CURVATURE * weight[:, None, None] * np.eye(program.n_outputs)
    return QuadraticModel(
        center=outputs,
        slope=program.loss.gradient(outputs, targets, weight),
        curvature=curvature,
        shift_invariant=program.loss.name == "softmax",
    )


def _gap(program: ConvexProgram, blocks: FloatArray, intercept: FloatArray, objective: float) -> float:
    outputs = program.outputs(blocks, intercept)
    theta = -program.loss.gradient(outputs, program.targets, program.sample_weight)
    return relative_gap(objective, dual_bound(program, theta)[1])


def _change(
    program: ConvexProgram,
    model: QuadraticModel,
    point: tuple[FloatArray, FloatArray],
    answer: Candidate,
) -> float:
    """Change of the objective that the model predicts to first order, negative until the optimum."""
    step = program.outputs(answer.blocks, answer.intercept) - model.center
    norms = program.block_norms(answer.blocks).sum() - program.block_norms(point[0]).sum()
    return float((model.slope * step).sum() + program.alpha * norms)


def _step(
    program: ConvexProgram,
    point: tuple[FloatArray, FloatArray],
    answer: Candidate,
    objective: float,
    promised: float,
) -> tuple[FloatArray, FloatArray, float]:
    """Backtrack from the model's solution until the objective falls by a fair part of the promise."""
    blocks, intercept = point
    length = 1.0
    while length > _SHORTEST_STEP:
        trial = blocks + length * (answer.blocks - blocks)
        shifted = intercept + length * (answer.intercept - intercept)
        value = program.objective(trial, shifted)
        if value <= objective + _SUFFICIENT * length * promised:
            return trial, shifted, value
        length /= 2
    return blocks, intercept, objective
