"""The search for the cells on one side of a generic hyperplane, see `_cells` for the method."""

from typing import NamedTuple, TypeAlias

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.patterns._bits import pack_bits
from convexnn.patterns._cells import descend, lift, local_cells
from convexnn.patterns._planes import sweep_planes
from convexnn.patterns._sweep import Plane
from convexnn.patterns._target import Target, TargetArrays, adopt
from convexnn.patterns.witnesses import ResolutionError

_MOST_SET_ASIDE = 4096  # sequences of rows at a time, or as many as there are rows
_StackArrays: TypeAlias = tuple[
    FloatArray,
    FloatArray,
    BoolArray,
    FloatArray,
    IntArray,
    IntArray,
    IntArray,
]


class Stack(NamedTuple):
    """Where a search is: frames first, then levels, the numbers of rows chosen.

    Parameters
    ----------
    coords : ndarray of float64, shape (F, max(k - 1, 1), k, k + 1 + m)
        Coordinates of each frame and level.
    across : ndarray of float64, shape (F, k, k + 1 + m)
        Those at the line that each frame looks at.
    on : ndarray of bool, shape (F, k, m)
        Rows that vanish on the flat of each level.
    errors : ndarray of float64, shape (F, k)
        Bounds on the errors there.
    chosen : ndarray of intp, shape (F, k)
        Rows.
    level, n_rows : ndarray of intp, shape (F,)
    """

    coords: FloatArray
    across: FloatArray
    on: BoolArray
    errors: FloatArray
    chosen: IntArray
    level: IntArray
    n_rows: IntArray

    @classmethod
    def of(cls, rows: FloatArray, error: float, n_frames: int) -> "Stack":
        """Return one with all of the rows in frame 0 at level 0."""
        m, k = rows.shape
        stack = cls(
            np.zeros((n_frames, max(k - 1, 1), k, k + 1 + m)),
            np.zeros((n_frames, k, k + 1 + m)),
            np.zeros((n_frames, k, m), dtype=np.bool_),
            np.full((n_frames, k), error),
            np.zeros((n_frames, k), dtype=np.intp),
            np.zeros(n_frames, dtype=np.intp),
            np.full(n_frames, m, dtype=np.intp),
        )
        stack.coords[0, 0] = np.hstack([np.eye(k), np.eye(k)[:, -1:], rows.T])
        return stack


@kernel
def _reach(stack: _StackArrays, doubts: IntArray, sequence: IntArray) -> None:
    """Descend to a sequence of rows in the first frame, from where it parts with the last one."""
    coords, _, on, errors, chosen, level, n_rows = stack
    k, same = coords.shape[2], 0
    while same < level[0] and chosen[0, same] == sequence[same]:
        same += 1
    for at in range(same, k - 2):
        chosen[0, at] = sequence[at]
        reached = descend(coords[0], on[0], errors[0], chosen[0], doubts, k, at, n_rows[0], sequence[at])
        doubts[0] += reached == at
    level[0], chosen[0, k - 2] = k - 2, sequence[k - 2]


@kernel
def _resolve(
    target: TargetArrays,
    stack: _StackArrays,
    state: IntArray,
    doubts: IntArray,
    left: IntArray,
    n_left: int,
    bits: WordArray,
    generators: FloatArray,
    count: int,
) -> int:
    """Find the cells of the sequences set aside until all are done or there is no room.

    ``state`` has the frame and how many sequences have been started.
    """
    coords, across, on, errors, chosen, level, n_rows = stack
    k, frame = coords.shape[2], int(state[0])
    met, local = np.empty(n_rows[0], dtype=np.intp), np.empty(k)
    point, moves, weight = np.empty(k), np.empty(coords.shape[3]), np.empty(generators.shape[1])
    while count + 2 <= bits.shape[0] and (frame > 0 or state[1] < n_left):
        axes, m, at = k - frame, n_rows[frame], level[frame]
        if frame == 0:
            _reach(stack, doubts, left[state[1]])
            state[1] += 1
            at, row = k - 2, chosen[0, k - 2]
        else:
            row = chosen[frame, at] + 1
            if row >= m:
                level[frame] -= 1
                frame -= int(at == 0)
                continue
            chosen[frame, at] = row
            if on[frame, at, row]:
                continue
            if at < axes - 2:
                level[frame] = descend(
                    coords[frame], on[frame], errors[frame], chosen[frame], doubts, axes, at, m, row
                )
                continue
        size = local_cells(
            coords[frame, at], across[frame], on[frame, at], errors[frame], met, local, doubts, axes, m, row,
            point, coords[frame + 1, 0],
        )  # fmt: skip
        if size >= axes:
            errors[frame + 1, 0], n_rows[frame + 1] = errors[frame, axes - 1], size
            frame += 1
            level[frame], chosen[frame, 0] = 0, 0
        elif size > 0:
            lift(across, moves, n_rows, frame, point)
            doubts[2] += not adopt(target, point, weight, bits, generators, count)
            count += 2
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
        (m, k), self._rows = rows.shape, rows
        self._target, self._stop, self._error = target, stop, error
        self._plane, self._planes = Plane.of(m, k, target), Stack.of(rows, error, 1)
        self._planes.chosen[0, 0] = start - 1
        self._lines: Stack | None = None
        # Incidences, repetitions and witnesses in doubt.
        self._doubts = np.zeros(3, dtype=np.intp)
        self._left, self._n_left = np.empty((max(_MOST_SET_ASIDE, m), max(k - 1, 1)), dtype=np.intp), 0
        self._state = np.zeros(2, dtype=np.intp)

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return bool(self._planes.level[0] < 0) and not self._n_left

    @property
    def proved(self) -> bool:
        """Whether what was found so far is proved to be free of repetitions."""
        return bool(self._doubts[1] == 0)

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
        count = 0 if self._rows.shape[1] > 1 else self._fill_ray(bits, generators)
        while not self.finished:
            if not self._n_left:
                count = self._fill_from_planes(bits, generators, count)
                if not self._n_left:
                    break
            count = self._fill_from_lines(bits, generators, count)
            if self._n_left:
                break
        self._check()
        return count

    def _fill_ray(self, bits: WordArray, generators: FloatArray) -> int:
        """Write the only cell in one dimension."""
        target, weight = self._target, self._target.basis[:, 0]
        products = weight @ target.rows[: len(weight)]
        self._doubts[2] += not (np.abs(products) > np.linalg.norm(weight) * target.tolerance).all()
        bits[0] = pack_bits((products > 0)[None])[0] | target.fixed
        bits[1] = (~bits[0] & target.every) | target.fixed
        generators[0] = weight * target.units[0] * target.units[1]
        generators[1] = -generators[0]
        self._planes.level[0] = -1
        return 2

    def _fill_from_planes(self, bits: WordArray, generators: FloatArray, count: int) -> int:
        """Sweep planes; set aside lines in which more rows meet or anything is near zero."""
        coords, _, on, errors, chosen, level, _ = self._planes
        at_frame = coords[0], on[0], errors[0], chosen[0], level
        count, self._n_left = sweep_planes(
            self._target[:],
            self._plane[:],
            *at_frame,
            self._doubts,
            self._stop,
            self._left,
            bits,
            generators,
            count,
        )
        return count

    def _fill_from_lines(self, bits: WordArray, generators: FloatArray, count: int) -> int:
        """Write the cells of the lines set aside."""
        if self._lines is None:
            self._lines = Stack.of(self._rows, self._error, self._rows.shape[1])
        count = _resolve(
            self._target[:],
            self._lines[:],
            self._state,
            self._doubts,
            self._left,
            self._n_left,
            bits,
            generators,
            count,
        )
        if self._state[0] == 0 and self._state[1] == self._n_left:
            self._n_left = self._state[1] = 0
        return count

    def _check(self) -> None:
        """Raise ResolutionError if an incidence or the sign of a row at a witness was in doubt."""
        if self._doubts[0]:
            raise ResolutionError(
                f"{self._doubts[0]} times float64 could not tell whether a hyperplane passes through an "
                "intersection of others: rows of X are too nearly dependent. Centre and rescale the columns, "
                "or round X to fewer digits."
            )
        if self._doubts[2]:
            raise ResolutionError(
                f"The list of cells could not be verified: {self._doubts[2]} witnesses are within "
                "rounding of a hyperplane. Rows of X are too nearly dependent for float64. Centre and "
                "rescale the columns, or round X to fewer digits."
            )
