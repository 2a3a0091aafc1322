"""What a solve for non-negative weights returns."""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.result import Outcome, Status

__all__ = ["NonnegativeResult"]


@dataclass(frozen=True, eq=False)
class NonnegativeResult(Outcome):
    """Feasible weights of a `NonnegativeProgram`, measured from the data in float64.

    Attributes
    ----------
    weights : ndarray of shape (m,)
        Never negative; with ``sum_to_one`` their sum is one up to rounding.
    objective : float
        ``sum_i s_i (P_i . w - y_i)^2 + ridge |w|^2``; never above that of uniform weights.
    multipliers : ndarray of shape (m,)
        Of ``w >= 0``: ``gradient``, with ``sum_to_one`` ``gradient - gradient.w``. At an optimum none is
        negative, and each is zero or its weight is.
    stationarity, feasibility, complementarity : float
        Residuals of the Karush-Kuhn-Tucker conditions, scaled as `convexnn_solvers.nonnegative.measure`
        says. They do not change if columns or targets are multiplied by a number.
    status : Status
        `CONVERGED` if `optimality` is at most ``tol``.
    solver : str
    n_iter : int
        Iterations of the solver, at least.
    time : float
        Seconds of the whole solve, measuring included.
    message : str
        The solver's own last word.
    """

    weights: FloatArray
    objective: float
    multipliers: FloatArray
    stationarity: float
    feasibility: float
    complementarity: float
    status: Status
    solver: str
    n_iter: int
    time: float
    message: str = ""

    @property
    def optimality(self) -> float:
        """Largest of the three residuals, dimensionless."""
        return max(self.stationarity, self.feasibility, self.complementarity)

    @property
    def n_active(self) -> int:
        """Number of positive weights."""
        return int(np.count_nonzero(self.weights))

    def __repr__(self) -> str:
        """One line with the figures that matter."""
        return (
            f"NonnegativeResult({self.status.name}, objective={self.objective:.6g}, "
            f"optimality={self.optimality:.2g}, n_active={self.n_active}, solver={self.solver!r}, "
            f"n_iter={self.n_iter})"
        )
