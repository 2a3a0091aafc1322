"""Lower bounds: from any dual guess to a feasible dual point and its value.

The dual of a `ConvexProgram` is ``max_theta -sum_i s_i loss*(-theta_i / s_i)`` over ``theta`` with
``max {theta . A_i u : u in C_i, |u| <= 1} <= alpha`` for each block, sign and output, and with
``sum_i theta_i = 0`` for each output if the intercept exists. Every feasible ``theta`` bounds the optimum
from below (Pilanci and Ergen, ICML 2020, equation 5, restricted to the listed patterns).
"""

import math
from typing import Protocol

import numpy as np
from scipy import linalg
from scipy.optimize import minimize_scalar

from convexnn_solvers._typing import BoolArray, FloatArray
from convexnn_solvers.program import ConvexProgram, Loss

__all__ = ["DualDomain", "dual_bound", "dual_value", "into_domain", "prices", "scaled_bound", "support"]

_ROUNDING = 1e-13
_MAX_BALANCE_STEPS = 200
_NEAR_END = 1e-7
_ORTHOGONAL = 1e-9


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


def prices(program: ConvexProgram, theta: FloatArray, n_largest: int | None = None) -> FloatArray:
    """Upper bounds of ``max {+-theta . A_i u : u in C_i, |u| <= 1}``, shape ``(S, K, P)``.

    Of the bounds above ``alpha`` the `n_largest` largest are tight, all of them with None; at or below
    ``alpha`` nothing tighter is needed.
    """
    gradients = program.design.adjoint(theta)
    gradients = np.stack([gradients, -gradients]) if program.n_signs == 2 else gradients[None]
    return program.design.support(gradients, program.alpha, n_largest)


def support(program: ConvexProgram, theta: FloatArray) -> FloatArray:
    """Largest of the `prices` of each pattern over signs and outputs, shape ``(P,)``."""
    largest: FloatArray = prices(program, theta).max(axis=(0, 1))
    return largest


def dual_bound(program: ConvexProgram, theta: FloatArray) -> tuple[FloatArray, float]:
    """Make `theta` feasible and return it with its dual value.

    The guess is moved into the domain of the conjugate, made orthogonal to the intercept, and scaled
    towards zero (where every constraint holds) until the norm constraints hold; among the feasible scales
    the best is taken. With ``alpha = 0`` the constraints are equalities (the cones' differences span the
    space) and the guess is projected on their null space instead; they then hold to rounding only.

    Parameters
    ----------
    program : ConvexProgram
    theta : ndarray of shape (n, K)
        Of the sign of ``-gradient``.

    Returns
    -------
    theta : ndarray of shape (n, K)
    value : float
    """
    theta = into_domain(program, theta)
    if program.alpha == 0:
        return scaled_bound(program, _orthogonal_to_features(program, theta), 0.0)
    return scaled_bound(program, theta, float(prices(program, theta, 1).max(initial=0.0)))


def scaled_bound(program: ConvexProgram, theta: FloatArray, largest: float) -> tuple[FloatArray, float]:
    """Scale a point of the conjugate's domain until its `largest` price is ``alpha``, the best way.

    Returns
    -------
    theta : ndarray of shape (n, K)
    value : float
    """
    norm = largest * (1 + _ROUNDING)
    limit = program.alpha / norm if norm > program.alpha else 1.0
    scale, value = _best_scale(program, theta, limit)
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
    total = weight.sum()
    for _ in range(_MAX_BALANCE_STEPS):
        excess = theta.sum(axis=0)
        if np.all(np.abs(excess) <= _ROUNDING * np.abs(theta).sum(axis=0)):
            return theta
        theta = project(theta - np.outer(weight, excess / total))
    return np.zeros_like(theta)


def _orthogonal_to_features(program: ConvexProgram, theta: FloatArray) -> FloatArray:
    """Move `theta` to a point of the conjugate's domain at which all features' sums vanish.

    Coordinates at an end of the domain, and those of weight zero, stay there; the others take the least
    correction. Where none suffices the zero point is returned, which is always feasible.
    """
    columns = program.design.features().toarray()
    if program.fit_intercept:
        columns = np.hstack([columns, np.ones((len(columns), 1))])
    theta, movable = _snapped(program, theta)
    for k in range(theta.shape[1]):
        free = movable[:, k]
        excess = columns.T @ theta[:, k]
        allowed = _ORTHOGONAL * np.linalg.norm(columns, axis=0) * np.linalg.norm(theta[:, k])
        theta[free, k] -= linalg.lstsq(columns[free].T, excess)[0] if free.any() else 0.0
        if np.any(np.abs(columns.T @ theta[:, k]) > allowed):
            return np.zeros_like(theta)
    return theta


def _snapped(program: ConvexProgram, theta: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Put coordinates close to an end of the domain on it; also which ones are not at an end."""
    step = _NEAR_END * np.abs(theta).max(initial=0.0)
    movable = np.ones(theta.shape, dtype=np.bool_)
    for direction in (step, -step):
        moved = theta + direction
        clipped = -program.loss.project_dual(-moved, program.targets, program.sample_weight)
        at_end = clipped != moved
        theta = np.where(at_end, clipped, theta)
        movable &= ~at_end
    return theta, movable


def _best_scale(program: ConvexProgram, theta: FloatArray, limit: float) -> tuple[float, float]:
    """Maximise the concave ``t -> dual_value(t theta)`` over ``0 <= t <= limit``."""

    def loss_of_scale(scale: float) -> float:
        value = dual_value(program, scale * theta)
        return -value if math.isfinite(value) else 1e300

    # The value is concave: where it still rises at the limit, nothing below is better.
    if loss_of_scale(limit) <= loss_of_scale(limit * (1 - _NEAR_END)):
        return limit, dual_value(program, limit * theta)
    search = minimize_scalar(loss_of_scale, bounds=(0.0, limit), method="bounded", options={"xatol": 1e-9})
    candidates = [limit, float(search.x), 0.0]
    values = [dual_value(program, scale * theta) for scale in candidates]
    best = int(np.argmax(values))
    return candidates[best], values[best]
