"""Bounds of a grouped gain on one simplicial cone; see `convexnn.pricing.grouped` for the mathematics.

A *piece* is a row of a group or zero; pieces are numbered group by group, and those that matter on a cone
are listed in that order. Vertices and vectors of C entries are rows of their arrays.
"""

import math
from typing import NamedTuple

import numpy as np

from convexnn._jit import ZERO, reordering_kernel
from convexnn._typing import FloatArray, IndexArray, IntArray
from convexnn.pricing._cone_bound import bound_relaxation, heights_at
from convexnn.pricing._grouped_norm import vector_bound


class Groups(NamedTuple):
    """A grouped gain as kernels take it.

    Attributes
    ----------
    rows : ndarray of shape (n_groups * pieces, r)
        The pieces of each group, among which is zero.
    pieces : int
    radii : ndarray of shape (n_groups,)
        Length of the longest row of each group.
    values : ndarray of shape (n_groups, q)
    offsets : ndarray of shape (n_groups,)
    linear : ndarray of shape (C, r)
    """

    rows: FloatArray
    pieces: int
    radii: FloatArray
    values: FloatArray
    offsets: IntArray
    linear: FloatArray


class Workspace(NamedTuple):
    """What kernels tell each other about one cone; groups are those in the list of pieces, in its order.

    Attributes
    ----------
    heights : ndarray of shape (n_groups * pieces, r)
        The listed pieces at the vertices.
    tops, peaks : ndarray of shape (n_groups, r)
        Height and place in the list of the group's highest piece at the vertices.
    places : ndarray of shape (n_groups + 1, 3)
        Places in the list of the group's first piece, of the highest at the centre, and of the one that
        exceeds it most at a vertex; the row after the last group's holds the length of the list.
    direction : ndarray of shape (C,)
        A unit vector ``b_0``, 1 if G has one entry.
    aligned : ndarray of shape (n_groups,)
        ``b_0 . t_g``.
    corners : ndarray of shape (r,)
        A concave function above ``b_0 . G`` at the vertices, without its kinks.
    falling, steps : ndarray of shape (n_groups, r)
        The rows of these kinks, and the rows at the vertices.
    strengths, shares : ndarray of shape (n_groups,)
        Their weights, and the slopes of them in [0, 1] that prove the bound.
    images : ndarray of shape (r, C)
        A linear B with ``b . G(u) <= b . B u + |b - b_0| |W u|`` for all unit vectors b, at the vertices.
    middles, widths : ndarray of shape (r, C)
        Linear M and W with ``|G(u) - M u| <= W u / 2`` for every entry, at the vertices.
    least : ndarray of shape (r,)
        A linear function below ``b_0 . G``, at the vertices.
    normals : ndarray of shape (r, r)
    start, point : ndarray of shape (r,)
        The concave function without kinks as a vector, and its maximiser with them.
    response : ndarray of shape (C,)
    losses : ndarray of shape (r, r)
    work, sides, active, every : ndarray
        For `maximise_concave`; the numbers from 0.
    """

    heights: FloatArray
    tops: FloatArray
    peaks: IntArray
    places: IntArray
    direction: FloatArray
    aligned: FloatArray
    corners: FloatArray
    falling: FloatArray
    steps: FloatArray
    strengths: FloatArray
    shares: FloatArray
    images: FloatArray
    middles: FloatArray
    widths: FloatArray
    least: FloatArray
    normals: FloatArray
    start: FloatArray
    point: FloatArray
    response: FloatArray
    losses: FloatArray
    work: FloatArray
    sides: IntArray
    active: IntArray
    every: IntArray

    @classmethod
    def of(cls, groups: Groups) -> "Workspace":
        """Allocate."""
        n, (m, r), width = len(groups.values), groups.rows.shape, len(groups.linear)
        return cls(
            heights=np.empty((m, r)),
            tops=np.empty((n, r)),
            peaks=np.empty((n, r), dtype=np.intp),
            places=np.empty((n + 1, 3), dtype=np.intp),
            direction=np.empty(width),
            aligned=np.empty(n),
            corners=np.empty(r),
            falling=np.empty((n, r)),
            steps=np.empty((n, r)),
            strengths=np.empty(n),
            shares=np.empty(n),
            images=np.empty((r, width)),
            middles=np.empty((r, width)),
            widths=np.empty((r, width)),
            least=np.empty(r),
            normals=np.empty((r, r)),
            start=np.empty(r),
            point=np.empty(r),
            response=np.empty(width),
            losses=np.empty((r, r)),
            work=np.empty((2 * r + 8, max(n + r, 2 * r) + 1)),
            sides=np.empty(n, dtype=np.intp),
            active=np.empty(r + 1, dtype=np.intp),
            every=np.arange(n),
        )


@reordering_kernel
def _survey(groups: Groups, listed: IndexArray, m: int, space: Workspace) -> int:
    """Write `tops`, `peaks` and `places`; return how many groups are listed."""
    heights, tops = space.heights, space.tops
    r, count, begin = heights.shape[1], 0, 0
    while begin < m:
        end, base, most = begin, begin, -math.inf
        for k in range(r):
            tops[count, k] = -math.inf
        while end < m and listed[end] // groups.pieces == listed[begin] // groups.pieces:
            total = 0.0
            for k in range(r):
                total += heights[end, k]
                if heights[end, k] > tops[count, k]:
                    tops[count, k], space.peaks[count, k] = heights[end, k], end
            if total > most:
                most, base = total, end
            end += 1
        other, most = base, -math.inf
        for i in range(begin, end):
            for k in range(r):
                if i != base and heights[i, k] - heights[base, k] > most:
                    most, other = heights[i, k] - heights[base, k], i
        space.places[count, 0], space.places[count, 1], space.places[count, 2] = begin, base, other
        begin, count = end, count + 1
    space.places[count, 0] = m
    return count


@reordering_kernel
def _centre_direction(
    groups: Groups, vertices: FloatArray, fixed: FloatArray, listed: IndexArray, count: int, space: Workspace
) -> None:
    """Write ``b_0 = G(u) / |G(u)|`` at the centre of the cone; 1 if G has one entry."""
    r, direction = vertices.shape[0], space.direction
    for c in range(fixed.shape[0]):
        direction[c] = 0.0
        for k in range(r):
            for j in range(r):
                direction[c] += fixed[c, j] * vertices[k, j]
    for g in range(count):
        group, total = listed[space.places[g, 0]] // groups.pieces, 0.0
        for k in range(r):
            total += space.heights[space.places[g, 1], k]
        for c in range(groups.values.shape[1]):
            direction[groups.offsets[group] + c] += groups.values[group, c] * total
    square = 0.0
    for c in range(fixed.shape[0]):
        square += direction[c] * direction[c]
    if fixed.shape[0] == 1 or square == 0.0:
        direction[0] = square = 1.0
    for c in range(fixed.shape[0]):
        direction[c] /= math.sqrt(square)


@reordering_kernel
def _relax(
    groups: Groups, vertices: FloatArray, fixed: FloatArray, listed: IndexArray, count: int, space: Workspace
) -> int:
    """Write a concave function above ``b_0 . G``; return how many kinks it has.

    Groups with ``b_0 . t_g > 0`` get their chord, others keep the higher of two pieces.
    """
    r, heights, falling, kinks = vertices.shape[0], space.heights, space.falling, ZERO
    for k in range(r):
        space.corners[k] = 0.0
        for c in range(fixed.shape[0]):
            for j in range(r):
                space.corners[k] += space.direction[c] * fixed[c, j] * vertices[k, j]
    for g in range(count):
        base, other, weight = space.places[g, 1], space.places[g, 2], 0.0
        group = listed[base] // groups.pieces
        for c in range(groups.values.shape[1]):
            weight += space.direction[groups.offsets[group] + c] * groups.values[group, c]
        space.aligned[g] = weight
        for k in range(r):
            space.corners[k] += weight * (space.tops[g, k] if weight > 0.0 else heights[base, k])
        if weight < 0.0:
            for k in range(r):
                falling[kinks, k] = groups.rows[listed[other], k] - groups.rows[listed[base], k]
                space.steps[kinks, k] = heights[other, k] - heights[base, k]
            space.strengths[kinks] = -weight
            kinks += 1
    return kinks


@reordering_kernel
def _enclose(
    groups: Groups, vertices: FloatArray, fixed: FloatArray, listed: IndexArray, count: int, space: Workspace
) -> None:
    """Write `images`, `middles`, `widths`, `least`; groups of ``b_0 . t_g < 0`` have shares."""
    r, heights, kinks = vertices.shape[0], space.heights, 0
    for k in range(r):
        space.least[k] = 0.0
        for c in range(fixed.shape[0]):
            image = 0.0
            for j in range(r):
                image += fixed[c, j] * vertices[k, j]
            space.images[k, c], space.middles[k, c], space.widths[k, c] = image, image, 0.0
            space.least[k] += space.direction[c] * image
    for g in range(count):
        base, other, aligned, share = space.places[g, 1], space.places[g, 2], space.aligned[g], 0.0
        group = listed[base] // groups.pieces
        first = groups.offsets[group]
        if aligned < 0.0:
            share = space.shares[kinks]
            kinks += 1
        for k in range(r):
            top = space.tops[g, k]
            low = heights[base, k] + share * (heights[other, k] - heights[base, k])
            for c in range(groups.values.shape[1]):
                value = groups.values[group, c]
                space.images[k, first + c] += value * (low if aligned < 0.0 else top)
                space.middles[k, first + c] += value * 0.5 * (top + low)
                space.widths[k, first + c] += abs(value) * (top - low)
            space.least[k] += aligned * (top if aligned < 0.0 else low)


@reordering_kernel
def bound_cone(
    groups: Groups,
    vertices: FloatArray,
    fixed: FloatArray,
    listed: IndexArray,
    m: int,
    limit: float,
    slack: float,
    space: Workspace,
) -> tuple[int, float, float]:
    """Bound ``|G(u)|``, or G(u) if it has one entry, over the unit vectors of a cone.

    Parameters
    ----------
    groups : Groups
    vertices : ndarray of shape (r, r)
    fixed : ndarray of shape (C, r)
        The linear part of G on the cone.
    listed : ndarray of shape (at least m,)
        The pieces of the other groups.
    m : int
    limit : float
        Bounds below it are of no use; positive.
    slack : float
        What rounding can have changed.
    space : Workspace
        Written.

    Returns
    -------
    count : int
        Number of groups in the list.
    bound : float
    tilt : float
        Bounds the sine of the angle between b_0 and any ``G(u)`` longer than the limit.
    """
    heights_at(vertices, groups.rows, listed, m, space.heights)
    count = _survey(groups, listed, m, space)
    _centre_direction(groups, vertices, fixed, listed, count, space)
    kinks = _relax(groups, vertices, fixed, listed, count, space)
    bound, regular = bound_relaxation(
        vertices, space.steps, space.corners, space.falling, space.strengths, space.every, kinks, limit,
        space.normals, space.start, space.point, space.least, space.shares, space.work, space.sides,
        space.active,
    )  # fmt: skip
    if fixed.shape[0] == 1:
        return count, bound, 0.0
    if not regular:
        return count, math.inf, 1.0
    _enclose(groups, vertices, fixed, listed, count, space)
    bound, tilt = vector_bound(
        vertices,
        space.normals,
        space.direction,
        bound,
        space.images,
        space.middles,
        space.widths,
        space.least,
        limit,
        slack,
    )
    return count, bound, tilt
