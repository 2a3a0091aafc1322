"""`ConvexMLPClassifier`, and what all classifiers share."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from convexnn._typing import FloatArray, HiddenBias, MultiOutput, RandomState
from convexnn.activations import Activation
from convexnn.estimators._base import BaseConvexMLP, BaseNetworkEstimator
from convexnn.labels import (
    check_class_weights,
    check_several_classes,
    checked_labels,
    class_log_probabilities,
    class_probabilities,
    predicted_classes,
)
from convexnn.losses import LOSSES, Loss, get_loss
from convexnn.patterns import PatternSet
from convexnn.problem import TrainingData, check_sample_weight, encode_classes

__all__ = ["ConvexMLPClassifier", "NetworkClassifier"]


def _is_probabilistic(estimator: "NetworkClassifier") -> bool:
    loss = estimator.loss
    known = LOSSES.get(loss) if isinstance(loss, str) else loss
    if known is not None and known.probabilistic:
        return True
    raise AttributeError(f"Probabilities need loss='log_loss'. Got loss={loss!r}.")


class NetworkClassifier(ClassifierMixin, BaseNetworkEstimator):
    """The task of classification: one output for two classes, otherwise one for each."""

    task: ClassVar[str] = "classification"
    class_weight: dict[Any, float] | str | None
    classes_: NDArray[Any]

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[Any]]:
        data, y = validate_data(self, X, y, dtype=np.float64)
        labels = checked_labels(y)
        self.classes_ = np.unique(labels)
        return data, labels

    def _training_data(self, X: FloatArray, y: NDArray[Any], sample_weight: FloatArray) -> TrainingData:
        y, sample_weight = self._separate_rows(y, sample_weight)
        classes, indices = np.unique(y, return_inverse=True)
        weight = self._weights(y, classes, indices, sample_weight)
        loss = get_loss(self.loss, 1 if len(classes) == 2 else len(classes))
        self._check_options(loss)
        targets = encode_classes(loss, indices, len(classes))
        return TrainingData(X, targets, weight, loss, tuple(classes.tolist()))

    def _weights(
        self,
        labels: NDArray[Any],
        classes: NDArray[Any],
        indices: NDArray[np.intp],
        sample_weight: FloatArray,
    ) -> FloatArray:
        """Sample weights times class weights, after checking that there are classes to tell apart."""
        check_several_classes(classes)
        weight = sample_weight
        if self.class_weight is not None:
            weight = check_sample_weight(
                weight * compute_sample_weight(self.class_weight, labels), len(labels)
            )
        check_class_weights(classes, np.bincount(indices, weights=weight))
        return weight

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Raw network outputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes one number, positive for ``classes_[1]``.
        """
        outputs = self._outputs(X)
        return outputs[..., 0] if outputs.shape[-1] == 1 else outputs

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

    @available_if(_is_probabilistic)
    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Class probabilities; with ``loss="log_loss"`` only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return np.asarray(class_probabilities(self._outputs(X)))

    @available_if(_is_probabilistic)
    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Logarithm of `predict_proba`, computed from the outputs; parameters as there."""
        return np.asarray(class_log_probabilities(self._outputs(X)))


class ConvexMLPClassifier(NetworkClassifier, BaseConvexMLP):
    """Two-layer network classification, trained to a certified gap by convex optimisation.

    Minimises the ``F`` of `ConvexMLPRegressor` with a classification loss: one output and labels ``-1, +1``
    for two classes, one output for each class otherwise.

    Parameters
    ----------
    alpha : float, default=1.0
        Regularisation strength, ``>= 0``. With ``loss="log_loss"``, ``hidden_bias="free"``, an intercept and
        unit weights, ``F`` is ``n_samples`` times the loss of scikit-learn's ``MLPClassifier`` with the same
        ``alpha``. ``alpha=0`` is legal for the hinge losses.
    loss : {"log_loss", "hinge", "squared_hinge"} or Loss, default="log_loss"
        ``log(1 + exp(-y f))`` and, for more than two classes, softmax cross-entropy; ``max(0, 1 - y f)``
        and its square, one class against the rest for more than two classes.
    activation, patterns, multi_output, hidden_bias, fit_intercept, solver, tol, max_iter, time_limit, \
warm_start, random_state, n_jobs, verbose
        As in `ConvexMLPRegressor`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply the sample weights.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    network_, coefs_, intercepts_, n_neurons_, objective_, dual_objective_, dual_gap_, gap_scope_, \
violation_, patterns_, result_, n_iter_, n_features_in_, feature_names_in_
        As in `ConvexMLPRegressor`.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, theorem 1 (any convex loss).

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import ConvexMLPClassifier
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> model = ConvexMLPClassifier(alpha=0.1).fit(X, ["out", "in", "in", "out"])
    >>> model.predict([[0.0], [3.0]])
    array(['in', 'out'], dtype='<U3')
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        loss: str | Loss = "log_loss",
        activation: str | Activation = "relu",
        patterns: str | int | PatternSet = "auto",
        multi_output: MultiOutput = "shared",
        hidden_bias: HiddenBias = "penalized",
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        warm_start: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        class_weight: dict[Any, float] | str | None = None,
    ) -> None:
        super().__init__(
            alpha,
            loss=loss,
            activation=activation,
            patterns=patterns,
            multi_output=multi_output,
            hidden_bias=hidden_bias,
            fit_intercept=fit_intercept,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            time_limit=time_limit,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "ConvexMLPClassifier":
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; every class needs a positive one.

        Returns
        -------
        ConvexMLPClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, one class only among them.
        PatternBudgetError
            With ``patterns="exact"``, if too many patterns exist.

        Warns
        -----
        ConvergenceWarning
            If the gap is above `tol`; the best network found is kept.
        """
        self._fit(X, y, sample_weight)
        return self
