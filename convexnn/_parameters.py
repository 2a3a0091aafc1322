"""Checks of numbers that users give."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray

__all__ = [
    "checked_count",
    "checked_flag",
    "checked_nonnegative",
    "checked_rate",
    "checked_real",
    "checked_time_limit",
    "checked_weights",
]


def checked_count(name: str, given: Any) -> int:
    """Return a number of things, at least one, as int."""
    if isinstance(given, bool | np.bool_) or not isinstance(given, Integral):
        raise TypeError(f"{name} must be an integer. Got {given!r} instead.")
    if given < 1:
        raise ValueError(f"{name} must be at least 1. Got {given!r} instead.")
    return int(given)


def checked_flag(name: str, given: Any) -> bool:
    """Return True or False; raises TypeError for anything else, 0 and 1 among it."""
    if not isinstance(given, bool | np.bool_):
        raise TypeError(f"{name} must be True or False. Got {given!r} instead.")
    return bool(given)


def checked_real(name: str, given: Any, wanted: str = "a real number") -> float:
    """Return a number as float; raises TypeError for anything else, True and False among it."""
    if isinstance(given, bool | np.bool_) or not isinstance(given, Real):
        raise TypeError(f"{name} must be {wanted}. Got {given!r} instead.")
    return float(given)


def checked_nonnegative(name: str, given: Any) -> float:
    """Return a finite number that is not negative as float."""
    value = checked_real(name, given)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and >= 0. Got {given!r} instead.")
    return value


def checked_rate(name: str, given: Any) -> float:
    """Return a probability below one as float."""
    value = checked_real(name, given)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1). Got {given!r} instead.")
    return value


def checked_time_limit(given: Any) -> float:
    """Return a number of seconds as float, infinity for None."""
    if given is None:
        return math.inf
    if isinstance(given, bool | np.bool_) or not isinstance(given, Real) or not float(given) > 0:
        raise ValueError(f"time_limit must be None or a positive number of seconds. Got {given!r}.")
    return float(given)


def checked_weights(sample_weight: ArrayLike | None, n_samples: int) -> FloatArray:
    """Return sample weights as float64 of shape (n_samples,), ones for None; all may be zero."""
    if sample_weight is None:
        return np.ones(n_samples)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have one entry for each of the {n_samples} samples, shape ({n_samples},). "
            f"Got shape {weight.shape} instead."
        )
    if not np.isfinite(weight).all():
        raise ValueError("sample_weight must be finite. Got NaN or infinity in it; drop those samples.")
    if (weight < 0).any():
        raise ValueError(
            f"sample_weight must not be negative. Got {weight.min()}; use 0 to leave a sample out."
        )
    return weight
