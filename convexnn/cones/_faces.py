"""The faces of the cones: proximal points are differentiable along them."""

import numpy as np

from convexnn._jit import ZERO, inlined_kernel, reordering_kernel
from convexnn._typing import FloatArray, IndexArray
from convexnn.cones._active_set import append

__all__ = ["face_bases"]

# Dimensions up to which orthogonalising row by row is faster than reflections.
_SMALL = 40


@inlined_kernel
def _missing_most(missing: FloatArray, unit: FloatArray) -> FloatArray:
    """Write the unit vector of which a basis misses most."""
    largest = 0
    for c in range(1, missing.shape[0]):
        if missing[c] > missing[largest]:
            largest = c
    for c in range(unit.shape[0]):
        unit[c] = 1.0 if c == largest else 0.0
    return unit


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
    vectors, triangle, space = np.empty((d, d)), np.empty((d, d)), np.empty((3, d))
    ones, missing, unit = space[0], space[1], space[2]
    high, low = 0, 0
    for b in range(points.shape[0]):
        size = ZERO + sizes[b]
        for c in range(d):
            ones[c] = missing[c] = 1.0
        for i in range(d):
            row = points[b] if i == size else _missing_most(missing, unit)
            if i < size:
                row = normals[high]
                high += 1
            append(vectors, triangle, i, row, ones, 1.0)
            for c in range(d):
                missing[c] -= vectors[i, c] ** 2
        for i in range(size, d):
            for c in range(d):
                bases[low, c] = vectors[i, c]
            low += 1
