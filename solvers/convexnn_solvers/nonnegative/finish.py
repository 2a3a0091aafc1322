"""Active-set steps from a solver's point to the exact optimum over its support.

Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23, started from any feasible point. The
equations of each support are solved by an orthogonal factorisation with column pivoting, so that columns that
depend on each other share their weight.
"""

import time
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from convexnn_solvers._typing import BoolArray, FloatArray
from convexnn_solvers.nonnegative.unit import UnitProblem

__all__ = ["Finished", "finish"]

_NEGLIGIBLE = 1e-7
_ROUNDING = 1e-15
# Columns of norm one that are so close to a combination of others differ from it by rounding errors.
_DEPENDENT = 1e-13
_STEPS_PER_WEIGHT = 5


@dataclass(frozen=True, eq=False)
class Finished:
    """The last point ``(k,)``, the number of steps, and whether no further step would help."""

    point: FloatArray
    n_steps: int
    complete: bool


def finish(
    problem: UnitProblem, point: FloatArray, *, max_steps: int | None = None, seconds: float | None = None
) -> Finished:
    """Move from a feasible point to the optimum, support by support; the objective never rises.

    Parameters
    ----------
    problem : UnitProblem
    point : ndarray of shape (k,)
        Negative numbers count as zero, and so do those below 1e-7 of the largest.
    max_steps : int, optional
        Limit of the least-squares problems solved; five for each weight, and 20, by default.
    seconds : float, optional
        Time limit.
    """
    deadline = time.perf_counter() + seconds if seconds is not None else np.inf
    if max_steps is None:
        max_steps = _STEPS_PER_WEIGHT * point.size + 20
    point = np.where(point > _NEGLIGIBLE * point.max(initial=0.0), point, 0.0)
    passive = point > 0
    refused = np.zeros(point.size, dtype=bool)
    entering: int | None = None
    for step in range(max_steps):
        if time.perf_counter() > deadline:
            return Finished(point, step, complete=False)
        solution = _least_squares(problem, passive)
        if entering is not None and solution[entering] <= 0:
            # Its slope was a rounding error (the test that Lawson and Hanson add to their step 6).
            passive[entering], refused[entering] = False, True
        elif (solution[passive] <= 0).any():
            point = _until_blocked(point, solution, passive)
            passive, entering = point > 0, None
            continue
        else:
            point = solution
            refused[:] = False
        entering = _steepest(problem, point, passive | refused)
        if entering is None:
            return Finished(point, step + 1, complete=True)
        passive[entering] = True
    return Finished(point, max_steps, complete=False)


def _least_squares(problem: UnitProblem, passive: BoolArray) -> FloatArray:
    """Return the minimiser over the passive coordinates, zero elsewhere."""
    solution = np.zeros(passive.size)
    if passive.any():
        columns = problem.matrix[:, passive]
        solution[passive] = linalg.lstsq(
            columns, problem.target, cond=_DEPENDENT, lapack_driver="gelsy", check_finite=False
        )[0]
    return solution


def _until_blocked(point: FloatArray, solution: FloatArray, passive: BoolArray) -> FloatArray:
    """Return the last feasible point on the way to the solution; what blocks there is exactly zero."""
    blocking = passive & (solution <= 0)
    lengths = point[blocking] / (point[blocking] - solution[blocking])
    length = lengths.min()
    moved = np.where(passive, np.maximum(point + length * (solution - point), 0.0), 0.0)
    moved[np.flatnonzero(blocking)[lengths <= length]] = 0.0
    return moved


def _steepest(problem: UnitProblem, point: FloatArray, excluded: BoolArray) -> int | None:
    """Return the coordinate along which the objective falls most, None if by rounding errors only."""
    slopes = (problem.target - problem.matrix @ point) @ problem.matrix
    slopes[excluded] = -np.inf
    if slopes.size == 0:
        return None
    steepest = int(np.argmax(slopes))
    return steepest if slopes[steepest] > _ROUNDING * (1 + point.sum()) else None
