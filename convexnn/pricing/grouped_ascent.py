"""Local maxima of the vector-valued gain of a hidden unit that acts on groups of rows.

Where ``G`` is linear, ``|G(u)| = b . G(u)`` with ``b = G(u) / |G(u)|``, and ``u <- g / |g|`` with the
gradient g of ``b . G`` maximises that linear piece over the ball: a step of the power method. A step never
lowers ``|G|`` while the piece stays the same.
"""

import math
import time

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.pricing.grouped_gain import GroupedGain

__all__ = ["ascend", "grouped_maxima"]

_MAX_STEPS = 100  # of an ascent, each from one cell to another; most end after ten
_RISE = 1e-13  # of a step, relative: less is rounding
_LEAST_STARTS = 4
_ENTRIES = 4_000_000  # of the arrays of all starts together: 32 MB


def grouped_maxima(
    rows: FloatArray,
    values: FloatArray,
    *,
    size: int = 1,
    offsets: IntArray | None = None,
    n_columns: int | None = None,
    linear: FloatArray | None = None,
    starts: FloatArray | None = None,
    n_starts: int = 40,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Ascend ``|G|`` from many starts; the gain is that of `grouped_bounds`.

    Parameters
    ----------
    rows, values, size, offsets, n_columns, linear
        As for `grouped_bounds`.
    starts : ndarray of shape (d, m), optional
        Joined to random ones and to rows.
    n_starts : int
        Random starts and rows, together; fewer for large data.
    seed : int

    Returns
    -------
    weights : ndarray of shape (d, m)
        Columns of norm 1, or zero.
    values : ndarray of shape (m,)
        ``G`` there with its sign if it has one column, else ``|G|``; the largest absolute value comes first.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    gain = GroupedGain.of(rows, values, size, offsets, n_columns, linear)
    return ascend(gain, starts, n_starts, seed)


def ascend(
    gain: GroupedGain, starts: FloatArray | None, n_starts: int, seed: int, time_limit: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """Ascend as `grouped_maxima` does; at the limit of time, in seconds, the points reached are returned."""
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
    d = gain.rows.shape[1]
    n_starts = max(_LEAST_STARTS, min(n_starts, _ENTRIES // max(1, len(gain.rows))))
    sizes = np.repeat(np.linalg.norm(gain.values, axis=1), gain.size) * np.linalg.norm(gain.rows, axis=1)
    largest = np.argsort(-sizes, kind="stable")[: n_starts // 2]
    random = np.random.default_rng(seed).normal(size=(d, n_starts - len(largest)))
    first = np.hstack([random, gain.rows[largest].T] + ([] if starts is None else [starts]))
    first = np.hstack([first, -first])
    if len(gain.linear) == 1:
        weights = np.hstack([_climb(gain, first, sign, deadline) for sign in (1.0, -1.0)])
        found = gain.at(weights)[0]
    else:
        weights = _climb(gain, first, 0.0, deadline)
        found = np.linalg.norm(gain.at(weights), axis=0)
    order = np.argsort(-np.abs(found), kind="stable")
    return weights[:, order], found[order]


def _climb(gain: GroupedGain, U: FloatArray, sign: float, deadline: float) -> FloatArray:
    """Best points on the ways up from the columns of U; of ``sign * G`` unless `sign` is zero."""
    best = _normalized(U)
    best_value, rising, U = np.full(U.shape[1], -np.finfo(np.float64).max), np.arange(U.shape[1]), best
    for _ in range(_MAX_STEPS):
        if time.perf_counter() > deadline:
            break
        response = gain.at(U)
        value = sign * response[0] if sign else np.linalg.norm(response, axis=0)
        better = value - best_value[rising] > _RISE * np.abs(value)
        rising, U, response = rising[better], U[:, better], response[:, better]
        if not len(rising):
            break
        best[:, rising], best_value[rising] = U, value[better]
        directions = np.full_like(response, sign) if sign else _normalized(response)
        U = _normalized(gain.gradients(U, directions))
    return best


def _normalized(U: FloatArray) -> FloatArray:
    """Columns of norm 1; zero ones stay."""
    scale = np.abs(U).max(axis=0, initial=0.0)
    U = U / np.where(scale > 0, scale, 1.0)
    norms = np.linalg.norm(U, axis=0)
    return np.asarray(U / np.where(norms > 0, norms, 1.0))
