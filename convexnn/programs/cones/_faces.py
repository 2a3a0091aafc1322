"""Derivatives of proximal points: each is linear on the face of the cone that the point lies on."""

import numpy as np

from convexnn._jit import reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix, IndexArray, IntArray

__all__ = ["face_factors"]


@reordering_kernel
def _orthogonalise(vectors: FloatArray, size: int) -> float:
    """Make ``vectors[size]`` orthogonal to the unit vectors before it and normalise; its length before."""
    length = 0.0
    for sweep in range(2):
        for i in range(size):
            overlap = 0.0
            for c in range(vectors.shape[1]):
                overlap += vectors[i, c] * vectors[size, c]
            for c in range(vectors.shape[1]):
                vectors[size, c] -= overlap * vectors[i, c]
        norm = 0.0
        for c in range(vectors.shape[1]):
            norm += vectors[size, c] ** 2
        norm = np.sqrt(norm)
        if sweep == 0:
            length = norm
        if norm > 0.0:
            for c in range(vectors.shape[1]):
                vectors[size, c] /= norm
    return length


@reordering_kernel
def _complete(vectors: FloatArray, size: int) -> None:
    """Fill up orthonormal rows from `size` on to a basis, with parts of the unit vectors missing most."""
    d = vectors.shape[1]
    missing = np.ones(d)
    for i in range(size):
        for c in range(d):
            missing[c] -= vectors[i, c] ** 2
    for i in range(size, d):
        largest = 0
        for c in range(1, d):
            if missing[c] > missing[largest]:
                largest = c
        for c in range(d):
            vectors[i, c] = 0.0
        vectors[i, largest] = 1.0
        _orthogonalise(vectors, i)
        for c in range(d):
            missing[c] -= vectors[i, c] ** 2


@reordering_kernel
def _norm(u: FloatArray, free: int) -> float:
    """Norm without the free coordinate."""
    total = 0.0
    for c in range(u.shape[0]):
        if c != free:
            total += u[c] ** 2
    return float(np.sqrt(total))


@reordering_kernel
def _metric(face: FloatArray, u: FloatArray, shrinkage: float, free: int) -> FloatArray:
    """``N (I + shrinkage Hess|u_slope|) N'``, Hessian ``(I - s s') / |u_slope|``, s the unit slope."""
    f, d = face.shape
    norm = _norm(u, free)
    along, metric = np.zeros(f), np.empty((f, f))
    for i in range(f):
        for c in range(d):
            along[i] += face[i, c] * u[c] / norm if c != free else 0.0
    for i in range(f):
        for j in range(i + 1):
            value = -along[i] * along[j]
            for c in range(d):
                value += face[i, c] * face[j, c] if c != free else 0.0
            metric[i, j] = value * shrinkage / norm + (1.0 if i == j else 0.0)
    return metric


@reordering_kernel
def _whiten(face: FloatArray, metric: FloatArray) -> None:
    """Turn the rows ``N`` into ``L^-1 N``, with ``L`` the Cholesky factor of their metric's lower half."""
    f, d = face.shape
    for i in range(f):
        for j in range(i + 1):
            value = metric[i, j]
            for k in range(j):
                value -= metric[i, k] * metric[j, k]
            metric[i, j] = np.sqrt(value) if i == j else value / metric[j, j]
    for i in range(f):
        for c in range(d):
            value = face[i, c]
            for k in range(i):
                value -= metric[i, k] * face[k, c]
            face[i, c] = value / metric[i, i]


@reordering_kernel
def _factor(
    X: FloatMatrix,
    rows: IndexArray,
    u: FloatArray,
    shrinkage: float,
    free: int,
    vectors: FloatArray,
    factor: FloatArray,
) -> None:
    """Fill the factor of one proximal point `u` that lies on the hyperplanes of `rows`."""
    size, d = rows.shape[0], u.shape[0]
    norm = _norm(u, free)
    if norm == 0.0:
        factor[:] = 0.0
        factor[0, free] = 1.0
        return
    for i in range(size):
        for c in range(d):
            vectors[i, c] = X[rows[i], c]
        _orthogonalise(vectors, i)
    for c in range(d):
        vectors[size, c] = u[c]
    _orthogonalise(vectors, size)
    _complete(vectors, size + 1)
    across = 1.0 if free >= 0 else np.sqrt(norm / (norm + shrinkage))
    for i in range(size, d):
        for c in range(d):
            factor[i - size, c] = vectors[i, c] * (1.0 if i == size else across)
    if free >= 0:
        _whiten(factor, _metric(factor, u, shrinkage, free))


@reordering_kernel
def face_factors(
    X: FloatMatrix,
    slots: IntArray,
    shrunk: FloatArray,
    shrinkage: float,
    free: int,
    active: IndexArray,
    sizes: IndexArray,
    factors: FloatArray,
) -> None:
    """Rows ``C`` with ``C' C`` the derivative of the proximal point, for each point one after another.

    On a face with orthonormal basis ``N`` the proximal point of ``shrinkage |.|`` has the derivative
    ``N' (N (I + shrinkage Hess|u|) N')^-1 N``; without a free coordinate that is 1 along ``u`` and
    ``|u| / (|u| + shrinkage)`` across.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    slots : ndarray of intp, shape (B,)
    shrunk : ndarray of shape (B, d)
        Non-zero proximal points.
    shrinkage : float
    free : int
        Coordinate that the norm leaves out, -1 if there is none.
    active, sizes : ndarray
        Active rows of the slots, see `project_on_cones`.
    factors : ndarray of shape (sum of d - sizes, d)
        Receives the rows.
    """
    d = X.shape[1]
    vectors = np.empty((d, d))
    low = 0
    for b in range(slots.shape[0]):
        size = int(sizes[slots[b]])
        high = low + d - size
        _factor(X, active[slots[b], :size], shrunk[b], shrinkage, free, vectors, factors[low:high])
        low = high
