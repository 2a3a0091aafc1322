"""The width of the Gaussian kernel: a number, or a rule."""

import math

import numpy as np
from scipy.spatial.distance import pdist

from convexnn._parameters import checked_real
from convexnn._typing import FloatArray

__all__ = ["kernel_gamma"]

_RULES = ("median", "scale")
_MOST_SAMPLES = 1000
"""Samples between which distances are computed at most, half a million distances."""


def kernel_gamma(gamma: float | str, X: FloatArray, weight: FloatArray) -> float:
    """Return gamma of the kernel ``exp(-gamma |x - z|^2)``.

    Parameters
    ----------
    gamma : float or {"median", "scale"}
        "median": ``1 / (2 m^2)`` with the median distance m of two samples; of more than 1000 samples
        1000 are used, evenly spaced in their order. "scale": one over ``n_features`` times the variance of
        all entries of the samples, as `sklearn.kernel_approximation.RBFSampler` has it. Where all samples
        (all entries for "scale") are equal both are 1.
    X : ndarray of shape (n, d)
        Distinct samples, in an order that does not depend on the user's.
    weight : ndarray of shape (n,)
        Of "scale" only.

    Returns
    -------
    float
        Positive.

    Raises
    ------
    TypeError, ValueError
        If `gamma` is neither a positive number nor a rule, or the rule's result is out of range.
    """
    if isinstance(gamma, str):
        return _by_rule(gamma, X, weight)
    given = checked_real("gamma", gamma, f"a positive number or one of {list(_RULES)}")
    if not 0 < given < math.inf:
        raise ValueError(f"gamma must be positive and finite. Got {gamma!r} instead.")
    return given


def _by_rule(rule: str, X: FloatArray, weight: FloatArray) -> float:
    """Return the gamma of a rule, from samples brought to unit size, so that squares are in range."""
    if rule not in _RULES:
        raise ValueError(f"gamma must be a positive number or one of {list(_RULES)}. Got {rule!r} instead.")
    axis = 0 if rule == "median" else None
    shifted = X - (X.min(axis=axis) / 2 + X.max(axis=axis) / 2)
    if not shifted.any():
        return 1.0
    exponent = math.frexp(np.abs(shifted).max())[1]
    unit = np.ldexp(shifted, -exponent)
    square = 2 * _median_distance(unit) ** 2 if rule == "median" else X.shape[1] * _variance(unit, weight)
    try:
        gamma = math.ldexp(1.0 / square, -2 * exponent) if square > 0 else math.inf
    except OverflowError:
        gamma = math.inf
    if not np.finfo(np.float64).tiny <= gamma < math.inf:
        raise ValueError(
            f"gamma={rule!r} gives no number in range for samples about 2**{exponent} apart. "
            "Scale X, or give a number."
        )
    return gamma


def _median_distance(X: FloatArray) -> float:
    """Return the median of the positive distances; zero if there is none."""
    if len(X) > _MOST_SAMPLES:
        X = X[np.linspace(0, len(X) - 1, _MOST_SAMPLES).astype(np.intp)]
    distances = pdist(X)
    positive = distances[distances > 0]
    return float(np.median(positive)) if len(positive) else 0.0


def _variance(X: FloatArray, weight: FloatArray) -> float:
    """Return the variance of all entries, samples counting by their weights."""
    mean = np.average(X.mean(axis=1), weights=weight)
    return float(np.average(((X - mean) ** 2).mean(axis=1), weights=weight))
