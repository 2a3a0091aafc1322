"""One clock for all that works under a limit of time."""

import math
import time

__all__ = ["Clock"]


class Clock:
    """A limit of time that starts when it is made and is handed down to everything that works under it.

    Parameters
    ----------
    seconds : float, optional
        The limit; there is none unless given.

    Attributes
    ----------
    began, deadline : float
        Values of `time.perf_counter`; the deadline is infinite without a limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.began = time.perf_counter()
        self.deadline = math.inf if seconds is None else self.began + float(seconds)

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0; infinite without a limit."""
        return max(0.0, self.deadline - time.perf_counter()) if self.limited else math.inf

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.deadline < math.inf

    @property
    def expired(self) -> bool:
        """Whether the limit is reached."""
        return time.perf_counter() >= self.deadline

    @property
    def time_limit(self) -> float | None:
        """Seconds that are left in the form that solvers take, positive; None without a limit."""
        return max(1e-9, self.left) if self.limited else None

    def share(self, fraction: float) -> "Clock":
        """Return a clock that stops when a fraction of what is left is over."""
        return Clock(fraction * self.left if self.limited else None)

    def within(self, seconds: float) -> "Clock":
        """Return a clock that stops after so many seconds, or with this one if that is sooner."""
        return Clock(min(seconds, self.left))
