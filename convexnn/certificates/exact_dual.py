r"""Dual points whose sums vanish exactly and dual values that rounding cannot raise.

**Sums.** Entries that are multiples of one power of two q with ``n K max |theta| <= 2^51 q`` have sums that
floating point forms without error, in any order. (Where a sample has several rows its entry may occur as many
times in a sum.) So a guess is rounded to such multiples *towards zero*,
which keeps it in the domain of the conjugate (an interval around zero for each entry; for softmax a simplex,
whose entries off the target are rounded and whose entry at the target is minus their sum). What the rounding
leaves of a sum over samples is taken off entries of its sign, again towards zero. Before, points of the
domain are shrunk by some units of rounding, so that they lie inside the exact domain and not only inside the
rounded one.

**Values.** With ``z = -theta`` the terms are ``z (q z / s + y)`` for the squared losses, ``z y`` for
absolute error and hinge, and ``s (p log p + (1 - p) log(1 - p))`` or ``s sum_k p_k log p_k`` for the
logistic ones. The first take at most seven roundings, so that they are wrong by at most ``8 u |z| (q |z| / s
+ |y|)``, u half an epsilon. The entropies are sums of ``p log p`` and, for the other class or the target of
softmax, of ``(1 - p) log(1 - p)``, with ``p = |z| / s`` of relative error u. That moves the former by at
most ``u p (1 + |log p|)``; the latter by at most ``2 u p`` where ``p <= 1/2``, and otherwise by no more than
``x log x`` can change over a step of u, which is ``u (1 - log u) < 38 u``. With logarithms that are right to
four units ``u (16 s |p log p| + 128 |z|)`` bounds the error. Terms are added by `math.fsum`, which rounds
once.
"""

import math

import numpy as np
from scipy.special import xlog1py, xlogy

from convexnn._typing import BoolArray, FloatArray
from convexnn.losses import AbsoluteError, Hinge, Huber, LogLoss, Loss, Softmax, SquaredError, SquaredHinge
from convexnn.problem import Problem

__all__ = ["check_loss", "dual_lower_bound", "exact_point", "exact_sums"]

_EPS = float(np.finfo(np.float64).eps)
_UNIT = 0.5 * _EPS
_TINY = float(np.finfo(np.float64).tiny)
_BITS = 51
# Below this the products of a dual point's entries may underflow.
_SMALLEST = 1e-140
# Coefficients of z^2 / s in the conjugates that are quadratic or linear.
_CURVATURE: dict[type[Loss], float] = {
    SquaredError: 0.5,
    Huber: 0.5,
    SquaredHinge: 0.25,
    AbsoluteError: 0.0,
    Hinge: 0.0,
}


def check_loss(problem: Problem) -> None:
    """Raise ValueError for losses whose rounding errors are not known here."""
    if type(problem.loss) not in (*_CURVATURE, LogLoss, Softmax):
        kinds: list[type[Loss]] = [*_CURVATURE, LogLoss, Softmax]
        known = sorted(kind.name for kind in kinds)
        raise ValueError(
            f"Certificates know the rounding errors of the losses {known}. "
            f"Got {type(problem.loss).__name__} instead; use one of these."
        )


def exact_point(problem: Problem, theta: FloatArray) -> FloatArray:
    """Return a point near `theta`, inside the conjugate's domain, all of whose sums are exact.

    Parameters
    ----------
    problem : Problem
    theta : ndarray of shape (n, K)
        Sums over samples are almost zero where an intercept asks for it.

    Returns
    -------
    ndarray of shape (n, K)
        Sums over samples are exactly zero where an intercept asks for it.
    """
    z = problem.loss.project_dual(-theta, problem.data.targets, problem.data.weight)
    z = z * (1 - 16 * (z.shape[1] + 1) * _EPS)
    if not isinstance(problem.loss, Softmax):
        return exact_sums(-z, zero=problem.fit_intercept, copies=problem.original_layer.positions)
    z = _on_grid(z, problem.original_layer.positions)
    at_target = problem.data.targets > 0
    z[at_target] = -np.where(at_target, 0.0, z).sum(axis=1)
    if problem.fit_intercept:
        _balance_classes(z, at_target)
    return np.asarray(-z + 0.0)


def exact_sums(columns: FloatArray, *, zero: bool, copies: int = 1) -> FloatArray:
    """Return columns near given ones, no entry further from zero, whose sums are exact.

    Parameters
    ----------
    columns : ndarray of shape (n, K)
    zero : bool
        Whether each column is to sum to zero; the given ones almost do.
    copies : int
        How often an entry may occur in a sum.

    Returns
    -------
    ndarray of shape (n, K)
    """
    exact = _on_grid(columns, copies)
    if zero:
        for column in exact.T:
            _balance(column)
    return np.asarray(exact + 0.0)


def _on_grid(z: FloatArray, copies: int) -> FloatArray:
    """Round to multiples of a power of two, towards zero; what is too small becomes zero altogether."""
    largest = float(np.abs(z).max(initial=0.0))
    if largest < _SMALLEST:
        return np.zeros_like(z)
    # One more factor of two, since at softmax targets and in transfers entries may double.
    grid = 2.0 ** (math.ceil(math.log2(largest)) + math.ceil(math.log2(z.size * copies)) + 1 - _BITS)
    return np.asarray(np.trunc(z / grid) * grid)


def _balance(column: FloatArray) -> None:
    """Take the sum of a column off entries of its sign, the largest first, in place."""
    excess = float(column.sum())
    sign = math.copysign(1.0, excess)
    for i in np.argsort(-sign * column):
        if excess == 0:
            break
        taken = min(abs(excess), max(sign * float(column[i]), 0.0))
        column[i] -= sign * taken
        excess -= sign * taken


def _balance_classes(z: FloatArray, at_target: BoolArray) -> None:
    """Move what columns have too much to those that have too little, row by row, in place.

    Only positive entries, which are off the target, are lowered, and what they lose their row gains
    elsewhere: rows still sum to zero, and the entries off the target to no more than before.
    """
    excess = z.sum(axis=0)
    for k in np.flatnonzero(excess > 0):
        for i in np.argsort(np.where(at_target[:, k], 0.0, -z[:, k])):
            for m in np.flatnonzero(excess < 0):
                moved = min(excess[k], -excess[m], max(float(z[i, k]), 0.0))
                z[i, k] -= moved
                z[i, m] += moved
                excess[k] -= moved
                excess[m] += moved
            if excess[k] <= 0:
                break


def dual_lower_bound(problem: Problem, theta: FloatArray) -> float:
    """Return a number that ``D(theta) = -sum_i s_i loss*(-theta_i / s_i)`` is certainly not below.

    Parameters
    ----------
    problem : Problem
    theta : ndarray of shape (n, K)
        From `exact_point`.

    Returns
    -------
    float
    """
    used = problem.data.weight > 0
    s = problem.data.weight[used, None]
    z, y = -theta[used], problem.data.targets[used]
    loss = problem.loss
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(loss, LogLoss | Softmax):
            terms, error = _entropy_terms(loss, z, y, s)
        else:
            curvature = _CURVATURE[type(loss)]
            terms = z * (curvature * z / s + y)
            error = 8 * _UNIT * float(np.sum(np.abs(z) * (curvature * np.abs(z) / s + np.abs(y))))
    if not (np.isfinite(terms).all() and math.isfinite(error)):
        return -math.inf
    error = error * (1 + 4 * z.size * _EPS) + z.size * (1 + float(np.abs(z).max(initial=0.0))) * _TINY
    value = -math.fsum(terms.ravel())
    return value - error - 4 * _UNIT * (abs(value) + error)


def _entropy_terms(
    loss: LogLoss | Softmax, z: FloatArray, y: FloatArray, s: FloatArray
) -> tuple[FloatArray, float]:
    p = np.minimum(np.abs(z) / s, 1.0)
    own, other = s * np.asarray(xlogy(p, p)), s * np.asarray(xlog1py(1.0 - p, -p))
    terms = own + other if isinstance(loss, LogLoss) else np.where(y > 0, other, own)
    return terms, _UNIT * float(np.sum(16 * np.abs(own) + 128 * np.abs(z)))
