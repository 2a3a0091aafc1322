"""The one form that the solver sees: least squares with columns and target of norm one.

Without the sum constraint the columns ``a_j`` and the target ``b`` of the reduced program, ridge rows
included, are divided by their norms. With it ``|A w - b|^2 = |C w|^2`` for ``C = A - b 1'``, and the weights
that minimise ``|C w|^2`` over the simplex are the ``v >= 0`` that minimise ``|C v|^2 + t^2 (1.v - 1)^2``,
divided by their sum: with ``v = s w`` and ``1.w = 1`` the latter is ``s^2 |C w|^2 + t^2 (s - 1)^2``,
whose minimum over ``s`` grows with ``|C w|^2``. ``t`` is the smallest norm of a column of ``C``.
"""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.nonnegative.program import NonnegativeProgram, triangular

__all__ = ["Scales", "UnitProblem", "augmented", "scales_of", "unit_problem"]

# Differences of columns and targets that are smaller are mostly rounding errors of the data.
_RESOLUTION = 1e-6
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Scales:
    """What residuals are measured in.

    Attributes
    ----------
    columns : ndarray of shape (m,)
        ``|a_j|``, with the sum constraint ``|a_j - b|``; positive.
    reference : float
        ``|b|``, with the sum constraint the smallest ``|a_j - b|``; positive.
    terms : ndarray of shape (m,)
        ``|a_j|``, with the sum constraint ``|a_j - b| + |b|``: how large the terms of a residual are.
    nearest : int
        The column of smallest ``|a_j - b|``.
    """

    columns: FloatArray
    reference: float
    terms: FloatArray
    nearest: int


@dataclass(frozen=True, eq=False)
class UnitProblem:
    """``min |matrix v - target|^2 over v >= 0``, columns and target of norm one.

    With the sum constraint the row ``t 1'`` makes the norms of the columns up to ``sqrt(2)``.

    Attributes
    ----------
    matrix : ndarray of shape (r, k)
        ``k <= m``: columns of norm zero are left out, their weights are zero.
    target : ndarray of shape (r,)
    columns : ndarray of shape (k,)
        Which of the program's weights these are.
    factors : ndarray of shape (k,)
        ``w = factors * v``, divided by its sum if that is constrained.
    n_weights : int
        ``m``.
    sum_to_one : bool
    """

    matrix: FloatArray
    target: FloatArray
    columns: IntArray
    factors: FloatArray
    n_weights: int
    sum_to_one: bool

    def decode(self, point: FloatArray) -> FloatArray:
        """Weights ``(m,)`` of a point ``(k,)``; negative numbers count as zero, no sum may be zero."""
        weights = np.zeros(self.n_weights)
        # A column of norm one that moves the target of norm one by less than rounding is not used.
        positive = np.where(point > _EPS, point, 0.0)
        if not self.sum_to_one:
            weights[self.columns] = positive * self.factors
            return weights
        weights[self.columns] = positive * (self.factors / self.factors.max())
        total = weights.sum()
        return weights / total if total > 0 else weights


def column_norms(matrix: FloatArray) -> FloatArray:
    """Norms of the columns, also of numbers whose squares float64 cannot hold."""
    peaks = np.abs(matrix).max(axis=0, initial=0.0)
    divisors = np.where(peaks > 0, peaks, 1.0)
    norms: FloatArray = peaks * np.linalg.norm(matrix / divisors, axis=0)
    return norms


def augmented(program: NonnegativeProgram) -> tuple[FloatArray, FloatArray]:
    """Return ``A`` and ``b`` with ``|A w - b|^2`` the objective, at most ``m + 1`` rows, ridge included."""
    program = program.reduced()
    matrix, targets = program.matrix, program.targets
    if program.ridge > 0:
        rows = np.sqrt(program.ridge) * np.eye(program.n_weights, program.n_weights + 1)
        stacked = np.vstack([np.column_stack([matrix, targets]), rows])
        factor = triangular(stacked)
        matrix, targets = factor[:, :-1], factor[:, -1]
    return matrix, targets


def scales_of(matrix: FloatArray, targets: FloatArray, sum_to_one: bool) -> Scales:
    """Return the norms by which the residuals of ``|A w - b|^2`` are divided."""
    size = float(column_norms(targets[:, None])[0])
    errors = column_norms(matrix - targets[:, None])
    nearest = int(np.argmin(errors))
    if not sum_to_one:
        columns = column_norms(matrix)
        return Scales(np.where(columns > 0, columns, 1.0), size or 1.0, columns, nearest)
    columns = np.maximum(errors, _RESOLUTION * size)
    reference = float(columns.min()) or 1.0
    return Scales(np.where(columns > 0, columns, 1.0), reference, errors + size, nearest)


def unit_problem(matrix: FloatArray, targets: FloatArray, sum_to_one: bool) -> UnitProblem:
    """Return the form of ``|A w - b|^2`` that the solver sees."""
    m = matrix.shape[1]
    if sum_to_one:
        matrix = matrix - targets[:, None]
    norms = column_norms(matrix)
    used = np.flatnonzero(norms > 0)
    unit = matrix[:, used] / norms[used]
    if not sum_to_one:
        size = float(column_norms(targets[:, None])[0]) or 1.0
        return UnitProblem(unit, targets / size, used, size / norms[used], m, False)
    smallest = norms[used].min(initial=np.inf)
    factors = smallest / norms[used]
    stacked = np.vstack([unit, factors])
    target = np.append(np.zeros(matrix.shape[0]), 1.0)
    return UnitProblem(stacked, target, used, factors, m, True)
