"""What the two-layer estimators share: from validated samples to a network with its gap."""

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._parameters import checked_nonnegative
from convexnn._typing import FloatArray, HiddenBias, RandomState
from convexnn.activations import Activation, get_activation
from convexnn.columns import SolverSettings, TrainedNetwork, train
from convexnn.losses import Loss
from convexnn.networks import Network, TwoLayerNetwork
from convexnn.patterns import PatternSet
from convexnn.programs import check_bias
from convexnn.programs.pattern_choice import check_patterns_option
from convexnn.programs.samples import check_sample_weight
from convexnn.programs.training import NetworkKind, TrainingData
from convexnn_solvers import SolveResult
from convexnn_solvers.result import relative_gap

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
    hidden_bias: HiddenBias
    fit_intercept: bool
    tol: float

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
            get_activation(self.activation), self.patterns, self.hidden_bias, self.fit_intercept
        )

    def _check_options(self, loss: Loss) -> None:
        """Raise ValueError for parameters without a meaning; what the solver checks is left to it."""
        if loss.task != self.task:
            raise ValueError(
                f"{type(self).__name__} needs a {self.task} loss. "
                f"Got loss={loss.name!r}, made for {loss.task}."
            )
        kind = self._kind()
        check_bias(kind.hidden_bias, kind.fit_intercept, kind.activation)
        check_patterns_option(kind.patterns)

    def _set_fitted(self, trained: TrainedNetwork, objective: float) -> None:
        """Set the fitted attributes from a solution and the objective of its network on all samples."""
        self.result_ = result = trained.result
        self.patterns_ = trained.patterns
        self.network_ = trained.network
        self.coefs_ = self.network_.coefs
        self.intercepts_ = self.network_.intercepts
        self.n_neurons_ = self.network_.n_neurons
        self.n_iter_ = result.n_iter
        self.objective_ = objective
        self.dual_objective_ = result.dual_objective
        self.dual_gap_ = max(0.0, self.objective_ - self.dual_objective_)
        self.gap_scope_ = trained.scope
        self.violation_ = trained.violation

    def _complaint(self) -> str:
        """Say that the gap is above `tol`, and what to try; empty if it is not."""
        if self.result_.converged:
            return ""
        gap = relative_gap(self.objective_, self.dual_objective_)
        return (
            f"The relative duality gap is {gap:.2g}, above tol={self.tol:.2g} "
            f"({self.result_.status.name}). {self.result_.status.value} [{self.result_.message}]"
        )

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
        """Solve the program of the samples and set the fitted attributes."""
        samples, y = self._validated(X, y)
        data = self._training_data(samples, y, check_sample_weight(sample_weight, len(samples)))
        alpha = self._checked_alpha()
        trained = train(
            data,
            self._kind(),
            alpha=alpha,
            settings=SolverSettings(self.solver, self.tol, self.max_iter, self.time_limit, self.verbose),
            random_state=self.random_state,
            previous=self._previous(data.targets.shape[1]),
        )
        self._set_fitted(trained, trained.problem.objective(trained.network, alpha))
        complaint = self._complaint()
        if complaint:
            warnings.warn(complaint, ConvergenceWarning, stacklevel=3)

    def _checked_alpha(self) -> float:
        return checked_nonnegative("alpha", self.alpha)

    def _previous(self, n_outputs: int) -> TwoLayerNetwork | None:
        """Return the last fit's network, if a warm start is asked for and the program is of the same kind."""
        network: TwoLayerNetwork | None = getattr(self, "network_", None)
        activation = get_activation(self.activation)
        if not self.warm_start or network is None or network.n_neurons == 0:
            return None
        same = (network.n_features, network.n_outputs, network.activation, network.hidden_bias) == (
            self.n_features_in_,
            n_outputs,
            activation,
            self.hidden_bias,
        )
        return network if same and not activation.gated else None
