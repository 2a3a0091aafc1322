"""Errors of least squares on random Fourier features, as functions of their number: the result."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from convexnn._typing import FloatArray, IntArray

__all__ = ["CurvePoint", "DoubleDescentCurve"]


@dataclass(frozen=True)
class CurvePoint:
    """Figures of one size in one repeat; rates mean nothing for regression."""

    train_error: float
    test_error: float
    train_misclassified: float
    test_misclassified: float
    coef_norm: float
    rank: int

    def __str__(self) -> str:
        """Return what is printed of a size."""
        return (
            f"train error {self.train_error:.4g}, test error {self.test_error:.4g}, "
            f"norm {self.coef_norm:.4g}, rank {self.rank}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class DoubleDescentCurve:
    """Errors and norms for S numbers of frequencies, ascending, and R repeats. The arrays are read-only.

    Attributes
    ----------
    n_frequencies : ndarray of shape (S,)
    n_features : ndarray of shape (S,)
        Twice as many.
    n_samples : int
        Distinct training inputs; as many features interpolate, one less with an intercept.
    train_error, test_error : ndarray of shape (S, R)
        Mean squared error over samples and outputs; of classifiers against targets -1 and +1.
    train_misclassified, test_misclassified : ndarray of shape (S, R) or None
        Rates of samples with a wrong label; None for regressors.
    coef_norm : ndarray of shape (S, R)
        Euclidean norm of all coefficients (the intercept is not among them).
    rank : ndarray of shape (S, R)
        Numerical rank of the features, as the estimators' ``rank_``.
    seeds : ndarray of shape (R,)
        The `random_state` of each repeat.
    """

    n_frequencies: IntArray
    n_features: IntArray
    n_samples: int
    train_error: FloatArray
    test_error: FloatArray
    train_misclassified: FloatArray | None
    test_misclassified: FloatArray | None
    coef_norm: FloatArray
    rank: IntArray
    seeds: IntArray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                frozen = value.copy()
                frozen.flags.writeable = False
                object.__setattr__(self, field.name, frozen)

    def __repr__(self) -> str:
        """Say in one line what was measured and where the test error is largest."""
        mean = self.test_error.mean(axis=1)
        return (
            f"DoubleDescentCurve({len(self.n_features)} sizes, {self.n_features[0]} to {self.n_features[-1]} "
            f"features, {self.n_samples} distinct samples, {len(self.seeds)} repeats, largest test error "
            f"{mean.max():.3g} at {self.n_features[mean.argmax()]} features, last {mean[-1]:.3g})"
        )

    @classmethod
    def of(
        cls,
        points: Sequence[Sequence[CurvePoint]],
        n_frequencies: IntArray,
        seeds: IntArray,
        *,
        n_samples: int,
        classification: bool,
    ) -> "DoubleDescentCurve":
        """Collect the complete repeats or, of an incomplete first one, the sizes done."""
        complete = [done for done in points if len(done) == len(n_frequencies)] or points[:1]
        figures: dict[str, Any] = {
            field.name: np.array([[getattr(point, field.name) for point in done] for done in complete]).T
            for field in fields(CurvePoint)
        }
        if not classification:
            figures |= {"train_misclassified": None, "test_misclassified": None}
        sizes = n_frequencies[: len(complete[0])]
        return cls(sizes, 2 * sizes, n_samples, seeds=seeds[: len(complete)], **figures)
