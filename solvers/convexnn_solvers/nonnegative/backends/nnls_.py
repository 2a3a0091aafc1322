"""The active-set method of SciPy."""

from typing import ClassVar

import numpy as np
from scipy import optimize

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend, NonnegativeCandidate
from convexnn_solvers.nonnegative.unit import UnitProblem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["Nnls"]


class Nnls(NonnegativeBackend):
    """Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23, as `scipy.optimize.nnls`."""

    name: ClassVar[str] = "nnls"
    limits_time: ClassVar[bool] = False
    refines: ClassVar[bool] = False

    def check(self, options: SolveOptions) -> None:
        """Also refuse settings: there are none."""
        super().check(options)
        if options.native:
            raise UnsupportedProgramError(
                f"The solver {self.name!r} has no settings of its own; got {sorted(options.native)}."
            )

    def run(self, problem: UnitProblem, options: SolveOptions, start: FloatArray) -> NonnegativeCandidate:
        """Solve; see `NonnegativeBackend.run`.

        SciPy has no point at the iteration limit, so that the start is returned there, and does not tell the
        number of iterations: each positive weight took one at least.
        """
        try:
            point, _ = optimize.nnls(problem.matrix, problem.target, maxiter=options.max_iter)
        except RuntimeError as error:
            limited = options.max_iter is not None
            stopped = Status.ITERATION_LIMIT if limited else Status.INACCURATE
            return NonnegativeCandidate(start, stopped, options.max_iter or 3 * start.size, f"nnls: {error}")
        return NonnegativeCandidate(point, Status.CONVERGED, int(np.count_nonzero(point)), "nnls: solved")
