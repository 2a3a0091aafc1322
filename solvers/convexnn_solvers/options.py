"""The options that every solver shares."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
