"""`RandomFourierClassifier`."""

from typing import Any

from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from convexnn._typing import FloatArray, RandomState
from convexnn.fourier._base import BaseRandomFourier, training_inputs
from convexnn.labels import predicted_classes

__all__ = ["RandomFourierClassifier"]


class RandomFourierClassifier(ClassifierMixin, BaseRandomFourier):
    """Classification by least squares on random Fourier features.

    As `RandomFourierRegressor` on targets -1 and +1: one column for two classes, one column for each against
    the rest otherwise. These are the conventions of scikit-learn's ``RidgeClassifier``. There are no
    probabilities.

    Parameters
    ----------
    n_frequencies, gamma, ridge, fit_intercept, random_state
        As in `RandomFourierRegressor`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply the sample weights. Neither has an effect where the data is
        interpolated, as with ``ridge=0`` and no fewer features than distinct samples: there is no error to
        weigh.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    coef_ : ndarray of shape (1, 2 * n_frequencies) or (n_classes, 2 * n_frequencies)
        One row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Zeros without an intercept.
    gamma_, random_weights_, rank_, n_features_in_, feature_names_in_
        As in `RandomFourierRegressor`.

    References
    ----------
    As for `RandomFourierRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import RandomFourierClassifier
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> model = RandomFourierClassifier(random_state=0).fit(X, ["out", "in", "in", "out"])
    >>> model.predict([[0.0], [2.1]])
    array(['in', 'out'], dtype='<U3')
    """

    classes_: NDArray[Any]

    def __init__(
        self,
        n_frequencies: int = 100,
        *,
        gamma: float | str = "median",
        ridge: float = 0.0,
        fit_intercept: bool = True,
        random_state: RandomState = None,
        class_weight: dict[Any, float] | str | None = None,
    ) -> None:
        super().__init__(
            n_frequencies, gamma=gamma, ridge=ridge, fit_intercept=fit_intercept, random_state=random_state
        )
        self.class_weight = class_weight

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "RandomFourierClassifier":
        """Draw frequencies and solve the least squares.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; at least two classes need positive ones.

        Returns
        -------
        RandomFourierClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, one class only among them.
        """
        coef, self.intercept_ = self._fit(training_inputs(self, X, y, sample_weight))
        self.coef_ = coef.T
        return self

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Return the outputs of the least squares.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes one number, positive for ``classes_[1]``.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict labels: the class of the largest output.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        best = predicted_classes(self._outputs(X))
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def __sklearn_tags__(self) -> Any:
        """Tag interpolation, where class weights cannot move predictions, as poor: a check expects that."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = bool(self.ridge == 0)
        return tags
