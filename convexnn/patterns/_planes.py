"""The depth-first search for planes, each of which is swept, see `_cells` and `_sweep` for the method."""

from convexnn._jit import ZERO, kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.patterns._cells import descend
from convexnn.patterns._sweep import (
    PlaneArrays,
    begin,
    combine,
    place,
    project,
    record,
    solve,
    sort_lines,
)
from convexnn.patterns._target import TargetArrays

_NEIGHBOURS = 6  # lines on each side in which a crossing is looked for at first: it mostly is there


@kernel
def _next_plane(
    coords: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    chosen: IntArray,
    level: IntArray,
    doubts: IntArray,
    stop: int,
) -> int:
    """Go to the next plane that the search reaches; return how many sequences it completes, -1 at the end."""
    k, m = coords.shape[1], on.shape[1]
    while level[0] >= 0:
        at = level[0]
        row, end = chosen[at] + 1, stop if at == 0 else m
        if at == k - 2:
            return int(end - row)
        if row >= end:
            level[0] -= 1
            continue
        chosen[at] = row
        if not on[at, row]:
            level[0] = descend(coords, on, errors, chosen, doubts, k, at, m, row)
    return -1


@kernel
def _set_aside(chosen: IntArray, pending: BoolArray, left: IntArray, n_left: int) -> int:
    """List the sequences that pending rows complete; return the length of the list."""
    inner = left.shape[1] - 1
    for i in range(pending.shape[0]):
        if pending[i]:
            for c in range(inner):
                left[n_left, c] = chosen[c]
            left[n_left, inner] = i
            n_left += 1
    return n_left


@kernel
def sweep_planes(
    target: TargetArrays,
    plane: PlaneArrays,
    coords: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    chosen: IntArray,
    level: IntArray,
    doubts: IntArray,
    stop: int,
    left: IntArray,
    bits: WordArray,
    generators: FloatArray,
    count: int,
) -> tuple[int, int]:
    """Write the cells of the simple vertices of all planes, or of as many as there is room for.

    Parameters
    ----------
    target, plane
        Where results go, and workspaces.
    coords : ndarray of float64, shape (k - 1, k, k + 1 + m)
        Coordinates at each level of the search, of which the first two are those of the plane at the last.
    on : ndarray of bool, shape (k, m)
        Rows that vanish on the flat of each level.
    errors : ndarray of float64, shape (k,)
        Bounds on the errors there.
    chosen : ndarray of intp, shape (k,)
        Rows: those that define a flat, then the last one tried.
    level : ndarray of intp, shape (1,)
        How many rows are chosen, -1 at the end.
    doubts : ndarray of intp, shape (3,)
        The first counts incidences in doubt.
    stop : int
        End of the range of the first row.
    left : ndarray of intp, shape (L, k - 1)
        Filled: sequences whose vertices are not simple or not certain.
    bits, generators, count
        Output, and how many rows of it are in use.

    Returns
    -------
    count, n_left : int
        How many rows of the output and of `left` are in use now.
    """
    rows, tolerance, basis, owners, agreement, starts, members, fixed, every, units = target
    found, raw, bins, order, lines, combined, images = plane[:7]
    side_of, multipliers, weights, sides, values, words, pending = plane[7:]
    k, m, n_left = coords.shape[1], on.shape[1], ZERO
    while True:
        n_rows = _next_plane(coords, on, errors, chosen, level, doubts, stop)
        if n_rows < 0 or count + 2 * n_rows > bits.shape[0] or n_left + n_rows > left.shape[0]:
            break
        flat, row, todo = coords[k - 2], chosen[k - 2] + 1, ZERO
        size, shortest = project(flat, on[k - 2], errors, row, row + n_rows, pending, found, raw)
        if size > 0:
            sort_lines(found, raw, size, bins, order, lines)
            combine(basis, flat, chosen, combined, images)
            todo = solve(flat, combined, order, lines, size, shortest, errors, pending, multipliers)
        for neighbours in (_NEIGHBOURS, m):
            if todo > 0:
                place(combined, order, lines, images, multipliers, size, neighbours, pending, weights)
                begin(order, lines, size, chosen, k - 2, owners, agreement, side_of, fixed, sides, words)
                written = record(
                    rows, tolerance, starts, members, every, fixed, units, order, lines, multipliers, size,
                    chosen, side_of, weights, sides, values, words, pending, bits, generators, count,
                )  # fmt: skip
                todo -= (written - count) // 2
                count = written
        n_left = _set_aside(chosen, pending, left, n_left)
        level[0] -= 1
    return count, n_left
