"""`solve_nonnegative`: non-negative least squares by SciPy, judged by its optimality conditions."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.exceptions import SolverNotFoundError
from convexnn_solvers.nonnegative.measure import Measurement, measure
from convexnn_solvers.nonnegative.program import NonnegativeProgram
from convexnn_solvers.nonnegative.result import NonnegativeResult
from convexnn_solvers.nonnegative.unit import Scales, UnitProblem, augmented, scales_of, unit_problem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["solve_nonnegative", "solve_nonnegative_path"]

# Residuals below are rounding errors: of two such points the later one is kept, which has exact zeros.
_EXACT = 1e-13
# Columns of norm one that are so close to a combination of others differ from it by rounding errors.
_DEPENDENT = 1e-13


def solve_nonnegative(
    program: NonnegativeProgram,
    *,
    solver: str = "auto",
    tol: float = 1e-8,
    max_iter: int | None = None,
    time_limit: float | Clock | None = None,
    verbose: int = 0,
    start: FloatArray | None = None,
) -> NonnegativeResult:
    """Find non-negative weights of least squared error and measure them from the data.

    The active-set method of Lawson and Hanson (`scipy.optimize.nnls`) works on the program that
    `NonnegativeProgram.reduced` returns, with columns of norm one. Residuals of the Karush-Kuhn-Tucker
    conditions are then computed from the program itself: the status is `Status.CONVERGED` if they are at most
    `tol`. Uniform weights, `start`, and zero weights or the best single column are measured first, and the
    best weights seen are returned.

    Parameters
    ----------
    program : NonnegativeProgram
    solver : {"auto", "nnls"}
        Both are SciPy's.
    tol : float
        Wanted optimality residual, see `NonnegativeResult`.
    max_iter : int, optional
        Iteration limit; three for each weight by default.
    time_limit : float or Clock, optional
        Seconds, or a clock that runs already. SciPy cannot be stopped: it is not begun where nothing is left.
    verbose : int
        1 prints the result.
    start : ndarray of shape (m,), optional
        Non-negative weights that the result shall not be worse than; divided by their sum if that is
        constrained.

    Returns
    -------
    NonnegativeResult

    Raises
    ------
    SolverNotFoundError
        If `solver` is another name.
    ValueError
        If an option has a value without a meaning, or float64 cannot hold the objective.

    References
    ----------
    Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn_solvers import NonnegativeProgram, solve_nonnegative
    >>> program = NonnegativeProgram(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([2.0, 1.0]))
    >>> solve_nonnegative(program).weights
    array([1.5, 0. ])
    """
    if solver not in ("auto", "nnls"):
        raise SolverNotFoundError(
            f"Unknown solver {solver!r} of non-negative least squares. Known: 'auto' and 'nnls', which is "
            "scipy.optimize.nnls."
        )
    options = SolveOptions(tol, max_iter, Clock.of(time_limit), verbose)
    began = options.clock.elapsed
    run = _Run(program, options, _feasible(program, start))
    run.solve()
    result = run.result(options.clock.elapsed - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def solve_nonnegative_path(
    programs: Iterable[NonnegativeProgram],
    *,
    solver: str = "auto",
    tol: float = 1e-8,
    max_iter: int | None = None,
    time_limit: float | Clock | None = None,
    verbose: int = 0,
) -> list[NonnegativeResult]:
    """Solve programs one after another, each from the weights of the one before.

    Give programs that `NonnegativeProgram.reduced` returns, or that differ in ridge only and are small: the
    data of each program are read again for it.

    Parameters
    ----------
    programs : iterable of NonnegativeProgram
        Where one has more columns than the one before, the first of them are taken to be the same columns;
        where it has fewer, so are all of them.
    solver, tol, max_iter, time_limit, verbose
        As in `solve_nonnegative`; limits are for each program, a clock is for all of them.

    Returns
    -------
    list of NonnegativeResult
        One for each program, in their order.

    Raises
    ------
    SolverNotFoundError, ValueError
        As `solve_nonnegative`.
    """
    results: list[NonnegativeResult] = []
    start: FloatArray | None = None
    for program in programs:
        if start is not None:
            shared = start[: program.n_weights]
            start = np.append(shared, np.zeros(program.n_weights - shared.size))
        result = solve_nonnegative(
            program,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            time_limit=time_limit,
            verbose=verbose,
            start=start if start is not None and start.any() else None,
        )
        start = result.weights
        results.append(result)
    return results


def _feasible(program: NonnegativeProgram, start: FloatArray | None) -> FloatArray | None:
    """Return the start with the sum that the program asks for."""
    if start is None:
        return None
    start = np.asarray(start, dtype=np.float64)
    if start.shape != (program.n_weights,):
        raise ValueError(f"start must have shape ({program.n_weights},); got {start.shape}.")
    if not (np.isfinite(start).all() and (start >= 0).all()):
        raise ValueError("start must be finite and non-negative; got another number.")
    if not program.sum_to_one:
        return start
    total = start.sum()
    if total == 0:
        raise ValueError("start must have a positive sum with sum_to_one; got zeros.")
    normalised: FloatArray = start / total
    return normalised


@dataclass(frozen=True, eq=False)
class _Reduced:
    """The program of few rows, what its residuals are measured in, and the form that SciPy sees."""

    program: NonnegativeProgram
    scales: Scales
    problem: UnitProblem

    @classmethod
    def of(cls, program: NonnegativeProgram) -> "_Reduced":
        reduced = program.reduced()
        matrix, targets = augmented(reduced)
        scales = scales_of(matrix, targets, program.sum_to_one)
        return cls(reduced, scales, unit_problem(matrix, targets, program.sum_to_one))


class _Run:
    """The best weights seen so far, and how the search for them ended.

    Points are compared on the reduced program; the result is measured from the whole data.

    Raises
    ------
    ValueError
        If the objective of a starting point is not finite.
    """

    def __init__(self, program: NonnegativeProgram, options: SolveOptions, start: FloatArray | None) -> None:
        self._program, self._options = program, options
        self._stopped, self._n_iter, self._message = Status.CONVERGED, 0, "The starting point is optimal."
        with np.errstate(over="ignore", invalid="ignore"):
            self._reduced = _Reduced.of(program)
            self._starts = self._feasible_starts(start)
            measured = [self._measured(weights) for weights in self._starts]
        self._best = min(measured, key=lambda point: np.nan_to_num(point.relative, nan=np.inf))
        objectives = [point.objective for point in measured]
        self._ceiling = min(objectives)
        if not (np.isfinite(objectives).all() and np.isfinite(self._best.multipliers).all()):
            raise ValueError(
                f"The objective of a starting point is {max(objectives)}: float64 cannot hold it or its "
                "gradient. Divide the predictions and the targets by a large number."
            )

    def _feasible_starts(self, start: FloatArray | None) -> list[FloatArray]:
        """Return uniform weights, zero or the best single column where those are feasible, and the start."""
        m = self._program.n_weights
        starts = [np.zeros(m), self._program.uniform()]
        if self._program.sum_to_one:
            starts[0][self._reduced.scales.nearest] = 1.0
        return starts if start is None else [*starts, start]

    def _measured(self, weights: FloatArray) -> Measurement:
        return measure(self._reduced.program, self._reduced.scales, weights)

    def solve(self) -> None:
        """Let SciPy work unless the best start is optimal, and make its answer exact on its support."""
        if self._best.optimality <= _EXACT:
            return
        if self._options.clock.expired:
            self._stopped, self._message = Status.TIME_LIMIT, "No time was left for a solver."
            return
        problem, limit = self._reduced.problem, self._options.max_iter
        try:
            point, _ = optimize.nnls(problem.matrix, problem.target, maxiter=limit)
        except RuntimeError as error:
            self._stopped = Status.INACCURATE if limit is None else Status.ITERATION_LIMIT
            # SciPy does not tell the number of its iterations: three for each weight are its own limit.
            self._n_iter, self._message = limit or 3 * problem.columns.size, f"nnls: {error}"
            return
        # Each positive weight took one iteration at least.
        self._n_iter, self._message = int(np.count_nonzero(point)), "nnls: solved"
        self._add(point)
        self._add(_on_support(problem, point))

    def _add(self, point: FloatArray) -> None:
        """Keep a point if it is better than the best, or as good and as close to optimal."""
        weights = self._reduced.problem.decode(point)
        if self._program.sum_to_one and not weights.any():
            return
        new, best = self._measured(weights), self._best
        if abs(new.relative - best.relative) <= max(new.rounding, best.rounding):
            better = new.objective <= self._ceiling and new.optimality <= max(best.optimality, _EXACT)
        else:
            better = new.relative < best.relative
        if better:
            self._best = new

    def _measured_from_data(self) -> Measurement:
        """Return the best point, measured from the whole data; a start if rounding makes that the better."""
        if self._reduced.program is self._program:
            return self._best
        best = measure(self._program, self._reduced.scales, self._best.weights)
        values = [self._program.objective(weights) for weights in self._starts]
        lowest = int(np.argmin(values))
        if values[lowest] < best.objective:
            return measure(self._program, self._reduced.scales, self._starts[lowest])
        return best

    def result(self, seconds: float) -> NonnegativeResult:
        """Return the result, with a status that the figures bear out."""
        best, status = self._measured_from_data(), self._stopped
        if best.optimality <= self._options.tol:
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
            status=status,
            solver="nnls",
            n_iter=self._n_iter,
            time=seconds,
            message=self._message,
        )


def _on_support(problem: UnitProblem, point: FloatArray) -> FloatArray:
    """Return the minimiser over the coordinates in use, by an orthogonal factorisation.

    Columns that depend on each other share their weight; negative numbers end at zero.
    """
    used = point > 0
    exact = np.zeros(point.size)
    if used.any():
        exact[used] = linalg.lstsq(
            problem.matrix[:, used],
            problem.target,
            cond=_DEPENDENT,
            lapack_driver="gelsy",
            check_finite=False,
        )[0]
    return np.maximum(exact, 0.0)
