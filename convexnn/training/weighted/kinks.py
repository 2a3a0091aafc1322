"""Where kinks hold a filter, and how it gets to the bottom of them."""

import numpy as np

from convexnn._typing import BoolArray, FloatArray

__all__ = ["kink_subspace"]

_DEPENDENT = 1e-8


def kink_subspace(
    rows: FloatArray, lengths: FloatArray, weights: FloatArray, resists: BoolArray, width: float
) -> FloatArray:
    """Project on the subspace in which a filter stays on the nearest kinks.

    Parameters
    ----------
    rows : ndarray of shape (N, d)
        The kink of row x is where ``x . u = 0``.
    lengths : ndarray of shape (N,)
        Their norms.
    weights : ndarray of shape (d,)
        The filter u.
    resists : ndarray of bool, shape (N,)
        Which kinks can hold it.
    width : float
        Kinks with ``|x . u| > width |x| |u|`` are too far away.

    Returns
    -------
    ndarray of shape (d, d)
        An orthogonal projection: nearest kinks come first, and one dimension is always left.
    """
    distance = np.abs(rows @ weights)
    near = np.flatnonzero((distance <= width * np.linalg.norm(weights) * lengths) & (lengths > 0) & resists)
    order = near[np.argsort(distance[near] / lengths[near], kind="stable")]
    projection, left = np.eye(rows.shape[1]), rows.shape[1]
    for direction in rows[order] / lengths[order, None]:
        if left == 1:
            break
        rest = projection @ direction
        norm = float(np.linalg.norm(rest))
        if norm > _DEPENDENT:
            projection -= np.outer(rest, rest) / norm**2
            left -= 1
    return projection
