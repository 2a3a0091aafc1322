"""Samples as users give them, validated, with encoded targets."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from convexnn._parameters import checked_weights
from convexnn._typing import FloatArray, FloatMatrix, IntArray
from convexnn.losses import Loss, encode_targets

__all__ = ["TrainingData", "check_sample_weight", "check_size", "encode_classes"]

# Entries whose squares, summed over columns and rows, stay far from the largest number of float64.
_LARGEST_ENTRY = 1e100


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Validated samples.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        Without the column of ones; flat images of a convolutional network.
    targets : ndarray of shape (n_samples, K)
        Encoded, see `convexnn.losses.encode_targets`.
    weight : ndarray of shape (n_samples,)
        Non-negative, not all zero.
    loss : Loss
    classes : tuple or None
        Labels of a classifier, sorted.
    """

    X: FloatArray
    targets: FloatArray
    weight: FloatArray
    loss: Loss
    classes: tuple[Any, ...] | None = None


def encode_classes(loss: Loss, indices: IntArray, n_classes: int) -> FloatArray:
    """Encode class indices, shape (n,), as targets: one output for two classes, else one for each."""
    if n_classes == 2:
        return encode_targets(loss, 2 * indices - 1, 1)
    return encode_targets(loss, indices, n_classes)


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


def check_size(data: FloatMatrix) -> None:
    """Raise ValueError for data whose squares float64 cannot hold."""
    largest = max(float(data.max(initial=0.0)), -float(data.min(initial=0.0)))
    if not largest < _LARGEST_ENTRY:
        raise ValueError(
            f"The data reach {largest:.3g}, whose squares float64 cannot hold; "
            f"divide them by a large number so that they stay below {_LARGEST_ENTRY:.0e}."
        )
