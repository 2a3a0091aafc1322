"""The bound of one simplicial cone; see `convexnn.pricing.branch_and_bound` for the mathematics."""

import math

from convexnn._jit import inlined_kernel, reordering_kernel
from convexnn._typing import FloatArray, IndexArray, IntArray
from convexnn.pricing._concave import facet_normals, maximise_concave

_MAX_STEPS = 100  # of the maximisation on a cone, which takes a few; what is left by then is a bound too


@reordering_kernel
def heights_at(
    vertices: FloatArray, rows: FloatArray, listed: IndexArray, m: int, heights: FloatArray
) -> None:
    """``x_i . v_k`` for the listed rows."""
    r = vertices.shape[0]
    for i in range(m):
        row = rows[listed[i]]
        for k in range(r):
            value = 0.0
            for j in range(r):
                value += row[j] * vertices[k, j]
            heights[i, k] = value


@inlined_kernel
def _proved(
    vertices: FloatArray,
    heights: FloatArray,
    corners: FloatArray,
    count: int,
    strengths: FloatArray,
    places: IntArray,
    shares: FloatArray,
    point: FloatArray,
) -> float:
    """``|s| + sqrt(r) max_k (c_k - v_k . s)+`` with s the point: a bound whatever point and shares are."""
    r = vertices.shape[0]
    square, missing = 0.0, 0.0
    for j in range(r):
        square += point[j] * point[j]
    for k in range(r):
        excess = corners[k]
        for i in range(count):
            excess -= strengths[i] * shares[i] * heights[places[i], k]
        for j in range(r):
            excess -= vertices[k, j] * point[j]
        missing = max(missing, excess)
    return math.sqrt(square) + math.sqrt(r) * missing


@inlined_kernel
def _centred(
    vertices: FloatArray,
    heights: FloatArray,
    corners: FloatArray,
    count: int,
    strengths: FloatArray,
    places: IntArray,
    centre: FloatArray,
    values: FloatArray,
) -> float:
    """Return the least bound of `_proved` on the ray through the centre, each kink being on its side there.

    It is off by the first order of the cone's size, but holds what it says of the thinnest cones, for which
    rounding spoils the maximiser. Writes the centre and values at the vertices.
    """
    r, square, nearest, largest = vertices.shape[0], 0.0, 1.0, 0.0
    for j in range(r):
        centre[j] = 0.0
        for k in range(r):
            centre[j] += vertices[k, j]
        square += centre[j] * centre[j]
        values[j] = corners[j]
    for i in range(count):
        middle = 0.0
        for k in range(r):
            middle += heights[places[i], k]
        if middle > 0.0:
            for k in range(r):
                values[k] -= strengths[i] * heights[places[i], k]
    for k in range(r):
        along = 0.0
        for j in range(r):
            along += vertices[k, j] * centre[j]
        nearest, largest = min(nearest, along / math.sqrt(square)), max(largest, values[k])
    return largest * (1.0 + math.sqrt(r) * (1.0 - nearest))


@inlined_kernel
def _begin(
    vertices: FloatArray,
    normals: FloatArray,
    corners: FloatArray,
    scale: float,
    linear: FloatArray,
    point: FloatArray,
) -> None:
    """Write the linear function with the values `corners` at the vertices, and a point in the middle."""
    r = vertices.shape[0]
    square = 0.0
    for j in range(r):
        linear[j] = point[j] = 0.0
        for k in range(r):
            linear[j] += normals[k, j] * corners[k]
            point[j] += vertices[k, j]
        square += point[j] * point[j]
    for j in range(r):
        point[j] *= 0.5 * scale / math.sqrt(square)


@reordering_kernel
def bound_relaxation(
    vertices: FloatArray,
    heights: FloatArray,
    corners: FloatArray,
    falling: FloatArray,
    strengths: FloatArray,
    places: IntArray,
    count: int,
    limit: float,
    normals: FloatArray,
    start: FloatArray,
    point: FloatArray,
    values: FloatArray,
    shares: FloatArray,
    work: FloatArray,
    sides: IntArray,
    active: IntArray,
) -> tuple[float, bool]:
    """Bound a concave function on a cone; also whether the vertices are independent.

    Parameters
    ----------
    vertices : ndarray of shape (r, r)
    heights : ndarray of shape (at least count, r)
        Of the kinks' rows at the vertices, in the rows `places`.
    corners : ndarray of shape (r,)
        The function at the vertices without its kinks.
    falling, strengths, places : ndarrays of shapes (at least count, r) and (at least count,)
        The kinks: rows, weights, rows of `heights`.
    count : int
        Number of kinks.
    limit : float
        Bounds below it are of no use; positive.
    normals, start, point, values, shares, work, sides, active
        Written: normals of the facets, work space, the maximiser, work space, slopes of the kinks in [0, 1],
        more work space. Where the vertices are dependent only the point is, a point of the cone.
    """
    bound, regular = math.inf, facet_normals(vertices, normals, work)
    if regular:
        _begin(vertices, normals, corners, limit, start, point)
        maximise_concave(
            count, falling, strengths, start, normals, limit, _MAX_STEPS, point, shares, work, sides, active
        )
        bound = _proved(vertices, heights, corners, count, strengths, places, shares, point)
    if bound > limit:
        bound = min(bound, _centred(vertices, heights, corners, count, strengths, places, start, values))
    for j in range(0 if regular else vertices.shape[0]):
        point[j] = start[j]
    return bound, regular
