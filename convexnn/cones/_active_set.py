"""Updates of a least-squares problem over a changing set of rows, for the projection on a cone.

Active rows are the columns of ``basis' triangle``: `basis` holds orthonormal rows, `triangle` is upper
triangular. Appending a row is a Gram-Schmidt step, dropping one a sweep of Givens rotations (Golub and Van
Loan, "Matrix computations", section 6.5), so that either costs a multiple of ``d * size``. `coordinates`
are those of the projected vector in the basis and `u` is its part orthogonal to it.
"""

import numpy as np

from convexnn._jit import inlined_kernel, reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix, IndexArray

__all__ = ["append", "orthogonal_part", "settle"]

_DEPENDENT = 1e-13

# Loops are written out: numba compiles array expressions and BLAS calls several times slower.


@reordering_kernel
def append(
    basis: FloatArray, triangle: FloatArray, size: int, row: FloatMatrix, scale: FloatArray, sign: float
) -> bool:
    """Append ``sign * row * scale`` to the basis; False if it depends on the rows already there.

    Orthogonalised twice, which is enough (Giraud et al., Numerische Mathematik 101, 2005).
    """
    d = scale.shape[0]
    before = 0.0
    for c in range(d):
        basis[size, c] = sign * row[c] * scale[c]
        before += basis[size, c] ** 2
    for i in range(size + 1):
        triangle[i, size] = 0.0
    for _ in range(2):
        for i in range(size):
            overlap = 0.0
            for c in range(d):
                overlap += basis[i, c] * basis[size, c]
            triangle[i, size] += overlap
            for c in range(d):
                basis[size, c] -= overlap * basis[i, c]
    length = 0.0
    for c in range(d):
        length += basis[size, c] ** 2
    if not length > _DEPENDENT**2 * before:
        return False
    length = np.sqrt(length)
    triangle[size, size] = length
    for c in range(d):
        basis[size, c] /= length
    return True


@reordering_kernel
def orthogonal_part(
    basis: FloatArray, size: int, g: FloatArray, coordinates: FloatArray, u: FloatArray
) -> None:
    """Split `g` into coordinates in the basis and the part `u` orthogonal to it, twice for accuracy."""
    d = g.shape[0]
    for c in range(d):
        u[c] = g[c]
    for i in range(size):
        coordinates[i] = 0.0
    for _ in range(2):
        for i in range(size):
            overlap = 0.0
            for c in range(d):
                overlap += basis[i, c] * u[c]
            coordinates[i] += overlap
            for c in range(d):
                u[c] -= overlap * basis[i, c]


@inlined_kernel
def _multipliers(triangle: FloatArray, size: int, coordinates: FloatArray, out: FloatArray) -> None:
    """Least-squares multipliers of the active rows: ``triangle out = -coordinates``."""
    for i in range(size):
        out[i] = -coordinates[i]
    for i in range(size - 1, -1, -1):
        out[i] /= triangle[i, i]
        for j in range(i):
            out[j] -= triangle[j, i] * out[i]


@inlined_kernel
def _drop(
    basis: FloatArray,
    triangle: FloatArray,
    active: IndexArray,
    values: FloatArray,
    coordinates: FloatArray,
    u: FloatArray,
    size: int,
    k: int,
) -> None:
    """Drop the active row at position `k` of `size`; its part returns to `u`."""
    for j in range(k, size - 1):
        active[j], values[j] = active[j + 1], values[j + 1]
        for i in range(j + 2):
            triangle[i, j] = triangle[i, j + 1]
        a, b = triangle[j, j], triangle[j + 1, j]
        length = np.sqrt(a * a + b * b)
        cosine, sine = a / length, b / length
        triangle[j, j], triangle[j + 1, j] = length, 0.0
        for m in range(j + 2, size):
            a, b = triangle[j, m], triangle[j + 1, m]
            triangle[j, m] = cosine * a + sine * b
            triangle[j + 1, m] = cosine * b - sine * a
        a, b = coordinates[j], coordinates[j + 1]
        coordinates[j] = cosine * a + sine * b
        coordinates[j + 1] = cosine * b - sine * a
        for c in range(u.shape[0]):
            a, b = basis[j, c], basis[j + 1, c]
            basis[j, c] = cosine * a + sine * b
            basis[j + 1, c] = cosine * b - sine * a
    for c in range(u.shape[0]):
        u[c] += coordinates[size - 1] * basis[size - 1, c]


@reordering_kernel
def settle(
    basis: FloatArray,
    triangle: FloatArray,
    active: IndexArray,
    values: FloatArray,
    trial: FloatArray,
    coordinates: FloatArray,
    u: FloatArray,
    size: int,
) -> int:
    """Move to the least-squares multipliers, dropping rows whose multiplier reaches zero; the new size."""
    while True:
        _multipliers(triangle, size, coordinates, trial)
        step, leaving = 1.0, -1
        for i in range(size):
            if trial[i] <= 0.0:
                ratio = values[i] / (values[i] - trial[i])
                if leaving < 0 or ratio < step:
                    step, leaving = ratio, i
        for i in range(size):
            values[i] += step * (trial[i] - values[i])
        if leaving < 0:
            return size
        values[leaving] = 0.0
        for i in range(size - 1, -1, -1):
            if values[i] <= 0.0:
                _drop(basis, triangle, active, values, coordinates, u, size, i)
                size -= 1
