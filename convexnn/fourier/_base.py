"""What the random Fourier estimators share: from validated samples to coefficients."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._parameters import checked_count, checked_nonnegative
from convexnn._typing import FloatArray, RandomState
from convexnn.fourier.bandwidth import kernel_gamma
from convexnn.fourier.features import FourierFeatures, draw_features
from convexnn.fourier.least_squares import CentredRows, DistinctInputs, least_squares

__all__ = ["BaseRandomFourier"]


class BaseRandomFourier(BaseEstimator, ABC):
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

    @abstractmethod
    def _training(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> DistinctInputs:
        """Check samples, encode targets, and remember what prediction needs to know of them."""

    @abstractmethod
    def _targets(self, y: Any) -> FloatArray:
        """Encode checked targets as in training, shape (n, K)."""

    @abstractmethod
    def _checked(self, X: ArrayLike, y: ArrayLike, *, reset: bool) -> tuple[FloatArray, Any]:
        """Check samples with their targets, for training (`reset`) or for comparison with predictions."""

    def _fit(self, inputs: DistinctInputs) -> tuple[FloatArray, FloatArray]:
        """Set the fitted attributes but the coefficients; return these, (2N, K), and the intercepts, (K,)."""
        n_frequencies, ridge = checked_count("n_frequencies", self.n_frequencies), self._checked_ridge()
        gamma = kernel_gamma(self.gamma, inputs.X, inputs.weight)
        features = draw_features(n_frequencies, gamma, inputs.centre, self.random_state)
        rows = CentredRows.of(
            features(inputs.X), inputs.targets, inputs.weight, fit_intercept=self._checked_fit_intercept()
        )
        coef, rank = least_squares(rows.design, rows.targets, ridge)
        self.gamma_ = gamma
        self._features = features
        self.random_weights_ = features.frequencies.T
        self.rank_ = rank
        return coef, rows.intercept(coef)

    def _checked_ridge(self) -> float:
        """Return the ridge as float."""
        return checked_nonnegative("ridge", self.ridge)

    def _checked_fit_intercept(self) -> bool:
        """Return the option, which must be True or False."""
        if not isinstance(self.fit_intercept, bool | np.bool_):
            raise TypeError(f"fit_intercept must be True or False. Got {self.fit_intercept!r} instead.")
        return bool(self.fit_intercept)

    def _outputs(self, X: ArrayLike) -> FloatArray:
        """Return outputs of shape (n_samples, K) or, for one-dimensional coefficients, (n_samples,)."""
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=np.float64, reset=False)
        outputs: FloatArray = self._features(samples) @ self.coef_.T + self.intercept_
        return outputs
