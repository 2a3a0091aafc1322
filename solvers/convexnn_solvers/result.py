"""What a solve returns: a point, what it is worth, and why the solver stopped."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from convexnn_solvers._typing import FloatArray

__all__ = ["Outcome", "SolveResult", "Status", "is_closed", "relative_gap"]


class Status(Enum):
    """Why a solve ended. The value of a member is the advice that goes with it.

    The status is decided from figures recomputed from the data: a point whose relative gap, or whose
    optimality residual for programs in weights, is within the tolerance is `CONVERGED` whatever its solver
    reported. So is one whose objective is zero up to the rounding of its own terms, of which nothing is a
    fraction; the message says so. No other point is.
    """

    CONVERGED = "The relative duality gap, or the optimality residual of weights, is within the tolerance."
    INACCURATE = (
        "The solver reported success, but the gap or residual recomputed from the data is above the "
        "tolerance. The best point is returned. Try another solver, a larger tol, or data of a more "
        "moderate scale."
    )
    ITERATION_LIMIT = (
        "The iteration limit was reached; the best point is returned. Try a larger max_iter or a larger tol."
    )
    TIME_LIMIT = "The time limit was reached; the best point is returned. Try a larger time_limit or tol."
    INTERRUPTED = "The solve was interrupted; the best point found until then is returned."
    FAILED = (
        "The solver stopped with an error; the best feasible point known is returned. "
        "Try another solver or data of a more moderate scale."
    )


def is_closed(objective: float, dual_objective: float, tol: float, rounding: float) -> bool:
    """Whether the gap is at most ``tol |objective|``, or the objective is zero up to its `rounding`."""
    return objective - dual_objective <= tol * abs(objective) or abs(objective) <= rounding


def relative_gap(objective: float, dual_objective: float) -> float:
    """``(objective - dual_objective) / |objective|``, and 0 where both are equal."""
    gap = objective - dual_objective
    if gap <= 0:
        return 0.0
    return gap / abs(objective) if objective != 0 else float("inf")


class Outcome:
    """What the results of all kinds of programs have in common; `SolveResult` says what the fields mean."""

    objective: float
    status: Status
    solver: str
    n_iter: int
    time: float
    message: str

    @property
    def converged(self) -> bool:
        """Whether the status is `Status.CONVERGED`."""
        return self.status is Status.CONVERGED

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, the status by name: readers of safe file formats make no enumerations."""
        return self.__dict__ | {"status": self.status.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set the fields, which are frozen for everyone else."""
        self.__dict__.update(state | {"status": Status[state["status"]]})


@dataclass(frozen=True, eq=False)
class SolveResult(Outcome):
    """A feasible point of a `ConvexProgram`, measured from the data in float64.

    Attributes
    ----------
    blocks : ndarray of shape (S, K, P, d)
        Feasible: every block lies in its cone.
    intercept : ndarray of shape (K,)
    objective : float
        Objective at this point.
    rounding : float
        Up to which an objective this small is zero as far as float64 can tell; 0 where it is larger anyway.
    dual_point : ndarray of shape (n, K)
        ``theta``, of the sign of ``-gradient``, inside the dual's feasible set; with ``alpha = 0``, which
        asks for equalities, inside but for rounding.
    dual_objective : float
        Lower bound ``-sum_i s_i loss*(-theta_i / s_i)`` on the optimum of this program; with ``alpha = 0``
        less by what the rounding can make.
    status : Status
    solver : str
    n_iter : int
        Iterations of the solver, 0 if the starting point was optimal.
    violation : float
        Largest relative cone violation of the solver's own point, before it was repaired.
    time : float
        Seconds of the whole solve, measuring included.
    message : str
        The solver's own last word.
    """

    blocks: FloatArray
    intercept: FloatArray
    objective: float
    dual_point: FloatArray
    dual_objective: float
    status: Status
    solver: str
    n_iter: int
    violation: float
    time: float
    message: str = ""
    rounding: float = 0.0

    def is_within(self, tol: float) -> bool:
        """Whether the gap is at most ``tol |objective|``, or the objective is zero up to rounding."""
        return is_closed(self.objective, self.dual_objective, tol, self.rounding)

    @property
    def gap(self) -> float:
        """``objective - dual_objective``, at least the true suboptimality; never below 0."""
        return max(0.0, self.objective - self.dual_objective)

    @property
    def relative_gap(self) -> float:
        """``gap / |objective|``."""
        return relative_gap(self.objective, self.dual_objective)

    def __repr__(self) -> str:
        """One line with the figures that matter."""
        return (
            f"SolveResult({self.status.name}, objective={self.objective:.6g}, "
            f"relative_gap={self.relative_gap:.2g}, solver={self.solver!r}, n_iter={self.n_iter})"
        )
