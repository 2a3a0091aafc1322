"""Zeros of non-decreasing functions of one variable: the optimality condition of an intercept."""

from collections.abc import Callable

import numpy as np

from convexnn._typing import FloatArray

__all__ = ["jump_root", "newton_root", "piecewise_linear_root"]

_EPS = float(np.finfo(np.float64).eps)


def jump_root(breaks: FloatArray, jumps: FloatArray, start: float) -> float:
    """Return a zero crossing of the step function ``start + sum_i jumps_i 1[c > breaks_i]``.

    Parameters
    ----------
    breaks : ndarray of shape (n,), n >= 1
    jumps : ndarray of shape (n,), > 0
    start : float
        Value at minus infinity, <= 0.

    Returns
    -------
    float
        The middle of the interval of zeros where it is bounded, its finite end where it is not, otherwise the
        break at which the sign changes.
    """
    order = np.argsort(breaks)
    breaks = breaks[order]
    after = start + np.cumsum(jumps[order])
    noise = 4 * _EPS * (abs(start) + float(after[-1] - start))
    j = int(np.argmax(after >= -noise)) if after[-1] >= -noise else len(breaks) - 1
    if start < 0 and abs(after[j]) <= noise and j + 1 < len(breaks):
        return float(breaks[j] + 0.5 * (breaks[j + 1] - breaks[j]))
    return float(breaks[0] if start >= 0 else breaks[j])


def piecewise_linear_root(function: Callable[[float], float], breaks: FloatArray) -> float:
    """Return a zero of a continuous, non-decreasing function that is linear between `breaks`.

    Binary search over the breaks, then interpolation, so that the zero is exact up to rounding.

    Parameters
    ----------
    function : callable
        ``<= 0`` before the first break and ``>= 0`` after the last.
    breaks : ndarray of shape (n,), n >= 1

    Returns
    -------
    float
        The middle of the interval of zeros where it is bounded, its finite end where it is not.
    """
    breaks = np.unique(breaks)
    low, high = -1, len(breaks) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if function(float(breaks[middle])) >= 0 else (middle, high)
    right = float(breaks[high])
    at_right = function(right)
    if high == 0 or at_right <= 0:
        further = float(breaks[min(high + 1, len(breaks) - 1)])
        return right + 0.5 * (further - right) if function(further) <= 0 else right
    left = float(breaks[low])
    at_left = function(left)
    slope = (at_right - at_left) / (right - left)
    root = left - at_left / slope
    # The breaks may be far larger than the root, and so may be the rounding of the first step.
    return root - function(root) / slope


def newton_root(
    function: Callable[[float], tuple[float, float]], low: float, high: float, *, max_iter: int = 300
) -> float:
    """Return the zero of a non-decreasing, differentiable function by Newton steps kept inside a bracket.

    Parameters
    ----------
    function : callable
        Returns value and derivative.
    low, high : float
        ``function(low) <= 0 <= function(high)``.
    max_iter : int
        Far above what bisection alone needs, so that it only guards against a broken function.

    Returns
    -------
    float
    """
    c = 0.5 * (low + high)
    previous = np.inf
    for _ in range(max_iter):
        value, slope = function(c)
        if value == 0:
            return c
        low, high = (c, high) if value < 0 else (low, c)
        step = -value / slope if slope > 0 else np.inf
        # Newton must at least halve the residual, else flat stretches would be crossed step by step.
        newton = c + step if abs(value) <= 0.5 * previous else np.inf
        previous = abs(value)
        following = newton if low < newton < high else 0.5 * (low + high)
        if abs(following - c) <= _EPS * max(abs(c), abs(following)) or not low < following < high:
            return following
        c = following
    return c
