"""Upper bounds of the largest gain of a filter with weighted pooling, over all outputs."""

import numpy as np

from convexnn._typing import FloatArray
from convexnn.training.weighted.ascent import Priced, distinct, refined
from convexnn.training.weighted.neurons import WeightedProblem
from convexnn_solvers.clock import Clock

__all__ = ["branched", "relaxed"]

# Filters of one output that enter at once; the group lasso's cost grows with them.
_MOST_ENTERING = 30


def branched(
    problem: WeightedProblem,
    theta: FloatArray,
    threshold: float,
    *,
    tol: float,
    stop_above: float,
    clock: Clock,
    max_nodes: float = np.inf,
) -> Priced:
    """Bound the largest gain by branch and bound.

    Parameters
    ----------
    problem : WeightedProblem
    theta : ndarray of shape (n, q)
    threshold : float
        A bound at or below it need not be tight.
    tol : float
        Relative accuracy.
    stop_above : float
        Stop at the first gain above this.
    clock : Clock
    max_nodes : float
        Cones to visit, about, for all outputs together.

    Returns
    -------
    Priced
    """
    d = problem.patches.shape[2]
    largest, n_nodes, complete, found = 0.0, 0, True, [np.empty((0, d))]
    for k in range(theta.shape[1]):
        bounds = problem.layer.bounds(
            theta[:, k],
            threshold=threshold,
            tol=tol,
            stop_above=stop_above,
            time_limit=clock.time_limit,
            max_nodes=max_nodes - n_nodes,
        )
        largest = max(largest, bounds.upper)
        n_nodes += bounds.n_nodes
        complete = complete and bounds.complete
        if bounds.lower > threshold:
            met = distinct(np.vstack([bounds.weights[None], bounds.others.reshape(-1, d)]), _MOST_ENTERING)
            found.append(refined(problem, theta[:, k], met))
    return Priced(largest, np.vstack(found), n_nodes, complete)


def relaxed(problem: WeightedProblem, theta: FloatArray, *, clock: Clock) -> float:
    """Bound the largest gain by eigenvalues and, position by position, semidefinite relaxations.

    Parameters
    ----------
    problem : WeightedProblem
    theta : ndarray of shape (n, q)
    clock : Clock
        When it is over only eigenvalues are used.

    Returns
    -------
    float
        Never below H, rounding included.
    """
    largest = 0.0
    for dual in theta.T:
        largest = max(largest, problem.layer.relaxed(dual, clock.left if clock.limited else None))
    return largest
