"""The search for the cells on one side of a generic hyperplane, see `_cells` for the method."""

from typing import NamedTuple, TypeAlias

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.patterns._cells import descend, lift, local_cells
from convexnn.patterns._sweep import Plane, PlaneArrays, sweep
from convexnn.patterns._target import Target, TargetArrays, adopt, write
from convexnn.patterns.witnesses import ResolutionError

_StackArrays: TypeAlias = tuple[
    FloatArray,
    FloatArray,
    BoolArray,
    FloatArray,
    IntArray,
    IntArray,
    IntArray,
    BoolArray,
    IntArray,
]


class Stack(NamedTuple):
    """Where the search is; frames first, then levels, the numbers of rows chosen.

    Parameters
    ----------
    coords : ndarray of float64, shape (k, max(k - 1, 1), k, k + 1 + m)
        Coordinates of each frame and level.
    across : ndarray of float64, shape (k, k, k + 1 + m)
        Those at the line that each frame looks at.
    on : ndarray of bool, shape (k, k, m)
        Rows that vanish on the flat of each level.
    errors : ndarray of float64, shape (k, k)
        Bounds on the errors there.
    chosen : ndarray of intp, shape (k, k)
        Rows.
    level, n_rows : ndarray of intp, shape (k,)
    pending : ndarray of bool, shape (m,)
        Rows that a sweep of the plane in frame 0 has left to do.
    state : ndarray of intp, shape (5,)
        The frame, -1 at the end; incidences in doubt; heights in doubt; cells in doubt; whether the plane in
        frame 0 has been swept.
    """

    coords: FloatArray
    across: FloatArray
    on: BoolArray
    errors: FloatArray
    chosen: IntArray
    level: IntArray
    n_rows: IntArray
    pending: BoolArray
    state: IntArray


@kernel
def _emit(
    target: TargetArrays,
    plane: PlaneArrays,
    point: FloatArray,
    bits: WordArray,
    generators: FloatArray,
    count: int,
    state: IntArray,
) -> int:
    """Write the cell of a point; return the next position."""
    rows, tolerance, basis, _, _, _, _, fixed, every, units = target
    _, _, _, _, _, _, weights, _, values, words = plane
    first = int(np.intp(0))
    for j in range(weights.shape[1]):
        weights[0, j] = 0.0
        for c in range(point.shape[0]):
            weights[0, j] += basis[j, c] * point[c]
    state[3] += not adopt(rows, tolerance, fixed, weights, first, values, words)
    return write(words, every, fixed, weights, first, units, bits, generators, count)


@kernel
def _search(
    target: TargetArrays,
    stack: _StackArrays,
    plane: PlaneArrays,
    stop: int,
    bits: WordArray,
    generators: FloatArray,
) -> int:
    """Continue the search until little room or nothing is left; return how many rows were written."""
    coords, across, on, errors, chosen, level, n_rows, pending, state = stack
    k, room = n_rows.shape[0], bits.shape[0]
    met, local = np.empty(n_rows[0], dtype=np.intp), np.empty(k)
    point, moves = np.empty(k), np.empty(coords.shape[3])
    count, frame = int(np.intp(0)), int(state[0])
    while frame >= 0:
        axes, at, m = k - frame, int(level[frame]), int(n_rows[frame])
        row, in_plane = int(chosen[frame, at]) + 1, frame == 0 and at == k - 2
        end, swept = stop if frame + at == 0 else m, not in_plane or state[4] > 0
        if axes > 1 and row >= end:
            level[frame] -= 1
            frame -= int(at == 0)
            continue
        skipped = axes > 1 and (on[frame, at, row] or (in_plane and swept and not pending[row]))
        needed = 2 * int(at >= axes - 2 and not skipped) if swept else 2 * (end - row)
        if count + needed > room:
            break
        if not swept:
            flat, there, bounds = coords[0, at], on[0, at], errors[0]
            count = sweep(
                target, plane, flat, there, chosen[0], bounds, row, end, pending, bits, generators, count
            )
            state[4] = 1
            continue
        chosen[frame, at] = row
        if skipped:
            continue
        size = 0
        if axes == 1:
            point[0] = 1.0 if coords[frame, 0, 0, k] > 0.0 else -1.0
            frame -= 1
        elif at < axes - 2:
            level[frame] = descend(
                coords[frame], on[frame], errors[frame], chosen[frame], state, axes, at, m, row
            )
            state[4] *= int(frame > 0)
        else:
            flat, there, below = coords[frame, at], on[frame, at], coords[frame + 1, 0]
            size = local_cells(
                flat, across[frame], there, errors[frame], met, local, state, axes, m, row, point, below
            )
            if size >= axes:
                errors[frame + 1, 0], n_rows[frame + 1] = errors[frame, axes - 1], size
                frame += 1
                level[frame], chosen[frame, 0] = 0, 0
        if axes == 1 or size == axes - 1:
            lift(across, moves, n_rows, frame, point)
            count = _emit(target, plane, point, bits, generators, count, state)
    state[0] = frame
    return count


class HalfCells:
    """A search for the cells on one side of a generic hyperplane that can be interrupted.

    Parameters
    ----------
    target : Target
        The data.
    rows : ndarray of float64, shape (m, k)
        Unit normals, pairwise non-parallel, of rank k: those of the arrangement in its first k coordinates.
        The last of these is the generic functional.
    start, stop : int
        Only lines whose first row has its index in ``range(start, stop)``; ``range(1, m)`` gives all.
    error : float
        Bound on the rounding error of the rows.
    """

    def __init__(self, target: Target, rows: FloatArray, start: int, stop: int, *, error: float) -> None:
        m, k = rows.shape
        self._target, self._stop = target, stop
        self._plane = Plane.of(m, k, target)
        self._stack = Stack(
            np.zeros((k, max(k - 1, 1), k, k + 1 + m)),
            np.zeros((k, k, k + 1 + m)),
            np.zeros((k, k, m), dtype=np.bool_),
            np.full((k, k), error),
            np.zeros((k, k), dtype=np.intp),
            np.zeros(k, dtype=np.intp),
            np.full(k, m, dtype=np.intp),
            np.zeros(m, dtype=np.bool_),
            np.zeros(5, dtype=np.intp),
        )
        self._stack.coords[0, 0] = np.hstack([np.eye(k), np.eye(k)[:, -1:], rows.T])
        self._stack.chosen[0, 0] = start - 1

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return bool(self._stack.state[0] < 0)

    @property
    def proved(self) -> bool:
        """Whether what was found so far is proved to be free of repetitions."""
        return bool(self._stack.state[2] == 0)

    def fill(self, bits: WordArray, generators: FloatArray) -> int:
        """Write cells, each followed by its opposite, until nothing is left or there is no room for a sweep.

        Parameters
        ----------
        bits : ndarray of uint64, shape (B, ceil(n / 64))
            A search that is not finished fills all but the last ``2 m`` rows at most.
        generators : ndarray of float64, shape (B, d)
            Witnesses for unscaled data.

        Returns
        -------
        int
            Number of rows written.

        Raises
        ------
        ResolutionError
            If an incidence or the sign of a row at a witness is in doubt.
        """
        count = _search(self._target[:], self._stack[:], self._plane[:], self._stop, bits, generators)
        if self._stack.state[1]:
            raise ResolutionError(
                f"{self._stack.state[1]} times float64 could not tell whether a hyperplane passes through an "
                "intersection of others: rows of X are too nearly dependent. Centre and rescale the columns, "
                "or round X to fewer digits."
            )
        if self._stack.state[3]:
            raise ResolutionError(
                f"The list of cells could not be verified: {self._stack.state[3]} witnesses are within "
                "rounding of a hyperplane. Rows of X are too nearly dependent for float64. Centre and "
                "rescale the columns, or round X to fewer digits."
            )
        return count
