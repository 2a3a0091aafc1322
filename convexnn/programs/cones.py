"""Projections on the cones ``C = {u : e_r (x_r . u) >= 0 for all r}``, ``e_r = +1`` where the bit is set.

The projection of ``g`` on ``C`` is ``u = g + sum_r lam_r e_r x_r`` with the ``lam >= 0`` that minimise
``|u|``, a non-negative least-squares problem of which few multipliers are positive. It is solved by the
active-set method of Lawson and Hanson (1974, chapter 23) with an orthonormal basis of the active rows. Any
``lam >= 0`` gives ``|u| >= max {g . w : w in C, |w| <= 1}``, so each result is a valid upper bound of the
support function, optimal or not.
"""

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray

__all__ = ["project_on_cones"]

_VIOLATION = 1e-14
_DEPENDENT = 1e-13


# Loops are written out: numba compiles array expressions and BLAS calls several times slower.


@kernel
def _append(basis: FloatArray, triangle: FloatArray, size: int, row: FloatArray, sign: float) -> bool:
    """Append a unit row to the orthonormal `basis`; False if it depends on the rows already there.

    Column `size` of `triangle` receives the row's coordinates, so that the active rows are the columns of
    ``basis' triangle``. Orthogonalised twice, which is enough (Giraud et al. 2005).
    """
    d = row.shape[0]
    for c in range(d):
        basis[size, c] = sign * row[c]
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
    length = np.sqrt(length)
    if length <= _DEPENDENT:
        return False
    triangle[size, size] = length
    for c in range(d):
        basis[size, c] /= length
    return True


@kernel
def _multipliers(basis: FloatArray, triangle: FloatArray, size: int, g: FloatArray, out: FloatArray) -> None:
    """Least-squares multipliers of the active rows: ``rows' out = -projection of g on their span``."""
    for i in range(size - 1, -1, -1):
        value = 0.0
        for c in range(g.shape[0]):
            value -= basis[i, c] * g[c]
        for j in range(i + 1, size):
            value -= triangle[i, j] * out[j]
        out[i] = value / triangle[i, i]


@kernel
def _residual(basis: FloatArray, size: int, g: FloatArray, out: FloatArray) -> None:
    """Write the part of `g` orthogonal to the basis to `out`; removed twice for accuracy."""
    for c in range(g.shape[0]):
        out[c] = g[c]
    for _ in range(2):
        for i in range(size):
            overlap = 0.0
            for c in range(g.shape[0]):
                overlap += basis[i, c] * out[c]
            for c in range(g.shape[0]):
                out[c] -= overlap * basis[i, c]


@kernel
def _most_violated(
    rows: FloatArray, signs: FloatArray, barred: BoolArray, u: FloatArray, tolerance: float
) -> int:
    """Row with the least ``signs_r (rows_r . u)`` below ``-tolerance``, or -1."""
    found, least = -1, -tolerance
    for r in range(rows.shape[0]):
        if barred[r]:
            continue
        slack = 0.0
        for c in range(u.shape[0]):
            slack += rows[r, c] * u[c]
        if signs[r] * slack < least:
            found, least = r, signs[r] * slack
    return found


@kernel
def _towards(values: FloatArray, trial: FloatArray, size: int) -> int:
    """Move `values` towards `trial` until one reaches zero; its index, or -1 if `trial` was reached."""
    step, leaving = 1.0, -1
    for i in range(size):
        if trial[i] <= 0.0:
            ratio = values[i] / (values[i] - trial[i])
            if leaving < 0 or ratio < step:
                step, leaving = ratio, i
    for i in range(size):
        values[i] += step * (trial[i] - values[i])
    if leaving >= 0:
        values[leaving] = 0.0
    return leaving


@kernel
def _settle(
    rows: FloatArray,
    signs: FloatArray,
    g: FloatArray,
    basis: FloatArray,
    triangle: FloatArray,
    active: IntArray,
    values: FloatArray,
    trial: FloatArray,
    size: int,
) -> int:
    """Move to the least-squares multipliers, dropping rows whose multiplier reaches zero; the new size."""
    while _towards(values, trial, size) >= 0:
        kept = 0
        for i in range(size):
            if values[i] > 0.0:
                active[kept], values[kept] = active[i], values[i]
                kept += 1
        size = kept
        for i in range(size):
            _append(basis, triangle, i, rows[active[i]], signs[active[i]])
        _multipliers(basis, triangle, size, g, trial)
    return size


@kernel
def _project(rows: FloatArray, signs: FloatArray, g: FloatArray, u: FloatArray, lam: FloatArray) -> None:
    """Project `g` on ``{u : signs_r (rows_r . u) >= 0}``; `rows` are unit, `lam` receives multipliers."""
    n, d = rows.shape
    basis, triangle = np.empty((d + 1, d)), np.zeros((d + 1, d + 1))
    active = np.empty(d + 1, dtype=np.intp)
    values, trial = np.zeros(d + 1), np.zeros(d + 1)
    barred = np.zeros(n, dtype=np.bool_)
    size = 0
    _residual(basis, 0, g, u)
    length = 0.0
    for c in range(d):
        length += g[c] ** 2
    tolerance = _VIOLATION * np.sqrt(length)
    for _ in range(10 * (d + 10)):
        entering = _most_violated(rows, signs, barred, u, tolerance)
        if entering < 0 or size == d:
            break
        values[size] = 0.0
        usable = _append(basis, triangle, size, rows[entering], signs[entering])
        if usable:
            active[size] = entering
            _multipliers(basis, triangle, size + 1, g, trial)
            usable = trial[size] > 0.0
        if not usable:
            barred[entering] = True
            continue
        size = _settle(rows, signs, g, basis, triangle, active, values, trial, size + 1)
        _residual(basis, size, g, u)
        for r in range(n):
            barred[r] = False
    for i in range(size):
        lam[active[i]] = values[i]


@kernel
def project_on_cones(
    rows: FloatArray, bits: WordArray, owners: IntArray, vectors: FloatArray, multipliers: FloatArray
) -> FloatArray:
    """Project each vector on the cone of its owner.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Unit rows.
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns of those rows.
    owners : ndarray of intp, shape (B,)
        Pattern of each vector.
    vectors : ndarray of shape (B, d)
    multipliers : ndarray of shape (B, n) or (0, n)
        Receives the multipliers ``lam``; pass no rows where they are not wanted.

    Returns
    -------
    ndarray of shape (B, d)
        The projections.
    """
    n = rows.shape[0]
    signs = np.empty(n)
    lam = np.zeros(n)
    projected = np.empty(vectors.shape)
    for b in range(vectors.shape[0]):
        for r in range(n):
            bit = (bits[owners[b], r >> 6] >> np.uint64(r & 63)) & np.uint64(1)
            signs[r] = 1.0 if bit else -1.0
            lam[r] = 0.0
        _project(rows, signs, vectors[b], projected[b], lam)
        if multipliers.shape[0]:
            for r in range(n):
                multipliers[b, r] = lam[r]
    return projected
