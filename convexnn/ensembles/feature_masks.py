"""Sub-models by dropped inputs: each sees its own fixed subset of the features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._typing import BoolArray, FloatArray
from convexnn.ensembles.submodels import model_outputs

__all__ = ["FeatureMaskSubModels", "draw_feature_masks"]


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
        """Yield the predictions of one sub-model after another.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        which : array-like of int, optional
            Indices of the sub-models wanted, in this order; all unless given.

        Yields
        ------
        ndarray of shape (n_samples, K)
            Outputs of a regressor, or the probabilities of the K classes, also for two.
        """
        indices = range(len(self)) if which is None else np.asarray(which, dtype=np.intp).tolist()
        for j in indices:
            yield model_outputs(self.models[j], masked(X, self.masks[j]))


def masked(X: NDArray[Any], mask: BoolArray) -> NDArray[Any]:
    """Return a copy of inputs (n_samples, n_features) with the features outside the mask set to zero."""
    return np.where(mask, X, X.dtype.type(0))


def draw_feature_masks(
    n_submodels: int, n_features: int, dropout: float, rng: np.random.Generator
) -> BoolArray:
    """Return masks (n_submodels, n_features) that drop each feature with probability `dropout`.

    A sub-model that would see nothing keeps one feature. The first masks do not depend on how many follow.
    """
    drawn = rng.random((n_submodels, n_features))
    kept: BoolArray = drawn >= dropout
    kept[np.arange(n_submodels), drawn.argmax(axis=1)] = True
    return kept
