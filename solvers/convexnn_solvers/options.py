"""The options that every solver shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convexnn_solvers.clock import Clock
from convexnn_solvers.result import Status

__all__ = ["SolveOptions"]


@dataclass(frozen=True)
class SolveOptions:
    """Validated options of one solve.

    Attributes
    ----------
    tol : float
        Wanted relative duality gap ``gap / objective``, positive.
    max_iter : int or None
        Iteration limit; None leaves the solver's own.
    clock : Clock
        Says how much time is left; by default there is no limit.
    verbose : int
        0 is silent.
    native : mapping
        Settings handed to the solver under its own names.
    reserve : float
        Seconds that the solver must leave for the measuring of its point.
    """

    tol: float = 1e-4
    max_iter: int | None = None
    clock: Clock = field(default_factory=Clock)
    verbose: int = 0
    native: Mapping[str, Any] = field(default_factory=dict)
    reserve: float = 0.0

    def __post_init__(self) -> None:
        """Reject values without a meaning."""
        if not self.tol > 0:
            raise ValueError(f"tol must be positive; got {self.tol!r}.")
        if self.max_iter is not None and self.max_iter < 1:
            raise ValueError(f"max_iter must be None or at least 1; got {self.max_iter!r}.")

    @property
    def slack(self) -> float:
        """Relative rise of the objective that leaving out negligible blocks may cost."""
        return min(1e-6, 0.01 * self.tol)

    @property
    def time_limit(self) -> float | None:
        """Seconds that are left for the solver now, positive; None without a limit."""
        return self.clock.sparing(self.reserve).time_limit

    def after(self, n_iter: int) -> "SolveOptions | Status":
        """Return what is left of the limits after so many iterations, or the status of one used up."""
        if self.max_iter is not None and self.max_iter <= n_iter:
            return Status.ITERATION_LIMIT
        if self.clock.left <= self.reserve:
            return Status.TIME_LIMIT
        return replace(self, max_iter=None if self.max_iter is None else self.max_iter - n_iter)
