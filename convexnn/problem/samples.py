"""Training samples as the program sees them: distinct rows with the weights of their copies added up."""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray, IntArray

__all__ = ["Samples", "merge_samples"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Distinct pairs of inputs ``(n, d)`` and encoded targets ``(n, K)`` with positive weights ``(n,)``.

    `group` says which of them each given sample of positive weight became.
    """

    X: FloatArray
    targets: FloatArray
    weight: FloatArray
    group: IntArray


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
