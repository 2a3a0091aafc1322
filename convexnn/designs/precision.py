"""Products in float64 with data that may be stored in float32, without a second copy of the data."""

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix

__all__ = ["row_norms", "times", "times_transposed"]

_ROWS = 2048


def times_transposed(weights: FloatArray, X: FloatMatrix, out: FloatArray) -> None:
    """``out = weights @ X.T``, (B, d), (n, d) -> (B, n)."""
    if X.dtype == np.float64:
        np.matmul(weights, X.T, out=out)
        return
    for low in range(0, len(X), _ROWS):
        out[:, low : low + _ROWS] = weights @ X[low : low + _ROWS].astype(np.float64).T


def times(values: FloatArray, X: FloatMatrix, out: FloatArray) -> None:
    """``out = values @ X``, (B, n), (n, d) -> (B, d)."""
    if X.dtype == np.float64:
        np.matmul(values, X, out=out)
        return
    out[:] = 0.0
    for low in range(0, len(X), _ROWS):
        out += values[:, low : low + _ROWS] @ X[low : low + _ROWS].astype(np.float64)


def row_norms(X: FloatMatrix) -> FloatArray:
    """Norms of the rows, (n, d) -> (n,)."""
    norms = np.empty(len(X))
    for low in range(0, len(X), _ROWS):
        norms[low : low + _ROWS] = np.linalg.norm(X[low : low + _ROWS].astype(np.float64), axis=1)
    return norms
