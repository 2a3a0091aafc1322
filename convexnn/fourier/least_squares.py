"""Centred and weighted least squares, of least norm or with a ridge."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import svd

from convexnn._typing import FloatArray
from convexnn.problem import merge_samples

__all__ = ["CentredRows", "DistinctInputs", "least_squares"]


@dataclass(frozen=True, eq=False)
class DistinctInputs:
    """Distinct inputs ``(n, d)``, in sorted order, with mean targets ``(n, K)`` and weights ``(n,)``.

    Least squares needs no more: ``sum_i s_i (f - y_i)^2`` over samples with the same input is
    ``(f - mean y)^2 sum_i s_i`` plus what does not depend on f. What is left of duplicates would make the
    design rank deficient.
    """

    X: FloatArray
    targets: FloatArray
    weight: FloatArray

    @property
    def centre(self) -> FloatArray:
        """The middle between the least and the largest entry of each column, shape (d,)."""
        return np.asarray(self.X.min(axis=0) / 2 + self.X.max(axis=0) / 2)

    @classmethod
    def of(cls, X: FloatArray, targets: FloatArray, weight: FloatArray) -> "DistinctInputs":
        """Merge samples, independently of their order, and drop those of weight zero."""
        # Equal samples first: their copies then count exactly as their weights do.
        samples = merge_samples(X, targets, weight)
        merged = merge_samples(samples.X, np.empty((len(samples.X), 0)), samples.weight)
        share = samples.weight / merged.weight[merged.group]
        means = np.zeros((len(merged.X), targets.shape[1]))
        np.add.at(means, merged.group, share[:, None] * samples.targets)
        return cls(merged.X, means, merged.weight)


@dataclass(frozen=True, eq=False)
class CentredRows:
    """Rows ``(m, p)`` and targets ``(m, K)`` whose plain least squares is the weighted one with an intercept.

    Without an intercept ``m = n``. With one the n centred rows, times the roots of their weights s, are all
    orthogonal to ``sqrt(s)``; a reflection brings that direction to the first axis, and the first row, zero
    then, is left out. So ``m = n - 1`` and no rank is lost to centring.
    """

    design: FloatArray
    targets: FloatArray
    design_mean: FloatArray
    targets_mean: FloatArray

    @classmethod
    def of(
        cls, design: FloatArray, targets: FloatArray, weight: FloatArray, *, fit_intercept: bool
    ) -> "CentredRows":
        """Weight and, with an intercept, centre."""
        root = np.sqrt(weight)
        if not fit_intercept:
            no_means = np.zeros(design.shape[1]), np.zeros(targets.shape[1])
            return cls(root[:, None] * design, root[:, None] * targets, *no_means)
        share = weight / weight.max()
        share /= share.sum()
        design_mean, targets_mean = share @ design, share @ targets
        direction = np.sqrt(share)
        return cls(
            _reflected(root[:, None] * (design - design_mean), direction),
            _reflected(root[:, None] * (targets - targets_mean), direction),
            design_mean,
            targets_mean,
        )

    def intercept(self, coef: FloatArray) -> FloatArray:
        """Return the intercept, shape (K,), to coefficients of the first columns, shape (p', K)."""
        return self.targets_mean - self.design_mean[: len(coef)] @ coef


def _reflected(rows: FloatArray, direction: FloatArray) -> FloatArray:
    """Apply the Householder reflection of a positive unit vector to the first axis; return the other rows."""
    normal = direction.copy()
    normal[0] += 1.0
    return rows[1:] - np.outer(normal[1:], normal @ rows / normal[0])


def least_squares(design: FloatArray, targets: FloatArray, ridge: float) -> tuple[FloatArray, int]:
    """Minimise ``|A a - y|^2 + ridge |a|^2``; the solution of least norm where there are several.

    Parameters
    ----------
    design : ndarray of shape (m, p)
        A; it may have no rows.
    targets : ndarray of shape (m, K)
        A column y for each output.
    ridge : float
        Non-negative.

    Returns
    -------
    coef : ndarray of shape (p, K)
    rank : int
        Singular values of A above ``eps * max(m, p)`` times the largest, as `numpy.linalg.lstsq` counts; the
        others are taken as zero.
    """
    if len(design) == 0:
        return np.zeros((design.shape[1], targets.shape[1])), 0
    if ridge == 0:
        coef, _, rank, _ = np.linalg.lstsq(design, targets, rcond=None)
        return np.asarray(coef, dtype=np.float64), int(rank)
    left, values, right = svd(design, full_matrices=False, check_finite=False)
    n_kept = int(np.count_nonzero(values > np.finfo(np.float64).eps * max(design.shape) * values[0]))
    kept = values[:n_kept, None]
    # s / (s^2 + ridge), with no square that could underflow
    return right[:n_kept].T @ (left[:, :n_kept].T @ targets / (kept + ridge / kept)), n_kept
