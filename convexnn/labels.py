"""Class labels: those of users checked, and classes and probabilities read off the outputs of networks."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from convexnn._typing import FloatMatrix, IntArray

__all__ = [
    "check_class_weights",
    "check_several_classes",
    "checked_labels",
    "class_log_probabilities",
    "class_probabilities",
    "predicted_classes",
]


def checked_labels(y: ArrayLike) -> NDArray[Any]:
    """Return labels as an array of shape (n_samples,); raises ValueError if they are not those of classes."""
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    return labels


def check_several_classes(classes: NDArray[Any]) -> None:
    """Raise ValueError unless there are at least two classes."""
    if len(classes) < 2:
        raise ValueError(
            "A classifier needs samples of at least two classes. "
            f"Got one class only: {classes.tolist()}; check the labels."
        )


def check_class_weights(classes: NDArray[Any], weights: NDArray[Any]) -> None:
    """Raise ValueError unless each class has weight, (n_classes,), from its samples."""
    if (weights == 0).any():
        raise ValueError(
            f"All samples of the class(es) {classes[weights == 0].tolist()} have weight zero, so nothing is "
            "known of them. Give them a positive weight or leave the samples out."
        )


def predicted_classes(outputs: FloatMatrix) -> IntArray:
    """Return the class of the largest output, (..., K) -> (...); the second of two where one is positive."""
    if outputs.shape[-1] == 1:
        return np.asarray(outputs[..., 0] > 0, dtype=np.intp)
    return np.asarray(outputs.argmax(axis=-1))


def class_probabilities(outputs: FloatMatrix) -> FloatMatrix:
    """Return the softmax of outputs (..., K), for one output the logistic probabilities of both classes."""
    if outputs.shape[-1] == 1:
        return np.asarray(expit(np.concatenate([-outputs, outputs], axis=-1)))
    return np.asarray(softmax(outputs, axis=-1))


def class_log_probabilities(outputs: FloatMatrix) -> FloatMatrix:
    """Return the logarithm of `class_probabilities`, computed from the outputs."""
    if outputs.shape[-1] == 1:
        return np.asarray(log_expit(np.concatenate([-outputs, outputs], axis=-1)))
    return np.asarray(log_softmax(outputs, axis=-1))
