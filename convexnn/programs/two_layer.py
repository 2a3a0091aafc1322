"""From data, patterns and a loss to the convex program of a two-layer network."""

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix, HiddenBias
from convexnn.activations import Activation, get_activation
from convexnn.designs import MaskedDesign
from convexnn.losses import Loss, encode_targets, get_loss
from convexnn.patterns import PatternSet
from convexnn.problem import Problem, augment, check_bias, penalized_weights
from convexnn.problem.data import check_size
from convexnn_solvers import ConvexProgram

__all__ = ["program_over", "two_layer_program"]


def two_layer_program(
    X: FloatMatrix,
    y: FloatArray,
    patterns: PatternSet,
    *,
    alpha: float,
    loss: str | Loss = "squared_error",
    activation: str | Activation = "relu",
    hidden_bias: HiddenBias = "penalized",
    fit_intercept: bool = True,
    sample_weight: FloatArray | None = None,
) -> ConvexProgram:
    """Build the convex program whose optimum is the best network with the given patterns.

    ``min sum_i s_i loss(sum_i A_i (v_i - w_i) + c, y) + alpha sum_i (|v_i| + |w_i|)`` over ``v_i, w_i`` in
    the cone of pattern ``i``, with one block for each (pattern, output). With all patterns of the data and
    one output its value is the least training objective of a network of any width.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Data without the column of ones. Data in float32 are kept so.
    y : ndarray of shape (n,) or (n, K)
        Targets, see `convexnn.losses.encode_targets`.
    patterns : PatternSet
        Patterns of ``augment(X, hidden_bias)``.
    alpha : float
        Regularisation strength, ``>= 0``.
    loss : str or Loss
    activation : str or Activation
    hidden_bias : {"penalized", "free", "none"}
    fit_intercept : bool
    sample_weight : ndarray of shape (n,), optional

    Returns
    -------
    ConvexProgram

    Raises
    ------
    ValueError
        If shapes, modes or values do not fit, or squares of the data overflow.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 8; Mishkin, Sahiner
    and Pilanci, "Fast convex optimization for two-layer ReLU networks", ICML 2022, equation 4 (gated).
    """
    activation = get_activation(activation)
    check_bias(hidden_bias, fit_intercept, activation)
    loss = get_loss(loss, y.shape[1] if y.ndim == 2 else 1)
    targets = encode_targets(loss, y, y.shape[1] if y.ndim == 2 else 1)
    data: FloatMatrix = augment(X if X.dtype == np.float32 else np.asarray(X, dtype=np.float64), hidden_bias)
    check_size(data)
    return ConvexProgram(
        design=MaskedDesign(data, patterns, activation, penalized_weights(data.shape[1], hidden_bias)),
        targets=targets,
        loss=loss,
        alpha=float(alpha),
        sample_weight=np.ones(len(data)) if sample_weight is None else np.asarray(sample_weight, dtype=float),
        fit_intercept=fit_intercept,
    )


def program_over(
    problem: Problem, patterns: PatternSet, directions: FloatArray | None = None
) -> ConvexProgram:
    """Build the program of a problem over some patterns, in the coordinates of its frame.

    Parameters
    ----------
    problem : Problem
    patterns : PatternSet
        Of the rows of the problem's layer.
    directions : ndarray of shape (M, P, K), optional
        In which blocks feed the outputs, where these are shared; see `ConvexProgram`.

    Returns
    -------
    ConvexProgram
        Its ``alpha`` is the problem's by the scale of the frame: objectives are those of the problem.
    """
    return ConvexProgram(
        design=problem.layer.design(patterns),
        targets=problem.targets,
        loss=problem.loss,
        alpha=problem.alpha_in_frame,
        sample_weight=problem.sample_weight,
        fit_intercept=problem.fit_intercept,
        directions=directions,
    )
