"""`ConvexMLPClassifierCV`."""

from typing import Any

from numpy.typing import ArrayLike

from convexnn._typing import HiddenBias, MultiOutput, RandomState
from convexnn.activations import Activation
from convexnn.estimators._classifier import NetworkClassifier
from convexnn.estimators._cv import BaseConvexMLPCV, Scorer
from convexnn.losses import Loss
from convexnn.patterns import PatternSet

__all__ = ["ConvexMLPClassifierCV"]


class ConvexMLPClassifierCV(NetworkClassifier, BaseConvexMLPCV):
    """Two-layer network classification with `alpha` chosen by cross-validation along warm-started paths.

    See `ConvexMLPRegressorCV` for the scheme and for the alphas of the folds, and `ConvexMLPClassifier` for
    the objective.

    Parameters
    ----------
    loss : {"log_loss", "hinge", "squared_hinge"} or Loss, default="log_loss"
        As in `ConvexMLPClassifier`.
    alphas, eps, activation, patterns, multi_output, hidden_bias, fit_intercept, cv, scoring, solver, tol, \
max_iter, time_limit, random_state, n_jobs, verbose
        As in `ConvexMLPRegressorCV`; folds are stratified by default.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in training, which multiply the sample weights; "balanced" ones are those of
        each fold's own training samples. They do not count in the scores.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    alpha_, alphas_, scores_, best_score_, path_, network_, coefs_, intercepts_, n_neurons_, objective_, \
dual_objective_, dual_gap_, gap_scope_, violation_, patterns_, result_, n_iter_, n_features_in_, \
feature_names_in_
        As in `ConvexMLPRegressorCV`.

    See Also
    --------
    convex_path : The path without the choice.

    References
    ----------
    As in `ConvexMLPRegressorCV`.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import ConvexMLPClassifierCV
    >>> X = np.linspace(-2, 2, 12)[:, None]
    >>> model = ConvexMLPClassifierCV(alphas=[0.01, 0.1, 1.0, 10.0], cv=3).fit(X, np.abs(X[:, 0]) > 1)
    >>> model.alpha_, model.predict([[0.0], [1.9]])
    (0.1, array([False,  True]))
    """

    def __init__(
        self,
        *,
        alphas: int | ArrayLike = 30,
        eps: float = 1e-3,
        loss: str | Loss = "log_loss",
        activation: str | Activation = "relu",
        patterns: str | int | PatternSet = "auto",
        multi_output: MultiOutput = "shared",
        hidden_bias: HiddenBias = "penalized",
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: str | Scorer | None = None,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        class_weight: dict[Any, float] | str | None = None,
    ) -> None:
        super().__init__(
            alphas=alphas,
            eps=eps,
            loss=loss,
            activation=activation,
            patterns=patterns,
            multi_output=multi_output,
            hidden_bias=hidden_bias,
            fit_intercept=fit_intercept,
            cv=cv,
            scoring=scoring,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            time_limit=time_limit,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "ConvexMLPClassifierCV":
        """Choose `alpha` and train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of at least two classes, all of which every fold needs for training.
        sample_weight : array-like of shape (n_samples,), optional
            As in `ConvexMLPRegressorCV`.

        Returns
        -------
        ConvexMLPClassifierCV
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning, one class only among them.
        PatternBudgetError
            With ``patterns="exact"``, if too many patterns exist.
        KeyboardInterrupt
            On an interrupt from the keyboard: without all scores there is no choice.

        Warns
        -----
        ConvergenceWarning
            Once, if points of the paths have a gap above `tol` or time was up.
        """
        self._fit(X, y, sample_weight)
        return self
