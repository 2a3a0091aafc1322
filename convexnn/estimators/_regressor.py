"""`ConvexMLPRegressor`, and what all regressors share."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from convexnn._typing import FloatArray
from convexnn.estimators._base import BaseConvexMLP, BaseNetworkEstimator
from convexnn.losses import get_loss
from convexnn.problem import TrainingData

__all__ = ["ConvexMLPRegressor", "NetworkRegressor"]


class NetworkRegressor(RegressorMixin, BaseNetworkEstimator):
    """The task of regression: real targets, one or several outputs."""

    task: ClassVar[str] = "regression"

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[Any]]:
        data, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        targets = np.asarray(y, dtype=np.float64)
        self._single_output = targets.ndim == 1
        return data, targets

    def _training_data(self, X: FloatArray, y: NDArray[Any], sample_weight: FloatArray) -> TrainingData:
        y, sample_weight = self._separate_rows(y, sample_weight)
        targets = y[:, None] if y.ndim == 1 else y
        loss = get_loss(self.loss, targets.shape[1])
        self._check_options(loss)
        return TrainingData(X, targets, sample_weight, loss)

    def predict(self, X: ArrayLike) -> FloatArray:
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the shape that ``y`` had in `fit`.
        """
        outputs = self._outputs(X)
        return outputs[..., 0] if self._single_output or outputs.ndim > 2 else outputs

    def __sklearn_tags__(self) -> Any:
        """Several outputs are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class ConvexMLPRegressor(NetworkRegressor, BaseConvexMLP):
    """Two-layer network regression, trained to a certified gap by convex optimisation.

    Minimises, with **sums, not means**::

        F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + |a_j|^2)
        f(x) = sum_j phi(u_j . x~) a_j + c,    x~ = (x, 1) with hidden biases

    through the equivalent convex program over activation patterns. With several targets the ``a_j`` and ``c``
    are vectors. The number of neurons is an outcome.

    Parameters
    ----------
    alpha : float, default=1.0
        Regularisation strength, ``>= 0``; the ``beta`` of the papers. With ``hidden_bias="free"``, an
        intercept and unit weights, ``F`` is ``n_samples`` times the loss of scikit-learn's ``MLPRegressor``
        with the same ``alpha``, for one target; of K targets that loss is a mean, and ``F`` is
        ``K n_samples`` times the one with ``alpha / K``. ``alpha=0`` is legal for the regression losses; the
        gap then holds up to rounding.
    loss : {"squared_error", "huber", "absolute_error"} or Loss, default="squared_error"
        ``1/2 (f-y)^2``; Huber's loss with ``delta=1``, or ``Huber(delta)``; ``|f-y|``.
    activation : {"relu", "leaky_relu", "absolute_value", "gated_relu"} or Activation, default="relu"
        ``leaky_relu(slope)`` gives other slopes than 0.01.
    patterns : {"auto", "exact"}, int or PatternSet, default="auto"
        Which activation patterns the hidden units may have. ``"exact"``: all that exist; where they are
        many the few that matter are found by column generation, with branch and bound over all cells.
        Feasible up to about 6 columns. ``"auto"``: all where they are few enough to list, else adaptive ones,
        harvested from descents of wide networks and from neurons that would lower the objective: the
        result is never worse than the descents. Gated units, and ``alpha=0``, get up to 50 sampled
        patterns instead. An int: so many distinct ones, sampled by Gaussian gates. A PatternSet: those, of
        the training data as the hidden layer sees it (a column of ones appended unless
        ``hidden_bias="none"``).
    multi_output : {"shared", "separate"}, default="shared"
        With several outputs whether a neuron feeds all of them, as in ``MLPRegressor`` and PyTorch, or one
        each, which is another objective and never a lower one.
    hidden_bias : {"penalized", "free", "none"}, default="penalized"
        Whether hidden units have a bias and whether its square counts in ``F``; "free" needs `fit_intercept`.
    fit_intercept : bool, default=True
        Whether the output intercept ``c`` exists; it is never penalised.
    solver : str, default="auto"
        A name of `convexnn_solvers.available_solvers`, or ``"cvxpy:NAME"``. "auto" is the native
        solver for smooth losses with ``alpha > 0``, and Clarabel for others and where that gets stuck.
    tol : float, default=1e-4
        Wanted relative duality gap ``dual_gap_ / objective_``, for every solver.
        Where patterns are adapted it also says what a round of search and descent must bring, and finer ones
        begin with wider networks: they take longer and end lower.
    max_iter : int, default=None
        Iteration limit; None leaves the solver's own.
    time_limit : float, default=None
        Seconds for the whole fit, of which it keeps within a second or a tenth; None means no limit.
    warm_start : bool, default=False
        Whether a new fit starts from the last one: its patterns join the new ones, and the result is not
        worse than the old network on the new problem.
    random_state : int, RandomState, Generator or None, default=None
        For sampled patterns, and for the starts of adaptive ones. The same number gives the same network, to
        the bit and with any number of threads, unless a limit of time interferes. "exact" does not draw.
    n_jobs : int, default=None
        Threads of a fit, -1 for one on each core; None leaves it to numba, which takes all.
    verbose : int, default=0
        1 prints progress, 2 also a cone solver's own log.

    Attributes
    ----------
    network_ : TwoLayerNetwork
        The trained network.
    coefs_, intercepts_ : list of ndarray
        Weights and biases as ``MLPRegressor`` lays them out: hidden ``(d, m)``, output ``(m, k)``.
    n_neurons_ : int
        Number of hidden neurons ``m``.
    objective_ : float
        ``F`` of `network_`, recomputed from its weights.
    dual_objective_ : float
        Lower bound of ``F``, see `gap_scope_`.
    dual_gap_ : float
        ``objective_ - dual_objective_``, at least 0.
    gap_scope_ : {"patterns", "global"}
        What the bound bounds. "global": every network of any width. "patterns": the networks whose neurons
        have patterns of `patterns_` and, with several outputs, feed these in directions of the last program.
        `convexnn.certify` gives a global bound for any network.
    violation_ : float
        How far the best neuron outside the network is from paying: its price, the rate at which it would
        lower the loss, relative to ``alpha``, less 1, and at least 0. The largest found over all patterns:
        with adaptive patterns by local search, so that zero proves nothing; with ``"exact"`` by a search
        that misses none (an upper bound of it). NaN where the patterns were a list and no search was made.
    patterns_ : PatternSet
        The patterns of the (last) program, on the training data as the hidden layer sees it.
    result_ : SolveResult
        The solver's answer to the program, which is over the distinct samples of positive weight.
    n_iter_ : int
        Steps of descents and iterations of the solver, over all programs solved; 0 if the zero network or the
        warm start was optimal.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers: exact polynomial-time convex optimization
    formulations for two-layer networks", ICML 2020, theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import ConvexMLPRegressor
    >>> X = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]])
    >>> y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    >>> model = ConvexMLPRegressor(alpha=0.1, patterns="exact", fit_intercept=False).fit(X, y)
    >>> round(model.objective_, 4), model.gap_scope_
    (0.6577, 'global')
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "ConvexMLPRegressor":
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero; the objective sums over samples, so weights are not normalised.

        Returns
        -------
        ConvexMLPRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning.
        PatternBudgetError
            With ``patterns="exact"``, if too many patterns exist.

        Warns
        -----
        ConvergenceWarning
            If the gap is above `tol`; the best network found is kept.
        """
        self._fit(X, y, sample_weight)
        return self
