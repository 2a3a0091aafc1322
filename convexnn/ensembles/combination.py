"""Estimators whose features are the predictions of others: the non-negative combination of these.

Final estimators for stacking, `ConvexStackingRegressor` and `ConvexStackingClassifier` among others.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._typing import FloatArray
from convexnn.ensembles.weights import (
    CombinationSettings,
    choose_weights,
    combination_program,
    normalised,
    one_hot,
    shares,
)
from convexnn.labels import check_several_classes, checked_labels, predicted_classes
from convexnn.problem import check_sample_weight
from convexnn_solvers import NonnegativeResult

__all__ = ["ConvexCombinationClassifier", "ConvexCombinationRegressor"]


class _BaseCombination(BaseEstimator):
    """Weights learnt from predictions; see the subclasses."""

    # Set by `_choose`.
    weights_: FloatArray
    objective_: float
    uniform_objective_: float
    result_: NonnegativeResult
    n_features_in_: int

    def __init__(
        self, *, ridge: float = 0.0, sum_to_one: bool = False, solver: str = "auto", tol: float = 1e-8
    ) -> None:
        self.ridge = ridge
        self.sum_to_one = sum_to_one
        self.solver = solver
        self.tol = tol

    def _choose(self, predictions: FloatArray, targets: FloatArray, sample_weight: ArrayLike | None) -> None:
        """Find the weights of predictions (m, n, K) for targets (n, K)."""
        weight = check_sample_weight(sample_weight, len(targets))
        settings = CombinationSettings.of(self)
        choose_weights(self, combination_program(predictions, targets, weight, settings), settings)


class ConvexCombinationRegressor(RegressorMixin, _BaseCombination):
    """Non-negative least squares without intercept: a combination of predictors' outputs.

    Minimises ``sum_i s_i (X_i . w - y_i)^2 + ridge |w|^2`` over ``w >= 0``.

    Parameters
    ----------
    ridge, sum_to_one, solver, tol
        As in `DropoutEnsembleRegressor`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_features,)
        One for each predictor, non-negative.
    objective_, uniform_objective_ : float
        The minimum, and the value at equal weights that sum to one.
    result_ : NonnegativeResult
        The solver's answer.
    n_features_in_, feature_names_in_
        As in scikit-learn; the features are the predictors' outputs.

    Examples
    --------
    >>> from convexnn.ensembles.combination import ConvexCombinationRegressor
    >>> predictions = [[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]
    >>> ConvexCombinationRegressor().fit(predictions, [3.0, -1.0, 6.0]).weights_
    array([3., 0.])
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "ConvexCombinationRegressor":
        """Find the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, m)
            One column for each predictor.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero.

        Returns
        -------
        ConvexCombinationRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning.

        Warns
        -----
        ConvergenceWarning
            If the optimality residual of the weights is above `tol`.
        """
        predictions, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        targets = np.asarray(y, dtype=np.float64)
        self._choose(predictions.T[:, :, None], targets[:, None], sample_weight)
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Combine predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, m)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        predictions: FloatArray = validate_data(self, X, dtype=np.float64, reset=False)
        return np.asarray(predictions @ self.weights_)

    def __sklearn_tags__(self) -> Any:
        """Non-negative weights without an intercept fit few data well."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class ConvexCombinationClassifier(ClassifierMixin, _BaseCombination):
    """Combination of class probabilities with one non-negative weight for each predictor.

    Minimises ``sum_i s_i |sum_j w_j p_ij - e_i|^2 + ridge |w|^2`` over ``w >= 0`` with the probabilities
    ``p_ij`` that predictor j gives the classes and the one-hot row ``e_i`` of the label.

    Parameters
    ----------
    ridge, sum_to_one, solver, tol
        As in `DropoutEnsembleClassifier`.

    Attributes
    ----------
    weights_ : ndarray of shape (m,)
        One for each predictor, non-negative.
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    objective_, uniform_objective_ : float
        The minimum, and the value at equal weights that sum to one.
    result_ : NonnegativeResult
        The solver's answer.
    n_features_in_, feature_names_in_
        As in scikit-learn; the features are the predictors' probabilities.

    Examples
    --------
    >>> from convexnn.ensembles.combination import ConvexCombinationClassifier
    >>> second_class = [[0.0, 0.5], [1.0, 0.5]]
    >>> ConvexCombinationClassifier().fit(second_class, ["no", "yes"]).weights_
    array([1., 0.])
    """

    classes_: NDArray[Any]

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "ConvexCombinationClassifier":
        """Find the weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, m) or (n_samples, m K)
            For two classes the probability of the second by each predictor. For K > 2 classes all
            probabilities, those of a predictor side by side.
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero.

        Returns
        -------
        ConvexCombinationClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, one class only among them.

        Warns
        -----
        ConvergenceWarning
            If the optimality residual of the weights is above `tol`.
        """
        probabilities, y = validate_data(self, X, y, dtype=np.float64)
        self.classes_, indices = np.unique(checked_labels(y), return_inverse=True)
        check_several_classes(self.classes_)
        self._choose(self._by_class(probabilities), one_hot(indices, len(self.classes_)), sample_weight)
        return self

    def _by_class(self, X: FloatArray) -> FloatArray:
        """Return stacked probabilities as an array (m, n_samples, K)."""
        n_classes = len(self.classes_)
        if n_classes == 2:
            return np.stack([1 - X.T, X.T], axis=2)
        if X.shape[1] % n_classes:
            raise ValueError(
                f"Wanted the probabilities of {n_classes} classes by each predictor side by side. Got "
                f"{X.shape[1]} columns, no multiple of {n_classes}."
            )
        return X.reshape(len(X), -1, n_classes).transpose(1, 0, 2)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Combine probabilities, divided by their sum; equal weights where all are zero.

        Parameters
        ----------
        X : array-like of shape (n_samples, m) or (n_samples, m K)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        probabilities: FloatArray = validate_data(self, X, dtype=np.float64, reset=False)
        return normalised(np.tensordot(shares(self.weights_), self._by_class(probabilities), axes=1))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict labels: the class of the largest probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, m) or (n_samples, m K)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        best = predicted_classes(self.predict_proba(X))
        labels: NDArray[Any] = self.classes_[best]
        return labels
