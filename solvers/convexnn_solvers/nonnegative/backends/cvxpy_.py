"""Any quadratic or cone solver installed in CVXPY, through CVXPY's own modelling language."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.cvxpy_ import STOPPED, TOLERANCES, ThroughCvxpy
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend, NonnegativeCandidate
from convexnn_solvers.nonnegative.unit import UnitProblem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["Cvxpy"]

# First-order solvers reach as little as a support needs to show; the finish makes it exact.
_FIRST_ORDER = {"OSQP": ("eps_abs", "eps_rel"), "SCS": TOLERANCES["SCS"]}
_MOST_STEPS = 20_000


class Cvxpy(ThroughCvxpy, NonnegativeBackend):
    """Diamond and Boyd, "CVXPY: a Python-embedded modeling language for convex optimization", JMLR 2016."""

    iterations: ClassVar[Mapping[str, str]] = {**ThroughCvxpy.iterations, "OSQP": "max_iter"}
    time_limits: ClassVar[Mapping[str, str]] = {
        **ThroughCvxpy.time_limits,
        "OSQP": "time_limit",
    }

    def run(self, problem: UnitProblem, options: SolveOptions, start: FloatArray) -> NonnegativeCandidate:
        """Solve; see `NonnegativeBackend.run`. The start is not used."""
        import cvxpy as cp

        point = cp.Variable(start.size, nonneg=True)
        model = cp.Problem(cp.Minimize(cp.sum_squares(problem.matrix @ point - problem.target)))
        message = self.solve(model, options, self._accuracy(options))
        stopped = STOPPED.get(model.status, Status.FAILED)
        if stopped is Status.ITERATION_LIMIT and options.max_iter is None:
            stopped = Status.TIME_LIMIT if options.time_limit is not None else Status.INACCURATE
        n_iter = int(model.solver_stats.num_iters or 0)
        return NonnegativeCandidate(np.asarray(point.value), stopped, n_iter, message)

    def _accuracy(self, options: SolveOptions) -> dict[str, Any]:
        name = self.solver_name
        if name in _FIRST_ORDER:
            settings: dict[str, Any] = dict.fromkeys(_FIRST_ORDER[name], max(options.tol, 1e-12))
            return settings | {self.iterations[name]: _MOST_STEPS}
        accuracy = max(min(1e-8, 0.01 * options.tol), 1e-13)
        return dict.fromkeys(TOLERANCES.get(name, ()), accuracy)
