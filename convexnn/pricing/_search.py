"""Depth-first search over simplicial cones; see `convexnn.pricing.branch_and_bound` for the mathematics."""

import math
from typing import NamedTuple

import numpy as np

from convexnn._jit import ZERO, inlined_kernel, reordering_kernel
from convexnn._typing import FloatArray, IndexArray, IntArray
from convexnn.pricing._cone_bound import bound_relaxation, heights_at

_TIE = 4e-16  # height that is rounding, relative to the sizes of its terms


@inlined_kernel
def _relax(
    vertices: FloatArray,
    fixed: FloatArray,
    rows: FloatArray,
    weights: FloatArray,
    listed: IndexArray,
    m: int,
    heights: FloatArray,
    corners: FloatArray,
    falling: FloatArray,
    strengths: FloatArray,
    places: IntArray,
) -> int:
    """Write the relaxation: values at the vertices without the concave kinks, and those; return how many."""
    r, count = vertices.shape[0], ZERO
    for k in range(r):
        corners[k] = 0.0
        for j in range(r):
            corners[k] += fixed[j] * vertices[k, j]
    for i in range(m):
        weight = weights[listed[i]]
        if weight > 0.0:
            for k in range(r):
                corners[k] += weight * max(heights[i, k], 0.0)
        else:
            for j in range(r):
                falling[count, j] = rows[listed[i], j]
            strengths[count], places[count] = -weight, i
            count += 1
    return count


@inlined_kernel
def _value(
    fixed: FloatArray, rows: FloatArray, weights: FloatArray, listed: IndexArray, m: int, u: FloatArray
) -> float:
    """Return ``h(u) / |u|`` for a u in the cone that `fixed` and the listed rows describe."""
    value = square = 0.0
    for j in range(u.shape[0]):
        value += fixed[j] * u[j]
        square += u[j] * u[j]
    for i in range(m):
        height = 0.0
        for j in range(u.shape[0]):
            height += rows[listed[i], j] * u[j]
        if height > 0.0:
            value += weights[listed[i]] * height
    return value / math.sqrt(square) if square > 0.0 else 0.0


@inlined_kernel
def keep_better(value: float, point: FloatArray, best: FloatArray) -> bool:
    """Take a value and the point where it is attained for the best one, if it is larger."""
    if value > best[0]:
        best[0] = value
        for j in range(best.shape[0] - 1):
            best[1 + j] = point[j]
        return True
    return False


@inlined_kernel
def _losses(weights: FloatArray, listed: IndexArray, m: int, heights: FloatArray, losses: FloatArray) -> None:
    """Write how much the chords along each edge overestimate, and that times the crossings' positions."""
    r = heights.shape[1]
    for a in range(r):
        for b in range(r):
            losses[a, b] = 0.0
    for i in range(m):
        weight = weights[listed[i]]
        if weight > 0.0:
            for a in range(r):
                for b in range(a):
                    product = heights[i, a] * heights[i, b]
                    if product < 0.0:
                        span = abs(heights[i, a]) + abs(heights[i, b])
                        losses[a, b] -= weight * product / span
                        losses[b, a] -= weight * product / span * abs(heights[i, b]) / span


@reordering_kernel
def loosest_edge(losses: FloatArray, where: FloatArray) -> tuple[int, int, float]:
    """Choose the edge whose chords are loosest near the relaxation's maximiser, and where to cut it.

    `where` are the coordinates of the maximiser in the cone's vertices. The cut is at the mean of the
    crossings of the edge's kinks, weighted by how much their chords overestimate; the last entry of the
    result is the share of the first vertex. The edge is (-1, -1) if no kink crosses any.
    """
    r = where.shape[0]
    best, first, second, share = 0.0, -1, -1, 0.5
    for attempt in range(2):
        for a in range(r):
            for b in range(a):
                near = min(where[a], where[b]) if attempt == 0 else 1.0
                if near * losses[a, b] > best:
                    best, first, second = near * losses[a, b], a, b
                    share = losses[b, a] / losses[a, b]
        if first >= 0:
            break
    return first, second, share


@reordering_kernel
def longest_edge(vertices: FloatArray) -> tuple[int, int]:
    """Return the two vertices with the largest angle between them."""
    least, first, second = math.inf, 1, 0
    for a in range(vertices.shape[0]):
        for b in range(a):
            dot = 0.0
            for j in range(vertices.shape[1]):
                dot += vertices[a, j] * vertices[b, j]
            if dot < least:
                least, first, second = dot, a, b
    return first, second


@reordering_kernel
def _keep(
    source: IndexArray,
    m: int,
    rows: FloatArray,
    weights: FloatArray,
    vertices: FloatArray,
    fixed: FloatArray,
    kept: IndexArray,
) -> int:
    """Keep the listed rows that change sign among the vertices; those that are on move into `fixed`."""
    r, count = vertices.shape[0], 0
    for i in range(m):
        row = source[i]
        above = below = False
        for k in range(r):
            height = 0.0
            size = 0.0
            for j in range(r):
                term = rows[row, j] * vertices[k, j]
                height += term
                size += abs(term)
            if abs(height) > _TIE * size:
                above |= height > 0.0
                below |= height < 0.0
        if above and below:
            kept[count] = row
            count += 1
        elif above:
            for j in range(r):
                fixed[j] += weights[row] * rows[row, j]
    return count


@reordering_kernel
def cut(cone: FloatArray, child: FloatArray, a: int, b: int, share: float, corner: FloatArray) -> None:
    """Cut the edge (a, b): `child` gets the part at a, `cone` keeps the one at b."""
    r = cone.shape[0]
    square = 0.0
    for j in range(r):
        corner[j] = share * cone[a, j] + (1.0 - share) * cone[b, j]
        square += corner[j] * corner[j]
    for k in range(r):
        for j in range(r):
            child[k, j] = cone[k, j]
    for j in range(r):
        cone[a, j] = child[b, j] = corner[j] / math.sqrt(square)


class SearchSpace(NamedTuple):
    """Workspace of a search: what it knows of each cone on the stack, and of the one it is at.

    Attributes
    ----------
    listed, sizes, fixed : ndarrays of shapes (depth, n), (depth,) and (depth, r)
        The rows that change sign on the cone, how many they are, and the gradient of the others.
    heights, falling : ndarray of shape (n, r)
    strengths, shares : ndarray of shape (n,)
    places, sides, active : ndarrays of intp, shapes (n,), (n,) and (r + 1,)
    normals, losses : ndarray of shape (r, r)
    vectors : ndarray of shape (4, r)
    work : ndarray
        See `convexnn.pricing._cone_bound`.
    """

    listed: IndexArray
    sizes: IntArray
    fixed: FloatArray
    heights: FloatArray
    falling: FloatArray
    strengths: FloatArray
    shares: FloatArray
    places: IntArray
    sides: IntArray
    active: IntArray
    normals: FloatArray
    losses: FloatArray
    vectors: FloatArray
    work: FloatArray

    @classmethod
    def of(cls, n: int, r: int, depth: int) -> "SearchSpace":
        """Allocate for n rows of r entries."""
        return cls(
            np.empty((depth, n), dtype=np.int32),
            np.zeros(depth, dtype=np.intp),
            np.zeros((depth, r)),
            np.empty((n, r)),
            np.empty((n, r)),
            np.empty(n),
            np.empty(n),
            np.empty(n, dtype=np.intp),
            np.empty(n, dtype=np.intp),
            np.empty(r + 1, dtype=np.intp),
            np.empty((r, r)),
            np.empty((r, r)),
            np.empty((4, r)),
            np.empty((2 * r + 8, max(n + r, 2 * r) + 1)),
        )


@inlined_kernel
def _begin_at(
    root: FloatArray,
    rows: FloatArray,
    weights: FloatArray,
    linear: FloatArray,
    stack: FloatArray,
    space: SearchSpace,
) -> None:
    """Put the root on the stack."""
    for k in range(root.shape[0]):
        space.fixed[0, k] = linear[k]
        for j in range(root.shape[0]):
            stack[0, k, j] = root[k, j]
    for i in range(rows.shape[0]):
        space.listed[0, i] = i
    space.sizes[0] = _keep(
        space.listed[0], rows.shape[0], rows, weights, stack[0], space.fixed[0], space.listed[0]
    )


@inlined_kernel
def _split(
    rows: FloatArray, weights: FloatArray, stack: FloatArray, bounds: FloatArray, top: int, space: SearchSpace
) -> None:
    """Cut the cone at the top of the stack in two, where its chords are loosest near the maximiser."""
    cone, child, m, r = stack[top], stack[top + 1], int(space.sizes[top]), stack.shape[1]
    corners, point, where = space.vectors[0], space.vectors[2], space.vectors[3]
    for k in range(r):
        where[k] = 0.0
        for j in range(r):
            where[k] += space.normals[k, j] * point[j]
    _losses(weights, space.listed[top], m, space.heights, space.losses)
    a, b, share = loosest_edge(space.losses, where)
    if a < 0:
        a, b = longest_edge(cone)
    cut(cone, child, a, b, share, corners)
    bounds[top + 1] = bounds[top]
    for j in range(r):
        space.fixed[top + 1, j] = space.fixed[top, j]
    source = space.listed[top]
    space.sizes[top + 1] = _keep(source, m, rows, weights, child, space.fixed[top + 1], space.listed[top + 1])
    space.sizes[top] = _keep(source, m, rows, weights, cone, space.fixed[top], source)


@reordering_kernel
def search(
    root: FloatArray,
    root_bound: float,
    rows: FloatArray,
    weights: FloatArray,
    linear: FloatArray,
    threshold: float,
    slack: float,
    tol: float,
    max_nodes: int,
    best: FloatArray,
    stack: FloatArray,
    bounds: FloatArray,
    record: FloatArray,
    space: SearchSpace,
) -> int:
    """Search below one cone until it is settled or enough are visited; return the number of open cones.

    Parameters
    ----------
    root : ndarray of shape (r, r)
        Unit vertices, pairwise at most at right angles.
    root_bound : float
        A bound that is known for it.
    rows : ndarray of shape (n, r)
    weights : ndarray of shape (n,)
        ``t``, none zero.
    linear : ndarray of shape (r,)
        ``g0``.
    threshold : float
        Cones whose bound is at most this, or ``(1 + tol) best[0]``, or `slack`, are settled.
    slack : float
        Added to bounds that are reported, for rounding.
    tol : float
    max_nodes : int
        Cones to visit.
    best : ndarray of shape (1 + r,)
        Largest value found and where; shared between searches, written to when improved.
    stack : ndarray of shape (depth, r, r)
        On return the first entries are the open cones.
    bounds : ndarray of shape (depth,)
        Their bounds.
    record : ndarray of shape (2,)
        Counts visited cones; keeps the largest bound of a settled cone.
    space : SearchSpace
    """
    r, top, visited = rows.shape[1], ZERO, 0
    corners, start, point, where = space.vectors[0], space.vectors[1], space.vectors[2], space.vectors[3]
    heights, falling, strengths, places = space.heights, space.falling, space.strengths, space.places
    bounds[0] = root_bound
    _begin_at(root, rows, weights, linear, stack, space)
    while top >= 0 and visited < max_nodes:
        visited += 1
        cone, listed, fixed, m = stack[top], space.listed[top], space.fixed[top], int(space.sizes[top])
        heights_at(cone, rows, listed, m, heights)
        limit = max(threshold, (1.0 + tol) * best[0], slack)
        count = _relax(cone, fixed, rows, weights, listed, m, heights, corners, falling, strengths, places)
        bound, _ = bound_relaxation(
            cone, heights, corners, falling, strengths, places, count, limit,
            space.normals, start, point, where, space.shares, space.work, space.sides, space.active,
        )  # fmt: skip
        bounds[top] = min(bounds[top], bound + slack)
        if bound > limit:
            value = _value(fixed, rows, weights, listed, m, point)
            if keep_better(value, point, best):
                limit = max(limit, (1.0 + tol) * value)
        if bound <= limit or top + 1 == stack.shape[0] or r == 1:
            record[1] = max(record[1], bounds[top])
            top -= 1
        else:
            _split(rows, weights, stack, bounds, top, space)
            top += 1
    record[0] += visited
    return top + 1
