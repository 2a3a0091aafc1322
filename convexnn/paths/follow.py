"""Training along descending strengths, each from the network before."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from convexnn._typing import FloatArray
from convexnn.paths.alpha_grid import alpha_grid
from convexnn.paths.path_problem import PathProblem
from convexnn.problem import Neurons
from convexnn.training import Fit
from convexnn_solvers import Status
from convexnn_solvers.clock import Clock

__all__ = ["follow", "follow_to_end"]

# Of a limit of time, what finding the largest strength of a path may take.
_LARGEST_SHARE = 0.2


def follow(
    problem: PathProblem, alphas: FloatArray, clock: Clock, *, empty_above: float = np.inf
) -> Iterator[Fit]:
    """Yield the points of a path one after another; it ends early where time is up or on an interrupt.

    Parameters
    ----------
    problem : PathProblem
    alphas : ndarray of shape (n_alphas,)
        Descending.
    clock : Clock
        Of the whole path; the first point is yielded in any case.
    empty_above : float
        Strengths from here on are known to leave no neurons.

    Yields
    ------
    Fit
        Of `TIME_LIMIT` or `INTERRUPTED` if it is the last one before its time.
    """
    before: Fit | None = None
    for position, alpha in zip(count(1), alphas.tolist(), strict=False):
        if position > 1 and clock.expired:
            return
        fit = problem.fit(alpha, clock, before)
        if alpha >= empty_above and fit.network.n_neurons:
            fit = _without_neurons(fit, problem.options.tol)
        if problem.options.verbose:
            print(f"alpha {position:3d} of {len(alphas)}: {alpha:.6g}  {fit.result!r}")
        before = fit
        yield fit
        if fit.result.status in (Status.TIME_LIMIT, Status.INTERRUPTED):
            return


def _without_neurons(fit: Fit, tol: float) -> Fit:
    """Return the zero network instead of one that is better by less than the tolerance resolves."""
    problem, constant = fit.problem, fit.problem.best_constant()
    outputs = np.zeros(problem.targets.shape) + constant
    objective = problem.loss.value(outputs, problem.targets, problem.sample_weight)
    if objective - fit.result.dual_objective > tol * abs(objective):
        return fit
    result = replace(
        fit.result, blocks=np.zeros_like(fit.result.blocks), intercept=constant, objective=objective
    )
    network = problem.network(Neurons.none(problem.layer.n_weights, constant))
    return replace(fit, result=result, network=network)


def follow_to_end(
    problem: PathProblem, alphas: int | FloatArray, eps: float, clock: Clock
) -> tuple[list[Fit], FloatArray]:
    """Collect the points of a path.

    Parameters
    ----------
    problem : PathProblem
    alphas : int or ndarray
        A number of strengths for `alpha_grid`, or descending strengths.
    eps : float
        For `alpha_grid`.
    clock : Clock

    Returns
    -------
    points : list of Fit
    alphas : ndarray
        All strengths, also those that were not reached.

    Raises
    ------
    KeyboardInterrupt
        If it comes before the first point is there; later ones end the path.
    """
    empty_above = np.inf
    if isinstance(alphas, int):
        alphas = alpha_grid(problem.alpha_max(clock.share(_LARGEST_SHARE)), alphas, eps)
        empty_above = alphas[0]
    points: list[Fit] = []
    try:
        points.extend(follow(problem, alphas, clock, empty_above=empty_above))
    except KeyboardInterrupt:
        if not points:
            raise
    return points, alphas
