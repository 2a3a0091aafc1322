"""Projections on the cones ``C = {u : e_r (x_r . u) >= 0 for all r}``, ``e_r = +1`` where the bit is set.

The projection of ``g`` on ``C`` is ``u = g + sum_r lam_r e_r x_r`` with the ``lam >= 0`` that minimise
``|u|``, a non-negative least-squares problem of which few multipliers are positive. It is solved by the
active-set method of Lawson and Hanson (1974, chapter 23), started from the rows that were active the last
time. Any ``lam >= 0`` gives ``|u| >= max {g . w : w in C, |w| <= 1}``, so each result is a valid upper bound
of the support function, optimal or not.
"""

import numpy as np

from convexnn._jit import ZERO, inlined_kernel, reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix, IndexArray, IntArray, WordArray
from convexnn.cones._active_set import append, orthogonal_part, settle
from convexnn.cones._selections import selection_rows

__all__ = ["project_on_cone", "project_on_cones", "project_on_selections", "unpack_signs"]

# Violations that count, relative to the vector, and lengths that do not, relative to those.
_VIOLATION, _NOTHING = 1e-14, 0.1
_CANDIDATES = 32


@inlined_kernel
def unpack_signs(words: WordArray, signs: FloatArray) -> None:
    """``+1`` where the bit is set, else ``-1``."""
    n = signs.shape[0]
    for w in range(words.shape[0]):
        word = words[w]
        low = 64 * w
        for b in range(min(64, n - low)):
            signs[low + b] = 1.0 if (word >> np.uint64(b)) & np.uint64(1) else -1.0


@inlined_kernel
def _most_violated(
    X: FloatMatrix,
    inverse: FloatArray,
    signs: FloatArray,
    v: FloatArray,
    tolerance: float,
    slack: FloatArray,
    found: IntArray,
) -> int:
    """Write ``slack_r = e_r (x_r . v) / |x_r|``, and the rows of the least ones; return how many these are.

    They are as many as there is room for of the rows below ``-tolerance``, in any order.
    """
    count, least_bad, bound = 0, 0, -tolerance
    for r in range(X.shape[0]):
        total = 0.0
        for c in range(v.shape[0]):
            total += X[r, c] * v[c]
        slack[r] = total * signs[r] * inverse[r]
        if slack[r] < bound:
            if count < found.shape[0]:
                found[count] = r
                count += 1
            else:
                found[least_bad] = r
            if count == found.shape[0]:
                least_bad = 0
                for i in range(1, count):
                    if slack[found[i]] > slack[found[least_bad]]:
                        least_bad = i
                bound = slack[found[least_bad]]
    return count


@inlined_kernel
def _least(slack: FloatArray, found: IntArray, left: int, tolerance: float) -> int:
    """Position in the first `left` of `found` of the row with the least slack below ``-tolerance``, or -1."""
    best, least = -1, -tolerance
    for i in range(left):
        if slack[found[i]] < least:
            best, least = i, slack[found[i]]
    return best


@inlined_kernel
def _enter_all(
    X: FloatMatrix,
    inverse: FloatArray,
    signs: FloatArray,
    scale: FloatArray,
    u: FloatArray,
    active: IndexArray,
    values: FloatArray,
    trial: FloatArray,
    basis: FloatArray,
    triangle: FloatArray,
    coordinates: FloatArray,
    size: int,
    found: IntArray,
    left: int,
    slack: FloatArray,
    tolerance: float,
) -> tuple[int, bool]:
    """Let the rows found enter, the worst first, while they are violated; the size, and if any did."""
    entered = False
    while size < u.shape[0]:
        best = _least(slack, found, left, tolerance)
        if best < 0:
            break
        left -= 1
        row = found[best]
        found[best] = found[left]
        independent = append(basis, triangle, size, X[row], scale, signs[row] * inverse[row])
        overlap = 0.0
        for c in range(u.shape[0]):
            overlap += basis[size, c] * u[c]
        if not independent or not overlap < 0.0:
            continue  # rounding forbids it
        for c in range(u.shape[0]):
            u[c] -= overlap * basis[size, c]
        coordinates[size], active[size], values[size] = overlap, row, 0.0
        size = settle(basis, triangle, active, values, trial, coordinates, u, size + 1)
        entered = True
        for i in range(left):
            r, total = found[i], 0.0
            for c in range(u.shape[0]):
                total += X[r, c] * scale[c] * u[c]
            slack[r] = total * signs[r] * inverse[r]
    return size, entered


@inlined_kernel
def _keep_independent(
    X: FloatMatrix,
    inverse: FloatArray,
    signs: FloatArray,
    scale: FloatArray,
    active: IndexArray,
    values: FloatArray,
    basis: FloatArray,
    triangle: FloatArray,
    size: int,
) -> int:
    """Begin with the active rows that do not depend on earlier ones; return how many these are."""
    kept = ZERO
    for i in range(size):
        r = active[i]
        if append(basis, triangle, kept, X[r], scale, signs[r] * inverse[r]):
            active[kept], values[kept] = r, 1.0  # any positive multiplier, for a feasible beginning
            kept += 1
    return kept


@inlined_kernel
def project_on_cone(
    X: FloatMatrix,
    inverse: FloatArray,
    signs: FloatArray,
    scale: FloatArray,
    g: FloatArray,
    threshold: float,
    u: FloatArray,
    active: IndexArray,
    values: FloatArray,
    size: int,
) -> int:
    """Project `g` on ``{u : e_r (x_r * scale) . u >= 0}``, or stop once ``|u| <= threshold``.

    One pass over the data finds the most violated rows, which enter one after another; then comes the next
    pass. Returns how many rows are active.
    """
    d = g.shape[0]
    # One array for many: numba compiles each way to make one anew.
    space = np.empty((2 * d + 5, d + 1))
    basis, triangle = space[: d + 1], space[d + 1 : 2 * d + 2]
    trial, coordinates, v = space[2 * d + 2], space[2 * d + 3], space[2 * d + 4, :d]
    slack, found = np.empty(X.shape[0]), np.empty(_CANDIDATES, dtype=np.intp)
    tolerance = 0.0
    for c in range(d):
        tolerance += g[c] ** 2
    tolerance = _VIOLATION * np.sqrt(tolerance)
    kept = _keep_independent(X, inverse, signs, scale, active, values, basis, triangle, size)
    orthogonal_part(basis, kept, g, coordinates, u)
    size = settle(basis, triangle, active, values, trial, coordinates, u, kept)
    square = np.inf
    for _ in range(10 * (d + 10)):
        square = 0.0
        for c in range(d):
            square += u[c] ** 2
            v[c] = u[c] * scale[c]
        if square <= threshold * threshold or size == d:
            break
        left = _most_violated(X, inverse, signs, v, tolerance, slack, found)
        size, entered = _enter_all(
            X, inverse, signs, scale, u, active, values, trial, basis, triangle, coordinates, size,
            found, left, slack, tolerance,
        )  # fmt: skip
        if not entered:
            break
        orthogonal_part(basis, size, g, coordinates, u)
    # What is left of the zero vector is rounding, which points anywhere and out of the cone too.
    if size == d or square <= (_NOTHING * tolerance) ** 2:
        for c in range(d):
            u[c] = 0.0
    return size


@reordering_kernel
def project_on_cones(
    X: FloatMatrix,
    inverse: FloatArray,
    bits: WordArray,
    owners: IntArray,
    slots: IntArray,
    vectors: FloatArray,
    threshold: float,
    active: IndexArray,
    sizes: IndexArray,
    values: FloatArray,
    projected: FloatArray,
) -> None:
    """Project vectors on the cones of their owners.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64 or float32
    inverse : ndarray of shape (n,)
        ``1 / |x_r|``, 0 for zero rows.
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns of those rows.
    owners : ndarray of intp, shape (B,)
        Pattern of each vector.
    slots : ndarray of intp, shape (B,)
        Distinct rows of `active` and `sizes`, one for each vector.
    vectors : ndarray of shape (B, d)
    threshold : float
        A projection is done when its norm is at most this, inside the cone or not.
    active : ndarray of int32, shape (n_slots, d + 1)
        Rows to start from; receives the active rows.
    sizes : ndarray of int32, shape (n_slots,)
        How many they are.
    values : ndarray of shape (B, d + 1)
        Receives the multipliers of the active unit rows.
    projected : ndarray of shape (B, d)
        Receives the projections.
    """
    signs, scale = np.empty(X.shape[0]), np.empty(X.shape[1])
    for c in range(X.shape[1]):
        scale[c] = 1.0
    for b in range(vectors.shape[0]):
        slot = slots[b]
        unpack_signs(bits[owners[b]], signs)
        sizes[slot] = project_on_cone(
            X,
            inverse,
            signs,
            scale,
            vectors[b],
            threshold,
            projected[b],
            active[slot],
            values[b],
            sizes[slot],
        )


@reordering_kernel
def project_on_selections(
    patches: FloatMatrix,
    chosen: IndexArray,
    owners: IntArray,
    slots: IntArray,
    vectors: FloatArray,
    threshold: float,
    active: IndexArray,
    sizes: IndexArray,
    values: FloatArray,
    projected: FloatArray,
) -> None:
    """Project on the cones of selections, whose rows are formed for each vector.

    Parameters
    ----------
    patches : ndarray of shape (n K, d), float64 or float32
    chosen : ndarray of int32, shape (P, n)
        The patch that each sample takes, -1 for none.
    owners, slots, vectors, threshold, active, sizes, values, projected
        As in `project_on_cones`.
    """
    rows, inverse = np.empty((patches.shape[0], patches.shape[1])), np.empty(patches.shape[0])
    signs, scale = np.ones(patches.shape[0]), np.ones(patches.shape[1])
    for b in range(vectors.shape[0]):
        slot = slots[b]
        selection_rows(patches, chosen[owners[b]], rows, inverse)
        sizes[slot] = project_on_cone(
            rows,
            inverse,
            signs,
            scale,
            vectors[b],
            threshold,
            projected[b],
            active[slot],
            values[b],
            sizes[slot],
        )
