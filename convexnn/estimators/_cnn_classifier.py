"""`ConvexCNNClassifier`."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from convexnn._typing import FloatArray, HiddenBias, MultiOutput, RandomState
from convexnn.activations import Activation
from convexnn.estimators._classifier import NetworkClassifier
from convexnn.estimators._cnn import BaseConvexCNN
from convexnn.losses import Loss
from convexnn.networks import Pooling
from convexnn.patches import Padding
from convexnn.patterns import PatternSet
from convexnn.problem import check_sample_weight

__all__ = ["ConvexCNNClassifier"]


class ConvexCNNClassifier(NetworkClassifier, BaseConvexCNN):
    """Two-layer convolutional network classification, trained to a certified gap by convex optimisation.

    Minimises the ``F`` of `ConvexCNNRegressor` with a classification loss: one output and labels ``-1, +1``
    for two classes, one output for each class otherwise. With ``pooling=None`` every position of the kernel
    has a label of its own, as in segmentation.

    Parameters
    ----------
    alpha, image_shape, kernel_size, stride, padding, pooling, activation, patterns, multi_output, \
hidden_bias, fit_intercept, solver, tol, max_iter, time_limit, warm_start, random_state, n_jobs, verbose
        As in `ConvexCNNRegressor`.
    loss : {"log_loss", "hinge", "squared_hinge"} or Loss, default="log_loss"
        See `ConvexMLPClassifier`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply the sample weights.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    network_, filters_, image_shape_, coefs_, intercepts_, n_neurons_, objective_, dual_objective_, \
dual_gap_, gap_scope_, violation_, patterns_, result_, n_iter_, n_features_in_, feature_names_in_
        As in `ConvexCNNRegressor`.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures: convex optimization of two- and
    three-layer networks in polynomial time", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import ConvexCNNClassifier
    >>> X = np.zeros((4, 6, 1))
    >>> X[0, 1:3], X[1, 3:5], X[2, 1], X[3, 4] = 1.0, 1.0, 1.0, 1.0
    >>> model = ConvexCNNClassifier(0.01, kernel_size=2).fit(X, ["wide", "wide", "narrow", "narrow"])
    >>> model.predict(X)
    array(['wide', 'wide', 'narrow', 'narrow'], dtype='<U6')
    """

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        image_shape: tuple[int, ...] | None = None,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: Padding = "valid",
        pooling: Pooling | str = "auto",
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
            image_shape=image_shape,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            pooling=pooling,
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

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[Any]]:
        if self._pooling() is not None:
            return super()._validated(X, y)
        data, y = validate_data(self, X, y, dtype=np.float64, multi_output=True)
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        return data, labels

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "ConvexCNNClassifier":
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes. For ``pooling=None`` a label for each position, (n_samples, K).
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; every class needs a positive one.

        Returns
        -------
        ConvexCNNClassifier
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

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of labels that are predicted; without pooling the labels of all positions count.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)
        y : array-like of shape (n_samples,), or (n_samples, K) without pooling
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
        """
        right = np.asarray(self.predict(X) == np.asarray(y), dtype=np.float64)
        weight = check_sample_weight(sample_weight, len(right))
        return float(np.average(right.reshape(len(right), -1).mean(axis=1), weights=weight))
