"""What all kinds of sub-models have in common, and those that see only some of the features."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier
from sklearn.utils import gen_batches

from convexnn._typing import BoolArray, FloatArray, FloatMatrix
from convexnn.ensembles.weights import CombinationSettings, combination_program
from convexnn_solvers import NonnegativeProgram

__all__ = [
    "MOST_BYTES",
    "FeatureMaskSubModels",
    "SubModels",
    "draw_masks",
    "masked",
    "model_outputs",
    "reduced_program",
    "stacked_outputs",
]

MOST_BYTES = 2**28
"""Memory of one array of predictions or hidden units, 256 MB; beyond it samples are taken in blocks."""


class SubModels(Protocol):
    """Sub-models drawn once: each is one fixed function of the inputs."""

    def __len__(self) -> int:
        """Return the number of sub-models."""
        ...

    def outputs(self, X: NDArray[Any], which: ArrayLike | None = None) -> Iterator[FloatMatrix]:
        """Yield predictions (n_samples, K) of the sub-models `which`, all unless given, in this order.

        Regression outputs, or the probabilities of all K classes, also for two.
        """
        ...


def draw_masks(shape: tuple[int, int], dropout: float, rng: np.random.Generator) -> BoolArray:
    """Return one mask a row that drops each entry with probability `dropout`, but never all of them.

    The first masks do not depend on how many follow.
    """
    drawn = rng.random(shape)
    kept: BoolArray = drawn >= dropout
    if kept.size:
        kept[np.arange(shape[0]), drawn.argmax(axis=1)] = True
    return kept


@dataclass(frozen=True, eq=False)
class FeatureMaskSubModels:
    """Fitted estimators, each with the features that it sees; the others are zero, as dropout sets them.

    Attributes
    ----------
    models : tuple of estimators
        Fitted on inputs that are masked alike; all the same one where it was not fitted anew.
    masks : ndarray of shape (n_submodels, n_features), bool
        True where a feature is seen, at least once in each row. What is seen is not scaled up.
    """

    models: tuple[Any, ...]
    masks: BoolArray

    def __len__(self) -> int:
        """Return the number of sub-models."""
        return len(self.models)

    def outputs(self, X: NDArray[Any], which: ArrayLike | None = None) -> Iterator[FloatArray]:
        """Yield the predictions of one sub-model after another; see `SubModels`."""
        indices = range(len(self)) if which is None else np.asarray(which, dtype=np.intp).tolist()
        for j in indices:
            yield model_outputs(self.models[j], masked(X, self.masks[j]))


def masked(X: NDArray[Any], mask: BoolArray) -> NDArray[Any]:
    """Return a copy of inputs (n_samples, n_features) with the features outside the mask set to zero."""
    return np.where(mask, X, X.dtype.type(0))


def model_outputs(model: Any, X: NDArray[Any]) -> FloatArray:
    """Return what a fitted estimator predicts, as an array (n_samples, K).

    Raises
    ------
    ValueError
        If that is no array of one row for each sample, as with several labels per sample.
    """
    with warnings.catch_warnings():
        # Names were compared when the ensemble was fitted; arrays have none.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        predictions = model.predict_proba(X) if is_classifier(model) else model.predict(X)
    outputs = np.asarray(predictions, dtype=np.float64)
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2 or len(outputs) != len(X):
        raise ValueError(
            f"{type(model).__name__} must predict one row for each of the {len(X)} samples. Got shape "
            f"{outputs.shape}; fit one ensemble per label where a sample has several."
        )
    return outputs


def reduced_program(
    submodels: SubModels,
    X: NDArray[Any],
    targets: FloatArray,
    weight: FloatArray,
    settings: CombinationSettings,
) -> NonnegativeProgram:
    """Return the program of the sub-models' weights, reduced to at most ``len(submodels) + 1`` rows.

    Samples are taken in blocks, so that the predictions of all sub-models are never held at once.

    Parameters
    ----------
    submodels : SubModels
    X : ndarray of shape (n_samples, ...)
    targets : ndarray of shape (n_samples, K)
        Regression targets or one-hot rows.
    weight : ndarray of shape (n_samples,)
        Non-negative.
    settings : CombinationSettings

    Returns
    -------
    NonnegativeProgram

    Raises
    ------
    ValueError
        If a sub-model predicts NaN or infinity, or not K numbers for a sample.
    """
    size = max(1, MOST_BYTES // (8 * len(submodels) * targets.shape[1]))
    blocks = [
        combination_program(
            stacked_outputs(submodels, X[rows], targets.shape[1]), targets[rows], weight[rows], settings
        ).reduced()
        for rows in gen_batches(len(X), size)
    ]
    if len(blocks) == 1:
        return blocks[0]
    matrix = np.vstack([block.matrix for block in blocks])
    return replace(blocks[0], matrix=matrix, targets=np.hstack([block.targets for block in blocks])).reduced()


def stacked_outputs(submodels: SubModels, X: NDArray[Any], n_outputs: int) -> FloatArray:
    """Return the predictions of all sub-models, shape (n_submodels, n_samples, K); errors as above."""
    predictions = np.empty((len(submodels), len(X), n_outputs))
    for j, outputs in enumerate(submodels.outputs(X)):
        if outputs.shape != (len(X), n_outputs):
            raise ValueError(
                f"The targets ask for predictions of shape {(len(X), n_outputs)}. Sub-model {j} gives "
                f"{outputs.shape}; check the number of outputs of the base."
            )
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"Sub-model {j} predicts NaN or infinity. Check the training of the base and the scale of X."
            )
        predictions[j] = outputs
    return predictions
