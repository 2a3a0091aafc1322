"""Training along descending strengths, each from the network before."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import cast

import numpy as np

from convexnn._typing import FloatArray
from convexnn.columns import SolverSettings, Trained
from convexnn.networks import TwoLayerNetwork
from convexnn.paths.alpha_grid import alpha_grid
from convexnn.paths.path_problem import PathProblem
from convexnn_solvers import ConvexProgram, SolveResult, Status

__all__ = ["PathPoint", "follow", "follow_to_end"]


@dataclass(frozen=True, eq=False)
class PathPoint:
    """The solution for one strength and its network."""

    alpha: float
    trained: Trained
    network: TwoLayerNetwork

    @property
    def result(self) -> SolveResult:
        """The solution."""
        return self.trained.result

    @property
    def is_last(self) -> bool:
        """Whether the limits or the user ended the path here."""
        return self.result.status in (Status.TIME_LIMIT, Status.INTERRUPTED)


def follow(
    problem: PathProblem, alphas: FloatArray, settings: SolverSettings, *, empty_above: float = np.inf
) -> Iterator[PathPoint]:
    """Yield the points of a path one after another; it ends early where time is up or on an interrupt.

    Parameters
    ----------
    problem : PathProblem
    alphas : ndarray of shape (n_alphas,)
        Descending.
    settings : SolverSettings
        `time_limit` is for the whole path, `max_iter` for each point of it.
    empty_above : float
        Strengths from here on are known to leave no neurons.

    Yields
    ------
    PathPoint
    """
    began = time.perf_counter()
    before = None
    for position, alpha in zip(count(1), alphas.tolist(), strict=False):
        left = settings.time_limit
        if left is not None and position > 1:
            left -= time.perf_counter() - began
            if left <= 0:
                return
        at_point = replace(settings, time_limit=left, verbose=max(0, settings.verbose - 1))
        trained = problem.trained(alpha, at_point, before)
        program = trained.problem.at(alpha)
        if alpha >= empty_above and trained.result.blocks.any():
            trained = replace(trained, result=_without_neurons(program, trained.result, settings.tol))
        if settings.verbose:
            print(f"alpha {position:3d} of {len(alphas)}: {alpha:.6g}  {trained.result!r}")
        before = trained
        point = PathPoint(alpha, trained, cast(TwoLayerNetwork, trained.network))
        yield point
        if point.is_last:
            return


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
    problem: PathProblem, alphas: int | FloatArray, eps: float, settings: SolverSettings
) -> tuple[list[PathPoint], FloatArray]:
    """Collect the points of a path.

    Parameters
    ----------
    problem : PathProblem
    alphas : int or ndarray
        A number of strengths for `alpha_grid`, or descending strengths.
    eps : float
        For `alpha_grid`.
    settings : SolverSettings

    Returns
    -------
    points : list of PathPoint
    alphas : ndarray
        All strengths, also those that were not reached.

    Raises
    ------
    KeyboardInterrupt
        If it comes before the first point is there; later ones end the path.
    """
    empty_above = np.inf
    if isinstance(alphas, int):
        alphas = alpha_grid(problem.alpha_max(), alphas, eps)
        empty_above = alphas[0]
    points: list[PathPoint] = []
    try:
        points.extend(follow(problem, alphas, settings, empty_above=empty_above))
    except KeyboardInterrupt:
        if not points:
            raise
    return points, alphas
