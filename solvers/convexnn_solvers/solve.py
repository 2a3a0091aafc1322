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
from convexnn_solvers.registry import automatic, get_backend
from convexnn_solvers.result import SolveResult, Status, relative_gap
from convexnn_solvers.threads import single_blas_thread
from convexnn_solvers.working_set import direct, working_sets

__all__ = ["solve"]

# Of the objective at zero: float64 does not resolve less in a sum of that size.
_RESOLUTION = 1e-13
_ROUNDING = 1e-15
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
    the objective, or at most 1e-13 times the objective at zero or what rounding its intercept makes of
    it, which float64 does not resolve. With
    ``alpha = 0`` the optimum may be zero, of which nothing is a fraction; the gap may then be ``tol**2``
    times the objective at zero.

    Parameters
    ----------
    program : ConvexProgram
    solver : str
        A name of `available_solvers`, ``"cvxpy:NAME"``, or ``"auto"``: the native solver for smooth
        losses and positive ``alpha``, and Clarabel for the rest and where the native one gets stuck.
    tol : float
        Wanted relative duality gap.
    max_iter : int, optional
        Iteration limit of the solver; its own by default.
    time_limit : float, optional
        Seconds for the solver.
    verbose : int
        1 prints progress, 2 also a cone solver's own log.
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
    names = automatic(program) if solver == "auto" else [solver]
    backends = [get_backend(name) for name in names]
    backends[0].check(program, options)
    if program.alpha == 0 and program.loss.name in {"log_loss", "softmax"}:
        raise ValueError(
            "alpha=0 with the logistic loss has no minimum when the classes can be separated. "
            "Got alpha=0; give a positive alpha."
        )
    record = _Record(tol, names[0])
    with single_blas_thread() if backends[0].shares_work else nullcontext():
        _measure_starts(program, record, start)
        if not record.converged:
            _run(program, backends, options, record, working_set)
    result = record.result(time.perf_counter() - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def _measure_starts(
    program: ConvexProgram, record: "_Record", start: tuple[FloatArray, FloatArray] | None
) -> None:
    zero = measure(program, program.zeros(), np.zeros(program.n_outputs))
    if not np.isfinite(zero.objective):
        raise ValueError(
            f"The objective of the zero network is {zero.objective}: float64 cannot hold these losses' sum. "
            "Divide the targets or the sample weights by a large number."
        )
    record.begin(zero, program)
    if start is not None:
        record.add(measure(program, *start))


def _run(
    program: ConvexProgram,
    backends: list[Backend],
    options: SolveOptions,
    record: "_Record",
    working_set: bool,
) -> None:
    """Let one backend after another work until the gap is small enough, they stop, or they are stopped.

    A cone solver that reports success too early gets a second chance with a tighter tolerance.
    """
    began = time.perf_counter()
    tighter = replace(options, tol=_TIGHTER * options.tol)
    attempts = [(backend, options) for backend in backends]
    if not backends[-1].chooses_blocks:
        attempts.append((backends[-1], tighter))
    try:
        for backend, wanted in attempts:
            left = wanted.after(record.n_iter, time.perf_counter() - began)
            if isinstance(left, Status):
                record.stopped = left
                return
            record.solver = backend.label
            _attempt(program, backend, left, record, working_set)
            if record.converged or record.stopped not in (Status.CONVERGED, Status.INACCURATE):
                return
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

    best: Measurement
    bound: Measurement

    def __init__(self, tol: float, solver: str) -> None:
        self.solver, self.violation = solver, 0.0
        self.stopped, self.n_iter, self.message = Status.CONVERGED, 0, "The starting point is optimal."
        self._tol = tol

    def begin(self, zero: Measurement, program: ConvexProgram) -> None:
        """Start from the zero point."""
        self.best = self.bound = zero
        resolution = _RESOLUTION if program.alpha > 0 else max(_RESOLUTION, self._tol**2)
        outputs = (1 + _ROUNDING) * program.outputs(zero.blocks, zero.intercept)
        rounded = program.loss.value(outputs, program.targets, program.sample_weight)
        self._resolution = max(resolution * abs(zero.objective), abs(rounded - zero.objective))

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

    def result(self, seconds: float) -> SolveResult:
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
            solver=self.solver,
            n_iter=self.n_iter,
            violation=self.violation,
            time=seconds,
            message=self.message,
        )
