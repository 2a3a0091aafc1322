r"""Upper bounds of what a neuron with weighted pooling can gain.

.. math:: H = \max_{|u| \le 1} |G(u)|, \qquad G_k(u) = \theta \cdot \phi(X_k u)

With few coordinates branch and bound finds H. With many the following bound stands:
``theta . phi(X_k u) = g_k . u + 1/2 sum_i t_i |x_ik . u|`` where ``t = (on - off) theta`` and
``g_k = (on + off) / 2 X_k' theta``, so that by Cauchy and Schwarz, with t+ and t- the parts of t,

.. math:: H \le \sigma_{max}(g) + \tfrac12 \sqrt{\lambda_{max}\big(\sum_k |t^+|_1 X_k' D(t^+) X_k
          + |t^-|_1 X_k' D(t^-) X_k\big)},

since ``(p - m)^2 <= p^2 + m^2`` for ``p, m >= 0``; and ``sqrt(sum_k H_k^2)`` with bounds of each ``H_k``.
"""

import math
import time

import numpy as np

from convexnn._typing import FloatArray
from convexnn.columns.weighted_ascent import Priced, distinct, positions, refined
from convexnn.columns.weighted_network import WeightedProblem
from convexnn.pricing.grouped import grouped_bounds
from convexnn.pricing.relaxations import semidefinite

__all__ = ["branched", "relaxed"]

_NEW = 30
_EPS = float(np.finfo(np.float64).eps)


def branched(
    problem: WeightedProblem,
    theta: FloatArray,
    threshold: float,
    *,
    tol: float,
    stop_above: float,
    until: float,
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
    until : float
        Value of ``time.perf_counter`` at which to stop.

    Returns
    -------
    Priced
    """
    d = problem.patches.shape[2]
    largest, n_nodes, complete, found = 0.0, 0, True, [np.empty((0, d))]
    for k in range(theta.shape[1]):
        values, linear = problem.gain(theta[:, k])
        bounds = grouped_bounds(
            problem.rows,
            values[:, None],
            size=1,
            offsets=positions(problem),
            n_columns=problem.patches.shape[1],
            linear=linear,
            threshold=threshold,
            tol=tol,
            stop_above=stop_above,
            time_limit=None if until == math.inf else max(0.0, until - time.perf_counter()),
        )
        largest = max(largest, bounds.upper)
        n_nodes += bounds.n_nodes
        complete = complete and bounds.complete
        if bounds.lower > threshold:
            met = distinct(np.vstack([bounds.weights[None], bounds.others.reshape(-1, d)]), _NEW)
            found.append(refined(problem, theta[:, k], met))
    return Priced(largest, np.vstack(found), n_nodes, complete)


def relaxed(problem: WeightedProblem, theta: FloatArray, *, until: float) -> float:
    """Bound the largest gain by eigenvalues and, position by position, semidefinite relaxations.

    Parameters
    ----------
    problem : WeightedProblem
    theta : ndarray of shape (n, q)
    until : float
        Value of ``time.perf_counter``, after which only eigenvalues are used.

    Returns
    -------
    float
        Never below H, rounding included.
    """
    largest = 0.0
    for dual in theta.T:
        upper = _by_eigenvalues(problem, dual)
        if time.perf_counter() < until:
            upper = min(upper, _by_positions(problem, dual, until))
        largest = max(largest, upper)
    return largest


def _by_eigenvalues(problem: WeightedProblem, theta: FloatArray) -> float:
    """Return the bound of the module's text."""
    on, off = problem.activation.on, problem.activation.off
    n, n_positions, d = problem.patches.shape
    centre = 0.5 * (on + off) * np.einsum("i,ikd->kd", theta, problem.patches)
    t = (on - off) * theta
    total = np.where(t > 0, t[t > 0].sum(), -t[t < 0].sum())
    rows = problem.patches * np.sqrt(total * np.abs(t))[:, None, None]
    flat = rows.reshape(-1, d)
    squares = float(np.sum(flat**2))
    rounding = 16 * (n * n_positions + d * d + 16) * _EPS
    largest = max(0.0, float(np.linalg.eigvalsh(flat.T @ flat)[-1])) + rounding * squares
    size = float(np.abs(theta) @ np.linalg.norm(problem.patches, axis=2).sum(axis=1)) * (abs(on) + abs(off))
    return float(np.linalg.norm(centre, 2) + 0.5 * math.sqrt(largest) + rounding * size)


def _by_positions(problem: WeightedProblem, theta: FloatArray, until: float) -> float:
    """``sqrt(sum_k H_k^2)`` with the semidefinite bound of every position's H_k."""
    t = (problem.activation.on - problem.activation.off) * theta
    uppers = []
    n_positions = problem.patches.shape[1]
    for k in range(n_positions):
        rows = np.ascontiguousarray(problem.patches[:, k])
        left = max(0.0, until - time.perf_counter()) / (n_positions - k)
        bounds = semidefinite(
            rows,
            t,
            linear=problem.activation.off * (theta @ rows),
            time_limit=None if left == math.inf else left,
        )
        uppers.append(bounds.upper)
    return float(np.linalg.norm(uppers) * (1 + 4 * n_positions * _EPS))
