r"""The largest gain of a neuron that feeds several outputs, by branch and bound.

.. math:: H = \max_{|u| \le 1} |G(u)|_2, \qquad G(u) = G_0 u + \sum_i t_i \max(x_i \cdot u, 0),

with a vector ``t_i`` for each row. Where all weights are in the norm it is the gain of groups of one row of
`convexnn.pricing.grouped`. A bias without a norm is maximised over first: with ``sum_i t_i = 0`` the gain of
fixed slopes is piecewise linear in the bias and constant beyond the outermost kinks, and its norm is convex
on each piece, so that a maximum lies at a kink ``-x_j . w``. There

.. math:: G_j(w) = G_0 w + \sum_i t_i \max((x_i - x_j) \cdot w, 0),

and H is the largest of the maxima of these, one for each distinct row.
"""

import math
import time

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.pricing.bounds import SupportBounds, has_free_bias
from convexnn.pricing.grouped import gain_bounds
from convexnn.pricing.grouped_gain import GroupedGain

__all__ = ["vector_bounds"]

_EPS = float(np.finfo(np.float64).eps)


def vector_bounds(
    rows: FloatArray,
    values: FloatArray,
    *,
    linear: FloatArray | None = None,
    penalized: BoolArray | None = None,
    threshold: float = 0.0,
    tol: float = 1e-7,
    stop_above: float = math.inf,
    time_limit: float | None = None,
    max_nodes: float = math.inf,
) -> SupportBounds:
    """Bound the largest norm of a vector-valued gain.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        With a last column of ones where the bias is not penalised.
    values : ndarray of shape (n, q)
        ``t_i``; they sum to zero where the bias is not penalised.
    linear : ndarray of shape (q, d), optional
        ``G_0``, zero for a bias that is not penalised.
    penalized : ndarray of bool, shape (d,), optional
        All unless given.
    threshold, tol, stop_above, time_limit, max_nodes
        As for `convexnn.pricing.grouped.gain_bounds`; the last two are of everything together.

    Returns
    -------
    SupportBounds
        Its sign is 1.

    References
    ----------
    The module's own derivation; Horst and Tuy, "Global optimization", 1996, chapter 4 (branch and bound).
    """
    n_columns = values.shape[1]
    if not has_free_bias(rows, penalized):
        gain = GroupedGain.of(rows, values, 1, None, n_columns, linear)
        return gain_bounds(
            gain,
            threshold=threshold,
            tol=tol,
            stop_above=stop_above,
            time_limit=time_limit,
            max_nodes=max_nodes,
        )
    slopes = np.ascontiguousarray(rows[:, :-1])
    own = None if linear is None else np.ascontiguousarray(linear[:, :-1])
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
    sizes = np.linalg.norm(values, axis=1)
    best = SupportBounds(0.0, 0.0, np.zeros(rows.shape[1]), 1.0, 0, True)
    for kink in np.unique(slopes, axis=0):
        away = slopes - kink
        gain = GroupedGain.of(away, values, 1, None, n_columns, own)
        left = None if time_limit is None else max(0.0, deadline - time.perf_counter())
        found = gain_bounds(
            gain,
            threshold=max(threshold, best.lower),
            tol=tol,
            stop_above=stop_above,
            time_limit=left,
            max_nodes=max(1.0, max_nodes - best.n_nodes),
        )
        # What the differences of rows were rounded by.
        slack = 2 * _EPS * float(sizes @ (np.linalg.norm(slopes, axis=1) + np.linalg.norm(kink)))
        best = _larger(best, found, kink, slack)
        if best.lower > stop_above:
            break
    return best


def _larger(best: SupportBounds, found: SupportBounds, kink: FloatArray, slack: float) -> SupportBounds:
    """Join the answers for one kink to those for others."""

    def with_bias(slopes: FloatArray) -> FloatArray:
        return np.append(slopes, -slopes @ kink[:, None], axis=1)

    others = with_bias(np.vstack([found.weights[None], found.others.reshape(-1, len(kink))]))
    higher = found.lower > best.lower
    return SupportBounds(
        max(best.lower, found.lower),
        max(best.upper, found.upper + slack),
        others[0] if higher else best.weights,
        1.0,
        best.n_nodes + found.n_nodes,
        best.complete and found.complete,
        others[1:] if higher else best.others.reshape(-1, len(kink) + 1),
    )
