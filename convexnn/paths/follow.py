"""Solving along descending strengths, each from the solution before."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from convexnn._typing import FloatArray
from convexnn.networks import TwoLayerNetwork
from convexnn.paths.alpha_grid import alpha_grid
from convexnn.paths.path_result import PathResult
from convexnn.programs.training import TrainingProblem
from convexnn_solvers import ConvexProgram, SolveResult, Status, solve

__all__ = ["PathPoint", "SolverSettings", "follow", "follow_to_end"]

_LEAST_TIME = 1e-9


@dataclass(frozen=True)
class SolverSettings:
    """Options of the solver; `time_limit` is for the whole path, `max_iter` for each point of it."""

    solver: str = "auto"
    tol: float = 1e-4
    max_iter: int | None = None
    time_limit: float | None = None
    verbose: int = 0


@dataclass(frozen=True, eq=False)
class PathPoint:
    """The solution for one strength and its network."""

    alpha: float
    result: SolveResult
    network: TwoLayerNetwork

    @property
    def is_last(self) -> bool:
        """Whether the limits or the user ended the path here."""
        return self.result.status in (Status.TIME_LIMIT, Status.INTERRUPTED)


def follow(
    problem: TrainingProblem, alphas: FloatArray, settings: SolverSettings, *, empty_above: float = np.inf
) -> Iterator[PathPoint]:
    """Yield the points of a path one after another; it ends early where time is up or on an interrupt.

    Parameters
    ----------
    problem : TrainingProblem
    alphas : ndarray of shape (n_alphas,)
        Descending.
    settings : SolverSettings
    empty_above : float
        Strengths from here on are known to leave no neurons.

    Yields
    ------
    PathPoint
    """
    began = time.perf_counter()
    start = None
    for position, alpha in zip(count(1), alphas.tolist(), strict=False):
        left = settings.time_limit
        if left is not None and position > 1:
            left -= time.perf_counter() - began
            if left <= 0:
                return
        program = problem.at(alpha)
        result = solve(
            program,
            solver=settings.solver,
            tol=settings.tol,
            max_iter=settings.max_iter,
            time_limit=left,
            verbose=max(0, settings.verbose - 1),
            start=start,
        )
        if alpha >= empty_above and result.blocks.any():
            result = _without_neurons(program, result, settings.tol)
        if settings.verbose:
            print(f"alpha {position:3d} of {len(alphas)}: {alpha:.6g}  {result!r}")
        point = PathPoint(alpha, result, problem.network(result))
        yield point
        if point.is_last:
            return
        start = result.blocks, result.intercept


def _without_neurons(program: ConvexProgram, result: SolveResult, tol: float) -> SolveResult:
    """Return the zero network instead of one that is better by less than the tolerance resolves."""
    zero = program.zeros()
    best = np.zeros(program.n_outputs)
    if program.fit_intercept:
        outputs = np.zeros(program.targets.shape)
        best = program.loss.optimal_intercept(outputs, program.targets, program.sample_weight)
    objective = program.objective(zero, best)
    if objective - result.dual_objective > tol * abs(objective):
        return result
    return replace(result, blocks=zero, intercept=best, objective=objective)


def follow_to_end(
    problem: TrainingProblem, alphas: int | FloatArray, eps: float, settings: SolverSettings
) -> PathResult:
    """Collect the points of a path.

    Parameters
    ----------
    problem : TrainingProblem
    alphas : int or ndarray
        A number of strengths for `alpha_grid`, or descending strengths.
    eps : float
        For `alpha_grid`.
    settings : SolverSettings

    Returns
    -------
    PathResult

    Raises
    ------
    KeyboardInterrupt
        If it comes before the first point is there; later ones end the path.
    """
    empty_above = np.inf
    if isinstance(alphas, int):
        alphas = alpha_grid(problem.program, alphas, eps)
        empty_above = alphas[0]
    points: list[PathPoint] = []
    try:
        points.extend(follow(problem, alphas, settings, empty_above=empty_above))
    except KeyboardInterrupt:
        if not points:
            raise
    return PathResult(
        alphas=alphas[: len(points)],
        results=tuple(point.result for point in points),
        networks=tuple(point.network for point in points),
        patterns=problem.patterns,
        gap_scope=problem.gap_scope,
        alphas_left=alphas[len(points) :],
    )
