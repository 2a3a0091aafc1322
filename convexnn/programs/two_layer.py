"""From data, patterns and a loss to the convex program of a two-layer network."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, HiddenBias
from convexnn.activations import Activation, get_activation
from convexnn.losses import Loss, encode_targets, get_loss
from convexnn.patterns import PatternSet
from convexnn.pricing.hidden_layer import HiddenLayer, MaxLayer
from convexnn.programs.masked_design import MaskedDesign
from convexnn.programs.max_design import MaxDesign
from convexnn.programs.samples import Samples
from convexnn_solvers import ConvexProgram

__all__ = ["augment", "check_bias", "check_size", "layer_program", "penalized_weights", "two_layer_program"]

_LARGEST = 1e100

Real = TypeVar("Real", bound=np.floating[Any])


def augment(X: NDArray[Real], hidden_bias: HiddenBias) -> NDArray[Real]:
    """Return ``x~``: `X` with a column of ones appended where hidden units have a bias.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    hidden_bias : {"penalized", "free", "none"}

    Returns
    -------
    ndarray of shape (n, d + 1), or (n, d) for "none"
    """
    if hidden_bias == "none":
        return np.ascontiguousarray(X)
    return np.hstack([X, np.ones((len(X), 1), dtype=X.dtype)])


def check_bias(hidden_bias: HiddenBias, fit_intercept: bool, activation: Activation) -> None:
    """Raise ValueError for bias modes that make the objective degenerate.

    With ``hidden_bias="free"`` a unit with zero slope and a large bias gives any constant at vanishing
    cost, so the output intercept exists in the infimum and must be asked for. A gated unit with a free bias
    fits its gate's indicator at no cost, so that the network interpolates for any ``alpha``.

    Parameters
    ----------
    hidden_bias : {"penalized", "free", "none"}
    fit_intercept : bool
    activation : Activation
    """
    if hidden_bias not in ("penalized", "free", "none"):
        raise ValueError(f"hidden_bias must be 'penalized', 'free' or 'none'. Got {hidden_bias!r} instead.")
    if hidden_bias == "free" and not fit_intercept:
        raise ValueError(
            "hidden_bias='free' gives any constant output at vanishing cost, so an output intercept exists "
            "whether asked for or not. Got fit_intercept=False; set fit_intercept=True or "
            "hidden_bias='penalized'."
        )
    if hidden_bias == "free" and activation.gated:
        raise ValueError(
            "hidden_bias='free' lets a gated unit fit its gate's indicator at no cost. "
            "Set hidden_bias='penalized' or 'none'."
        )


def check_size(data: FloatMatrix) -> None:
    """Raise ValueError for data whose squares float64 cannot hold."""
    largest = max(float(data.max()), -float(data.min()))
    if not largest < _LARGEST:
        raise ValueError(
            f"The data reach {largest:.3g}, whose squares float64 cannot hold; "
            f"divide them by a large number so that they stay below {_LARGEST:.0e}."
        )


def penalized_weights(n_weights: int, hidden_bias: HiddenBias) -> BoolArray:
    """Return which weights of a hidden unit its norm counts, the bias being the last one where it exists."""
    penalized = np.ones(n_weights, dtype=np.bool_)
    penalized[-1] = hidden_bias != "free"
    return penalized


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


def layer_program(
    layer: HiddenLayer,
    patterns: PatternSet,
    samples: Samples,
    *,
    alpha: float,
    loss: Loss,
    fit_intercept: bool,
) -> ConvexProgram:
    """Build the program of any hidden layer; see `two_layer_program`.

    Parameters
    ----------
    layer : HiddenLayer
        On the distinct samples.
    patterns : PatternSet
        Of the layer's rows.
    samples : Samples
        Whose targets and weights count.
    alpha : float
    loss : Loss
    fit_intercept : bool

    Returns
    -------
    ConvexProgram
    """
    design = (
        MaxDesign(layer.rows, patterns, layer.positions)
        if isinstance(layer, MaxLayer)
        else MaskedDesign(layer.rows, patterns, layer.activation, layer.penalized, layer.positions)
    )
    return ConvexProgram(
        design=design,
        targets=samples.targets,
        loss=loss,
        alpha=float(alpha),
        sample_weight=samples.weight,
        fit_intercept=fit_intercept,
    )
