r"""The largest value of a concave, positively homogeneous function on a simplicial cone within the ball.

.. math:: \max\ \varphi(u) = z \cdot u - \sum_i \tau_i \max(x_i \cdot u, 0)
          \quad\text{over}\quad u \in C, |u| \le 1, \qquad \tau_i > 0,

is the norm of the maximiser of :math:`\varphi(u) - |u|^2 / 2` on C, because :math:`\varphi` is homogeneous.
That function is strongly concave and piecewise quadratic with the Hessian -I, so that a primal active-set
method finds its maximiser in a few steps: each goes to the maximum on the subspace on which the active rows
and facets vanish, passing all kinks on the way at which the function still rises; at a maximum of a subspace
the row or facet whose multiplier has the wrong sign is let go.

Active rows are listed by their position, active facets k by ``-k - 1``.
"""

import math

from convexnn._jit import ZERO, inlined_kernel, reordering_kernel
from convexnn._typing import FloatArray, IntArray
from convexnn.cones._active_set import orthogonal_part

_NOTHING = -(1 << 30)  # no row and no facet
# Lengths of gradients, and multipliers, that count as zero, relative to the values that matter: rounding
# leaves 1e-13 or so, and multipliers are solved for with gradients that are left.
_ZERO_GRADIENT, _ZERO_MULTIPLIER = 1e-11, 1e-10
_DEPENDENT_SINE = 1e-9  # of the angle between a row and the active ones, as squares of it are added up
_ZERO_PIVOT = 1e-150  # of unit vertices; its square is a normal number
_RELEVANT_SHARE = 1e-3  # of the linear part: smaller values matter only if they are asked for


@inlined_kernel
def _pivot(work: FloatArray, r: int, column: int) -> float:
    """Bring the row with the largest entry of a column up to the diagonal; return that entry."""
    largest = column
    for i in range(column + 1, r):
        if abs(work[i, column]) > abs(work[largest, column]):
            largest = i
    for j in range(2 * r):
        work[column, j], work[largest, j] = work[largest, j], work[column, j]
    return float(work[column, column])


@inlined_kernel
def _eliminate(work: FloatArray, r: int, column: int, pivot: float) -> None:
    """Clear a column but for a one on the diagonal."""
    for j in range(2 * r):
        work[column, j] /= pivot
    for i in range(r):
        factor = work[i, column]
        if i != column and factor != 0.0:
            for j in range(2 * r):
                work[i, j] -= factor * work[column, j]


@inlined_kernel
def facet_normals(vertices: FloatArray, normals: FloatArray, work: FloatArray) -> bool:
    """Write the rows ``n_k`` with ``n_k . v_l = 1[k = l]``; False if the vertices are dependent.

    Parameters
    ----------
    vertices, normals : ndarray of shape (r, r)
    work : ndarray of shape (at least r, at least 2 r)
    """
    r = vertices.shape[0]
    for i in range(r):
        for j in range(r):
            work[i, j] = vertices[i, j]
            work[i, r + j] = 1.0 if i == j else 0.0
    for column in range(r):
        pivot = _pivot(work, r, column)
        if abs(pivot) < _ZERO_PIVOT:
            return False
        _eliminate(work, r, column, pivot)
    for k in range(r):
        for j in range(r):
            normals[k, j] = work[j, r + k]
    return True


@reordering_kernel
def _orthogonalise(basis: FloatArray, size: int, vector: FloatArray, shares: FloatArray) -> float:
    """Take away from `vector` its part in the span of the basis; return its length."""
    orthogonal_part(basis, size, vector, shares, vector)
    square = 0.0
    for j in range(vector.shape[0]):
        square += vector[j] * vector[j]
    return math.sqrt(square)


@reordering_kernel
def _activate(
    index: int,
    size: int,
    rows: FloatArray,
    normals: FloatArray,
    active: IntArray,
    basis: FloatArray,
    factors: FloatArray,
    shares: FloatArray,
) -> bool:
    """Add a row or facet to the active ones; False if it depends on them."""
    r = rows.shape[1]
    length = 0.0
    for j in range(r):
        entry = rows[index, j] if index >= 0 else normals[-index - 1, j]
        basis[size, j] = entry
        length += entry * entry
    left = _orthogonalise(basis, size, basis[size, :r], shares)
    if left <= _DEPENDENT_SINE * math.sqrt(length):
        return False
    for f in range(size):
        factors[f, size] = shares[f]
    factors[size, size] = left
    for j in range(r):
        basis[size, j] /= left
    active[size] = index
    return True


@inlined_kernel
def _wrong_multiplier(
    size: int,
    gradient: FloatArray,
    strengths: FloatArray,
    active: IntArray,
    basis: FloatArray,
    factors: FloatArray,
    multipliers: FloatArray,
    allowed: float,
) -> int:
    """Write the multipliers of the active rows and facets; return the place of the worst, or -1."""
    for f in range(size - 1, -1, -1):
        value = 0.0
        for j in range(gradient.shape[0]):
            value += basis[f, j] * gradient[j]
        for e in range(f + 1, size):
            value -= factors[f, e] * multipliers[e]
        multipliers[f] = value / factors[f, f]
    worst, place = allowed, ZERO - 1
    for f in range(size):
        excess = multipliers[f]
        if active[f] >= 0:
            excess = max(-excess, excess - strengths[active[f]])
        if excess * factors[f, f] > worst:
            worst, place = excess * factors[f, f], f
    return place


@inlined_kernel
def _approach(
    m: int,
    rows: FloatArray,
    sides: IntArray,
    normals: FloatArray,
    point: FloatArray,
    direction: FloatArray,
    heights: FloatArray,
    slopes: FloatArray,
) -> None:
    """Write for the rows, then the facets, how far off they are and how fast `direction` gets there."""
    r = point.shape[0]
    for i in range(m + r):
        height = slope = 0.0
        for j in range(r):
            entry = rows[i, j] if i < m else normals[i - m, j]
            height += entry * point[j]
            slope += entry * direction[j]
        toward = -1.0 if i >= m or sides[i] == 1 else 1.0
        heights[i], slopes[i] = max(-toward * height, 0.0), toward * slope


@inlined_kernel
def _step(
    m: int,
    strengths: FloatArray,
    sides: IntArray,
    point: FloatArray,
    direction: FloatArray,
    square: float,
    heights: FloatArray,
    slopes: FloatArray,
) -> int:
    """Move `point` to the maximum along `direction`; return the row or facet that stops it, if any.

    The derivative is ``square (1 - t)`` less ``strengths |slope|`` of every row passed.
    """
    r = point.shape[0]
    length, passed, stop = 0.0, 0.0, _NOTHING
    while True:
        nearest, first = math.inf, -1
        for i in range(m + r):
            if slopes[i] > 0.0 and heights[i] < nearest * slopes[i]:
                nearest, first = heights[i] / slopes[i], i
        length = (square - passed) / square
        if nearest >= length:
            break
        length = nearest
        if first >= m:
            stop = m - first - 1
            break
        passed += strengths[first] * slopes[first]
        if (square - passed) - length * square <= 0.0:
            stop = first
            break
        sides[first] = 1 - sides[first]
        slopes[first] = 0.0
    for j in range(r):
        point[j] += length * direction[j]
    return stop


@inlined_kernel
def _ascent(
    m: int,
    rows: FloatArray,
    strengths: FloatArray,
    linear: FloatArray,
    point: FloatArray,
    sides: IntArray,
    gradient: FloatArray,
    direction: FloatArray,
) -> None:
    """Write a supergradient at `point` twice."""
    r = point.shape[0]
    for j in range(r):
        gradient[j] = linear[j] - point[j]
    for i in range(m):
        if sides[i] == 1:
            for j in range(r):
                gradient[j] -= strengths[i] * rows[i, j]
    for j in range(r):
        direction[j] = gradient[j]


@inlined_kernel
def _begin(m: int, rows: FloatArray, linear: FloatArray, point: FloatArray, sides: IntArray) -> float:
    """Write on which side of the rows the point lies; return the length of `linear`."""
    square = 0.0
    for j in range(point.shape[0]):
        square += linear[j] * linear[j]
    for i in range(m):
        height = 0.0
        for j in range(point.shape[0]):
            height += rows[i, j] * point[j]
        sides[i] = 1 if height > 0.0 else 0
    return math.sqrt(square)


@inlined_kernel
def _release(
    place: int,
    size: int,
    rows: FloatArray,
    normals: FloatArray,
    sides: IntArray,
    active: IntArray,
    basis: FloatArray,
    factors: FloatArray,
    multipliers: FloatArray,
    dots: FloatArray,
) -> int:
    """Let the active row or facet at `place` go, to the side of its multiplier; return how many are left."""
    if active[place] >= 0:
        sides[active[place]] = 1 if multipliers[place] > 0.0 else 0
    left = place
    for f in range(place + 1, size):
        left += int(_activate(active[f], left, rows, normals, active, basis, factors, dots))
    return left


@inlined_kernel
def _write_shares(
    m: int,
    strengths: FloatArray,
    sides: IntArray,
    size: int,
    active: IntArray,
    multipliers: FloatArray,
    found: bool,
    shares: FloatArray,
) -> None:
    """Write the slopes in [0, 1] of the rows: those of the side, and what the multipliers say on a kink."""
    for i in range(m):
        shares[i] = float(sides[i])
    for f in range(size):
        if active[f] >= 0:
            share = multipliers[f] / strengths[active[f]] if found else 0.5
            shares[active[f]] = min(1.0, max(0.0, share))


@inlined_kernel
def maximise_concave(
    m: int,
    rows: FloatArray,
    strengths: FloatArray,
    linear: FloatArray,
    normals: FloatArray,
    scale: float,
    max_iter: int,
    point: FloatArray,
    shares: FloatArray,
    work: FloatArray,
    sides: IntArray,
    active: IntArray,
) -> bool:
    """Move `point`, inside the cone, to the maximiser of ``phi(u) - |u|^2 / 2``; see the module.

    Parameters
    ----------
    m : int
        Number of rows.
    rows : ndarray of shape (at least m, r)
    strengths : ndarray of shape (at least m,)
        ``tau``, positive.
    linear : ndarray of shape (r,)
        ``z``.
    normals : ndarray of shape (r, r)
        The cone is ``{u : normals u >= 0}``.
    scale : float
        Size of values that matter, for tolerances.
    max_iter : int
    point : ndarray of shape (r,)
        Changed in place.
    shares : ndarray of shape (at least m,)
        Written: ``a_i`` in [0, 1] such that ``linear - sum_i a_i tau_i x_i`` is a supergradient at `point`.
    work : ndarray of shape (at least 2 r + 8, at least max(m + r, 2 r))
    sides, active : ndarray of intp, shapes (at least m,) and (r + 1,)
        Work space.

    Returns
    -------
    bool
        Whether the maximiser was found. The shares are in [0, 1] in any case.
    """
    r = point.shape[0]
    basis, factors = work[: r + 1], work[r + 1 : 2 * r + 2]
    heights, slopes = work[2 * r + 2], work[2 * r + 3]
    gradient, direction = work[2 * r + 4, :r], work[2 * r + 5, :r]
    multipliers, dots = work[2 * r + 6, : r + 1], work[2 * r + 7, : r + 1]
    size, found = ZERO, False
    resolved = scale + _RELEVANT_SHARE * _begin(m, rows, linear, point, sides)
    for _ in range(max_iter):
        _ascent(m, rows, strengths, linear, point, sides, gradient, direction)
        length = _orthogonalise(basis, size, direction, dots)
        if length <= _ZERO_GRADIENT * resolved or size == r:
            place = _wrong_multiplier(
                size, gradient, strengths, active, basis, factors, multipliers, _ZERO_MULTIPLIER * resolved
            )
            if place < 0:
                found = True
                break
            size = _release(place, size, rows, normals, sides, active, basis, factors, multipliers, dots)
            continue
        _approach(m, rows, sides, normals, point, direction, heights, slopes)
        for f in range(size):
            slopes[active[f] if active[f] >= 0 else m - active[f] - 1] = 0.0
        stop = _step(m, strengths, sides, point, direction, length * length, heights, slopes)
        if stop != _NOTHING:
            if not _activate(stop, size, rows, normals, active, basis, factors, dots):
                break
            if stop >= 0:
                sides[stop] = 0
            size += 1
        _orthogonalise(basis, size, point, dots)
    _write_shares(m, strengths, sides, size, active, multipliers, found, shares)
    return found
