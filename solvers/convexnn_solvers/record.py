"""A run of backends on one program: what they found is measured, the best is kept and judged."""

import time
from dataclasses import replace

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.measure import Measurement, measure
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import SolveResult, Status, relative_gap
from convexnn_solvers.working_set import direct, working_sets

__all__ = ["Record", "measure_starts", "run_backends"]

# Of the objective at zero: float64 does not resolve less in a sum of that size.
_RESOLUTION = 1e-13
_ROUNDING = 1e-15
_FEW_BLOCKS = 32
_TIGHTER = 1e-2


def measure_starts(
    program: ConvexProgram, record: "Record", start: tuple[FloatArray, FloatArray] | None
) -> None:
    """Begin a record with the zero point and `start`; raises ValueError if the objective is not finite."""
    zero = measure(program, program.zeros(), np.zeros(program.n_outputs))
    if not np.isfinite(zero.objective):
        raise ValueError(
            f"The objective of the zero network is {zero.objective}: float64 cannot hold these losses' sum. "
            "Divide the targets or the sample weights by a large number."
        )
    record.begin(zero, program)
    if start is not None:
        record.add(measure(program, *start))


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
    began = time.perf_counter()
    tighter = replace(options, tol=_TIGHTER * options.tol)
    attempts = [(backend, options) for backend in backends]
    if not backends[-1].chooses_blocks:
        attempts.append((backends[-1], tighter))
    try:
        for backend, wanted in attempts:
            left = wanted.after(record.n_iter, time.perf_counter() - began)
            if isinstance(left, Status):
                record.end(left)
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


class Record:
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
