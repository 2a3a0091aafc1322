r"""Local maxima of the gain of a neuron: lower bounds of the largest one, and neurons that attain them.

Where ``h(u) = g0 . u + sum_i t_i max(x_i . u, 0)`` is linear it is ``g . u`` with its gradient g, and ``u <-
g / |g|`` maximises that linear piece over the ball. With a bias that is not penalised and ``sum_i t_i = 0``,
h is piecewise linear in the bias and constant at both ends, so that the best bias for given slopes w is a
kink ``-x_j . w``, found by sorting.
"""

import math
import time

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.pricing.bounds import gain, has_free_bias

__all__ = ["local_maxima"]

_MAX_STEPS = 60  # of an ascent, each from one cell to another; most end after ten
_RISE = 1e-12  # of a step, relative: less is rounding
_LEAST_STARTS = 4
# Entries of the arrays of all starts together: 32 MB; and with a bias at kinks, where each step sorts them,
# what takes seconds in all.
_ENTRIES, _SORTED_ENTRIES = 4_000_000, 400_000
# Entries of starts that ascend together: tenths of a second between two looks at the clock.
_ENTRIES_AT_ONCE = 1_000_000


def local_maxima(
    X: FloatArray,
    t: FloatArray,
    *,
    linear: FloatArray | None = None,
    penalized: BoolArray | None = None,
    starts: FloatArray | None = None,
    n_starts: int = 40,
    seed: int = 0,
    time_limit: float | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Ascend ``|h|`` from many starts.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    t : ndarray of shape (n,)
        Sums to zero where the bias is free.
    linear : ndarray of shape (d,), optional
    penalized : ndarray of bool, shape (d,), optional
        All unless given; only the last coordinate may be free.
    starts : ndarray of shape (d, m), optional
        Joined to random ones and to rows of X.
    n_starts : int
        Random starts and rows, together; fewer for large data.
    seed : int
    time_limit : float, optional
        Seconds; at the limit the points that were reached are returned.

    Returns
    -------
    weights : ndarray of shape (d, m)
        Columns with a penalised part of norm 1, or zero.
    values : ndarray of shape (m,)
        ``h`` there, with its sign; the largest absolute value comes first.
    """
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
    free = has_free_bias(X, penalized)
    n, d = X.shape
    g0 = np.zeros(d) if linear is None else linear
    n_starts = max(_LEAST_STARTS, min(n_starts, (_SORTED_ENTRIES if free else _ENTRIES) // max(1, n)))
    largest = np.argsort(-np.abs(t) * np.linalg.norm(X, axis=1))[: n_starts // 2]
    random = np.random.default_rng(seed).normal(size=(d, n_starts - len(largest)))
    first = np.hstack([random, X[largest].T] + ([] if starts is None else [starts]))
    first = np.hstack([first, -first])
    step = max(1, _ENTRIES_AT_ONCE // max(1, n))
    found = [
        _ascend(X, sign * t, sign * g0, first[:, low : low + step], free, deadline)
        for sign in (1.0, -1.0)
        for low in range(0, first.shape[1], step)
    ]
    weights = np.hstack(found)
    values = gain(X, t, linear, weights)
    order = np.argsort(-np.abs(values), kind="stable")
    return weights[:, order], values[order]


def _ascend(
    X: FloatArray, t: FloatArray, g0: FloatArray, U: FloatArray, free: bool, deadline: float
) -> FloatArray:
    """Best points on the ways up from the columns of `U`; those that rise no more are left where they are."""
    U = _normalized(U, free)
    best, best_value = U.copy(), np.full(U.shape[1], -np.finfo(np.float64).max)
    rising, pulls = np.arange(U.shape[1]), (X * t[:, None]).T
    for _ in range(_MAX_STEPS):
        if time.perf_counter() > deadline:
            break
        if free:
            U, gradient = _best_bias(X, t, g0, U)
        else:
            gradient = g0[:, None] + pulls @ (X @ U > 0)
        value = np.sum(gradient * U, axis=0)
        better = value - best_value[rising] > _RISE * np.abs(value)
        if not better.any():
            break
        rising = rising[better]
        best[:, rising], best_value[rising] = U[:, better], value[better]
        U = _normalized(gradient[:, better], free)
    return best


def _best_bias(X: FloatArray, t: FloatArray, g0: FloatArray, U: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Replace the biases by the best ones; also the gradients along the slopes, the kink held fast."""
    features = X[:, :-1]
    v = features @ U[:-1]
    order = np.argsort(-v, axis=0)
    sorted_v = np.take_along_axis(v, order, axis=0)
    mass = np.cumsum(t[order], axis=0)
    value = np.cumsum(t[order] * sorted_v, axis=0) - mass * sorted_v
    kink = np.take_along_axis(sorted_v, value.argmax(axis=0)[None], axis=0)
    active = t[:, None] * (v > kink)
    anchor = features[np.take_along_axis(order, value.argmax(axis=0)[None], axis=0)[0]]
    slopes = g0[:-1, None] + features.T @ active - anchor.T * active.sum(axis=0)
    return np.vstack([U[:-1], -kink]), np.vstack([slopes, np.zeros_like(kink)])


def _normalized(U: FloatArray, free: bool) -> FloatArray:
    size = np.linalg.norm(U[:-1] if free else U, axis=0)
    scaled: FloatArray = np.where(size > 0, U / np.where(size > 0, size, 1.0), 0.0)
    return scaled
