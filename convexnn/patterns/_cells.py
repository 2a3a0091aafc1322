r"""The cells of a central arrangement that lie on one side of a generic hyperplane, without linear programs.

Let :math:`x_1, \dots, x_m` be pairwise non-parallel rows that span :math:`R^k`, and f a generic functional.
`_search.HalfCells` finds a point inside each cell contained in :math:`\{f > 0\}`, each cell once:

1. On such a cell f is positive at every non-zero point of the closure, which contains no line. So the height
   :math:`h = f / x_1` has on it, in the chart :math:`|x_1| = 1`, a unique lowest vertex if :math:`x_1 > 0`
   and a unique highest one if :math:`x_1 < 0`: f being generic, no two vertices have the same height. That
   vertex v spans a line in which rows of rank k-1 meet, with :math:`x_1(v) \ne 0` and :math:`f(v) > 0`.
2. Conversely let v be such a vertex and J the rows that vanish on it. Near v the cells are those of the
   arrangement of J in :math:`R^k / v`, and v is their extreme vertex exactly where
   :math:`\varphi = f - (f(v) / x_1(v)) x_1`, a functional on :math:`R^k / v`, is positive. This is the same
   problem with one dimension less, and :math:`\varphi` is generic there because f is.
3. If :math:`|J| = k - 1` there is one such cell: :math:`\varphi = \sum_J \lambda_j x_j`, and the signs on J
   are those of :math:`\lambda`.

The lines are found by depth-first search over increasing sequences of k-1 independent rows among
:math:`x_2, \dots, x_m`; a line in which more rows meet is taken only for the sequence that is the
lexicographically first basis of its J. Coordinates are reflected so that each chosen row lies along one axis;
the other live axes span the flat of the rows chosen so far, the leading coordinates of a row are its
restriction to that flat, and the chosen rows form a triangular matrix. A row counts as zero on a flat up to a
tolerance that grows with the inverse of the smallest pivot, as the error of the flat does; sizes that are
neither clearly zero nor clearly not are an error, since a wrong guess would lose cells unseen.

Lines in which k-1 rows meet are done a plane at a time, see `_sweep`. For the others, if d is a point of
the local cell then ``v + t d``, t half the distance to the nearest crossing off J, is a point of the cell.
That the signs of :math:`\lambda` and of f(v) are beyond rounding proves that no cell is found twice; where
they are not this is reported.

The local problems of step 2 are kept on a stack of frames, at most one per dimension. A frame holds its
coordinates as an array of shape (axes, width): in column c axis c itself, in column k the functional, from
column k + 1 on the rows.
"""

import math

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray

CLEAR = 64.0  # in units of the error bound: more than this is not zero
_ZERO = 8.0  # at most this is zero; exact incidences stay below 0.5; between the two lies doubt, reported


@kernel
def _is_zero(size: float, error: float, doubts: IntArray) -> bool:
    """Whether a size known up to `error` is zero; counts doubtful cases in ``doubts[0]``."""
    if size > CLEAR * error:
        return False
    if size > _ZERO * error:
        doubts[0] += 1
        return False
    return True


@kernel
def _restrict(coords: FloatArray, axes: int, live: int, at: int, column: int, width: int) -> float:
    """Reflect the live axes so that a row lies along the last of them; return its length there."""
    square, last = 0.0, live - 1
    for c in range(live):
        square += coords[at, c, column] * coords[at, c, column]
    length = math.sqrt(square)
    end = coords[at, last, column] + math.copysign(length, coords[at, last, column])
    factor = 1.0 / (length * abs(end))
    # The last live axis holds the products with the normal of the mirror until all others are done.
    for i in range(width):
        coords[at + 1, last, i] = factor * end * coords[at, last, i]
    for c in range(last):
        weight = factor * coords[at, c, column]
        for i in range(width):
            coords[at + 1, last, i] += weight * coords[at, c, i]
    for c in range(axes):
        weight = coords[at, c, column] if c < last else 0.0
        if c != last:
            for i in range(width):
                coords[at + 1, c, i] = coords[at, c, i] - weight * coords[at + 1, last, i]
    for i in range(width):
        coords[at + 1, last, i] = coords[at, last, i] - end * coords[at + 1, last, i]
    return length


@kernel
def descend(
    coords: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    chosen: IntArray,
    doubts: IntArray,
    axes: int,
    at: int,
    n_rows: int,
    row: int,
) -> int:
    """Choose one more row; return the next level, or this one if the flat belongs to another sequence."""
    first = coords.shape[2] - on.shape[1]
    length = _restrict(coords, axes, axes - at, at, first + row, first + n_rows)
    error = max(float(errors[at]), float(errors[0]) / length)
    for i in range(n_rows):
        on[at + 1, i] = on[at, i] or i == row
        if not on[at + 1, i]:
            square = 0.0
            for c in range(axes - at - 1):
                square += coords[at + 1, c, first + i] * coords[at + 1, c, first + i]
            if _is_zero(math.sqrt(square), error, doubts):
                if i < row:
                    return at
                on[at + 1, i] = True
    chosen[at + 1], errors[at + 1] = row, error
    return at + 1


@kernel
def _line(coords: FloatArray, axes: int, column: int, width: int, across: FloatArray) -> float:
    """Turn the last live plane so that one axis lies along a row; return the length of the row there.

    Writes the coordinates along the axes of the chosen rows, in order of choice, and last those along the
    remaining line, which are the values at its vertex v.
    """
    length = math.hypot(coords[0, column], coords[1, column])
    cosine, sine = coords[0, column] / length, coords[1, column] / length
    for c in range(axes - 2):
        for i in range(width):
            across[c, i] = coords[axes - 1 - c, i]
    for i in range(width):
        across[axes - 2, i] = cosine * coords[0, i] + sine * coords[1, i]
        across[axes - 1, i] = cosine * coords[1, i] - sine * coords[0, i]
    return length


@kernel
def _vanishing(
    values: FloatArray,
    first: int,
    n_rows: int,
    on: BoolArray,
    row: int,
    error: float,
    met: IntArray,
    doubts: IntArray,
) -> int:
    """List the rows that vanish on a line; zero of them if it belongs to another sequence or to x_1 = 0."""
    count, near = 0, CLEAR * error
    for i in range(n_rows):
        if on[i] or i == row or abs(values[first + i]) <= near:
            if not on[i] and i != row and not _is_zero(abs(values[first + i]), error, doubts):
                continue
            if i < row and not on[i]:
                return 0
            met[count] = i
            count += 1
    return count


@kernel
def _vertex(values: FloatArray, across: FloatArray, axes: int, width: int, local: FloatArray) -> float:
    """Write the local functional of a vertex and give the vertex the sign at which f is positive.

    Returns the size that the error of the functional is relative to.
    """
    functional, reference = across.shape[0], across.shape[0] + 1
    height = values[functional] / values[reference]
    for c in range(axes - 1):
        local[c] = across[c, functional] - height * across[c, reference]
    sign = 1.0 if values[functional] > 0.0 else -1.0
    for i in range(width):
        values[i] *= sign
    return float((1.0 + abs(height)) / abs(values[reference]))


@kernel
def _simplicial(
    across: FloatArray, size: int, met: IntArray, local: FloatArray, scale: float, point: FloatArray
) -> float:
    """Write a point of the cell of `size` independent rows on which their combination `local` is positive.

    Returns the smallest factor of the combination relative to the size of their error.
    """
    first = across.shape[0] + 1
    least, total = np.inf, scale
    for j in range(size - 1, -1, -1):
        column = first + met[j]
        factor = local[j] / across[j, column]
        for i in range(j):
            local[i] -= factor * across[i, column]
        least, total = min(least, abs(factor)), total + abs(factor)
        local[j] = 1.0 if factor > 0.0 else -1.0
    for j in range(size):
        column = first + met[j]
        value = local[j]
        for i in range(j):
            value -= across[i, column] * point[i]
        point[j] = value / across[j, column]
    return least / total


@kernel
def _open(
    across: FloatArray, size: int, met: IntArray, count: int, local: FloatArray, coords: FloatArray
) -> float:
    """Set up the coordinates of the next frame: the rows that meet in a line, and the local functional.

    Returns the size of that functional.
    """
    first = across.shape[0] + 1
    coords[:, :] = 0.0
    square = 0.0
    for c in range(size):
        coords[c, c] = 1.0
        square += local[c] * local[c]
    for c in range(size):
        coords[c, first - 1] = local[c] / math.sqrt(square)
    size_of_functional = math.sqrt(square)
    for j in range(count):
        square = 0.0
        for c in range(size):
            square += across[c, first + met[j]] ** 2
        for c in range(size):
            coords[c, first + j] = across[c, first + met[j]] / math.sqrt(square)
    return size_of_functional


@kernel
def lift(across: FloatArray, moves: FloatArray, n_rows: IntArray, top: int, point: FloatArray) -> None:
    """Replace `point`, local to the line of frame `top`, by ``v + t d`` in each frame down to frame 0."""
    k = point.shape[0]
    for frame in range(top, -1, -1):
        axes, width = k - frame, k + 1 + n_rows[frame]
        square = 0.0
        for c in range(axes - 1):
            square += point[c] * point[c]
        for i in range(width):
            moves[i] = 0.0
        for c in range(axes - 1):
            weight = point[c] / math.sqrt(square)
            for i in range(width):
                moves[i] += weight * across[frame, c, i]
        # Rows that vanish at v have the value infinity there: they are no crossings.
        rate = 0.5
        for i in range(k + 1, width):
            rate = max(rate, -moves[i] / across[frame, axes - 1, i])
        for c in range(axes):
            point[c] = across[frame, axes - 1, c] + 0.5 / rate * moves[c]


@kernel
def local_cells(
    coords: FloatArray,
    across: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    met: IntArray,
    local: FloatArray,
    doubts: IntArray,
    axes: int,
    n_rows: int,
    row: int,
    point: FloatArray,
    below: FloatArray,
) -> int:
    """Find the cell of a line in which ``axes - 1`` rows meet, or set up the frame of one in which more do.

    Returns how many meet; zero to skip the line, which then belongs to another sequence.
    """
    first, at = across.shape[0] + 1, axes - 2
    width, values = first + n_rows, across[axes - 1]
    length = _line(coords, axes, first + row, width, across)
    error = max(float(errors[at]), float(errors[0]) / length)
    size = _vanishing(values, first, n_rows, on, row, error, met, doubts)
    errors[at + 1] = error
    if axes == 2 and size != 1:
        # Distinct hyperplanes that look parallel.
        doubts[0] += 1
        return 0
    if size == 0:
        return 0
    doubts[1] += abs(values[first - 1]) <= CLEAR * error
    scale = _vertex(values, across, axes, width, local)
    for j in range(size):
        values[first + met[j]] = np.inf
    if size == axes - 1:
        doubts[1] += _simplicial(across, size, met, local, scale, point) <= CLEAR * error
    else:
        doubts[1] += _open(across, axes - 1, met, size, local, below) <= CLEAR * error * scale
    return size
