"""A run of backends on one program: what they found is measured, the best is kept and judged."""

from dataclasses import replace

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend
from convexnn_solvers.clock import Clock
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.measure import Measurement, measure
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import SolveResult, Status, is_closed, relative_gap
from convexnn_solvers.unregularized import interpolated
from convexnn_solvers.working_set import direct, working_sets

__all__ = ["Record", "measure_starts", "run_backends"]

# Blocks up to which a program is handed over whole.
_FEW_BLOCKS = 32
# Of the tolerance: what a cone solver is asked for whose own test was met too early.
_TIGHTER = 1e-2
# Without regularisation: corrections for what is left, and the share of the objective that ends them.
_MOST_REFINEMENTS, _LITTLE = 4, 0.1
# Share of the time that is left for the start, and that which is kept for measuring the solver's point.
_MOST_RESERVED = 0.25


def measure_starts(
    program: ConvexProgram, record: "Record", start: tuple[FloatArray, FloatArray] | None, clock: Clock
) -> None:
    """Begin a record with the zero point and `start`; raises ValueError if the objective is not finite.

    Where the start is better than zero, zero is not optimal and its bound is of no use.
    """
    zero = program.zeros(), np.zeros(program.n_outputs)
    intercept = zero[1]
    if program.fit_intercept:
        outputs = np.zeros_like(program.targets)
        intercept = program.loss.optimal_intercept(outputs, program.targets, program.sample_weight)
    objective = program.objective(zero[0], intercept)
    if not np.isfinite(objective):
        raise ValueError(
            f"The objective of the zero network is {objective}: float64 cannot hold these losses' sum. "
            "Divide the targets or the sample weights by a large number."
        )
    clock = clock.share(_MOST_RESERVED)
    point = measure(program, *(zero if start is None else start), clock=clock)
    record.begin(point, clock.elapsed)
    if start is not None and not record.best.objective < objective:
        record.add(measure(program, *zero, clock=clock))


def run_backends(
    program: ConvexProgram,
    backends: list[Backend],
    options: SolveOptions,
    record: "Record",
    working_set: bool,
) -> None:
    """Let one backend after another work until the gap is small enough, they stop, or they are stopped.

    A cone solver that reports success too early gets a second chance with a tighter tolerance.
    """
    tighter = replace(options, tol=_TIGHTER * options.tol)
    attempts = [(backend, options) for backend in backends]
    if not backends[-1].chooses_blocks:
        attempts.append((backends[-1], tighter))
    try:
        for backend, wanted in attempts:
            # A point of a working set is measured twice, over its blocks and over all.
            reserve = min(2 * record.seconds, _MOST_RESERVED * wanted.clock.left)
            left = replace(wanted, reserve=reserve).after(record.n_iter)
            if isinstance(left, Status):
                record.end(left)
                return
            record.solver = backend.label
            _attempt(program, backend, left, record, working_set)
            if record.converged or record.stopped not in (Status.CONVERGED, Status.INACCURATE):
                return
        if program.alpha == 0 and program.loss.of_residual:
            _refine(program, options, record)
    except BackendError as error:
        record.stopped, record.message = Status.FAILED, str(error)
    except KeyboardInterrupt:
        record.stopped, record.message = Status.INTERRUPTED, "Interrupted from the keyboard."


def _attempt(
    program: ConvexProgram, backend: Backend, options: SolveOptions, record: "Record", working_set: bool
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


def _refine(program: ConvexProgram, options: SolveOptions, record: "Record") -> None:
    """Fit what is left of the targets as well, as long as that brings much: to the accuracy of float64."""
    for _ in range(_MOST_REFINEMENTS):
        best = record.best
        if record.converged or isinstance(options.after(record.n_iter), Status):
            return
        record.add(measure(program, *interpolated(program, best.blocks, best.intercept), clock=options.clock))
        if record.best.objective > _LITTLE * best.objective:
            return


class Record:
    """The best point and the best bound seen so far, and how the solver came to stop.

    Attributes
    ----------
    seconds : float
        Time that measuring the first point took.
    """

    best: Measurement
    bound: Measurement

    def __init__(self, tol: float, solver: str) -> None:
        self.solver, self.violation, self.seconds = solver, 0.0, 0.0
        self.stopped, self.n_iter, self.message = Status.CONVERGED, 0, "The starting point is optimal."
        self._tol = tol

    def begin(self, point: Measurement, seconds: float) -> None:
        """Start from a point and the time that measuring it took."""
        self.best = self.bound = point
        self.violation, self.seconds = point.violation, seconds

    def add(self, point: Measurement) -> None:
        """Keep `point` if its objective or its bound is the best so far."""
        if point.objective < self.best.objective:
            self.best = point
        if point.dual_objective > self.bound.dual_objective:
            self.bound = point
        self.violation = max(self.violation, point.violation)

    def end(self, limit: Status) -> None:
        """Stop at a limit that is used up."""
        self.stopped = limit
        if self.n_iter == 0:
            self.message = "No time was left for a solver."

    @property
    def relative_gap(self) -> float:
        """Relative gap between the best point and the best bound."""
        return relative_gap(self.best.objective, self.bound.dual_objective)

    @property
    def converged(self) -> bool:
        """Whether the gap is within the tolerance, or the objective is zero up to rounding."""
        return is_closed(self.best.objective, self.bound.dual_objective, self._tol, self.best.rounding)

    def result(self, seconds: float) -> SolveResult:
        """Return the result, with a status that the figures bear out."""
        status, message = self.stopped, self.message
        if self.converged:
            status = Status.CONVERGED
            if self.relative_gap > self._tol:
                message += " The objective is zero up to the rounding of its terms."
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
            message=message,
            rounding=self.best.rounding,
        )
