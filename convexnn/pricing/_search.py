"""Depth-first search over simplicial cones; see `convexnn.pricing.branch_and_bound` for the mathematics."""

import math

import numpy as np

from convexnn._jit import reordering_kernel
from convexnn._typing import FloatArray, IndexArray, IntArray
from convexnn.pricing._cone_bound import bound_relaxation, heights_at


@reordering_kernel
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
    r, count = vertices.shape[0], 0
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


@reordering_kernel
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


@reordering_kernel
def _losses(weights: FloatArray, listed: IndexArray, m: int, heights: FloatArray, losses: FloatArray) -> None:
    """Write how much the chords along each edge overestimate, and that times the crossings' positions."""
    r = heights.shape[1]
    losses[:, :] = 0.0
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
            if abs(height) > 4e-16 * size:
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
    budget: int,
    best: FloatArray,
    stack: FloatArray,
    bounds: FloatArray,
    record: FloatArray,
) -> int:
    """Search below one cone until it is settled or the budget is spent; return the number of open cones.

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
    budget : int
        Most cones to visit.
    best : ndarray of shape (1 + r,)
        Largest value found and where; shared between searches, written to when improved.
    stack : ndarray of shape (depth, r, r)
        On return the first entries are the open cones.
    bounds : ndarray of shape (depth,)
        Their bounds.
    record : ndarray of shape (2,)
        Counts visited cones; keeps the largest bound of a settled cone.
    """
    n, r, depth = rows.shape[0], rows.shape[1], stack.shape[0]
    listed, sizes = np.empty((depth, n), dtype=np.int32), np.zeros(depth, dtype=np.intp)
    fixed = np.zeros((depth, r))
    heights, falling = np.empty((n, r)), np.empty((n, r))
    strengths, shares = np.empty(n), np.empty(n)
    places, sides, active = (
        np.empty(n, dtype=np.intp),
        np.empty(n, dtype=np.intp),
        np.empty(r + 1, dtype=np.intp),
    )
    normals, losses = np.empty((r, r)), np.empty((r, r))
    corners, start, point, where = np.empty(r), np.empty(r), np.empty(r), np.empty(r)
    work = np.empty((2 * r + 8, max(n + r, 2 * r) + 1))
    every = np.arange(n).astype(np.int32)
    stack[0], bounds[0], fixed[0] = root, root_bound, linear
    sizes[0] = _keep(every, n, rows, weights, root, fixed[0], listed[0])
    top, visited = 0, 0
    while top >= 0 and visited < budget:
        visited += 1
        cone, m = stack[top], int(sizes[top])
        heights_at(cone, rows, listed[top], m, heights)
        limit = max(threshold, (1.0 + tol) * best[0], slack)
        count = _relax(
            cone, fixed[top], rows, weights, listed[top], m, heights, corners, falling, strengths, places
        )
        bound, _ = bound_relaxation(
            cone, heights, corners, falling, strengths, places, count, limit,
            normals, start, point, where, shares, work, sides, active,
        )  # fmt: skip
        bounds[top] = min(bounds[top], bound + slack)
        if bound > limit:
            value = _value(fixed[top], rows, weights, listed[top], m, point)
            if value > best[0]:
                best[0], best[1:] = value, point / math.sqrt((point * point).sum())
                limit = max(limit, (1.0 + tol) * value)
        if bound <= limit or top + 1 == depth or r == 1:
            record[1] = max(record[1], bounds[top])
            top -= 1
            continue
        for k in range(r):
            where[k] = 0.0
            for j in range(r):
                where[k] += normals[k, j] * point[j]
        _losses(weights, listed[top], m, heights, losses)
        a, b, share = loosest_edge(losses, where)
        if a < 0:
            a, b = longest_edge(cone)
        child = stack[top + 1]
        cut(cone, child, a, b, share, corners)
        bounds[top + 1] = bounds[top]
        fixed[top + 1] = fixed[top]
        sizes[top + 1] = _keep(listed[top], m, rows, weights, child, fixed[top + 1], listed[top + 1])
        sizes[top] = _keep(listed[top], m, rows, weights, cone, fixed[top], listed[top])
        top += 1
    record[0] += visited
    return top + 1
