"""Depth-first search for the largest grouped gain; see `convexnn.pricing.grouped` for the mathematics."""

import math

import numpy as np

from convexnn._jit import ZERO, reordering_kernel
from convexnn._typing import FloatArray, IndexArray
from convexnn.pricing._cone_bound import heights_at
from convexnn.pricing._grouped_bound import Groups, Workspace, bound_cone
from convexnn.pricing._search import cut, keep_better, longest_edge, loosest_edge

_TIE = 8e-16  # difference of heights that is rounding, relative to the longest row of a group
# But for ordinary gains only edges are cut whose squared length is at least this share of the longest one's,
# and only so far off their centre, as shares of the edge: thin cones have loose bounds.
_LONG_SQUARE, _MOST_OFF_CENTRE = 0.5, 0.2


@reordering_kernel
def _highest_at_centre(heights: FloatArray, begin: int, end: int) -> int:
    """Return which of the pieces from `begin` to `end` is highest at the centre of the cone."""
    base, most = begin, -math.inf
    for i in range(begin, end):
        total = 0.0
        for k in range(heights.shape[1]):
            total += heights[i, k]
        if total > most:
            most, base = total, i
    return base


@reordering_kernel
def _keep(
    groups: Groups,
    source: IndexArray,
    m: int,
    vertices: FloatArray,
    heights: FloatArray,
    fixed: FloatArray,
    kept: IndexArray,
) -> int:
    """Keep the highest piece of each group at the centre, and those above it at a vertex.

    Groups of which one piece is left are linear and move into `fixed`; `kept` may be `source`.
    """
    r, count, begin = vertices.shape[0], 0, 0
    heights_at(vertices, groups.rows, source, m, heights)
    while begin < m:
        group, end, first = source[begin] // groups.pieces, begin, count
        while end < m and source[end] // groups.pieces == group:
            end += 1
        base = _highest_at_centre(heights, begin, end)
        row = groups.rows[source[base]]
        for i in range(begin, end):
            above = i == base
            for k in range(r):
                above |= heights[i, k] - heights[base, k] > _TIE * groups.radii[group]
            if above:
                kept[count] = source[i]
                count += 1
        if count == first + 1:
            count = first
            for c in range(groups.values.shape[1]):
                for j in range(r):
                    fixed[groups.offsets[group] + c, j] += groups.values[group, c] * row[j]
        begin = end
    return count


@reordering_kernel
def _value(groups: Groups, fixed: FloatArray, listed: IndexArray, count: int, space: Workspace) -> float:
    """Return ``|G(u)| / |u|`` at the point u of the cone, or ``G(u) / |u|`` if G has one entry."""
    u, response = space.point, space.response
    for c in range(fixed.shape[0]):
        response[c] = 0.0
        for j in range(u.shape[0]):
            response[c] += fixed[c, j] * u[j]
    for g in range(count):
        top, group = -math.inf, listed[space.places[g, 0]] // groups.pieces
        for i in range(space.places[g, 0], space.places[g + 1, 0]):
            height = 0.0
            for j in range(u.shape[0]):
                height += groups.rows[listed[i], j] * u[j]
            top = max(top, height)
        for c in range(groups.values.shape[1]):
            response[groups.offsets[group] + c] += groups.values[group, c] * top
    square = size = 0.0
    for j in range(u.shape[0]):
        square += u[j] * u[j]
    for c in range(fixed.shape[0]):
        size += response[c] * response[c]
    length = response[0] if fixed.shape[0] == 1 else math.sqrt(size)
    return float(length / math.sqrt(square)) if square > 0.0 else 0.0


@reordering_kernel
def _write_losses(groups: Groups, listed: IndexArray, count: int, tilt: float, space: Workspace) -> None:
    """Write how much chords along each edge overestimate, and that times the crossings' positions.

    Chords count for what they add to the bound; so do groups of which more than two pieces are left.
    """
    losses, tops, heights = space.losses, space.tops, space.heights
    for a in range(losses.shape[0]):
        for b in range(losses.shape[1]):
            losses[a, b] = 0.0
    for g in range(count):
        square, group = 0.0, listed[space.places[g, 0]] // groups.pieces
        for c in range(groups.values.shape[1]):
            square += groups.values[group, c] * groups.values[group, c]
        weight = tilt * math.sqrt(square)
        if space.aligned[g] > 0.0 or space.places[g + 1, 0] - space.places[g, 0] > 2:
            weight += abs(space.aligned[g])
        for a in range(losses.shape[0]):
            for b in range(a):
                fall = tops[g, a] - heights[space.peaks[g, b], a]
                rise = tops[g, b] - heights[space.peaks[g, a], b]
                if weight > 0.0 and fall > 0.0 and rise > 0.0:
                    share = rise / (fall + rise)
                    losses[a, b] += weight * fall * share
                    losses[b, a] += weight * fall * share * share


@reordering_kernel
def _add_bending(middles: FloatArray, direction: FloatArray, limit: float, losses: FloatArray) -> None:
    """Add how much the chord of ``|M u|`` along each edge overestimates; best cut in the middle."""
    for a in range(middles.shape[0]):
        for b in range(a):
            along = square = 0.0
            for c in range(middles.shape[1]):
                along += (middles[a, c] - middles[b, c]) * direction[c]
            for c in range(middles.shape[1]):
                across = middles[a, c] - middles[b, c] - along * direction[c]
                square += across * across
            losses[a, b] += 0.125 * square / limit
            losses[b, a] += 0.0625 * square / limit


@reordering_kernel
def _loosest_long_edge(vertices: FloatArray, losses: FloatArray) -> tuple[int, int, float]:
    """Choose the edge with the largest loss among the long ones, and the share of its first vertex."""
    a, b = longest_edge(vertices)
    best, share, longest = losses[a, b], 0.5, 0.0
    for j in range(vertices.shape[1]):
        longest += (vertices[a, j] - vertices[b, j]) ** 2
    for k in range(vertices.shape[0]):
        for m in range(k):
            square = 0.0
            for j in range(vertices.shape[1]):
                square += (vertices[k, j] - vertices[m, j]) ** 2
            if square >= _LONG_SQUARE * longest and losses[k, m] >= best and losses[k, m] > 0.0:
                best, a, b = losses[k, m], k, m
                share = min(0.5 + _MOST_OFF_CENTRE, max(0.5 - _MOST_OFF_CENTRE, losses[m, k] / best))
    return a, b, share


@reordering_kernel
def _choose_cut(
    groups: Groups,
    vertices: FloatArray,
    listed: IndexArray,
    count: int,
    limit: float,
    tilt: float,
    space: Workspace,
) -> tuple[int, int, float]:
    """Return the edge to cut and the share of its first vertex."""
    _write_losses(groups, listed, count, tilt, space)
    if space.direction.shape[0] > 1:
        _add_bending(space.middles, space.direction, limit, space.losses)
    if space.direction.shape[0] > 1 or groups.pieces > 2:
        return _loosest_long_edge(vertices, space.losses)
    where = space.start
    for k in range(vertices.shape[0]):
        where[k] = 0.0
        for j in range(vertices.shape[0]):
            where[k] += space.normals[k, j] * space.point[j]
    a, b, share = loosest_edge(space.losses, where)
    if a < 0:
        a, b = longest_edge(vertices)
    return a, b, share


@reordering_kernel
def _copy(source: FloatArray, target: FloatArray) -> None:
    """Copy a matrix; numba takes seconds to compile an assignment of arrays."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@reordering_kernel
def grouped_search(
    root: FloatArray,
    root_bound: float,
    groups: Groups,
    threshold: float,
    slack: float,
    tol: float,
    max_nodes: int,
    best: FloatArray,
    stack: FloatArray,
    bounds: FloatArray,
    record: FloatArray,
    space: Workspace,
) -> int:
    """Search below one cone until it is settled or enough are visited; return the number of open cones.

    If G has one entry, its largest value is searched for, else its largest norm.

    Parameters
    ----------
    root : ndarray of shape (r, r)
        Unit vertices, pairwise at most at right angles.
    root_bound : float
        A bound that is known for it.
    groups : Groups
    threshold, slack, tol, max_nodes, best, stack, bounds, record
        As for `convexnn.pricing._search.search`.
    space : Workspace
    """
    depth, n_rows = stack.shape[0], groups.rows.shape[0]
    listed, sizes = np.empty((depth, n_rows), dtype=np.int32), np.zeros(depth, dtype=np.intp)
    fixed = np.zeros((depth, groups.linear.shape[0], root.shape[0]))
    bounds[0] = root_bound
    _copy(root, stack[0])
    _copy(groups.linear, fixed[0])
    for i in range(n_rows):
        listed[0, i] = i
    sizes[0] = _keep(groups, listed[0], n_rows, root, space.heights, fixed[0], listed[0])
    top, visited = ZERO, 0
    while top >= 0 and visited < max_nodes:
        visited += 1
        cone, m = stack[top], int(sizes[top])
        limit = max(threshold, (1.0 + tol) * best[0], slack)
        count, bound, tilt = bound_cone(groups, cone, fixed[top], listed[top], m, limit, slack, space)
        bounds[top] = min(bounds[top], bound + slack)
        if bound > limit:
            value = _value(groups, fixed[top], listed[top], count, space)
            if keep_better(value, space.point, best):
                limit = max(limit, (1.0 + tol) * value)
        if bound <= limit or top + 1 == depth or root.shape[0] == 1:
            record[1] = max(record[1], bounds[top])
            top -= 1
            continue
        a, b, share = _choose_cut(groups, cone, listed[top], count, limit, tilt, space)
        child = stack[top + 1]
        cut(cone, child, a, b, share, space.corners)
        bounds[top + 1] = bounds[top]
        _copy(fixed[top], fixed[top + 1])
        sizes[top + 1] = _keep(groups, listed[top], m, child, space.heights, fixed[top + 1], listed[top + 1])
        sizes[top] = _keep(groups, listed[top], m, cone, space.heights, fixed[top], listed[top])
        top += 1
    record[0] += visited
    return top + 1
