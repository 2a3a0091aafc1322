"""The least-squares program of a convex combination's weights, and what is done with its solution."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from convexnn._parameters import checked_flag
from convexnn._typing import FloatArray
from convexnn_solvers import NonnegativeProgram, NonnegativeResult, solve_nonnegative

__all__ = [
    "CombinationSettings",
    "choose_weights",
    "combination_program",
    "normalised",
    "one_hot",
    "shares",
]


class _HasSettings(Protocol):
    """An estimator with the parameters of the weights' program."""

    ridge: float
    sum_to_one: bool
    solver: str
    tol: float


@dataclass(frozen=True)
class CombinationSettings:
    """Which weights are wanted and how they are sought; fields as in `DropoutEnsembleRegressor`."""

    ridge: float
    sum_to_one: bool
    solver: str
    tol: float
    max_iter: int | None = None
    verbose: int = 0

    @classmethod
    def of(cls, estimator: _HasSettings) -> "CombinationSettings":
        """Read the settings from an estimator's parameters."""
        names = ("max_iter", "verbose")
        limits = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
        sum_to_one = checked_flag("sum_to_one", estimator.sum_to_one)
        return cls(estimator.ridge, sum_to_one, estimator.solver, estimator.tol, **limits)

    def check(self) -> None:
        """Raise for a wrong solver or option now, and not after the training of many sub-models."""
        one = np.ones((1, 1, 1))
        replace(self, verbose=0).solve(combination_program(one, one[0], one[0, 0], self))

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the solver, without those of the program."""
        return {
            "solver": self.solver,
            "tol": self.tol,
            "max_iter": self.max_iter,
            "verbose": self.verbose,
        }

    def solve(self, program: NonnegativeProgram) -> NonnegativeResult:
        """Find the weights."""
        return solve_nonnegative(program, **self.options)


def combination_program(
    predictions: FloatArray, targets: FloatArray, weight: FloatArray, settings: CombinationSettings
) -> NonnegativeProgram:
    """Return the least-squares program of the weights.

    Parameters
    ----------
    predictions : ndarray of shape (m, n_samples, K)
    targets : ndarray of shape (n_samples, K)
        Regression targets or one-hot rows.
    weight : ndarray of shape (n_samples,)
        Non-negative.
    settings : CombinationSettings

    Returns
    -------
    NonnegativeProgram
        With ``n_samples K`` rows.
    """
    m, _, n_outputs = predictions.shape
    return NonnegativeProgram(
        predictions.reshape(m, -1).T,
        targets.ravel(),
        np.repeat(weight, n_outputs),
        ridge=settings.ridge,
        sum_to_one=settings.sum_to_one,
    )


def choose_weights(estimator: Any, program: NonnegativeProgram, settings: CombinationSettings) -> None:
    """Solve for the weights and set the attributes of a fitted estimator that come from them.

    Warns
    -----
    ConvergenceWarning
        If they are not optimal to the tolerance.
    """
    result = settings.solve(program)
    estimator.result_ = result
    estimator.weights_ = result.weights
    estimator.objective_ = result.objective
    estimator.uniform_objective_ = program.objective(program.uniform())
    if not result.converged:
        warnings.warn(
            f"The optimality residual of the weights is {result.optimality:.2g}, above "
            f"tol={settings.tol:.2g} ({result.status.name}). {result.status.value} [{result.message}]",
            ConvergenceWarning,
            stacklevel=4,
        )


def one_hot(indices: NDArray[np.intp], n_classes: int) -> FloatArray:
    """Return class indices (n_samples,) as rows (n_samples, n_classes) with a one each."""
    return np.asarray(np.eye(n_classes)[indices])


def shares(weights: FloatArray) -> FloatArray:
    """Return weights scaled to sum to one, and equal ones where all are zero."""
    largest = weights.max()
    if not largest > 0:
        return np.full(len(weights), 1 / len(weights))
    scaled = weights / largest
    return np.asarray(scaled / scaled.sum())


def normalised(probabilities: FloatArray) -> FloatArray:
    """Divide each row (n_samples, K) by its sum."""
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))
