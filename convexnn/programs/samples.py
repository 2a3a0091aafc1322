"""Training samples as the program sees them: distinct rows with the weights of their copies added up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from convexnn._parameters import checked_weights
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
    weight = checked_weights(sample_weight, n_samples)
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
