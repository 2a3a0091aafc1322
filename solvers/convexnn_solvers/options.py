"""The options that every solver shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
    time_limit : float or None
        Seconds; None means no limit.
    verbose : int
        0 is silent.
    native : mapping
        Settings handed to the solver under its own names.
    """

    tol: float = 1e-4
    max_iter: int | None = None
    time_limit: float | None = None
    verbose: int = 0
    native: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject values without a meaning."""
        if not self.tol > 0:
            raise ValueError(f"tol must be positive; got {self.tol!r}.")
        if self.max_iter is not None and self.max_iter < 1:
            raise ValueError(f"max_iter must be None or at least 1; got {self.max_iter!r}.")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be None or positive; got {self.time_limit!r}.")

    @property
    def slack(self) -> float:
        """Relative rise of the objective that leaving out negligible blocks may cost."""
        return min(1e-6, 0.01 * self.tol)

    def after(self, n_iter: int, seconds: float) -> "SolveOptions | Status":
        """Return what is left of the limits after so much work, or the status of the one used up."""
        max_iter, time_limit = self.max_iter, self.time_limit
        if max_iter is not None:
            max_iter -= n_iter
            if max_iter < 1:
                return Status.ITERATION_LIMIT
        if time_limit is not None:
            time_limit -= seconds
            if time_limit <= 0:
                return Status.TIME_LIMIT
        return replace(self, max_iter=max_iter, time_limit=time_limit)
