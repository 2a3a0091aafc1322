"""What a solver must offer to be used through `solve_nonnegative`."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Solver
from convexnn_solvers.nonnegative.unit import UnitProblem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status

__all__ = ["NonnegativeBackend", "NonnegativeCandidate"]


@dataclass(frozen=True, eq=False)
class NonnegativeCandidate:
    """What a solver claims; nothing in it is believed before it is measured.

    Attributes
    ----------
    point : ndarray of shape (k,)
        Negative numbers count as zero.
    stopped : Status
        Why the solver stopped: `CONVERGED` if by its own test, else a limit, `INACCURATE` or `FAILED`.
    n_iter : int
    message : str
    """

    point: FloatArray
    stopped: Status
    n_iter: int
    message: str


class NonnegativeBackend(Solver):
    """A solver for `UnitProblem`; an object may keep what later runs can use.

    Attributes
    ----------
    refines : bool
        Whether a tighter tolerance makes its answer more accurate.
    """

    refines: ClassVar[bool] = True

    def check(self, options: SolveOptions) -> None:
        """Raise `UnsupportedProgramError` for an option that this solver does not take."""
        self.check_limits(options)

    def reserve(self, problem: UnitProblem) -> None:
        """Be told of the largest problem to come, once, before the runs over a path."""

    @abstractmethod
    def run(self, problem: UnitProblem, options: SolveOptions, start: FloatArray) -> NonnegativeCandidate:
        """Solve the problem.

        Parameters
        ----------
        problem : UnitProblem
        options : SolveOptions
            ``tol`` is the wanted optimality residual.
        start : ndarray of shape (k,)
            A feasible point to start from; solvers that cannot use one ignore it.

        Raises
        ------
        BackendError
            If the solver stops without a usable point.
        """
