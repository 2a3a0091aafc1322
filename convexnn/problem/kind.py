"""Which networks are trained or certified."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from convexnn._typing import BoolArray, FloatArray, HiddenBias, MultiOutput
from convexnn.activations import Activation
from convexnn.layers import HiddenLayer, hidden_layer
from convexnn.networks import Pooling
from convexnn.patches import PatchGeometry

__all__ = ["NetworkKind", "augment", "check_bias", "penalized_weights"]

Real = TypeVar("Real", bound=np.floating[Any])


@dataclass(frozen=True, eq=False)
class NetworkKind:
    """Which networks compete; fields as the parameters of `convexnn.ConvexMLPRegressor`.

    A convolutional network has the geometry of its patches, and a way of pooling over these. With several
    outputs a neuron feeds all of them ("shared") or one ("separate").
    """

    activation: Activation
    hidden_bias: HiddenBias
    fit_intercept: bool
    patches: PatchGeometry | None = None
    pooling: Pooling = "average"
    multi_output: MultiOutput = "shared"

    @property
    def pooled_patches(self) -> PatchGeometry | None:
        """Geometry of the patches that a sample's answer is pooled from; None where it has one row only."""
        return None if self.pooling is None else self.patches

    @property
    def positions(self) -> int:
        """Rows of each sample that a hidden unit sees."""
        return 1 if self.pooled_patches is None else self.pooled_patches.n_positions

    def check(self) -> None:
        """Raise ValueError for modes that are unknown or do not go together, see `check_bias`."""
        check_bias(self.hidden_bias, self.fit_intercept, self.activation)
        if self.multi_output not in ("shared", "separate"):
            raise ValueError(
                f"multi_output must be 'shared' or 'separate'. Got {self.multi_output!r} instead."
            )

    def samples(self, X: FloatArray) -> FloatArray:
        """Return what targets belong to: inputs (n, p) or, without pooling, all of their patches."""
        if self.patches is not None and self.pooling is None:
            return self.patches.rows(X)
        return X

    def rows(self, samples: FloatArray) -> FloatArray:
        """Return what hidden units see of samples (n, p): rows of shape (n K, d) with the column of ones."""
        if self.pooled_patches is None:
            return augment(samples, self.hidden_bias)
        return self.pooled_patches.rows(samples, bias=self.hidden_bias != "none")

    def layer(self, rows: FloatArray) -> HiddenLayer:
        """Return the hidden layer on rows of samples."""
        penalized = penalized_weights(rows.shape[1], self.hidden_bias)
        return hidden_layer(rows, self.positions, self.activation, penalized, self.pooling)


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


def penalized_weights(n_weights: int, hidden_bias: HiddenBias) -> BoolArray:
    """Return which weights of a hidden unit its norm counts, the bias being the last one where it exists."""
    penalized = np.ones(n_weights, dtype=np.bool_)
    penalized[-1] = hidden_bias != "free"
    return penalized
