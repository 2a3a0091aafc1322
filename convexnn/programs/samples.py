"""Training samples as the program sees them: distinct rows with the weights of their copies added up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, IntArray

__all__ = ["Samples", "check_sample_weight", "merge_samples"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Distinct pairs of inputs ``(n, d)`` and encoded targets ``(n, K)`` with positive weights ``(n,)``.

    `group` says which of them each given sample of positive weight became.
    """

    X: FloatArray
    targets: FloatArray
    weight: FloatArray
    group: IntArray


def check_sample_weight(sample_weight: ArrayLike | None, n_samples: int) -> FloatArray:
    """Weights as float64 of shape (n_samples,); ones for None.

    Raises
    ------
    ValueError
        If the shape is wrong, a weight is negative or not finite, or all are zero.
    """
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
    if not weight.any():
        raise ValueError(
            "All sample weights are zero, so there is nothing to fit. Give one a positive weight."
        )
    return weight


def merge_samples(X: FloatArray, targets: FloatArray, weight: FloatArray) -> Samples:
    """Drop samples of weight zero and merge equal ones.

    The training objective is unchanged, and the program no longer depends on the order of the samples or
    on whether a sample is repeated or weighted.
    """
    kept = weight > 0
    rows = np.hstack([X[kept], targets[kept]]) + 0.0  # adding zero turns -0.0 into 0.0
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    total = np.zeros(len(distinct))
    group = inverse.ravel()
    np.add.at(total, group, weight[kept])
    d = X.shape[1]
    inputs, outputs = np.ascontiguousarray(distinct[:, :d]), np.ascontiguousarray(distinct[:, d:])
    return Samples(inputs, outputs, total, group)
