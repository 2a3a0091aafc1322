"""The dual function of a convex loss, and its best value along a ray."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.program import Loss

__all__ = ["DualDomain", "best_scale", "dual_value"]

# Relative step back from a limit that tells whether the value still rises there: the root of eps and more.
_STEP_BACK = 1e-7
# Powers of two tried for the scale of a point without a limit.
_MOST_DOUBLINGS = 40
# Golden sections of the interval of scales: 0.618^45 = 4e-10 of it is left, and the value is flat there.
_GOLDEN, _N_SECTIONS = 0.5 * (math.sqrt(5.0) - 1.0), 45


class DualDomain(Protocol):
    """What the dual of any problem with a convex loss and an optional intercept is made of."""

    @property
    def loss(self) -> Loss:
        """Convex in the outputs."""

    @property
    def targets(self) -> FloatArray:
        """Encoded targets, shape ``(n, K)``."""

    @property
    def sample_weight(self) -> FloatArray:
        """Non-negative, shape ``(n,)``."""

    @property
    def fit_intercept(self) -> bool:
        """Whether ``sum_i theta_i = 0`` is asked for."""


def dual_value(program: DualDomain, theta: FloatArray) -> float:
    """``-sum_i s_i loss*(-theta_i / s_i)``; minus infinity outside the conjugate's domain."""
    return -program.loss.conjugate(-theta, program.targets, program.sample_weight)


def best_scale(program: DualDomain, theta: FloatArray, limit: float = math.inf) -> tuple[float, float]:
    """Maximise the concave ``t -> dual_value(t theta)`` over ``0 <= t <= limit``.

    Parameters
    ----------
    program : DualDomain
    theta : ndarray of shape (n, K)
    limit : float
        Without one the scale is at most ``2**40``.

    Returns
    -------
    scale, value : float
    """

    def value_of(scale: float) -> float:
        # Squares of huge points overflow to an infinite loss, which is the right side to err on.
        with np.errstate(over="ignore", invalid="ignore"):
            value = dual_value(program, scale * theta)
        return value if math.isfinite(value) else -math.inf

    if limit == math.inf:
        limit = 1.0
        for _ in range(_MOST_DOUBLINGS):
            if not value_of(2 * limit) > value_of(limit):
                break
            limit *= 2
        limit *= 2
    # The value is concave: where it still rises at the limit, nothing below is better.
    at_limit = value_of(limit)
    if at_limit > -math.inf and at_limit >= value_of(limit * (1 - _STEP_BACK)):
        return limit, at_limit
    candidates = [limit, _highest(value_of, limit), 0.0]
    values = [at_limit, *(value_of(scale) for scale in candidates[1:])]
    best = int(np.argmax(values))
    return candidates[best], values[best]


def _highest(function: Callable[[float], float], high: float) -> float:
    """Return where a concave function on ``[0, high]`` is largest, by golden sections; -inf is a value."""
    low = 0.0
    left, right = high - _GOLDEN * high, _GOLDEN * high
    at_left, at_right = function(left), function(right)
    for _ in range(_N_SECTIONS):
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return left if at_left >= at_right else right
