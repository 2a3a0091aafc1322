"""Least squares over non-negative weights, the program of convex combinations of predictions."""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from convexnn_solvers._typing import FloatArray

__all__ = ["NonnegativeProgram", "triangular"]

_ROWS_PER_COLUMN = 8
_LEAST_ROWS = 4096


def triangular(matrix: FloatArray) -> FloatArray:
    """``R`` of the QR decomposition of a matrix."""
    return cast(FloatArray, np.linalg.qr(matrix, mode="r"))


@dataclass(frozen=True, eq=False)
class NonnegativeProgram:
    """Data of one program in non-negative weights ``w``.

    The program is::

        minimise  sum_i s_i (P_i . w - y_i)^2 + ridge |w|^2      over w >= 0 [and sum_j w_j = 1]

    The data term is a weighted **sum** of squares, without a factor 1/2.

    Parameters
    ----------
    matrix : ndarray of shape (n, m)
        ``P``; in an ensemble one column holds the predictions of one sub-model. Converted to float64.
    targets : ndarray of shape (n,)
        ``y``.
    sample_weight : ndarray of shape (n,), optional
        ``s >= 0``; ones by default.
    ridge : float
        ``>= 0``.
    sum_to_one : bool
        Whether the weights shall sum to one.

    Raises
    ------
    ValueError
        If shapes disagree, there is no row or no column, a number is not finite, or `ridge` or a weight is
        negative.

    References
    ----------
    Breiman, "Stacked regressions", Machine Learning 24, 1996 (non-negative weights of predictors).
    """

    matrix: FloatArray
    targets: FloatArray
    sample_weight: FloatArray | None = None
    ridge: float = 0.0
    sum_to_one: bool = False

    def __post_init__(self) -> None:
        """Convert to float64 and check shapes and signs."""
        for name in ("matrix", "targets", "sample_weight"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, np.asarray(value, dtype=np.float64))
        if self.matrix.ndim != 2 or 0 in self.matrix.shape:
            raise ValueError(
                f"matrix must have shape (n, m) with a row and a column at least; got {self.matrix.shape}."
            )
        n = self.matrix.shape[0]
        if self.targets.shape != (n,):
            raise ValueError(f"targets must have shape ({n},); got {self.targets.shape}.")
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.targets).all()):
            raise ValueError("matrix and targets must be finite; got NaN or infinity. Check the predictions.")
        if not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise ValueError(f"ridge must be finite and non-negative; got {self.ridge!r}.")
        weight = self.sample_weight
        if weight is None:
            return
        if weight.shape != (n,):
            raise ValueError(f"sample_weight must have shape ({n},); got {weight.shape}.")
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("sample_weight must be finite and non-negative.")

    @property
    def n_weights(self) -> int:
        """Number ``m`` of weights."""
        return int(self.matrix.shape[1])

    def residual(self, weights: FloatArray) -> FloatArray:
        """``P w - y``, shape ``(n,)``."""
        residual: FloatArray = self.matrix @ weights - self.targets
        return residual

    def objective(self, weights: FloatArray, residual: FloatArray | None = None) -> float:
        """Value of the objective, of a known `residual` if given; says nothing about feasibility."""
        if residual is None:
            residual = self.residual(weights)
        shrinkage = self.ridge * (weights @ weights) if self.ridge > 0 else 0.0
        return float(self._weighted(residual) @ residual + shrinkage)

    def gradient(self, weights: FloatArray) -> FloatArray:
        """Gradient ``2 P' S (P w - y) + 2 ridge w`` of the objective, shape ``(m,)``."""
        residual = self._weighted(self.residual(weights))
        gradient: FloatArray = 2 * (residual @ self.matrix + self.ridge * weights)
        return gradient

    def _weighted(self, residual: FloatArray) -> FloatArray:
        return residual if self.sample_weight is None else self.sample_weight * residual

    def uniform(self) -> FloatArray:
        """Weights ``1 / m``, shape ``(m,)``."""
        return np.full(self.n_weights, 1 / self.n_weights)

    def reduced(self) -> "NonnegativeProgram":
        """Return a program of at most ``m + 1`` rows with the same objective at all weights.

        Its rows are the triangular factor of a QR decomposition of ``sqrt(s) [P y]``, taken over one chunk
        of rows after another: one pass over the data, little memory (Golub and Van Loan, "Matrix
        Computations", 4th edition, section 6.5).
        """
        n, m = self.matrix.shape
        if n <= m + 1 and self.sample_weight is None:
            return self
        factor = np.empty((0, m + 1))
        step = max(_LEAST_ROWS, _ROWS_PER_COLUMN * (m + 1))
        for first in range(0, n, step):
            rows = slice(first, first + step)
            chunk = np.column_stack([self.matrix[rows], self.targets[rows]])
            if self.sample_weight is not None:
                chunk *= np.sqrt(self.sample_weight[rows])[:, None]
            factor = triangular(np.vstack([factor, chunk]))
        return replace(self, matrix=factor[:, :m], targets=factor[:, m], sample_weight=None)

    def leading(self, n_weights: int) -> "NonnegativeProgram":
        """Return the program of the first `n_weights` columns only.

        Of a program that `reduced` has made triangular it has ``n_weights + 1`` rows, so that one pass over
        the data serves all numbers of columns.

        Raises
        ------
        ValueError
            If there are not so many columns.
        """
        if not 1 <= n_weights <= self.n_weights:
            raise ValueError(f"n_weights must be from 1 to {self.n_weights}; got {n_weights!r}.")
        n, m = self.matrix.shape
        matrix, targets = self.matrix[:, :n_weights], self.targets
        if self.sample_weight is None and n_weights + 1 < n <= m + 1 and not matrix[n_weights:].any():
            # Rows without a weight only add a constant: one row can hold it.
            rest = np.linalg.norm(targets[n_weights:])
            matrix, targets = matrix[: n_weights + 1], np.append(targets[:n_weights], rest)
        return replace(self, matrix=matrix, targets=targets)
