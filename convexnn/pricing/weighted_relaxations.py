r"""Upper bounds of what a neuron with weighted pooling can gain, without a search.

.. math:: H = \max_{|u| \le 1} |G(u)|, \qquad G_k(u) = \theta \cdot \phi(X_k u)

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
from convexnn.activations import Activation
from convexnn.pricing.relaxations import semidefinite

__all__ = ["eigenvalue_bound", "position_bound"]

_EPS = float(np.finfo(np.float64).eps)


def eigenvalue_bound(patches: FloatArray, activation: Activation, theta: FloatArray) -> float:
    """Return the first bound of the module's text, rounded up.

    Parameters
    ----------
    patches : ndarray of shape (n, K, d)
    activation : Activation
        Not gated.
    theta : ndarray of shape (n,)

    Returns
    -------
    float
    """
    on, off = activation.on, activation.off
    n, n_positions, d = patches.shape
    centre = 0.5 * (on + off) * np.einsum("i,ikd->kd", theta, patches)
    t = (on - off) * theta
    total = np.where(t > 0, t[t > 0].sum(), -t[t < 0].sum())
    flat = (patches * np.sqrt(total * np.abs(t))[:, None, None]).reshape(-1, d)
    squares = float(np.sum(flat**2))
    rounding = 16 * (n * n_positions + d * d + 16) * _EPS
    largest = max(0.0, float(np.linalg.eigvalsh(flat.T @ flat)[-1])) + rounding * squares
    size = float(np.abs(theta) @ np.linalg.norm(patches, axis=2).sum(axis=1)) * (abs(on) + abs(off))
    return float(np.linalg.norm(centre, 2) + 0.5 * math.sqrt(largest) + rounding * size)


def position_bound(
    patches: FloatArray, activation: Activation, theta: FloatArray, time_limit: float | None
) -> float:
    """``sqrt(sum_k H_k^2)`` with the semidefinite bound of every position's H_k.

    Parameters
    ----------
    patches, activation, theta
        As in `eigenvalue_bound`.
    time_limit : float, optional
        Seconds, shared by the positions.

    Returns
    -------
    float
    """
    until = math.inf if time_limit is None else time.perf_counter() + time_limit
    t, n_positions = (activation.on - activation.off) * theta, patches.shape[1]
    uppers = []
    for k in range(n_positions):
        rows = np.ascontiguousarray(patches[:, k])
        left = max(0.0, until - time.perf_counter()) / (n_positions - k)
        bounds = semidefinite(
            rows,
            t,
            linear=activation.off * (theta @ rows),
            time_limit=None if left == math.inf else left,
        )
        uppers.append(bounds.upper)
    return float(np.linalg.norm(uppers) * (1 + 4 * n_positions * _EPS))
