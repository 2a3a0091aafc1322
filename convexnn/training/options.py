"""The options of a fit, in one object that is handed down as it is."""

from dataclasses import dataclass, replace
from typing import Self

from convexnn._typing import RandomState
from convexnn.patterns import PatternSet
from convexnn_solvers.clock import Clock
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.registry import get_backend

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, eq=False)
class TrainingOptions:
    """How to train; fields as the parameters of `convexnn.ConvexMLPRegressor`.

    Attributes
    ----------
    patterns : {"auto", "exact"}, int or PatternSet
    solver : str
        For the convex programs, see `convexnn_solvers.solve`.
    tol : float
        Wanted relative gap.
    max_iter : int or None
        Limit of the solver's iterations in each program.
    time_limit : float or None
        Seconds for everything; see `clock`.
    random_state : int, RandomState, Generator or None
    verbose : int
        1 prints a line for each round, 2 also one for each solve, 3 the solver's log.
    """

    patterns: str | int | PatternSet = "auto"
    solver: str = "auto"
    tol: float = 1e-4
    max_iter: int | None = None
    time_limit: float | None = None
    random_state: RandomState = None
    verbose: int = 0

    def check(self) -> None:
        """Raise ValueError for values without a meaning, before any work is done."""
        SolveOptions(self.tol, self.max_iter, self.clock(), self.verbose)
        if self.solver != "auto":
            get_backend(self.solver)

    def clock(self) -> Clock:
        """Start the clock of the limit of time."""
        return Clock.of(self.time_limit)

    @property
    def quieter(self) -> Self:
        """Return the options of work inside, which prints a level less."""
        return replace(self, verbose=max(0, self.verbose - 1))
