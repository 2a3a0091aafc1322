"""`solve`: one entry point, one way of judging the answer."""

import time
from contextlib import nullcontext
from dataclasses import replace
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
from convexnn_solvers.threads import single_blas_thread
from convexnn_solvers.working_set import direct, working_sets

__all__ = ["solve"]

# Of the objective at zero: float64 does not resolve less in a sum of that size.
_RESOLUTION = 1e-13
_FEW_BLOCKS = 32
_TIGHTER = 1e-2


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
    the objective, or at most 1e-13 times the objective at zero, which float64 does not resolve. With
    ``alpha = 0`` the optimum may be zero, of which nothing is a fraction; the gap may then be ``tol**2``
    times the objective at zero.

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
        Whether programs of more than 32 blocks are solved over growing subsets of them. Answer and gap are
        of the whole program either way; False hands it to the solver at once.
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
    with single_blas_thread() if backend.shares_work else nullcontext():
        record = _solved(program, backend, options, start, working_set)
    result = record.result(solver if solver != "auto" else backend.name, time.perf_counter() - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def _solved(
    program: ConvexProgram,
    backend: Backend,
    options: SolveOptions,
    start: tuple[FloatArray, FloatArray] | None,
    working_set: bool,
) -> "_Record":
    """Measure the zero point and `start`, and let the backend work if neither is good enough."""
    zero = measure(program, program.zeros(), np.zeros(program.n_outputs))
    if not np.isfinite(zero.objective):
        raise ValueError(
            f"The objective of the zero network is {zero.objective}: float64 cannot hold these losses' sum. "
            "Divide the targets or the sample weights by a large number."
        )
    record = _Record(zero, options.tol, program.alpha)
    if start is not None:
        record.add(measure(program, *start))
    if not record.converged:
        _run(program, backend, options, record, working_set)
    return record


def _run(
    program: ConvexProgram, backend: Backend, options: SolveOptions, record: "_Record", working_set: bool
) -> None:
    """Let the backend work until the gap is small enough, it stops, or it is stopped.

    Where it reports success too early it gets a second chance with a tighter tolerance.
    """
    began = time.perf_counter()
    try:
        _attempt(program, backend, options, record, working_set)
        left = options.after(record.n_iter, time.perf_counter() - began)
        if isinstance(left, Status):
            record.stopped = left
        elif not record.converged and record.stopped in (Status.CONVERGED, Status.INACCURATE):
            tighter = replace(left, tol=_TIGHTER * options.tol)
            _attempt(program, backend, tighter, record, working_set)
    except BackendError as error:
        record.stopped, record.message = Status.FAILED, str(error)
    except KeyboardInterrupt:
        record.stopped, record.message = Status.INTERRUPTED, "Interrupted from the keyboard."


def _attempt(
    program: ConvexProgram, backend: Backend, options: SolveOptions, record: "_Record", working_set: bool
) -> None:
    many = program.alpha > 0 and program.design.n_blocks > _FEW_BLOCKS
    if working_set and many and not backend.chooses_blocks:
        rounds = working_sets(program, backend, options, record.best, record.bound)
    else:
        rounds = direct(program, backend, options, (record.best.blocks, record.best.intercept))
    done = record.n_iter
    for found in rounds:
        record.add(found.point)
        record.stopped, record.n_iter, record.message = found.stopped, done + found.n_iter, found.message
        if options.verbose:
            print(f"{record.n_iter:6d} iterations, relative gap {record.relative_gap:.2e}: {found.message}")
        if record.converged:
            return


class _Record:
    """The best point and the best bound seen so far, and how the solver came to stop."""

    def __init__(self, zero: Measurement, tol: float, alpha: float) -> None:
        self.best = self.bound = zero
        self.violation = 0.0
        self.stopped, self.n_iter, self.message = Status.CONVERGED, 0, "The starting point is optimal."
        self._tol = tol
        resolution = _RESOLUTION if alpha > 0 else max(_RESOLUTION, tol**2)
        self._resolution = resolution * abs(zero.objective)

    def add(self, point: Measurement) -> None:
        """Keep `point` if its objective or its bound is the best so far."""
        if point.objective < self.best.objective:
            self.best = point
        if point.dual_objective > self.bound.dual_objective:
            self.bound = point
        self.violation = max(self.violation, point.violation)

    @property
    def relative_gap(self) -> float:
        """Relative gap between the best point and the best bound."""
        return relative_gap(self.best.objective, self.bound.dual_objective)

    @property
    def converged(self) -> bool:
        """Whether the gap is within the tolerance or what float64 resolves."""
        objective = self.best.objective
        return objective - self.bound.dual_objective <= max(self._tol * abs(objective), self._resolution)

    def result(self, solver: str, seconds: float) -> SolveResult:
        """Return the result, with a status that the figures bear out."""
        status = self.stopped
        if self.converged:
            status = Status.CONVERGED
        elif status is Status.CONVERGED:
            status = Status.INACCURATE
        return SolveResult(
            blocks=self.best.blocks,
            intercept=self.best.intercept,
            objective=self.best.objective,
            dual_point=self.bound.dual_point,
            dual_objective=self.bound.dual_objective,
            status=status,
            solver=solver,
            n_iter=self.n_iter,
            violation=self.violation,
            time=seconds,
            message=self.message,
        )
