"""`convex_path`: the function for users."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_X_y
from sklearn.utils.multiclass import check_classification_targets

from convexnn._random import as_seed
from convexnn._typing import FloatArray, HiddenBias, MultiOutput, RandomState
from convexnn.activations import Activation, get_activation
from convexnn.losses import Loss, get_loss
from convexnn.paths.alpha_grid import check_attained, checked_alphas
from convexnn.paths.follow import follow_to_end
from convexnn.paths.path_problem import PathProblem
from convexnn.paths.path_result import PathResult, above_tolerance
from convexnn.patterns import PatternSet
from convexnn.problem import NetworkKind, Problem, TrainingData, check_sample_weight, encode_classes
from convexnn.programs.pattern_choice import check_patterns_option
from convexnn.training import TrainingOptions
from convexnn_solvers.clock import Clock

__all__ = ["convex_path"]


def convex_path(
    X: ArrayLike,
    y: ArrayLike,
    patterns: str | int | PatternSet = "auto",
    *,
    alphas: int | ArrayLike = 30,
    eps: float = 1e-3,
    loss: str | Loss = "squared_error",
    activation: str | Activation = "relu",
    multi_output: MultiOutput = "shared",
    hidden_bias: HiddenBias = "penalized",
    fit_intercept: bool = True,
    sample_weight: ArrayLike | None = None,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    random_state: RandomState = None,
    verbose: int = 0,
) -> PathResult:
    """Train two-layer networks for descending strengths of regularisation, each with its gap.

    For each ``alpha`` the training objective, with **sums, not means**, ::

        F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + |a_j|^2)

    is minimised over the networks with the given patterns, starting from the solution for the ``alpha``
    before. All points share the data and, unless patterns are searched for exactly, the patterns; see
    `convexnn.ConvexMLPRegressor` for the options.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Numbers; with a classification loss labels of shape (n_samples,), or encoded targets of shape
        (n_samples, n_outputs), see `convexnn.losses.encode_targets`.
    patterns : {"auto", "exact"}, int or PatternSet, default="auto"
        As in `convexnn.ConvexMLPRegressor`.
    alphas : int or array-like, default=30
        How many, in geometric progression from the least ``alpha`` that leaves no neuron, which is the
        first point, down to `eps` times it. Where a constant is optimal for every ``alpha`` the
        progression starts at 1. Or the alphas themselves, in any order.
    eps : float, default=1e-3
        Smallest alpha divided by the largest, for a number of alphas.
    loss, activation, multi_output, hidden_bias, fit_intercept
        As in `convexnn.ConvexMLPRegressor` and `convexnn.ConvexMLPClassifier`.
    sample_weight : array-like of shape (n_samples,), optional
        Non-negative, not all zero; not normalised.
    solver : str, default="auto"
    tol : float, default=1e-4
        Wanted relative duality gap of each point.
    max_iter : int, default=None
        Iteration limit of the solver, for each point.
    time_limit : float, default=None
        Seconds for the path. When they are over the path ends, with the best point found for the
        ``alpha`` at hand; so it does on an interrupt from the keyboard.
    random_state : int, RandomState, Generator or None, default=None
        For sampled patterns.
    verbose : int, default=0
        1 prints a line for each point, 2 one for each solve, 3 the solver's log.

    Returns
    -------
    PathResult

    Raises
    ------
    ValueError, TypeError
        For input or options that have no meaning.
    PatternBudgetError
        With ``patterns="exact"``, if too many patterns exist.

    Warns
    -----
    ConvergenceWarning
        Once, if points have a gap above `tol` or the path ended early.

    References
    ----------
    Mishkin and Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import convex_path
    >>> X = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]])
    >>> path = convex_path(X, [1.0, -1.0, 1.0, -1.0, 1.0], alphas=[0.01, 0.1], fit_intercept=False)
    >>> path.alphas, path.objectives.round(4), path.gap_scope
    (array([0.1 , 0.01]), array([0.6577, 0.0855]), 'global')
    """
    clock, grid = Clock.of(time_limit), checked_alphas(alphas, eps)
    data = _training_data(X, y, loss, sample_weight)
    check_attained(grid, data.loss)
    kind = NetworkKind(get_activation(activation), hidden_bias, fit_intercept, multi_output=multi_output)
    check_patterns_option(patterns)
    seed = as_seed(random_state)
    options = TrainingOptions(patterns, solver, tol, max_iter, time_limit, seed, verbose)
    problem = PathProblem.of(Problem.of(data, kind, 1.0), grid, options, clock)
    path = PathResult.of(*follow_to_end(problem, grid, eps, clock))
    if not path.converged:
        warnings.warn(_complaint(path, tol), ConvergenceWarning, stacklevel=2)
    return path


def _training_data(
    X: ArrayLike, y: ArrayLike, loss: str | Loss, sample_weight: ArrayLike | None
) -> TrainingData:
    """Validate samples and encode their targets."""
    regression = get_loss(loss).task == "regression"
    samples, values = check_X_y(
        X, y, dtype=np.float64, multi_output=np.ndim(y) == 2, y_numeric=regression or np.ndim(y) == 2
    )
    weight = check_sample_weight(sample_weight, len(samples))
    if regression or values.ndim == 2:
        targets = np.asarray(values, dtype=np.float64).reshape(len(samples), -1)
        return TrainingData(samples, targets, weight, get_loss(loss, targets.shape[1]))
    check_classification_targets(values)
    return _labelled(samples, values, weight, loss)


def _labelled(samples: FloatArray, labels: Any, weight: FloatArray, loss: str | Loss) -> TrainingData:
    classes, indices = np.unique(labels, return_inverse=True)
    used = np.bincount(indices, weights=weight) > 0
    if used.sum() < len(classes) or len(classes) < 2:
        raise ValueError(
            "Classification needs at least two classes with samples of positive weight, and no others. Got "
            f"labels {classes.tolist()}, of these with positive weight {classes[used].tolist()}."
        )
    encoding = get_loss(loss, 1 if len(classes) == 2 else len(classes))
    targets = encode_classes(encoding, indices, len(classes))
    return TrainingData(samples, targets, weight, encoding, tuple(classes.tolist()))


def _complaint(path: PathResult, tol: float) -> str:
    """Return the text of the warning about a path that did not converge."""
    parts = [above_tolerance(path.results, path.alphas, tol)]
    if path.alphas_left.size:
        asked = len(path) + path.alphas_left.size
        parts.append(f"The path ended after {len(path)} of {asked} alphas, at {path.alphas[-1]:.4g}.")
    return " ".join(part for part in parts if part)
