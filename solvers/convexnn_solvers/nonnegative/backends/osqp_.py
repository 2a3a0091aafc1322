"""OSQP, an operator-splitting solver, with one set-up for all problems that it can serve."""

from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import BackendError, UnsupportedProgramError
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend, NonnegativeCandidate
from convexnn_solvers.nonnegative.unit import UnitProblem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["Osqp"]

_LEAST_TOLERANCE = 1e-12
_MAX_ITER = 10_000
_NO_TIME_LIMIT = 1e10
_SAME = 1e-12


class Osqp(NonnegativeBackend):
    """Stellato et al., "OSQP: an operator splitting solver for quadratic programs", 2020.

    Solves ``min 1/2 v' Q v + q.v`` over ``v >= 0`` with ``Q = matrix' matrix``. The set-up is kept:

    - another target changes ``q`` only, and nothing is factorised;
    - a problem of the first ``k`` columns only fixes the others at zero by their bounds, and nothing is
      factorised;
    - another matrix of as many columns or fewer changes the values of ``Q``; the ordering is reused;
    - the same problem with another tolerance is continued from where it stopped.
    """

    name: ClassVar[str] = "osqp"
    modules: ClassVar[tuple[str, ...]] = ("osqp",)

    def __init__(self, variant: str = "") -> None:
        super().__init__(variant)
        self._solver: Any = None
        self._quadratic = np.zeros((0, 0))
        self._linear = np.zeros(0)

    def reserve(self, problem: UnitProblem) -> None:
        """Make the set-up of the first run large enough for this problem."""
        if self._solver is None:
            self._quadratic = problem.matrix.T @ problem.matrix

    def run(self, problem: UnitProblem, options: SolveOptions, start: FloatArray) -> NonnegativeCandidate:
        """Solve; see `NonnegativeBackend.run`."""
        quadratic, linear = problem.matrix.T @ problem.matrix, -(problem.target @ problem.matrix)
        k = start.size
        if k > self._quadratic.shape[0]:
            self._solver, self._quadratic = None, quadratic
        try:
            if self._solver is None:
                self._set_up(options)
            else:
                self._solver.update_settings(**_settings(options))
        except (ValueError, TypeError) as error:
            raise UnsupportedProgramError(f"OSQP refused an option: {error}.") from error
        if self._load(quadratic, linear):
            size = self._quadratic.shape[0]
            slopes = np.maximum(quadratic @ start + linear, 0.0)
            self._solver.warm_start(x=_padded(start, size), y=_padded(-slopes, size))
        return self._solve(k, options)

    def _set_up(self, options: SolveOptions) -> None:
        import osqp

        size = self._quadratic.shape[0]
        solver = osqp.OSQP()
        solver.setup(
            _upper(self._quadratic),
            np.zeros(size),
            sparse.eye(size, format="csc"),
            np.zeros(size),
            np.full(size, np.inf),
            **_settings(options),
        )
        self._solver, self._linear = solver, np.zeros(0)

    def _load(self, quadratic: FloatArray, linear: FloatArray) -> bool:
        """Bring the set-up to this problem; False if it has it already."""
        k, size = linear.size, self._quadratic.shape[0]
        held = self._quadratic[:k, :k]
        same = bool(np.abs(held - quadratic).max(initial=0.0) <= _SAME)
        if same and np.array_equal(linear, self._linear):
            return False
        if not same:
            held[...] = quadratic
            self._solver.update(Px=_upper(self._quadratic).data)
        if k != self._linear.size:
            self._solver.update(u=np.repeat([np.inf, 0.0], [k, size - k]))
        self._solver.update(q=_padded(linear, size))
        self._linear = linear
        return True

    def _solve(self, k: int, options: SolveOptions) -> NonnegativeCandidate:
        import osqp

        solution = self._solver.solve(raise_error=False)
        status = osqp.SolverStatus(solution.info.status_val)
        if status is osqp.SolverStatus.OSQP_SIGINT:
            raise KeyboardInterrupt
        message = f"OSQP: {solution.info.status}"
        x, y = np.asarray(solution.x)[:k], np.asarray(solution.y)[:k]
        if not np.isfinite(x).all():
            raise BackendError(f"{message}, and no usable point.")
        # The multiplier of a bound is the negative slope: the larger of the two is the one that is not zero.
        point = np.where(x > -y, x, 0.0)
        return NonnegativeCandidate(point, _stopped(status.name, options), int(solution.info.iter), message)


def _settings(options: SolveOptions) -> dict[str, Any]:
    accuracy = max(options.tol, _LEAST_TOLERANCE)
    return {
        "eps_abs": accuracy,
        "eps_rel": accuracy,
        "max_iter": options.max_iter or _MAX_ITER,
        "time_limit": options.time_limit or _NO_TIME_LIMIT,
        "verbose": options.verbose > 1,
        **options.native,
    }


def _stopped(status: str, options: SolveOptions) -> Status:
    if status == "OSQP_SOLVED":
        return Status.CONVERGED
    if status == "OSQP_TIME_LIMIT_REACHED":
        return Status.TIME_LIMIT
    if status == "OSQP_MAX_ITER_REACHED" and options.max_iter is not None:
        return Status.ITERATION_LIMIT
    return Status.INACCURATE


def _padded(vector: FloatArray, size: int) -> FloatArray:
    return np.append(vector, np.zeros(size - vector.size))


def _upper(matrix: FloatArray) -> Any:
    """Return the upper triangle with every entry stored, zeros too, so that other values fit in later."""
    size = matrix.shape[0]
    columns, rows = np.tril_indices(size)
    starts = np.concatenate([[0], np.cumsum(np.arange(1, size + 1))])
    return sparse.csc_matrix((matrix[rows, columns], rows, starts), shape=(size, size))
