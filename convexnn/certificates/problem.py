"""What a certificate is about: data, loss and the family of networks that the bound covers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexnn._typing import BoolArray, FloatArray, HiddenBias
from convexnn.activations import Activation
from convexnn.losses import Loss

__all__ = ["CertificationProblem"]


@dataclass(frozen=True, eq=False)
class CertificationProblem:
    """``min sum_i s_i loss(f(x_i), y_i) + alpha/2 sum_j (|u_j|^2 + |a_j|^2)`` over networks of any width.

    Attributes
    ----------
    X : ndarray of shape (n, d)
        Without the column of ones.
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
    """

    X: FloatArray
    targets: FloatArray
    sample_weight: FloatArray
    loss: Loss
    alpha: float
    activation: Activation
    hidden_bias: HiddenBias
    fit_intercept: bool

    @cached_property
    def inputs(self) -> FloatArray:
        """Data as the hidden layer sees them, shape (n, d) or with a column of ones (n, d + 1)."""
        if self.hidden_bias == "none":
            return np.ascontiguousarray(self.X)
        return np.hstack([self.X, np.ones((len(self.X), 1))])

    @property
    def penalized(self) -> BoolArray:
        """Which coordinates of a neuron's weights enter the norm."""
        penalized = np.ones(self.inputs.shape[1], dtype=np.bool_)
        penalized[-1] = self.hidden_bias != "free"
        return penalized

    @cached_property
    def reach(self) -> FloatArray:
        """Largest ``|x_i . u|`` that counts, rounded up, shape (n,).

        It is ``|x~_i|``. With a free bias only biases at kinks ``-x_j . w`` count for points that sum to
        zero, which gives ``max_j |x_i - x_j|``, at most the sum of the distances from the centre.
        """
        if self.hidden_bias != "free":
            return np.asarray(np.linalg.norm(self.inputs, axis=1) * (1 + 1e-12))
        away = np.linalg.norm(self.X - self.X.mean(axis=0), axis=1)
        size = np.linalg.norm(self.X, axis=1)
        return np.asarray((away + away.max() + 1e-14 * (size + size.max())) * (1 + 1e-12))
