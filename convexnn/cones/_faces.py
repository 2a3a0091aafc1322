"""The faces of the cones: proximal points are differentiable along them."""

import numpy as np

from convexnn._jit import reordering_kernel
from convexnn._typing import FloatArray, IndexArray

__all__ = ["face_bases"]

# Dimensions up to which orthogonalising row by row is faster than reflections.
_SMALL = 40


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


def face_bases(normals: FloatArray, sizes: IndexArray, points: FloatArray, bases: FloatArray) -> None:
    """Orthonormal bases of the faces that points lie on, the first vector of each along its point.

    Parameters
    ----------
    normals : ndarray of shape (sum of sizes, d)
        The rows of the cones that vanish on the faces, independent, those of one point after the other.
    sizes : ndarray of int32, shape (B,)
        How many they are.
    points : ndarray of shape (B, d)
        Non-zero.
    bases : ndarray of shape (sum of d - sizes, d)
        Receives the vectors.
    """
    if points.shape[1] <= _SMALL:
        _small_face_bases(normals, sizes, points, bases)
        return
    d, high, low = points.shape[1], 0, 0
    for size, point in zip(sizes.tolist(), points, strict=True):
        # Few reflections, so that few passes over the basis make it.
        spanned = np.vstack([normals[high : high + size], point])
        bases[low : low + d - size] = np.linalg.qr(spanned.T, mode="complete")[0].T[size:]
        high, low = high + size, low + d - size


@reordering_kernel
def _small_face_bases(normals: FloatArray, sizes: IndexArray, points: FloatArray, bases: FloatArray) -> None:
    """Do the work of `face_bases` for few dimensions, without a call for each point."""
    d = points.shape[1]
    vectors = np.empty((d, d))
    high, low = 0, 0
    for b in range(points.shape[0]):
        size = int(sizes[b])
        for i in range(size):
            for c in range(d):
                vectors[i, c] = normals[high, c]
            _orthogonalise(vectors, i)
            high += 1
        for c in range(d):
            vectors[size, c] = points[b, c]
        _orthogonalise(vectors, size)
        _complete(vectors, size + 1)
        for i in range(size, d):
            for c in range(d):
                bases[low, c] = vectors[i, c]
            low += 1
