"""`solve`: one entry point, one way of judging the answer."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.measure import Measurement, measure
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.registry import get_backend
from convexnn_solvers.result import SolveResult, Status, relative_gap
from convexnn_solvers.working_set import Round, direct, working_sets

__all__ = ["solve"]

# Of the objective at zero: float64 does not resolve less in a sum of that size.
_RESOLUTION = 1e-13
_FEW_BLOCKS = 32


def solve(
    program: ConvexProgram,
    *,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    start: tuple[FloatArray, FloatArray] | None = None,
    working_set: bool = True,
    **native: Any,
) -> SolveResult:
    """Solve a convex program and measure the answer from the data.

    The zero point and `start` are measured first: if one of them is within `tol` no solver runs. The
    result is the best feasible point seen, with the best lower bound seen; its status follows from those
    two figures, never from the solver's word. It is `Status.CONVERGED` if the gap is at most ``tol`` times
    the objective, or below what float64 resolves (1e-13 of the objective at zero; an interpolating network
    has an objective of zero, of which nothing is a fraction).

    Parameters
    ----------
    program : ConvexProgram
    solver : str
        ``"auto"`` (Clarabel), a name of `available_solvers`, or ``"cvxpy:NAME"``.
    tol : float
        Wanted relative duality gap.
    max_iter : int, optional
        Iteration limit of the solver; its own by default.
    time_limit : float, optional
        Seconds for the solver.
    verbose : int
        1 prints one line per solve, 2 also the solver's own log.
    start : tuple of arrays (S, K, P, d) and (K,), optional
        A point that the result shall not be worse than.
    working_set : bool
        Whether programs of more than 32 blocks are solved over growing subsets of them. The answer and the gap
        are of the whole program either way; False hands it to the solver at once.
    **native
        Settings under the solver's own names.

    Returns
    -------
    SolveResult

    Raises
    ------
    SolverNotFoundError, SolverNotInstalledError
        See `get_backend`.
    UnsupportedProgramError
        If the solver does not take this loss or an option.
    ValueError
        If an option has a value without a meaning, or ``alpha = 0`` with a loss whose minimum need not
        be attained (log_loss, softmax).
    """
    began = time.perf_counter()
    options = SolveOptions(tol, max_iter, time_limit, verbose, native)
    backend = get_backend(solver)
    backend.check(program, options)
    if program.alpha == 0 and program.loss.name in {"log_loss", "softmax"}:
        raise ValueError(
            "alpha=0 with the logistic loss has no minimum when the classes can be separated. "
            "Got alpha=0; give a positive alpha."
        )
    points = [measure(program, program.zeros(), np.zeros(program.n_outputs))]
    if start is not None:
        points.append(measure(program, *start))
    smallest = _RESOLUTION * points[0].objective
    stopped, n_iter, violation, message = Status.CONVERGED, 0, 0.0, "The starting point is optimal."
    try:
        if not _converged(points, tol, smallest):
            for found in _rounds(program, backend, options, points, working_set):
                points.append(found.point)
                stopped, n_iter, message = found.stopped, found.n_iter, found.message
                violation = max(violation, found.point.violation)
                if verbose:
                    print(f"{n_iter:6d} iterations, relative gap {_gap(points):.2e}: {message}")
                if _converged(points, tol, smallest):
                    break
    except BackendError as error:
        stopped, message = Status.FAILED, str(error)
    except KeyboardInterrupt:
        stopped, message = Status.INTERRUPTED, "Interrupted from the keyboard."

    best = min(points, key=lambda point: point.objective)
    bound = max(points, key=lambda point: point.dual_objective)
    if _converged(points, tol, smallest):
        stopped = Status.CONVERGED
    elif stopped is Status.CONVERGED:
        stopped = Status.INACCURATE
    result = SolveResult(
        blocks=best.blocks,
        intercept=best.intercept,
        objective=best.objective,
        dual_point=bound.dual_point,
        dual_objective=bound.dual_objective,
        status=stopped,
        solver=solver if solver != "auto" else backend.name,
        n_iter=n_iter,
        violation=violation,
        time=time.perf_counter() - began,
        message=message,
    )
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def _rounds(
    program: ConvexProgram,
    backend: Backend,
    options: SolveOptions,
    points: list[Measurement],
    working_set: bool,
) -> Iterator[Round]:
    if working_set and program.alpha > 0 and program.design.n_blocks > _FEW_BLOCKS:
        return working_sets(program, backend, options, points[-1])
    return direct(program, backend, options)


def _gap(points: list[Measurement]) -> float:
    return relative_gap(min(p.objective for p in points), max(p.dual_objective for p in points))


def _converged(points: list[Measurement], tol: float, smallest: float) -> bool:
    objective = min(point.objective for point in points)
    gap = objective - max(point.dual_objective for point in points)
    return gap <= max(tol * abs(objective), smallest)
