"""`ConvexMLPRegressorCV`."""

from numpy.typing import ArrayLike

from convexnn.estimators._cv import BaseConvexMLPCV
from convexnn.estimators._regressor import NetworkRegressor

__all__ = ["ConvexMLPRegressorCV"]


class ConvexMLPRegressorCV(NetworkRegressor, BaseConvexMLPCV):
    """Two-layer network regression with `alpha` chosen by cross-validation along warm-started paths.

    All samples and the training samples of each fold are followed along one sequence of alphas, each
    solution the start of the next. The alpha of the best mean score on the folds' test samples is chosen,
    and the network is that of the path on all samples.

    The objective ``F`` of `ConvexMLPRegressor` is a sum over samples, so that the same regularisation of
    fewer samples is a smaller alpha: a fold whose training samples have a share ``q`` of the total weight is
    trained with ``q * alpha``.

    Parameters
    ----------
    alphas : int or array-like, default=30
        How many, in geometric progression from the least ``alpha`` that leaves no neuron down to `eps` times
        it; or the alphas themselves. They are alphas of all samples.
    eps : float, default=1e-3
        Smallest alpha divided by the largest, for a number of alphas.
    loss, activation, hidden_bias, fit_intercept
        As in `ConvexMLPRegressor`.
    patterns : {"auto", "exact"}, int or PatternSet, default="auto"
        As in `ConvexMLPRegressor`. Each fold lists or samples the patterns of its own training samples; of
        a PatternSet, which is of all samples, it takes what is seen on its own.
    cv : int, splitter or iterable of (train, test), default=None
        As in scikit-learn: None is 5 folds, without shuffling, for classifiers stratified. For splits that
        need groups pass the splits themselves, ``list(GroupKFold().split(X, y, groups))``.
    scoring : str, callable or None, default=None
        None: minus the mean `loss` on the test samples, weighted by `sample_weight`. Otherwise a scorer's
        name or a callable ``(estimator, X, y)`` as in scikit-learn, larger is better; it also gets
        ``sample_weight`` if `fit` does.
    solver : str, default="auto"
        A name of `convexnn_solvers.available_solvers`, or ``"cvxpy:NAME"``.
    tol : float, default=1e-4
        Wanted relative duality gap of each point of each path.
    max_iter : int, default=None
        Iteration limit of the solver, for each point.
    time_limit : float, default=None
        Seconds for each path: that of all samples and that of each fold. The choice is among the alphas that
        all of them reach.
    random_state : int, RandomState, Generator or None, default=None
        For sampled patterns; one seed serves all paths.
    n_jobs : int, default=None
        Folds that are worked on at once, see joblib.
    verbose : int, default=0
        1 prints a line for each point, 2 one for each solve, 3 the solver's log.

    Attributes
    ----------
    alpha_ : float
        The chosen alpha; of equally good ones the largest.
    alphas_ : ndarray of shape (n_alphas,)
        Descending, without repetitions.
    scores_ : ndarray of shape (n_alphas, n_folds)
        Larger is better; NaN where a fold ran out of time before.
    best_score_ : float
        Mean of `scores_` over the folds at `alpha_`.
    path_ : PathResult
        The path on all samples, see `convex_path`.
    n_iter_ : int
        Steps of descents and iterations of the solver on that path.
    network_, coefs_, intercepts_, n_neurons_, objective_, dual_objective_, dual_gap_, gap_scope_, \
violation_, patterns_, result_, n_features_in_, feature_names_in_
        As in `ConvexMLPRegressor` at `alpha_`.

    See Also
    --------
    convex_path : The path without the choice.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, for the programs; Friedman,
    Hastie and Tibshirani, "Regularization paths for generalized linear models via coordinate descent",
    Journal of Statistical Software 33, 2010, for warm-started paths.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import ConvexMLPRegressorCV
    >>> X = np.linspace(-2, 2, 12)[:, None]
    >>> model = ConvexMLPRegressorCV(alphas=[0.01, 0.1, 1.0, 10.0], cv=3).fit(X, np.abs(X[:, 0]))
    >>> model.alpha_, model.scores_.shape
    (0.01, (4, 3))
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "ConvexMLPRegressorCV":
        """Choose `alpha` and train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative; every fold needs positive ones for training and for testing. They count in
            training and in the scores; the mean over folds has none.

        Returns
        -------
        ConvexMLPRegressorCV
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning.
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
