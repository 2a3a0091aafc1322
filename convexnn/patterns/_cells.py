r"""The cells of a central arrangement that lie on one side of a generic hyperplane, without linear programs.

Let :math:`x_1, \dots, x_m` be pairwise non-parallel rows that span :math:`R^k`, and f a generic functional.
`half_cells` returns a point inside each cell contained in :math:`\{f > 0\}`, each cell once:

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

If d is a point of the local cell then ``v + t d``, t half the distance to the nearest crossing off J, is a
point of the cell. The lines are found by depth-first search over increasing sequences of k-1 independent
rows among :math:`x_2, \dots, x_m`; a line in which more rows meet is taken only for the sequence that is the
lexicographically first basis of its J. Coordinates are reflected so that each chosen row lies along one axis;
the other live axes span the flat of the rows chosen so far, the leading coordinates of a row are its
restriction to that flat, and the chosen rows form a triangular matrix. A row counts as zero on a flat up to a
tolerance that grows with the inverse of the smallest pivot, as the error of the flat does; sizes that are
neither clearly zero nor clearly not are an error, since a wrong guess would lose cells unseen.

The local problems of step 2 are kept on a stack of frames, at most one per dimension. A frame holds its
coordinates as an array of shape (axes, width): in column c axis c itself, in column k the functional, from
column k + 1 on the rows.
"""

import math
from collections.abc import Iterator

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.patterns.witnesses import ResolutionError

_ZERO = 8.0  # in units of the error bound: at most this is zero; exact incidences stay below 0.5
_CLEAR = 64.0  # and at least this is not; between them lies doubt, which is reported


@kernel
def _is_zero(size: float, error: float, state: IntArray) -> bool:
    """Whether a size known up to `error` is zero; counts doubtful cases in ``state[1]``."""
    if size > _CLEAR * error:
        return False
    if size > _ZERO * error:
        state[1] += 1
        return False
    return True


@kernel
def _restrict(coords: FloatArray, out: FloatArray, axes: int, live: int, column: int, width: int) -> float:
    """Reflect the live axes so that a row lies along the last of them; return its length there."""
    normal = coords[:, column].copy()
    square = 0.0
    for c in range(live):
        square += normal[c] * normal[c]
    length = math.sqrt(square)
    normal[live - 1] += length if normal[live - 1] >= 0.0 else -length
    factor = 1.0 / (length * abs(normal[live - 1]))
    dots = np.zeros(width)
    for c in range(live):
        for i in range(width):
            dots[i] += factor * normal[c] * coords[c, i]
    for c in range(axes):
        weight = normal[c] if c < live else 0.0
        for i in range(width):
            out[c, i] = coords[c, i] - weight * dots[i]
    return length


@kernel
def _flat(
    coords: FloatArray,
    live: int,
    n_rows: int,
    row: int,
    error: float,
    before: BoolArray,
    on: BoolArray,
    state: IntArray,
) -> bool:
    """Mark the rows that vanish on the flat; False unless `row` is the first to reach that flat."""
    first = coords.shape[0] + 1
    for i in range(n_rows):
        on[i] = before[i] or i == row
        if not on[i]:
            square = 0.0
            for c in range(live):
                square += coords[c, first + i] * coords[c, first + i]
            if _is_zero(math.sqrt(square), error, state):
                if i < row:
                    return False
                on[i] = True
    return True


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
    state: IntArray,
) -> int:
    """List the rows that vanish on a line; zero of them if it belongs to another sequence or to x_1 = 0."""
    count, near = 0, _CLEAR * error
    for i in range(n_rows):
        if on[i] or i == row or abs(values[first + i]) <= near:
            if not on[i] and i != row and not _is_zero(abs(values[first + i]), error, state):
                continue
            if i < row and not on[i]:
                return 0
            met[count] = i
            count += 1
    return count


@kernel
def _vertex(values: FloatArray, across: FloatArray, axes: int, width: int, local: FloatArray) -> None:
    """Write the local functional of a vertex and give the vertex the sign at which f is positive."""
    functional, reference = across.shape[0], across.shape[0] + 1
    height = values[functional] / values[reference]
    for c in range(axes - 1):
        local[c] = across[c, functional] - height * across[c, reference]
    sign = 1.0 if values[functional] > 0.0 else -1.0
    for i in range(width):
        values[i] *= sign


@kernel
def _simplicial(across: FloatArray, size: int, met: IntArray, local: FloatArray, point: FloatArray) -> None:
    """Write a point of the cell of `size` independent rows on which their combination `local` is positive."""
    first = across.shape[0] + 1
    for j in range(size - 1, -1, -1):
        column = first + met[j]
        factor = local[j] / across[j, column]
        for i in range(j):
            local[i] -= factor * across[i, column]
        local[j] = 1.0 if factor > 0.0 else -1.0
    for j in range(size):
        column = first + met[j]
        value = local[j]
        for i in range(j):
            value -= across[i, column] * point[i]
        point[j] = value / across[j, column]


@kernel
def _open(
    across: FloatArray, size: int, met: IntArray, count: int, local: FloatArray, coords: FloatArray
) -> None:
    """Set up the coordinates of the next frame: the rows that meet in a line, and the local functional."""
    first = across.shape[0] + 1
    coords[:, :] = 0.0
    square = 0.0
    for c in range(size):
        coords[c, c] = 1.0
        square += local[c] * local[c]
    for c in range(size):
        coords[c, first - 1] = local[c] / math.sqrt(square)
    for j in range(count):
        square = 0.0
        for c in range(size):
            square += across[c, first + met[j]] ** 2
        for c in range(size):
            coords[c, first + j] = across[c, first + met[j]] / math.sqrt(square)


@kernel
def _lift(across: FloatArray, moves: FloatArray, n_rows: IntArray, top: int, point: FloatArray) -> None:
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
def _meet(
    coords: FloatArray,
    across: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    met: IntArray,
    local: FloatArray,
    state: IntArray,
    axes: int,
    n_rows: int,
    row: int,
) -> int:
    """Complete a sequence by its last row and return how many rows meet; zero to skip the line."""
    first, at = across.shape[0] + 1, axes - 2
    width, values = first + n_rows, across[axes - 1]
    length = _line(coords, axes, first + row, width, across)
    errors[at + 1] = max(errors[at], errors[0] / length)
    count = _vanishing(values, first, n_rows, on, row, errors[at + 1], met, state)
    if count > 0:
        _vertex(values, across, axes, width, local)
        for j in range(count):
            values[first + met[j]] = np.inf
    return count


@kernel
def _search(
    coords: FloatArray,
    across: FloatArray,
    on: BoolArray,
    errors: FloatArray,
    chosen: IntArray,
    level: IntArray,
    n_rows: IntArray,
    state: IntArray,
    stop: int,
    points: FloatArray,
) -> int:
    """Continue the search until `points` is full or nothing is left; return the number of points written."""
    k, first = points.shape[1], points.shape[1] + 1
    met, local, moves = np.empty(n_rows[0], dtype=np.intp), np.empty(k), np.empty(coords.shape[3])
    count, frame = 0, int(state[0])
    while frame >= 0 and count < points.shape[0]:
        axes, at, m = k - frame, int(level[frame]), int(n_rows[frame])
        chosen[frame, at] += 1
        row = int(chosen[frame, at])
        if axes == 1:
            points[count, 0] = 1.0 if coords[frame, 0, 0, k] > 0.0 else -1.0
            frame -= 1
            _lift(across, moves, n_rows, frame, points[count])
            count += 1
        elif row >= (stop if frame == 0 and at == 0 else m):
            level[frame] -= 1
            frame -= int(at == 0)
        elif on[frame, at, row]:
            continue
        elif at < axes - 2:
            below, live = coords[frame, at + 1], axes - at
            length = _restrict(coords[frame, at], below, axes, live, first + row, first + m)
            error = max(float(errors[frame, at]), float(errors[frame, 0]) / length)
            if _flat(below, live - 1, m, row, error, on[frame, at], on[frame, at + 1], state):
                level[frame] = at + 1
                chosen[frame, at + 1], errors[frame, at + 1] = row, error
        else:
            size = _meet(
                coords[frame, at],
                across[frame],
                on[frame, at],
                errors[frame],
                met,
                local,
                state,
                axes,
                m,
                row,
            )
            if size == axes - 1:
                _simplicial(across[frame], size, met, local, points[count])
                _lift(across, moves, n_rows, frame, points[count])
                count += 1
            elif size > 0:
                _open(across[frame], axes - 1, met, size, local, coords[frame + 1, 0])
                errors[frame + 1, 0], n_rows[frame + 1] = errors[frame, at + 1], size
                frame += 1
                level[frame], chosen[frame, 0] = 0, 0
    state[0] = frame
    return count


def half_cells(
    rows: FloatArray, functional: FloatArray, start: int, stop: int, *, error: float, batch: int = 4096
) -> Iterator[FloatArray]:
    """Yield points inside the cells that lie in ``functional > 0``, in batches.

    Parameters
    ----------
    rows : ndarray of float64, shape (m, k)
        Unit normals, pairwise non-parallel, of rank k.
    functional : ndarray of float64, shape (k,)
        Generic functional.
    start, stop : int
        Only lines whose first row has its index in ``range(start, stop)``; ``range(1, m)`` gives all.
    error : float
        Bound on the rounding error of the rows.
    batch : int
        Most points in an array.

    Yields
    ------
    ndarray of float64, shape (at most batch, k)

    Raises
    ------
    ResolutionError
        If an incidence is in doubt.
    """
    m, k = rows.shape
    coords = np.zeros((k, max(k - 1, 1), k, k + 1 + m))  # frame, level, axis, column
    coords[0, 0] = np.hstack([np.eye(k), functional[:, None], rows.T])
    across = np.zeros((k, k, k + 1 + m))
    on, errors = np.zeros((k, k, m), dtype=np.bool_), np.full((k, k), error)
    chosen, level = np.zeros((k, k), dtype=np.intp), np.zeros(k, dtype=np.intp)
    n_rows, state = np.full(k, m, dtype=np.intp), np.zeros(2, dtype=np.intp)
    chosen[0, 0] = start - 1
    count = batch
    while count == batch:
        points = np.empty((batch, k))
        count = _search(coords, across, on, errors, chosen, level, n_rows, state, stop, points)
        if state[1]:
            raise ResolutionError(
                f"{state[1]} times float64 could not tell whether a hyperplane passes through an "
                "intersection of others: rows of X are too nearly dependent. Centre and rescale the columns, "
                "or round X to fewer digits."
            )
        yield points[:count]
