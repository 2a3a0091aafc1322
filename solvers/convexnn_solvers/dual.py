"""Lower bounds: from any dual guess to a feasible dual point and its value.

The dual of a `ConvexProgram` is ``max_theta -sum_i s_i loss*(-theta_i / s_i)`` over ``theta`` with
``max {theta . A_i u : u in C_i, |u| <= 1} <= alpha`` for each block, sign and output, and with
``sum_i theta_i = 0`` for each output if the intercept exists. Every feasible ``theta`` bounds the optimum
from below (Pilanci and Ergen, ICML 2020, equation 5, restricted to the listed patterns).
"""

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual_ray import DualDomain, best_scale, dual_value
from convexnn_solvers.prices import prices, support
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.unregularized import orthogonal_bound

__all__ = [
    "DualDomain",
    "best_scale",
    "dual_bound",
    "dual_value",
    "into_domain",
    "prices",
    "scaled_bound",
    "support",
]

# Relative rounding of a price, and of sums over samples.
_ROUNDING = 1e-13
# Alternating projections converge linearly; those that need more end at the zero point.
_MAX_BALANCE_STEPS = 200


def dual_bound(
    program: ConvexProgram, theta: FloatArray, clock: Clock | None = None
) -> tuple[FloatArray, float]:
    """Make `theta` feasible and return it with its dual value.

    The guess is moved into the domain of the conjugate, made orthogonal to the intercept, and scaled
    towards zero (where every constraint holds) until the norm constraints hold; among the feasible scales
    the best is taken. With ``alpha = 0`` the constraints are equalities, see `orthogonal_bound`.

    Parameters
    ----------
    program : ConvexProgram
    theta : ndarray of shape (n, K)
        Of the sign of ``-gradient``.
    clock : Clock, optional
        Where it stops the bound is valid and weaker: blocks that are not priced by then count with the
        norms of their gradients, and if not even these are known the bound is that of ``theta = 0``.

    Returns
    -------
    theta : ndarray of shape (n, K)
    value : float
    """
    theta = into_domain(program, theta)
    if program.alpha == 0:
        return orthogonal_bound(program, theta, clock or Clock())
    return scaled_bound(program, theta, float(prices(program, theta, 1, clock).max(initial=0.0)))


def scaled_bound(program: ConvexProgram, theta: FloatArray, largest: float) -> tuple[FloatArray, float]:
    """Scale a point of the conjugate's domain until its `largest` price is ``alpha``, the best way.

    Returns
    -------
    theta : ndarray of shape (n, K)
    value : float
    """
    norm = largest * (1 + _ROUNDING)
    limit = program.alpha / norm if norm > program.alpha else 1.0
    scale, value = best_scale(program, theta, limit)
    return scale * theta, value


def into_domain(program: DualDomain, theta: FloatArray) -> FloatArray:
    """Alternate projections on the conjugate's domain and, with an intercept, on zero column sums.

    The sums end at rounding level, or the zero point is returned, which is always feasible.
    """
    weight = program.sample_weight

    def project(point: FloatArray) -> FloatArray:
        return -program.loss.project_dual(-point, program.targets, weight)

    theta = project(theta)
    if not program.fit_intercept:
        return theta
    total, balanced = weight.sum(), None
    for _ in range(_MAX_BALANCE_STEPS):
        excess = theta.sum(axis=0)
        if np.all(np.abs(excess) <= _ROUNDING * np.abs(theta).sum(axis=0)):
            if balanced is not None or not excess.any():
                return theta
            # Once more: a large intercept multiplies what is left of the sums.
            balanced = theta
        theta = project(theta - np.outer(weight, excess / total))
    return np.zeros_like(theta) if balanced is None else balanced
