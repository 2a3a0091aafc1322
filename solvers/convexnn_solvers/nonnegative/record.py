"""A run of backends on one program: what they found is finished, measured and judged."""

import time
from dataclasses import replace

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend
from convexnn_solvers.nonnegative.finish import finish
from convexnn_solvers.nonnegative.measure import Measurement, measure
from convexnn_solvers.nonnegative.program import NonnegativeProgram
from convexnn_solvers.nonnegative.result import NonnegativeResult
from convexnn_solvers.nonnegative.unit import augmented, scales_of, unit_problem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["Record"]

_TIGHTER = 1e-2
# Residuals below are rounding errors: of two such points the later one is kept, which is finished and has
# exact zeros.
_EXACT = 1e-13


class Record:
    """The best weights seen so far, and how the solver came to stop.

    Uniform weights are measured first, zero weights and the best single column where they are feasible,
    and the given start; nothing worse than the best of them is ever kept. Points are compared on the reduced
    program; the result is measured from the whole data.

    Raises
    ------
    ValueError
        If the objective of one of those is not finite.
    """

    def __init__(
        self, program: NonnegativeProgram, options: SolveOptions, solver: str, start: FloatArray | None
    ) -> None:
        self.solver, self.stopped, self.n_iter = solver, Status.CONVERGED, 0
        self.message = "The starting point is optimal."
        self._began = time.perf_counter()
        self._program, self._options = program, options
        with np.errstate(over="ignore", invalid="ignore"):
            self._reduced = program.reduced()
            matrix, targets = augmented(self._reduced)
            self._scales = scales_of(matrix, targets, program.sum_to_one)
            self.problem = unit_problem(matrix, targets, program.sum_to_one)
            self._starts = self._feasible_starts(start)
            measured = [measure(self._reduced, self._scales, weights) for weights in self._starts]
        self.best = min(measured, key=lambda point: np.nan_to_num(point.relative, nan=np.inf))
        self.solver_optimality = self.best.optimality
        objectives = [point.objective for point in measured]
        self._ceiling = min(objectives)
        if not (np.isfinite(objectives).all() and np.isfinite(self.best.multipliers).all()):
            raise ValueError(
                f"The objective of a starting point is {max(objectives)}: float64 cannot hold it or its "
                "gradient. Divide the predictions and the targets by a large number."
            )

    def _feasible_starts(self, start: FloatArray | None) -> list[FloatArray]:
        m = self._program.n_weights
        starts = [np.zeros(m), self._program.uniform()]
        if self._program.sum_to_one:
            starts[0][self._scales.nearest] = 1.0
        return starts if start is None else [*starts, start]

    def run(self, backends: list[NonnegativeBackend]) -> None:
        """Let one backend after another work until the residual is small, they stop, or they are stopped.

        A solver that reports success too early gets a second chance with a tighter tolerance.
        """
        attempts = [(backend, self._options) for backend in backends]
        if backends[-1].refines:
            attempts.append((backends[-1], replace(self._options, tol=_TIGHTER * self._options.tol)))
        try:
            if self.best.optimality <= _EXACT:
                return
            for backend, options in attempts:
                self._attempt(backend, options)
                if self.converged or self.stopped not in (Status.CONVERGED, Status.INACCURATE):
                    return
        except BackendError as error:
            self.stopped, self.message = Status.FAILED, str(error)
        except KeyboardInterrupt:
            self.stopped, self.message = Status.INTERRUPTED, "Interrupted from the keyboard."

    def _attempt(self, backend: NonnegativeBackend, options: SolveOptions) -> None:
        left = options.after(self.n_iter)
        if isinstance(left, Status):
            self.stopped = left
            if self.n_iter == 0:
                self.message = "No time was left for a solver."
            return
        self.solver = backend.label
        found = backend.run(self.problem, left, self.problem.encode(self.best.weights))
        self.stopped, self.message = found.stopped, found.message
        self.n_iter += found.n_iter
        self.solver_optimality = self._add(self.problem.decode(found.point)).optimality
        if options.verbose:
            print(f"{self.n_iter:6d} iterations, residual {self.best.optimality:.2e}: {found.message}")
        self._finish(found.point)

    def _finish(self, point: FloatArray) -> None:
        """Make a point exact as far as the limits allow."""
        left = self._options.after(self.n_iter)
        if isinstance(left, Status):
            return
        finished = finish(self.problem, point, max_steps=left.max_iter, seconds=left.time_limit)
        self.n_iter += finished.n_steps
        self._add(self.problem.decode(finished.point))
        self.message = f"{self.message.rstrip('.')}; {finished.n_steps} active-set steps."

    def _add(self, weights: FloatArray) -> Measurement:
        """Measure weights; keep them if they are better than the best, or as good and as close to optimal."""
        if self._program.sum_to_one and not weights.any():
            raise BackendError("The solver returned no positive weight.")
        point = measure(self._reduced, self._scales, weights)
        if abs(point.relative - self.best.relative) <= max(point.rounding, self.best.rounding):
            exact = max(self.best.optimality, _EXACT)
            better = point.objective <= self._ceiling and point.optimality <= exact
        else:
            better = point.relative < self.best.relative
        if better:
            self.best = point
        return point

    @property
    def seconds(self) -> float:
        """Time since the record was begun."""
        return time.perf_counter() - self._began

    @property
    def converged(self) -> bool:
        """Whether the residual is within the tolerance."""
        return self.best.optimality <= self._options.tol

    def _measured_from_data(self) -> Measurement:
        """Return the best point, measured from the whole data; a start if rounding makes that the better."""
        if self._reduced is self._program:
            return self.best
        best = measure(self._program, self._scales, self.best.weights)
        values = [self._program.objective(weights) for weights in self._starts]
        lowest = int(np.argmin(values))
        if values[lowest] < best.objective:
            return measure(self._program, self._scales, self._starts[lowest])
        return best

    def result(self) -> NonnegativeResult:
        """Return the result, with a status that the figures bear out."""
        self.best = best = self._measured_from_data()
        status = self.stopped
        if self.converged:
            status = Status.CONVERGED
        elif status is Status.CONVERGED:
            status = Status.INACCURATE
        return NonnegativeResult(
            weights=best.weights,
            objective=best.objective,
            multipliers=best.multipliers,
            stationarity=best.stationarity,
            feasibility=best.feasibility,
            complementarity=best.complementarity,
            solver_optimality=self.solver_optimality,
            status=status,
            solver=self.solver,
            n_iter=self.n_iter,
            time=self.seconds,
            message=self.message,
        )
