"""Two-layer networks trained with dropout: `DropoutMLPRegressor` and `DropoutMLPClassifier`."""

import math
import warnings
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._typing import FloatMatrix, RandomState
from convexnn.ensembles.dropout_training import (
    DropoutTraining,
    Stop,
    TrainingSettings,
    standardise,
    train_with_dropout,
)
from convexnn.labels import (
    check_class_weights,
    check_several_classes,
    checked_labels,
    class_log_probabilities,
    class_probabilities,
    predicted_classes,
)
from convexnn.losses import get_loss
from convexnn.networks import TwoLayerNetwork
from convexnn.patterns.witnesses import as_generator
from convexnn.problem import Samples, check_sample_weight, encode_classes, merge_samples

__all__ = ["DropoutMLPClassifier", "DropoutMLPRegressor"]

_DTYPES = (np.float64, np.float32)


class BaseDropoutMLP(BaseEstimator):
    """Training and outputs of a two-layer network; see the public subclasses."""

    # What `convexnn.certify` reads of an estimator beside `network_` and `alpha_`.
    loss: ClassVar[str]
    fit_intercept: ClassVar[bool] = True

    # Set by `fit`.
    network_: TwoLayerNetwork
    coefs_: list[FloatMatrix]
    intercepts_: list[FloatMatrix]
    loss_curve_: list[float]
    loss_: float
    n_iter_: int
    alpha_: float
    n_features_in_: int

    def __init__(
        self,
        hidden_units: int = 100,
        *,
        dropout: float = 0.5,
        input_dropout: float = 0.0,
        alpha: float = 1e-4,
        learning_rate: float = 1e-3,
        batch_size: int | Literal["auto"] = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: float = 10,
        time_limit: float | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_units = hidden_units
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.time_limit = time_limit
        self.random_state = random_state
        self.verbose = verbose

    def _settings(self) -> TrainingSettings:
        return TrainingSettings(
            hidden_units=self.hidden_units,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            alpha=self.alpha,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            max_iter=self.max_iter,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            time_limit=self.time_limit,
            verbose=self.verbose,
        )

    def _train(self, samples: Samples, dtype: Any) -> DropoutTraining:
        """Train on merged samples whose targets are as the loss wants them."""
        return train_with_dropout(
            samples.X.astype(dtype, copy=False),
            samples.targets,
            samples.weight,
            get_loss(self.loss, samples.targets.shape[1]),
            self._settings(),
            as_generator(self.random_state),
        )

    def _set_fitted(
        self,
        training: DropoutTraining,
        coefs: list[FloatMatrix],
        intercepts: list[FloatMatrix],
        classes: tuple[Any, ...] | None = None,
    ) -> None:
        """Set the fitted attributes and warn if training ended early."""
        self.coefs_, self.intercepts_ = coefs, intercepts
        hidden, output = (np.asarray(weights, dtype=np.float64) for weights in coefs)
        hidden_biases, output_biases = (np.asarray(biases, dtype=np.float64) for biases in intercepts)
        self.network_ = TwoLayerNetwork(
            hidden, hidden_biases, output, output_biases, hidden_bias="free", classes=classes
        )
        self.loss_curve_ = training.loss_curve
        self.loss_ = training.loss
        self.n_iter_ = len(training.loss_curve)
        if training.stop is not Stop.CONVERGED:
            complaint = training.stop.value.format(
                max_iter=self.max_iter, time_limit=self.time_limit, n_iter=self.n_iter_
            )
            warnings.warn(complaint, ConvergenceWarning, stacklevel=3)

    def _outputs(self, X: ArrayLike) -> FloatMatrix:
        """Raw outputs of the whole network, shape (n_samples, n_outputs)."""
        check_is_fitted(self)
        data: FloatMatrix = validate_data(self, X, dtype=_DTYPES, reset=False)
        units = data @ self.coefs_[0]
        units += self.intercepts_[0]
        np.maximum(units, 0, out=units)
        outputs: FloatMatrix = units @ self.coefs_[1]
        outputs += self.intercepts_[1]
        return outputs


class DropoutMLPRegressor(RegressorMixin, BaseDropoutMLP):
    """Two-layer ReLU network for regression, trained by Adam with dropout.

    Minimises the expectation, over the units and inputs that are dropped, of::

        1/S sum_i s_i 1/2 |f(x_i) - t_i|^2 + alpha / (2 S) * (|U|^2 + |A|^2)
        f(x) = A' relu(U' x + b) + c

    with ``s_i`` the sample weights, ``S`` their sum and ``t`` the targets brought to mean 0 and standard
    deviation 1, as in scikit-learn's ``MLPRegressor``, which takes the targets as they are and, in batches of
    B samples, ``B`` for ``S`` in the second term. Dropped units are zero and kept ones are divided by
    ``1 - dropout``. Predictions use the whole network.

    Features are taken as they are: bring them to a common scale first, with a ``StandardScaler`` in a
    pipeline for example. Samples that are equal are merged and their weights added, so that a repeated sample
    and one of weight two are the same to training, as are samples in another order.

    Parameters
    ----------
    hidden_units : int, default=100
        Number of hidden units, at least 1.
    dropout : float, default=0.5
        Probability of dropping a hidden unit, in [0, 1); 0 is plain Adam training.
    input_dropout : float, default=0.0
        Probability of dropping an input, in [0, 1).
    alpha : float, default=1e-4
        Weight of the squared norm of the weights, biases left out, ``>= 0``.
    learning_rate : float, default=1e-3
        Adam's step size, positive; its other constants are those of the paper.
    batch_size : int or "auto", default="auto"
        Most samples in a batch; "auto" is 200. Samples are split into batches of nearly equal size, anew in
        each epoch.
    max_iter : int, default=200
        Most epochs.
    tol : float, default=1e-4
        Training ends when the training loss, averaged over an epoch and noisy from dropout, has not fallen
        by this much below its lowest value for `n_iter_no_change` epochs.
    n_iter_no_change : int or inf, default=10
        Epochs to wait; ``inf`` runs all `max_iter`.
    time_limit : float, default=None
        Seconds for training; None means no limit. At least one step is taken.
    random_state : int, RandomState, Generator or None, default=None
        For the first weights, the batches and what is dropped.
    verbose : int, default=0
        1 prints the loss of each epoch.

    Attributes
    ----------
    network_ : TwoLayerNetwork
        The whole network in the units of y, in float64, with ``hidden_bias="free"``.
    coefs_, intercepts_ : list of ndarray
        Its weights and biases as ``MLPRegressor`` lays them out, in the dtype of training: float32 if X was,
        otherwise float64.
    loss_curve_ : list of float
        The training objective under dropout, for standardised targets, averaged over each epoch.
    loss_ : float
        Its last entry. If training stopped in the first epoch, the average up to then, or NaN.
    n_iter_ : int
        Number of whole epochs.
    alpha_ : float
        `alpha` in the units of y: without dropout the objective ``F`` of `network_` with it, as
        ``network_.objective`` gives it, is ``S std(y)^2`` times the training objective. NaN with several
        outputs of different spread, where there is none.
    loss : str
        "squared_error".
    fit_intercept : bool
        True; the network has an output bias.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15 (2014); Kingma and Ba, "Adam: a method for stochastic optimization",
    ICLR 2015, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn.ensembles import DropoutMLPRegressor
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> model = DropoutMLPRegressor(dropout=0.2, learning_rate=0.01, max_iter=500, random_state=0)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.9
    True
    """

    loss: ClassVar[str] = "squared_error"

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is kept and trained in; other types become float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero.

        Returns
        -------
        DropoutMLPRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, and if training diverges.

        Warns
        -----
        ConvergenceWarning
            If training ended at `max_iter` or `time_limit`, or by an interrupt from the keyboard; the current
            weights are kept.
        """
        data, y = validate_data(self, X, y, dtype=_DTYPES, multi_output=True, y_numeric=True)
        targets = np.asarray(y, dtype=np.float64)
        self._single_output = targets.ndim == 1
        if self._single_output:
            targets = targets[:, None]
        samples = merge_samples(data, targets, check_sample_weight(sample_weight, len(data)))
        standardised, center, spread = standardise(samples.targets, samples.weight)
        training = self._train(replace(samples, targets=standardised), data.dtype)
        # Both layers share the spread, so that the penalty of the network keeps its form in the units of y.
        common = spread.max()
        self.alpha_ = float(self.alpha * common) if (spread == common).all() else math.nan
        p, dtype, half = training.parameters, data.dtype, math.sqrt(common)
        coefs = [p.hidden_weights * half, p.output_weights * (spread / half)]
        intercepts = [p.hidden_biases * half, p.output_biases * spread + center]
        self._set_fitted(training, [w.astype(dtype) for w in coefs], [b.astype(dtype) for b in intercepts])
        return self

    def predict(self, X: ArrayLike) -> FloatMatrix:
        """Predict targets with the whole network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the shape that ``y`` had in `fit`; float32 if both X and the data of `fit` are.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if self._single_output else outputs

    def __sklearn_tags__(self) -> Any:
        """Several outputs are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class DropoutMLPClassifier(ClassifierMixin, BaseDropoutMLP):
    """Two-layer ReLU network for classification, trained by Adam with dropout.

    Minimises the objective of `DropoutMLPRegressor` with cross-entropy for the loss: logistic, with one
    output, for two classes, and softmax, with one output for each, for more.

    Parameters
    ----------
    hidden_units, dropout, input_dropout, alpha, learning_rate, batch_size, max_iter, tol, n_iter_no_change, \
time_limit, random_state, verbose
        As in `DropoutMLPRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    loss : str
        "log_loss".
    alpha_ : float
        `alpha`.
    network_, coefs_, intercepts_, loss_curve_, loss_, n_iter_, fit_intercept, n_features_in_, \
feature_names_in_
        As in `DropoutMLPRegressor`; the network has the `classes`.

    References
    ----------
    As for `DropoutMLPRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn.ensembles import DropoutMLPClassifier
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> model = DropoutMLPClassifier(learning_rate=0.01, n_iter_no_change=50, random_state=0)
    >>> model.set_params(max_iter=2000).fit(X, ["out", "in", "in", "out"]).predict([[0.0], [3.0]])
    array(['in', 'out'], dtype='<U3')
    """

    loss: ClassVar[str] = "log_loss"
    classes_: NDArray[Any]

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is kept and trained in; other types become float64.
        y : array-like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; every class needs a positive one.

        Returns
        -------
        DropoutMLPClassifier
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, one class only among them, and if training diverges.

        Warns
        -----
        ConvergenceWarning
            As for `DropoutMLPRegressor`.
        """
        data, y = validate_data(self, X, y, dtype=_DTYPES)
        self.classes_, indices = np.unique(checked_labels(y), return_inverse=True)
        check_several_classes(self.classes_)
        weight = check_sample_weight(sample_weight, len(data))
        check_class_weights(self.classes_, np.bincount(indices, weights=weight))
        n_classes = len(self.classes_)
        loss = get_loss(self.loss, 1 if n_classes == 2 else n_classes)
        samples = merge_samples(data, encode_classes(loss, indices, n_classes), weight)
        training = self._train(samples, data.dtype)
        self.alpha_ = float(self.alpha)
        p = training.parameters
        self._set_fitted(
            training,
            [p.hidden_weights.copy(), p.output_weights.copy()],
            [p.hidden_biases.copy(), p.output_biases.copy()],
            tuple(self.classes_.tolist()),
        )
        return self

    def decision_function(self, X: ArrayLike) -> FloatMatrix:
        """Raw outputs of the whole network.

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

    def predict_proba(self, X: ArrayLike) -> FloatMatrix:
        """Class probabilities of the whole network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return class_probabilities(self._outputs(X))

    def predict_log_proba(self, X: ArrayLike) -> FloatMatrix:
        """Logarithm of `predict_proba`, computed from the outputs; parameters as there."""
        return class_log_probabilities(self._outputs(X))
