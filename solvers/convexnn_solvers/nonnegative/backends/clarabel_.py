"""Clarabel, an interior-point solver with quadratic cost."""

from typing import ClassVar

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.clarabel_ import STOPPED, clarabel_settings
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend, NonnegativeCandidate
from convexnn_solvers.nonnegative.unit import UnitProblem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["Clarabel"]


class Clarabel(NonnegativeBackend):
    """Goulart and Chen, "Clarabel: an interior-point solver for conic programs", 2024.

    Solves ``min 1/2 |r|^2`` over ``r = matrix v - target`` and ``v >= 0``, which needs no ``matrix' matrix``.
    """

    name: ClassVar[str] = "clarabel"
    modules: ClassVar[tuple[str, ...]] = ("clarabel",)

    def run(self, problem: UnitProblem, options: SolveOptions, start: FloatArray) -> NonnegativeCandidate:
        """Solve; see `NonnegativeBackend.run`. The start is not used."""
        del start
        import clarabel

        n_rows, k = problem.matrix.shape
        settings = clarabel_settings(clarabel, options)
        quadratic = sparse.diags_array(np.repeat([0.0, 1.0], [k, n_rows]), format="csc")
        constraints = sparse.csc_array(
            sparse.vstack(
                [
                    sparse.hstack([sparse.csc_array(problem.matrix), -sparse.eye_array(n_rows)]),
                    -sparse.eye_array(k, k + n_rows),
                ]
            )
        )
        solver = clarabel.DefaultSolver(
            quadratic,
            np.zeros(k + n_rows),
            constraints,
            np.append(problem.target, np.zeros(k)),
            [clarabel.ZeroConeT(n_rows), clarabel.NonnegativeConeT(k)],
            settings,
        )
        solution = solver.solve()
        message = f"Clarabel: {solution.status}"
        point, slopes = np.asarray(solution.x)[:k], np.asarray(solution.z)[n_rows:]
        if not (np.isfinite(point).all() and np.isfinite(slopes).all()):
            raise BackendError(f"{message}, and no usable point.")
        point = np.where(point > slopes, point, 0.0)
        stopped = STOPPED.get(str(solution.status), Status.FAILED)
        return NonnegativeCandidate(point, stopped, int(solution.iterations), message)
