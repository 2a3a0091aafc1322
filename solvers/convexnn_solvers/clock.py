"""One clock for all that works under a limit of time."""

import math
import time
from collections.abc import Callable, Iterator

__all__ = ["Clock", "pieces"]

# Seconds: what solvers that want a positive limit are told where none is left.
_LEAST_SECONDS = 1e-9
# Seconds that a piece of work between two looks at the clock shall take, and its growth from one item on.
_PIECE_SECONDS, _GROWTH = 0.2, 4
# Seconds by which an item may overrun the limit.
_OVERRUN = 0.5


class Clock:
    """A limit of time that starts when it is made and is handed down to everything that works under it.

    Whoever is given the limit makes the clock; set-up, solvers and the measuring of points then share it. The
    limit may be overrun by about a second or a tenth of it.

    Parameters
    ----------
    seconds : float, optional
        The limit; there is none unless given.
    now : callable, optional
        Returns the time in seconds, `time.perf_counter` by default.

    Attributes
    ----------
    began, deadline : float
        Values of `now`; the deadline is infinite without a limit.

    Examples
    --------
    >>> from convexnn_solvers import Clock
    >>> Clock().left
    inf
    >>> Clock(60.0).share(0.5).left <= 30.0
    True
    """

    def __init__(self, seconds: float | None = None, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.began = now()
        self.deadline = math.inf if seconds is None else self.began + float(seconds)

    @classmethod
    def of(cls, time_limit: "float | Clock | None") -> "Clock":
        """Return a clock that runs already, or start one with a user's limit.

        Raises
        ------
        ValueError
            If the limit is not positive.
        """
        if isinstance(time_limit, Clock):
            return time_limit
        if time_limit is not None and not time_limit > 0:
            raise ValueError(f"time_limit must be None or positive; got {time_limit!r}.")
        return cls(time_limit)

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return self._now() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0; infinite without a limit."""
        return max(0.0, self.deadline - self._now()) if self.limited else math.inf

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.deadline < math.inf

    @property
    def expired(self) -> bool:
        """Whether the limit is reached."""
        return self.limited and self._now() >= self.deadline

    @property
    def time_limit(self) -> float | None:
        """Seconds that are left in the form that solvers take, positive; None without a limit."""
        return max(_LEAST_SECONDS, self.left) if self.limited else None

    def share(self, fraction: float) -> "Clock":
        """Return a clock that stops when a fraction of what is left is over."""
        return self.within(fraction * self.left)

    def within(self, seconds: float) -> "Clock":
        """Return a clock that stops after so many seconds, or with this one if that is sooner."""
        return Clock(min(seconds, self.left) if self.limited or seconds < math.inf else None, now=self._now)

    def sparing(self, seconds: float) -> "Clock":
        """Return a clock that stops so many seconds before this one."""
        return self.within(self.left - seconds)

    def lasting(self, seconds: float) -> "Clock":
        """Return a clock that stops with this one, but not before so many seconds are over."""
        return Clock(max(seconds, self.left), now=self._now) if self.limited else self


def pieces(clock: Clock) -> Iterator[int]:
    """Yield how many items to work on until the next call, until no time is left for another one."""
    size, seconds = 1, 0.0
    while not clock.expired and seconds <= clock.left + _OVERRUN:
        began = clock.elapsed
        yield size
        seconds = (clock.elapsed - began) / size
        largest = _GROWTH * size
        affordable = min(_PIECE_SECONDS, clock.left) / seconds if seconds > 0 else largest
        size = max(1, min(largest, int(affordable)))
