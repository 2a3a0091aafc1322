"""What the two-layer estimators share: from validated samples to a network with its gap."""

import math
import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._typing import FloatArray, HiddenBias, RandomState
from convexnn.activations import Activation, get_activation
from convexnn.estimators._patterns import PatternChoice, choose_patterns
from convexnn.estimators._samples import merge_samples
from convexnn.losses import Loss
from convexnn.networks import TwoLayerNetwork
from convexnn.patterns import PatternSet
from convexnn.programs import (
    augment,
    blocks_from_network,
    check_bias,
    network_from_blocks,
    network_weights,
    two_layer_program,
)
from convexnn_solvers import ConvexProgram, SolveResult, solve
from convexnn_solvers.result import relative_gap

__all__ = ["BaseConvexMLP"]


class BaseConvexMLP(BaseEstimator):
    """Fit of a two-layer network through its convex program; see the public subclasses."""

    # Set by `_fit`.
    network_: TwoLayerNetwork
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
    n_features_in_: int

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

    def _check_options(self, loss: Loss, task: str) -> None:
        """Raise ValueError for parameters without a meaning; what the solver checks is left to it."""
        if loss.task != task:
            raise ValueError(
                f"{type(self).__name__} needs a {task} loss. Got loss={loss.name!r}, made for {loss.task}."
            )
        alpha: Any = self.alpha
        if isinstance(alpha, bool | np.bool_) or not isinstance(alpha, Real):
            raise TypeError(f"alpha must be a real number. Got {alpha!r} instead.")
        if not 0 <= float(alpha) < math.inf:
            raise ValueError(f"alpha must be finite and >= 0. Got {alpha!r} instead.")
        check_bias(self.hidden_bias, self.fit_intercept, get_activation(self.activation))
        option: Any = self.patterns
        valid = isinstance(option, PatternSet) or option in ("auto", "exact")
        if isinstance(option, int | np.integer) and not isinstance(option, bool):
            valid = int(option) >= 1
        if not valid:
            raise ValueError(
                "patterns must be 'auto', 'exact', a positive number of patterns to sample, or a PatternSet. "
                f"Got {option!r} instead."
            )

    def _fit(
        self,
        X: FloatArray,
        targets: FloatArray,
        weight: FloatArray,
        loss: Loss,
        classes: tuple[Any, ...] | None = None,
    ) -> None:
        """Solve the program of encoded targets ``(n, K)`` and set the fitted attributes."""
        data = augment(X, self.hidden_bias)
        samples = merge_samples(X, targets, weight)
        distinct = augment(samples.X, self.hidden_bias)
        activation = get_activation(self.activation)
        choice = choose_patterns(
            self.patterns,
            distinct,
            data,
            blocks_per_pattern=targets.shape[1] * (1 if activation.gated else 2),
            random_state=check_random_state(_legacy(self.random_state)),
        )
        previous = self._previous(targets.shape[1], activation)
        patterns = choice.patterns
        if previous is not None and not choice.complete:
            weights = network_weights(previous)
            patterns = patterns.union(PatternSet.from_weights(distinct, weights))
        program = two_layer_program(
            samples.X,
            samples.targets,
            patterns,
            alpha=float(self.alpha),
            loss=loss,
            activation=activation,
            hidden_bias=self.hidden_bias,
            fit_intercept=self.fit_intercept,
            sample_weight=samples.weight,
        )
        self.result_ = self._solve(program, previous)
        self.patterns_ = PatternSet.from_weights(data, patterns.generators)
        self._set_network(program, classes)
        self.objective_ = self.network_.objective(
            X, targets, alpha=float(self.alpha), loss=loss, sample_weight=weight
        )
        self._set_gap(choice)

    def _solve(self, program: ConvexProgram, previous: TwoLayerNetwork | None) -> SolveResult:
        start = blocks_from_network(program, previous) if previous is not None else None
        return solve(
            program,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            time_limit=self.time_limit,
            verbose=self.verbose,
            start=start,
        )

    def _set_network(self, program: ConvexProgram, classes: tuple[Any, ...] | None) -> None:
        self.network_ = network_from_blocks(
            program,
            self.result_.blocks,
            self.result_.intercept,
            hidden_bias=self.hidden_bias,
            classes=classes,
        )
        self.coefs_ = self.network_.coefs
        self.intercepts_ = self.network_.intercepts
        self.n_neurons_ = self.network_.n_neurons
        self.n_iter_ = self.result_.n_iter

    def _set_gap(self, choice: PatternChoice) -> None:
        """Compare the network's own objective with the lower bound and warn if the gap is above `tol`."""
        self.dual_objective_ = self.result_.dual_objective
        self.dual_gap_ = max(0.0, self.objective_ - self.dual_objective_)
        certified = choice.complete and self.network_.n_outputs == 1 and self.network_.gates is None
        self.gap_scope_ = "global" if certified else "patterns"
        gap = relative_gap(self.objective_, self.dual_objective_)
        if not self.result_.converged:
            warnings.warn(
                f"The relative duality gap is {gap:.2g}, above tol={self.tol:.2g} "
                f"({self.result_.status.name}). {self.result_.status.value} [{self.result_.message}]",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _previous(self, n_outputs: int, activation: Activation) -> TwoLayerNetwork | None:
        """Return the last fit's network, if a warm start is asked for and the program is of the same kind."""
        network = getattr(self, "network_", None)
        if not self.warm_start or network is None or network.n_neurons == 0:
            return None
        same = (network.n_features, network.n_outputs, network.activation, network.hidden_bias) == (
            self.n_features_in_,
            n_outputs,
            activation,
            self.hidden_bias,
        )
        return network if same and not activation.gated else None

    def _outputs(self, X: Any) -> FloatArray:
        """Raw outputs, shape (n_samples, K), for new data."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return self.network_.outputs(X)


def _legacy(random_state: RandomState) -> int | np.random.RandomState | None:
    """Scikit-learn takes no numpy Generator; draw a seed from one."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return random_state
