"""What a certificate is about: data, loss and the family of networks that the bound covers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexnn._typing import BoolArray, FloatArray, HiddenBias
from convexnn.activations import Activation
from convexnn.losses import Loss
from convexnn.networks import Pooling
from convexnn.patches import PatchGeometry
from convexnn.pricing.hidden_layer import HiddenLayer, MaxLayer, hidden_layer

__all__ = ["CertificationProblem"]


@dataclass(frozen=True, eq=False)
class CertificationProblem:
    """``min sum_i s_i loss(f(x_i), y_i) + alpha/2 sum_j (|u_j|^2 + |a_j|^2)`` over networks of any width.

    Attributes
    ----------
    X : ndarray of shape (n, d)
        Without the column of ones; flat images for a convolutional network.
    targets : ndarray of shape (n, K)
        Encoded.
    sample_weight : ndarray of shape (n,)
        Non-negative.
    loss : Loss
    alpha : float
    activation : Activation
        Not gated.
    hidden_bias : {"penalized", "free", "none"}
        "free" goes with an intercept only.
    fit_intercept : bool
    patches : PatchGeometry, optional
        Of a convolutional network.
    pooling : {"average", "max", "weighted"}
        Over the patches.
    """

    X: FloatArray
    targets: FloatArray
    sample_weight: FloatArray
    loss: Loss
    alpha: float
    activation: Activation
    hidden_bias: HiddenBias
    fit_intercept: bool
    patches: PatchGeometry | None = None
    pooling: Pooling = "average"

    @cached_property
    def layer(self) -> HiddenLayer:
        """The hidden layer on the data, with a column of ones where there is a bias."""
        positions = 1
        if self.patches is not None:
            rows = self.patches.rows(self.X, bias=self.hidden_bias != "none")
            positions = self.patches.n_positions
        elif self.hidden_bias == "none":
            rows = np.ascontiguousarray(self.X)
        else:
            rows = np.hstack([self.X, np.ones((len(self.X), 1))])
        penalized = np.ones(rows.shape[1], dtype=np.bool_)
        penalized[-1] = self.hidden_bias != "free"
        return hidden_layer(rows, positions, self.activation, penalized, self.pooling)

    @property
    def penalized(self) -> BoolArray:
        """Which coordinates of a neuron's weights enter the norm."""
        return self.layer.penalized

    @cached_property
    def reach(self) -> FloatArray:
        """What ``|layer(u)_i|`` is at most where it counts, rounded up, shape (n,).

        It is ``sum_k |x~_ik|``, for max pooling ``max_k |x~_ik|``. With a free bias only biases at kinks
        ``-x_j . w`` count for points that sum to zero, which gives ``max_j |x_ik - x_j|``, at most the sum of
        the distances from the centre.
        """
        rows = self.layer.rows
        if self.hidden_bias != "free":
            reach = np.linalg.norm(rows, axis=1)
        else:
            slopes = rows[:, :-1]
            away = np.linalg.norm(slopes - slopes.mean(axis=0), axis=1)
            size = np.linalg.norm(slopes, axis=1)
            reach = away + away.max() + 1e-14 * (size + size.max())
        rounding = 1 + 1e-12 + self.layer.positions * np.finfo(np.float64).eps
        by_sample = reach.reshape(len(self.X), -1)
        largest = by_sample.max(axis=1) if isinstance(self.layer, MaxLayer) else by_sample.sum(axis=1)
        return np.asarray(largest * rounding)
