"""What the two-layer estimators share: from validated samples to a network with its gap."""

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._interruption import runs_among_others
from convexnn._parameters import checked_nonnegative
from convexnn._typing import FloatArray, HiddenBias, MultiOutput, RandomState
from convexnn.activations import Activation, get_activation
from convexnn.losses import Loss
from convexnn.networks import Network
from convexnn.patterns import PatternSet
from convexnn.problem import NetworkKind, Problem, TrainingData, check_sample_weight
from convexnn.programs.pattern_choice import check_patterns_option
from convexnn.training import Fit, TrainingOptions, train
from convexnn_solvers import SolveResult, Status
from convexnn_solvers.threads import worker_threads

__all__ = ["BaseConvexMLP", "BaseNetworkEstimator"]


class BaseNetworkEstimator(BaseEstimator, ABC):
    """An estimator whose fit ends with a two-layer network and its gap.

    A task (see `NetworkRegressor`, `NetworkClassifier`) validates samples and encodes targets.
    """

    task: ClassVar[str]

    # Parameters.
    loss: str | Loss
    activation: str | Activation
    patterns: str | int | PatternSet
    multi_output: MultiOutput
    hidden_bias: HiddenBias
    fit_intercept: bool
    solver: str
    tol: float
    max_iter: int | None
    time_limit: float | None
    random_state: RandomState
    verbose: int

    # Set by `_set_fitted`.
    network_: Network
    result_: SolveResult
    patterns_: PatternSet
    coefs_: list[FloatArray]
    intercepts_: list[FloatArray]
    n_neurons_: int
    n_iter_: int
    objective_: float
    dual_objective_: float
    dual_gap_: float
    gap_scope_: str
    violation_: float
    n_features_in_: int

    @abstractmethod
    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[Any]]:
        """Check samples and targets and remember what prediction needs to know of them."""

    @abstractmethod
    def _training_data(self, X: FloatArray, y: NDArray[Any], sample_weight: FloatArray) -> TrainingData:
        """Encode validated targets; changes nothing in the estimator."""

    def _separate_rows(self, y: NDArray[Any], weight: FloatArray) -> tuple[NDArray[Any], FloatArray]:
        """Return targets and weights of the rows of outputs that a sample has, one unless overridden."""
        return y, weight

    def _kind(self) -> NetworkKind:
        return NetworkKind(
            get_activation(self.activation),
            self.hidden_bias,
            self.fit_intercept,
            multi_output=self.multi_output,
        )

    def _options(self) -> TrainingOptions:
        return TrainingOptions(
            self.patterns,
            self.solver,
            self.tol,
            self.max_iter,
            self.time_limit,
            self.random_state,
            self.verbose,
        )

    def _check_options(self, loss: Loss) -> None:
        """Raise ValueError for parameters without a meaning; what the solver checks is left to it."""
        if loss.task != self.task:
            raise ValueError(
                f"{type(self).__name__} needs a {self.task} loss. "
                f"Got loss={loss.name!r}, made for {loss.task}."
            )
        self._kind().check()
        check_patterns_option(self.patterns)

    def _set_fitted(self, fit: Fit) -> None:
        """Set the fitted attributes."""
        self.result_ = result = fit.result
        self.patterns_ = fit.patterns_on_all_samples
        self.network_ = fit.network
        self.coefs_ = self.network_.coefs
        self.intercepts_ = self.network_.intercepts
        self.n_neurons_ = self.network_.n_neurons
        self.n_iter_ = result.n_iter
        self.objective_ = fit.objective
        self.dual_objective_ = result.dual_objective
        self.dual_gap_ = max(0.0, self.objective_ - self.dual_objective_)
        self.gap_scope_ = fit.scope
        self.violation_ = fit.violation

    def _outputs(self, X: Any) -> FloatArray:
        """Raw outputs, shape (n_samples, K), for new data."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return self.network_.outputs(X)


class BaseConvexMLP(BaseNetworkEstimator):
    """Fit of a two-layer network through its convex program; see the public subclasses."""

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        loss: str | Loss = "squared_error",
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
    ) -> None:
        self.alpha = alpha
        self.loss = loss
        self.activation = activation
        self.patterns = patterns
        self.multi_output = multi_output
        self.hidden_bias = hidden_bias
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.time_limit = time_limit
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
        """Train on the samples and set the fitted attributes."""
        options = self._options()
        options.check()
        clock = options.clock()
        samples, y = self._validated_samples(X, y)
        data = self._training_data(samples, y, check_sample_weight(sample_weight, len(samples)))
        problem = Problem.of(data, self._kind(), self._checked_alpha())
        n_threads = None if self.n_jobs is None else effective_n_jobs(self.n_jobs)
        with worker_threads(n_threads):
            fit = train(problem, options, clock, self._previous(problem))
        self._set_fitted(fit)
        complaint = fit.complaint(self.tol)
        if complaint:
            warnings.warn(complaint, ConvergenceWarning, stacklevel=3)
        if fit.result.status is Status.INTERRUPTED and runs_among_others():
            raise KeyboardInterrupt

    def _validated_samples(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[Any]]:
        """Check what was given to `fit`; a family whose samples have another form reads them first."""
        return self._validated(X, y)

    def _checked_alpha(self) -> float:
        return checked_nonnegative("alpha", self.alpha)

    def _previous(self, problem: Problem) -> Network | None:
        """Return the last fit's network, if a warm start is asked for and it is of the problem's kind."""
        network: Network | None = getattr(self, "network_", None)
        if not self.warm_start or network is None or network.n_neurons == 0:
            return None
        return network if problem.admits(network) else None
