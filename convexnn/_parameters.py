"""Checks of numbers that users give."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["checked_count", "checked_nonnegative", "checked_real"]


def checked_count(name: str, given: Any) -> int:
    """Return a number of things, at least one, as int."""
    if isinstance(given, bool | np.bool_) or not isinstance(given, Integral):
        raise TypeError(f"{name} must be an integer. Got {given!r} instead.")
    if given < 1:
        raise ValueError(f"{name} must be at least 1. Got {given!r} instead.")
    return int(given)


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
