"""Proximal points on the cones of patterns where one coordinate, the bias, has no norm.

``argmin_u 1/2 |u - p|^2 + t |s|`` over a cone, with the slope ``s``: all of ``u`` but the free coordinate.
For the right length ``r = |s|`` it is the minimiser with ``t |s|^2 / (2 r)`` instead, a projection in a
metric in which slopes count ``1 + t / r`` times. On the face that this projection lies on the right length is
known in closed form; where the face is the right one too, the search has ended.
"""

import numpy as np

from convexnn._jit import ZERO, reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix, IndexArray, IntArray, WordArray
from convexnn.cones._active_set import append, orthogonal_part
from convexnn.cones._projection import project_on_cone, unpack_signs

__all__ = ["shrink_slopes_on_cones"]

# Slopes this short, of the length of the point, tell by their face whether the slope vanishes.
_SHORT = 1e-10
# Lengths are found to this accuracy; differences of such numbers resolve no more.
_ACCURATE = 1e-14
_EPS = float(np.finfo(np.float64).eps)
_MAX_FACES, _MAX_ROOT_STEPS = 100, 60
# Every so many faces the search halves what is left of the interval, so that no cycle of faces holds it up.
_HALVE_EVERY = 4


@reordering_kernel
def _root(across: float, along: float, t: float, lean: float) -> float:
    """Positive ``r`` with ``(across / (r + t))^2 + (along / (r + lean))^2 = 1``, 0 if there is none.

    The inverse root of the left side is concave and rises, so that Newton's method rises to the root.
    """
    r = max(across - t, along - lean, 0.0)
    for _ in range(_MAX_ROOT_STEPS):
        first, second = across / (r + t), along / (r + lean) if along > 0.0 else 0.0
        square = first * first + second * second
        if square <= 1.0:
            break
        fall = first * first / (r + t) + (second * second / (r + lean) if along > 0.0 else 0.0)
        step = (np.sqrt(square) - 1.0) * square / fall
        r += step
        if step <= _EPS * r:
            break
    return r


@reordering_kernel
def _length_on_face(
    X: FloatMatrix,
    inverse: FloatArray,
    signs: FloatArray,
    point: FloatArray,
    t: float,
    free: int,
    active: IndexArray,
    size: int,
    space: tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray],
) -> float:
    """Length of the slope of the minimiser over the linear hull of a face; 0 if it vanishes there.

    In the face the unit vector of the free coordinate has the part ``m``. Slopes across ``m`` are shortened
    as if there were no free coordinate; those along it, of which ``m`` is the lesser part, are less so.
    """
    basis, triangle, coordinates, ones, inside, m = space
    kept = ZERO
    for i in range(size):
        r = active[i]
        kept += append(basis, triangle, kept, X[r], ones, signs[r] * inverse[r])
    orthogonal_part(basis, kept, point, coordinates, inside)
    for c in range(m.shape[0]):
        ones[c] = 1.0 if c == free else 0.0
    orthogonal_part(basis, kept, ones, coordinates, m)
    ones[:] = 1.0
    lean, share, across = 0.0, 0.0, 0.0
    # Rounding of unit vectors is no part in the face.
    if m[free] > _EPS:
        for c in range(m.shape[0]):
            if c != free:
                lean += m[c] ** 2
        share, lean = inside[free] / m[free], lean / m[free]
    for c in range(m.shape[0]):
        if c != free:
            across += (inside[c] - share * m[c]) ** 2
    return _root(np.sqrt(across), abs(share) * np.sqrt(lean * m[free]), t, lean * t)


@reordering_kernel
def _constant_allowed(X: FloatMatrix, signs: FloatArray, free: int, value: float) -> bool:
    """Whether the cone has the vector of which all but the free coordinate vanish."""
    for r in range(X.shape[0]):  # noqa: SIM110 - a loop compiles
        if value * signs[r] * X[r, free] < 0.0:
            return False
    return True


@reordering_kernel
def _shrink(
    X: FloatMatrix,
    inverse: FloatArray,
    signs: FloatArray,
    point: FloatArray,
    t: float,
    free: int,
    length: float,
    u: FloatArray,
    active: IndexArray,
    values: FloatArray,
    size: int,
    space: tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray],
) -> tuple[int, float]:
    """Fill in `u`, starting from a length and active rows; how many are active, and the length."""
    d = point.shape[0]
    scale, target = np.empty(d), np.empty(d)
    floor = 0.0
    for c in range(d):
        floor += point[c] ** 2
    floor = _SHORT * np.sqrt(floor)
    low, high, r = 0.0, np.inf, length if length > 0.0 else floor
    for k in range(1, _MAX_FACES + 1):
        for c in range(d):
            scale[c] = 1.0 if c == free else np.sqrt(r / (r + t))
            target[c] = scale[c] * point[c]
        size = project_on_cone(X, inverse, signs, scale, target, 0.0, u, active, values, size)
        slope = 0.0
        for c in range(d):
            u[c] *= scale[c]
            slope += 0.0 if c == free else u[c] ** 2
        slope = np.sqrt(slope)
        # The slope grows with r, but not as fast: the root is beyond both or below both.
        if slope > r:
            low = max(low, slope)
        else:
            high = min(high, slope)
        root = _length_on_face(X, inverse, signs, point, t, free, active, size, space)
        nothing = 4.0 * _EPS * t
        if root <= nothing and r <= floor:
            return size, 0.0
        if abs(root - r) <= _ACCURATE * r + nothing or high <= (1.0 + _ACCURATE) * low:
            return size, r
        if root <= nothing:
            root = floor
        elif k % _HALVE_EVERY == 0 or not low <= root <= high:
            root = np.sqrt(max(low, floor) * high) if high < np.inf else max(root, 2.0 * low)
        r = root
    return size, r


@reordering_kernel
def shrink_slopes_on_cones(
    X: FloatMatrix,
    inverse: FloatArray,
    bits: WordArray,
    owners: IntArray,
    slots: IntArray,
    points: FloatArray,
    t: float,
    free: int,
    active: IndexArray,
    sizes: IndexArray,
    lengths: FloatArray,
    shrunk: FloatArray,
) -> None:
    """Minimise ``1/2 |u - p|^2 + t |slope of u|`` over the cone of each point's owner.

    Parameters
    ----------
    X, inverse, bits, owners, slots, active, sizes
        As in `project_on_cones`.
    points : ndarray of shape (B, d)
    t : float
        Positive.
    free : int
        The coordinate that is no part of the slope.
    lengths : ndarray of shape (n_slots,)
        Lengths of slopes to start from, 0 where none is known; receives those of the minimisers.
    shrunk : ndarray of shape (B, d)
        Receives the minimisers.
    """
    d = X.shape[1]
    signs, values = np.empty(X.shape[0]), np.empty(d + 1)
    space = (
        np.empty((d + 1, d)),
        np.zeros((d + 1, d + 1)),
        np.empty(d + 1),
        np.ones(d),
        np.empty(d),
        np.empty(d),
    )
    for b in range(points.shape[0]):
        slot = slots[b]
        unpack_signs(bits[owners[b]], signs)
        size, length = _shrink(
            X, inverse, signs, points[b], t, free, lengths[slot], shrunk[b], active[slot], values,
            sizes[slot], space,
        )  # fmt: skip
        if length == 0.0:
            constant = points[b, free]
            shrunk[b] = 0.0
            if constant != 0.0 and _constant_allowed(X, signs, free, constant):
                shrunk[b, free], size = constant, 0
        sizes[slot], lengths[slot] = size, length
