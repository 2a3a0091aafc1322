"""Solving with matrices that are positive definite but for rounding."""

from collections.abc import Callable

import numpy as np
from scipy import linalg

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import BackendError

__all__ = ["cholesky_solve", "cholesky_solver"]

_MAX_RIDGES = 20


def cholesky_solver(matrix: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return ``b -> matrix^-1 b``, with as small a ridge as the factorisation needs; changes `matrix`."""
    ridge = float(np.finfo(np.float64).eps) * float(np.trace(matrix))
    for _ in range(_MAX_RIDGES):
        try:
            factor = linalg.cho_factor(matrix, lower=True, check_finite=False)
        except linalg.LinAlgError:
            # Positive definite but for rounding: a direction of nearly the same matrix is as good.
            matrix[np.diag_indices(len(matrix))] += ridge
            ridge *= 10.0
            continue
        return lambda right: np.asarray(linalg.cho_solve(factor, right, check_finite=False))
    raise BackendError("A Newton system could not be factorised: the data's scale is out of range.")


def cholesky_solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Solve ``matrix x = right``, see `cholesky_solver`."""
    return cholesky_solver(matrix)(right)
