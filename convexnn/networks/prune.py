"""Pruning to linearly independent neurons without changing outputs or raising the objective.

With ``w_j`` the size and ``q_j`` the direction of neuron j's contribution to the outputs on X, the outputs
are ``sum_j w_j q_j`` with ``w > 0``, and the regulariser is linear, ``sum_j p_j w_j``: scaling a neuron's two
layers by ``sqrt(s)`` each scales both by s. While the ``q_j`` are dependent,
``sum_j c_j q_j = 0`` with the sign of c such that ``sum_j p_j c_j >= 0``; then ``w - t c`` has the same
outputs and no larger regulariser, and the largest t that keeps it non-negative removes a neuron. Ends at a
vertex of the polytope of such networks, as the simplex method does.

References
----------
Mishkin and Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023 (minimal networks).
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy.linalg import qr, solve_triangular

from convexnn._typing import FloatArray, IntArray
from convexnn.networks import neurons

if TYPE_CHECKING:
    from convexnn.networks._base import BaseNetwork

__all__ = ["independent_weights", "prune"]

N = TypeVar("N", bound="BaseNetwork")

_EPS = float(np.finfo(np.float64).eps)
_MAX_DRIFT = 1e-10
"""Change of the outputs, relative to their norm, beyond which a step is refused."""


def prune(network: N, X: FloatArray) -> N:
    """Return a network with the same outputs on X; see :meth:`BaseNetwork.prune`.

    Parameters
    ----------
    network : TwoLayerNetwork or ConvNetwork
    X : ndarray of shape (n_samples, ...), float64
        Samples as the network takes them.

    Returns
    -------
    network of the same class
        Balanced, neurons in their old order.
    """
    network = neurons.merge_collinear(neurons.balance(network))
    columns = network.contributions(X)
    initial = np.sqrt(np.sum(columns**2, axis=0))
    alive = np.flatnonzero(initial > 0)
    if len(alive) == 0:
        return neurons.select(network, alive)
    initial = initial[alive]
    weights = independent_weights(
        columns[:, alive] / initial, initial, neurons.penalties(network)[alive] / initial
    )
    kept = np.flatnonzero(weights > 0)
    scale = np.sqrt(weights[kept] / initial[kept])
    return neurons.select(network, alive[kept], scale, scale)


def independent_weights(directions: FloatArray, weights: FloatArray, costs: FloatArray) -> FloatArray:
    """Return weights >= 0 with the same sum of directions, no larger cost and independent support.

    Parameters
    ----------
    directions : ndarray of shape (n, m)
        Unit columns ``q_j``.
    weights : ndarray of shape (m,), > 0
    costs : ndarray of shape (m,), > 0
        ``p_j``, the regulariser per unit of weight.

    Returns
    -------
    ndarray of shape (m,)
        ``directions @ result == directions @ weights`` up to 1e-10 of its norm.
    """
    target = directions @ weights
    allowed = _MAX_DRIFT * float(np.linalg.norm(target)) + 8 * _EPS * float(weights.sum())
    n, m = directions.shape
    result = np.zeros(m)
    support = np.zeros(0, dtype=np.intp)
    # A few more columns than rows at a time: enough to fill the factorisation, and memory stays small.
    block = n + 64
    for start in range(0, m, block):
        fresh = np.arange(start, min(start + block, m))
        result[fresh] = weights[fresh]
        support = np.concatenate([support, fresh])
        wanted = directions[:, : fresh[-1] + 1] @ weights[: fresh[-1] + 1]
        support = _purge(directions, result, costs, support, target=wanted, allowed=allowed)
    return result


def _purge(
    directions: FloatArray,
    weights: FloatArray,
    costs: FloatArray,
    support: IntArray,
    *,
    target: FloatArray,
    allowed: float,
) -> IntArray:
    """Make the columns in `support` independent, updating `weights` in place; return the new support."""
    while True:
        columns = directions[:, support]
        relations = _null_space(columns)
        if relations.shape[1] == 0:
            return support
        trial = _eliminate(relations, weights[support], costs[support])
        if np.linalg.norm(columns @ trial - target) > allowed:
            # Rounding adds up over many steps; the first one alone uses a fresh relation.
            trial = _eliminate(relations[:, :1], weights[support], costs[support])
            if np.linalg.norm(columns @ trial - target) > allowed:
                return support
        weights[support] = trial
        support = support[trial > 0]


def _null_space(columns: FloatArray) -> FloatArray:
    """Basis of ``{c : columns @ c = 0}``, one relation per column that depends on better pivots."""
    n, m = columns.shape
    upper, pivots = qr(columns, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diag(upper))
    rank = int(np.sum(diagonal > max(n, m) * _EPS * diagonal[0]))
    null = np.zeros((m, m - rank))
    null[pivots[:rank]] = -solve_triangular(upper[:rank, :rank], upper[:rank, rank:], check_finite=False)
    null[pivots[rank:]] = np.eye(m - rank)
    return null


def _eliminate(relations: FloatArray, weights: FloatArray, costs: FloatArray) -> FloatArray:
    """Use up each relation for one step to the boundary of ``weights >= 0``."""
    weights = weights.copy()
    relations = relations.copy()
    for k in range(relations.shape[1]):
        c = relations[:, k] / np.abs(relations[:, k]).max()
        if costs @ c < 0:
            c = -c
        # Judged by cost too: there positive entries outweigh the others, so that some neuron always falls.
        change = costs * c
        falling = np.flatnonzero((c > 1e-14) | (change > 1e-14 * np.abs(change).max()))
        ratios = weights[falling] / c[falling]
        leaving = falling[np.argmin(ratios)]
        weights = np.maximum(weights - ratios.min() * c, 0.0)
        weights[leaving] = 0.0
        # The neuron that left must not come back through the relations still to be used.
        relations[:, k + 1 :] -= np.outer(c, relations[leaving, k + 1 :] / c[leaving])
        relations[leaving, k + 1 :] = 0.0
    return weights
