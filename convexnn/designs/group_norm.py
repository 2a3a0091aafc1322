"""The proximal map of a multiple of the Euclidean norm, block by block, and its derivative."""

import numpy as np

from convexnn._typing import FloatArray, IntArray

__all__ = ["group_derivative_factors", "group_shrink"]


def group_shrink(points: FloatArray, shrinkage: float) -> FloatArray:
    """Return ``argmin_u 1/2 |u - p|^2 + shrinkage |u|`` for each row ``p``.

    Parameters
    ----------
    points : ndarray of shape (B, d)
    shrinkage : float
        ``>= 0``.

    Returns
    -------
    ndarray of shape (B, d)
        ``(1 - shrinkage / |p|) p``, and zero where ``|p| <= shrinkage``.
    """
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    taken = np.divide(shrinkage, norms, out=np.ones_like(norms), where=norms > shrinkage)
    return np.asarray((1.0 - taken) * points)


def group_derivative_factors(shrunk: FloatArray, shrinkage: float) -> tuple[IntArray, FloatArray]:
    """Return rows ``C_j`` with ``C_j' C_j`` the derivative of `group_shrink` at its results.

    The derivative is 1 along ``u`` and ``|u| / (|u| + shrinkage)`` across.

    Parameters
    ----------
    shrunk : ndarray of shape (B, d)
        Results of `group_shrink`, none of them zero.
    shrinkage : float

    Returns
    -------
    counts : ndarray of shape (B,)
        Numbers of rows of each ``C_j``, all of them ``d``.
    rows : ndarray of shape (B d, d)
        The rows one below another.
    """
    n_blocks, d = shrunk.shape
    norms = np.linalg.norm(shrunk, axis=1)
    across = np.sqrt(norms / (norms + shrinkage))
    units = shrunk / norms[:, None]
    factors = (1.0 - across)[:, None, None] * units[:, :, None] * units[:, None, :]
    factors += across[:, None, None] * np.eye(d)
    return np.full(n_blocks, d), factors.reshape(-1, d)
