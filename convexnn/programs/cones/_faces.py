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
def _whiten(face: FloatArray, u: FloatArray, shrinkage: float, free: int) -> None:
    """Turn an orthonormal basis ``N`` of the face into ``C`` with ``C' C = N' (I + shrinkage Hess|.|)^-1 N``.

    The Hessian of the slope's norm is ``(I - s s') / |u_slope|``, ``s`` the unit slope. With the Cholesky
    factor ``L`` of ``N (I + ...) N'`` the rows wanted are ``L^-1 N``.
    """
    f, d = face.shape
    norm = 0.0
    for c in range(d):
        if c != free:
            norm += u[c] ** 2
    norm = np.sqrt(norm)
    along, lower = np.zeros(f), np.zeros((f, f))
    for i in range(f):
        for c in range(d):
            if c != free:
                along[i] += face[i, c] * u[c] / norm
    for i in range(f):
        for j in range(i + 1):
            value = -along[i] * along[j]
            for c in range(d):
                if c != free:
                    value += face[i, c] * face[j, c]
            value = value * shrinkage / norm + (1.0 if i == j else 0.0)
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            lower[i, j] = np.sqrt(value) if i == j else value / lower[j, j]
    for i in range(f):
        for c in range(d):
            value = face[i, c]
            for k in range(i):
                value -= lower[i, k] * face[k, c]
            face[i, c] = value / lower[i, i]


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
        slot, u = slots[b], shrunk[b]
        size = int(sizes[slot])
        for i in range(size):
            for c in range(d):
                vectors[i, c] = X[active[slot, i], c]
            _orthogonalise(vectors, i)
        norm = 0.0
        for c in range(d):
            vectors[size, c] = u[c]
            if c != free:
                norm += u[c] ** 2
        norm = np.sqrt(norm)
        if norm == 0.0:
            for i in range(d - size):
                for c in range(d):
                    factors[low + i, c] = 0.0
            factors[low, free] = 1.0
        else:
            _orthogonalise(vectors, size)
            _complete(vectors, size + 1)
            across = 1.0 if free >= 0 else np.sqrt(norm / (norm + shrinkage))
            for i in range(size, d):
                for c in range(d):
                    factors[low + i - size, c] = vectors[i, c] * (1.0 if i == size else across)
            if free >= 0:
                _whiten(factors[low : low + d - size], u, shrinkage, free)
        low += d - size
