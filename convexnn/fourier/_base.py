"""What the random Fourier estimators share: from samples to coefficients."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._parameters import checked_count, checked_flag, checked_nonnegative
from convexnn._typing import FloatArray, RandomState
from convexnn.fourier.bandwidth import kernel_gamma
from convexnn.fourier.features import FourierFeatures, draw_features
from convexnn.fourier.least_squares import CentredRows, DistinctInputs, least_squares
from convexnn.labels import checked_labels
from convexnn.problem import check_sample_weight

__all__ = ["BaseRandomFourier", "checked_samples", "encoded_targets", "training_inputs"]


class BaseRandomFourier(BaseEstimator):
    """Least squares on random Fourier features; see the public subclasses."""

    # Set by `_fit`.
    _features: FourierFeatures
    random_weights_: FloatArray
    gamma_: float
    coef_: FloatArray
    intercept_: float | FloatArray
    rank_: int
    n_features_in_: int

    def __init__(
        self,
        n_frequencies: int = 100,
        *,
        gamma: float | str = "median",
        ridge: float = 0.0,
        fit_intercept: bool = True,
        random_state: RandomState = None,
    ) -> None:
        self.n_frequencies = n_frequencies
        self.gamma = gamma
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.random_state = random_state

    def _fit(self, inputs: DistinctInputs) -> tuple[FloatArray, FloatArray]:
        """Set the fitted attributes but the coefficients; return these, (2N, K), and the intercepts, (K,)."""
        n_frequencies = checked_count("n_frequencies", self.n_frequencies)
        ridge = checked_nonnegative("ridge", self.ridge)
        fit_intercept = checked_flag("fit_intercept", self.fit_intercept)
        gamma = kernel_gamma(self.gamma, inputs.X, inputs.weight)
        features = draw_features(n_frequencies, gamma, inputs.centre, self.random_state)
        rows = CentredRows.of(features(inputs.X), inputs.targets, inputs.weight, fit_intercept=fit_intercept)
        coef, rank = least_squares(rows.design, rows.targets, ridge)
        self.gamma_ = gamma
        self._features = features
        self.random_weights_ = features.frequencies.T
        self.rank_ = rank
        return coef, rows.intercept(coef)

    def _outputs(self, X: ArrayLike) -> FloatArray:
        """Return outputs of shape (n_samples, K) or, for one-dimensional coefficients, (n_samples,)."""
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=np.float64, reset=False)
        outputs: FloatArray = self._features(samples) @ self.coef_.T + self.intercept_
        return outputs


def checked_samples(
    estimator: BaseRandomFourier, X: ArrayLike, y: ArrayLike, *, reset: bool
) -> tuple[FloatArray, NDArray[Any]]:
    """Check samples with their targets, for training (`reset`) or for comparison with predictions."""
    if is_classifier(estimator):
        samples, y = validate_data(estimator, X, y, dtype=np.float64, reset=reset)
        return samples, checked_labels(y)
    samples, y = validate_data(
        estimator, X, y, dtype=np.float64, reset=reset, multi_output=True, y_numeric=True
    )
    return samples, np.asarray(y)


def encoded_targets(estimator: BaseRandomFourier, y: NDArray[Any]) -> FloatArray:
    """Return checked targets as columns (n, K); labels as -1 and +1, one column for two classes."""
    if not is_classifier(estimator):
        return np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    classes = estimator.classes_
    codes = np.where(y[:, None] == classes, 1.0, -1.0)
    return codes[:, 1:] if len(classes) == 2 else codes


def training_inputs(
    estimator: BaseRandomFourier, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> DistinctInputs:
    """Check samples, set `classes_`, and return what least squares needs of them."""
    samples, y = checked_samples(estimator, X, y, reset=True)
    weight = check_sample_weight(sample_weight, len(samples))
    if is_classifier(estimator):
        estimator.classes_ = np.unique(y)
        if estimator.class_weight is not None:
            by_class = compute_sample_weight(estimator.class_weight, y)
            weight = check_sample_weight(weight * by_class, len(samples))
        present = np.unique(y[weight > 0])
        if len(present) < 2:
            raise ValueError(
                "A classifier needs samples of at least two classes, of positive weight. "
                f"Got one class only: {present.tolist()}; check the labels and weights."
            )
    return DistinctInputs.of(samples, encoded_targets(estimator, y), weight)
