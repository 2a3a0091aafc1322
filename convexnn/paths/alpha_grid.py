"""The strengths of regularisation of a path: from the least that leaves no neuron, downwards."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from convexnn._typing import FloatArray
from convexnn.losses import Loss
from convexnn_solvers import ConvexProgram, solve
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import DualDomain, into_domain, prices

__all__ = [
    "alpha_grid",
    "alpha_max",
    "check_attained",
    "checked_alphas",
    "dual_of_constant",
    "largest_ratio",
]

_KINK_TOL = 1e-8
_MAX_SOLVES = 60
_ROUNDING = 16 * float(np.finfo(np.float64).eps)


def alpha_max(program: ConvexProgram, clock: Clock | None = None) -> float:
    """Return the least strength at which the best network of the program has no neurons.

    With ``theta = -grad L`` at the best constant outputs it is ``max {+-theta[:, k] . A_i u : u in C_i,
    |u| <= 1}`` over patterns ``i`` and outputs ``k``: the largest price of a block, exact to rounding. Where
    the loss has kinks the gradient is not unique, and the same number is the largest ratio ``(L(0) - L(f)) /
    sum_i |u_i|`` of what a network saves to what it costs; it is found by solving programs, to a relative
    accuracy of about 1e-6 and never from above.

    Parameters
    ----------
    program : ConvexProgram
        Its own ``alpha`` does not matter.
    clock : Clock, optional
        Of the programs that are solved where the loss has kinks; when it is over the answer is a lower bound.

    Returns
    -------
    float
        0 if no network is better than a constant one, for example where the targets are constant and
        the program has an intercept.

    References
    ----------
    Friedman, Hastie and Tibshirani, "Regularization paths for generalized linear models via coordinate
    descent", Journal of Statistical Software 33, 2010, section 2.5, for the lasso; Dinkelbach, "On nonlinear
    fractional programming", Management Science 13, 1967, for the ratio.
    """
    theta = dual_of_constant(program)
    largest = float(prices(replace(program, alpha=0.0), theta, 1).max(initial=0.0))
    if np.isfinite(program.loss.smoothness):
        return largest
    clock = Clock() if clock is None else clock
    return largest_ratio(program, lambda alpha: _saved(replace(program, alpha=alpha), clock), largest, clock)


def dual_of_constant(program: DualDomain) -> FloatArray:
    """Return ``-grad L`` at the best constant outputs, (n, K); zero where it is nothing but rounding."""
    outputs, targets, weight = np.zeros(program.targets.shape), program.targets, program.sample_weight
    size = float(np.abs(program.loss.gradient(outputs, targets, weight)).sum())
    if program.fit_intercept:
        outputs = outputs + program.loss.optimal_intercept(outputs, targets, weight)
    theta = into_domain(program, -program.loss.gradient(outputs, targets, weight))
    return np.zeros_like(theta) if np.abs(theta).sum() <= _ROUNDING * size else theta


def _saved(program: ConvexProgram, clock: Clock) -> tuple[float, float]:
    """Objective and sum of norms at the optimum of a program."""
    result = solve(program, tol=_KINK_TOL, time_limit=clock)
    return result.objective, float(program.block_norms(result.blocks).sum())


def largest_ratio(
    program: DualDomain, solved: Callable[[float], tuple[float, float]], guess: float, clock: Clock
) -> float:
    """Return ``max (constant - L(f)) / sum_i |u_i|`` over the points of a program (Dinkelbach's method).

    Solving at a strength below the maximum gives a point of a larger ratio; at or above it, none that is
    better than the constant.

    Parameters
    ----------
    program : ConvexProgram or Problem
        For loss and targets.
    solved : callable
        Objective and sum of norms at the optimum for a strength.
    guess : float
        Where to look first, non-negative.
    clock : Clock
    """
    outputs, targets, weight = np.zeros(program.targets.shape), program.targets, program.sample_weight
    if program.fit_intercept:
        outputs = outputs + program.loss.optimal_intercept(outputs, targets, weight)
    constant = program.loss.value(outputs, targets, weight)
    alpha, ratio = guess or constant, 0.0
    for _ in range(_MAX_SOLVES):
        if alpha <= _ROUNDING * constant or clock.expired:
            break
        objective, penalty = solved(alpha)
        if constant - objective > _KINK_TOL * constant:
            ratio = (constant - (objective - alpha * penalty)) / penalty
            alpha = ratio
        elif ratio > 0:
            break
        else:
            alpha /= 2
    return ratio


def alpha_grid(largest: float, n_alphas: int, eps: float) -> FloatArray:
    """Return ``n_alphas`` strengths in geometric progression from `largest` down to ``eps`` times it.

    Parameters
    ----------
    largest : float
        See `alpha_max`. Where it is 0 no strength leaves a neuron, and the sequence starts at 1 instead.
    n_alphas : int
        At least 1; a single one is `largest`.
    eps : float
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (n_alphas,)
        Descending.
    """
    alphas: FloatArray = (largest or 1.0) * np.geomspace(1.0, eps, n_alphas)
    return alphas


def checked_alphas(alphas: Any, eps: Any) -> int | FloatArray:
    """Return a number of strengths, or given strengths in descending order without repetitions.

    Raises
    ------
    ValueError
        If `alphas` is neither a positive integer nor a non-empty list of finite non-negative numbers, or
        `eps` is not between 0 and 1.
    """
    if not 0 < eps < 1:
        raise ValueError(f"eps must be between 0 and 1, the smallest alpha by the largest. Got {eps!r}.")
    if isinstance(alphas, int | np.integer) and not isinstance(alphas, bool):
        if alphas < 1:
            raise ValueError(f"alphas must be at least 1 as a number of alphas. Got {alphas!r} instead.")
        return int(alphas)
    wanted = "alphas must be a positive integer, how many, or a list of finite numbers >= 0"
    if not isinstance(alphas, Iterable) or isinstance(alphas, str):
        raise ValueError(f"{wanted}. Got {alphas!r} instead.")
    values = np.asarray(list(alphas), dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError(f"{wanted}. Got {alphas!r} instead.")
    descending: FloatArray = np.unique(values)[::-1].copy()
    return descending


def check_attained(alphas: int | FloatArray, loss: Loss) -> None:
    """Raise ValueError before a path is begun whose last point has no minimum."""
    if not isinstance(alphas, int) and alphas[-1] == 0 and not loss.attains_minimum:
        raise ValueError(
            f"alphas must be positive with loss={loss.name!r}, which has no minimum at alpha=0 when the "
            "classes can be separated. Got 0 among them."
        )
