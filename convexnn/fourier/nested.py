"""Least squares on the first columns of a matrix, for growing numbers of columns."""

from functools import cached_property

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, qr, solve_triangular
from scipy.linalg.lapack import dpocon, dtrcon

from convexnn._typing import FloatArray
from convexnn.fourier.least_squares import least_squares

__all__ = ["NestedLeastSquares"]

_LEAST_RCOND_OF_TRIANGLE = 1e-8
"""Reciprocal condition: a triangular solve then loses half of the 16 digits at most."""
_LEAST_RCOND_OF_GRAM = 1e-11
_CORRECTIONS = 3
"""Each takes errors down by about eps over that reciprocal condition, 2e-5: three of them reach eps."""
_LARGEST_CORRECTION = 1e-9
"""Of the last one, relative to the coefficients: a sign that refinement did as it should."""


class NestedLeastSquares:
    """Minimise ``|A_p a - y|^2 + ridge |a|^2`` over the first p columns, of least norm, for several p.

    Factors are shared. For p up to the number m of rows they are one QR decomposition, whose leading blocks
    are those of all p (with a ridge, its triangle above a multiple of the identity is decomposed again). For
    larger p they are the Cholesky factors of ``A_p A_p'``, which grows by the products of the new columns;
    the errors of these normal equations of the second kind are taken away by iterative refinement with the
    residuals of the original equations. Where the condition is too bad for this, or the rank in doubt,
    singular values decide (`least_squares`).

    Parameters
    ----------
    design : ndarray of shape (m, P)
    targets : ndarray of shape (m, K)
    """

    def __init__(self, design: FloatArray, targets: FloatArray) -> None:
        self._design = design
        self._targets = targets
        m = len(design)
        self._gram, self._gram_columns = np.zeros((m, m)), 0

    def solve(self, n_columns: int, ridge: float) -> tuple[FloatArray, int]:
        """Return coefficients and rank; fastest where called with growing `n_columns`.

        Parameters
        ----------
        n_columns : int
            p, at least 1 and at most P.
        ridge : float
            Non-negative.

        Returns
        -------
        coef : ndarray of shape (p, K)
        rank : int
            As of `least_squares`.
        """
        m = len(self._design)
        solve = self._by_triangle if n_columns <= m else self._by_gram
        coef = solve(n_columns, ridge) if m else None
        if coef is None:
            return least_squares(self._design[:, :n_columns], self._targets, ridge)
        return coef, min(m, n_columns)

    def _by_triangle(self, p: int, ridge: float) -> FloatArray | None:
        """Solve for no more columns than rows; None where the condition is bad."""
        full, rotated_targets = self._triangle
        R, rotated = full[:p, :p], rotated_targets[:p]
        if not R.diagonal().all() or dtrcon(R)[0] < _LEAST_RCOND_OF_TRIANGLE:
            return None
        if ridge > 0:
            below = np.hstack([np.sqrt(ridge) * np.eye(p), np.zeros((p, rotated.shape[1]))])
            joint = qr(np.vstack([np.hstack([R, rotated]), below]), mode="r", check_finite=False)[0]
            R, rotated = joint[:p, :p], joint[:p, p:]
        coef: FloatArray = solve_triangular(R, rotated, check_finite=False)
        return coef

    def _by_gram(self, p: int, ridge: float) -> FloatArray | None:
        """Solve for more columns than rows; None where the condition is bad or refinement fails."""
        self._grow_gram(p)
        norm = np.abs(self._gram).sum(axis=0).max()
        try:
            factor = cho_factor(self._gram, lower=True, check_finite=False)
            if dpocon(factor[0], norm, uplo="L")[0] < _LEAST_RCOND_OF_GRAM:
                return None
            if ridge > 0:
                shifted = self._gram + ridge * np.eye(len(self._gram))
                factor = cho_factor(shifted, lower=True, check_finite=False)
        except LinAlgError:
            return None
        A = self._design[:, :p]
        dual = cho_solve(factor, self._targets, check_finite=False)
        coef: FloatArray = A.T @ dual
        change = coef
        for _ in range(_CORRECTIONS):
            correction = cho_solve(factor, self._targets - A @ coef - ridge * dual, check_finite=False)
            dual, change = dual + correction, A.T @ correction
            coef = coef + change
        converged = np.linalg.norm(change) <= _LARGEST_CORRECTION * np.linalg.norm(coef)
        return coef if converged else None

    @cached_property
    def _triangle(self) -> tuple[FloatArray, FloatArray]:
        """R and ``Q' y`` of the QR decomposition of the first m columns."""
        Q, R = qr(self._design[:, : len(self._design)], mode="economic", check_finite=False)
        return np.asarray(R, dtype=np.float64), Q.T @ self._targets

    def _grow_gram(self, p: int) -> None:
        """Make the Gram matrix of the rows that of the first p columns."""
        if p < self._gram_columns:
            self._gram, self._gram_columns = np.zeros_like(self._gram), 0
        new = self._design[:, self._gram_columns : p]
        self._gram += new @ new.T
        self._gram_columns = p
