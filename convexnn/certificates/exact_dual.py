r"""Dual points whose sums vanish exactly and dual values that rounding cannot raise.

**Sums.** Entries that are multiples of one power of two q with ``n K max |theta| <= 2^51 q`` have sums that
floating point forms without error, in any order. (Where a sample has several rows its entry may occur as many
times in a sum.) So a guess is rounded to such multiples *towards zero*,
which keeps it in the domain of the conjugate (an interval around zero for each entry; for softmax a simplex,
whose entries off the target are rounded and whose entry at the target is minus their sum). What the rounding
leaves of a sum over samples is taken off entries of its sign, again towards zero. Before, points of the
domain are shrunk by some units of rounding, so that they lie inside the exact domain and not only inside the
rounded one.

**Values.** A loss gives the terms of its conjugate with a bound on their rounding errors, see
`Loss.conjugate_terms`. Terms are added by `math.fsum`, which rounds once.
"""

import math

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.losses import LOSSES
from convexnn.problem import Problem

__all__ = ["check_loss", "dual_lower_bound", "exact_point", "exact_sums"]

_EPS = float(np.finfo(np.float64).eps)
_UNIT = 0.5 * _EPS
_TINY = float(np.finfo(np.float64).tiny)
_BITS = 51
# Below this the products of a dual point's entries may underflow.
_SMALLEST = 1e-140


def check_loss(problem: Problem) -> None:
    """Raise ValueError for losses whose rounding errors are not known here."""
    if not problem.loss.has_conjugate_terms:
        known = sorted(name for name, loss in LOSSES.items() if loss.has_conjugate_terms)
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
    if not problem.loss.shift_invariant:
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
    z = -theta[used]
    with np.errstate(over="ignore", invalid="ignore"):
        terms, error = problem.loss.conjugate_terms(z, problem.data.targets[used], problem.data.weight[used])
    if not (np.isfinite(terms).all() and math.isfinite(error)):
        return -math.inf
    error = error * (1 + 4 * z.size * _EPS) + z.size * (1 + float(np.abs(z).max(initial=0.0))) * _TINY
    value = -math.fsum(terms.ravel())
    return value - error - 4 * _UNIT * (abs(value) + error)
