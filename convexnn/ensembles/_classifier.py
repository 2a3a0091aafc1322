"""`DropoutEnsembleClassifier`."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from convexnn._typing import FloatArray, IntArray
from convexnn.ensembles._base import DEFAULT_BASE, BaseDropoutEnsemble, checked_inputs
from convexnn.ensembles.bases import is_frozen
from convexnn.ensembles.weights import normalised, one_hot, shares
from convexnn.labels import check_class_weights, check_several_classes, checked_labels, predicted_classes

__all__ = ["DropoutEnsembleClassifier"]


class DropoutEnsembleClassifier(ClassifierMixin, BaseDropoutEnsemble):
    """Sub-models of a classifier by dropout, combined with weights from a convex program.

    A network holds many sub-models that share weights, one for each set of hidden units that dropout keeps,
    and dropout predicts with an approximation of their mean. Here `n_submodels` of them are drawn, and their
    weights minimise, with the class probabilities ``p_j``::

        sum_i s_i |sum_j w_j p_j(x_i) - e_i|^2 + ridge |w|^2    over w >= 0 [and sum_j w_j = 1]

    over samples that the base was not trained on; ``e_i`` is the one-hot row of the label.

    Parameters
    ----------
    estimator : None, estimator or torch.nn.Module, default=None
        The base. None: scikit-learn's MLPClassifier with 200 hidden units, trained without dropout. An
        estimator must have `predict_proba`. A PyTorch module returns logits, shape (n_samples, n_classes), or
        one for two classes; the k-th output belongs to the k-th of the sorted labels. Else as in
        `DropoutEnsembleRegressor`.
    n_submodels, dropout, drop, ridge, sum_to_one, solver, tol, max_iter, time_limit, random_state, n_jobs, \
verbose
        As in `DropoutEnsembleRegressor`.
    validation_fraction : float or None, default=0.2
        Share of the distinct samples of each class that is set aside to choose the weights, by
        scikit-learn's `train_test_split`; a class of one sample only trains. None: the weights are chosen on
        the samples that trained the base, and mostly fit them too well.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted; those of a frozen base.
    weights_, submodels_, estimator_, objective_, uniform_objective_, n_active_, program_, result_, \
validation_indices_, n_iter_, n_features_in_, feature_names_in_
        As in `DropoutEnsembleRegressor`.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15 (2014). Breiman, "Stacked regressions", Machine Learning 24 (1996).

    Examples
    --------
    >>> from convexnn.ensembles import DropoutEnsembleClassifier
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DropoutEnsembleClassifier(DecisionTreeClassifier(), n_submodels=20, random_state=0).fit(X, y)
    >>> model.submodel_predictions(X).shape
    (20, 150, 3)
    >>> model.score(X, y) > 0.9
    True
    """

    classes_: NDArray[Any]

    def _default_base(self) -> Any:
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(**DEFAULT_BASE)

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], FloatArray]:
        inputs, y = checked_inputs(self, X, y=y)
        labels = checked_labels(y)
        frozen = is_frozen(self.estimator)
        self.classes_ = np.asarray(self.estimator.classes_) if frozen else np.unique(labels)
        unknown = np.setdiff1d(labels, self.classes_)
        if unknown.size:
            raise ValueError(
                f"The frozen estimator knows the classes {self.classes_.tolist()}. "
                f"Got the labels {unknown.tolist()} beside them; drop those samples or train it with them."
            )
        check_several_classes(self.classes_)
        self._n_outputs = len(self.classes_)
        return inputs, np.searchsorted(self.classes_, labels)[:, None].astype(np.float64)

    def _check_weighted(self, targets: FloatArray) -> None:
        if not is_frozen(self.estimator):
            counts = np.bincount(self._strata(targets), minlength=self._n_outputs)
            check_class_weights(self.classes_, counts)

    def _labels(self, targets: FloatArray) -> NDArray[Any]:
        labels: NDArray[Any] = self.classes_[self._strata(targets)]
        return labels

    def _strata(self, targets: FloatArray) -> IntArray:
        return targets[:, 0].astype(np.intp)

    def _wanted(self, targets: FloatArray) -> FloatArray:
        return one_hot(self._strata(targets), self._n_outputs)

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "DropoutEnsembleClassifier":
        """Train the base, draw sub-models and choose their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More axes for a PyTorch module that wants them.
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; every class needs a positive one. A base that is trained here must take weights
            too; equal samples are then merged.

        Returns
        -------
        DropoutEnsembleClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input, a base or parameters that have no meaning, one class only among them.

        Warns
        -----
        ConvergenceWarning
            If fewer sub-models were trained than asked for, or the optimality residual of the weights is
            above `tol`; the best weights found are kept.
        """
        self._fit(X, y, sample_weight)
        return self

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Class probabilities: the weighted sum of the sub-models', divided by its sum over the classes.

        Where all weights are zero the sub-models count alike.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        inputs = self._inputs(X)
        return normalised(self._combined(inputs, shares(self.weights_)))

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Logarithm of `predict_proba`, minus infinity where that is zero; parameters as there."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict labels: the class of the largest probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        best = predicted_classes(self.predict_proba(X))
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def submodel_predictions(self, X: ArrayLike) -> FloatArray:
        """Class probabilities of each sub-model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_submodels, n_samples, n_classes)
        """
        return self._predictions(X)
