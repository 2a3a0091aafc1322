"""Weights of a two-layer ReLU network, and its loss and gradient under dropout."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import FloatMatrix
from convexnn.losses import Loss

__all__ = ["Backpropagation", "Parameters"]

# Of the narrower type: kernels for float32 would otherwise compute in float64.
_ZERO = np.float32(0)


@dataclass(frozen=True, eq=False)
class Parameters:
    """Weights and biases as views of one vector: both weight matrices, then both vectors of biases.

    Parameters
    ----------
    vector : ndarray of shape (size of all,)
    n_features, n_hidden, n_outputs : int
    """

    vector: FloatMatrix
    n_features: int
    n_hidden: int
    n_outputs: int
    hidden_weights: FloatMatrix = field(init=False)
    output_weights: FloatMatrix = field(init=False)
    hidden_biases: FloatMatrix = field(init=False)
    output_biases: FloatMatrix = field(init=False)

    def __post_init__(self) -> None:
        """Make the views."""
        d, m, q = self.n_features, self.n_hidden, self.n_outputs
        parts = np.split(self.vector, np.cumsum([d * m, m * q, m]))
        object.__setattr__(self, "hidden_weights", parts[0].reshape(d, m))
        object.__setattr__(self, "output_weights", parts[1].reshape(m, q))
        object.__setattr__(self, "hidden_biases", parts[2])
        object.__setattr__(self, "output_biases", parts[3])

    @classmethod
    def glorot(
        cls, n_features: int, n_hidden: int, n_outputs: int, dtype: Any, rng: np.random.Generator
    ) -> "Parameters":
        """Draw weights and biases of each layer uniformly, with bound ``sqrt(6 / (fan in + fan out))``.

        References
        ----------
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
        AISTATS 2010, equation 16; biases as scikit-learn draws them.
        """
        size = (n_features + 1) * n_hidden + (n_hidden + 1) * n_outputs
        drawn = cls(np.empty(size, dtype), n_features, n_hidden, n_outputs)
        hidden = math.sqrt(6 / (n_features + n_hidden))
        output = math.sqrt(6 / (n_hidden + n_outputs))
        drawn.hidden_weights[:] = rng.uniform(-hidden, hidden, drawn.hidden_weights.shape)
        drawn.hidden_biases[:] = rng.uniform(-hidden, hidden, n_hidden)
        drawn.output_weights[:] = rng.uniform(-output, output, drawn.output_weights.shape)
        drawn.output_biases[:] = rng.uniform(-output, output, n_outputs)
        return drawn

    def zeros(self) -> "Parameters":
        """Return zeros of the same shapes."""
        return Parameters(np.zeros_like(self.vector), self.n_features, self.n_hidden, self.n_outputs)

    @property
    def n_weights(self) -> int:
        """Number of entries of the vector that are no biases."""
        return self.hidden_weights.size + self.output_weights.size

    @property
    def squared_norm(self) -> float:
        """Sum of the squares of all weights, without biases."""
        weights = self.vector[: self.n_weights]
        return float(weights @ weights)


class Backpropagation:
    """Mean loss of a batch under dropout, and its gradient; buffers are kept from call to call.

    Parameters
    ----------
    parameters : Parameters
        Read at each call.
    loss : Loss
    batch_size : int
        Largest number of samples in a call.
    dropout, input_dropout : float
        Rates at which hidden units and inputs are dropped.

    Attributes
    ----------
    gradient : Parameters
        Gradient of the last call.
    """

    def __init__(
        self, parameters: Parameters, loss: Loss, batch_size: int, dropout: float, input_dropout: float
    ) -> None:
        self.parameters = parameters
        self.gradient = parameters.zeros()
        self._loss: Any = loss
        self._dropout, self._input_dropout = dropout, input_dropout
        dtype = parameters.vector.dtype
        self._units = np.empty((batch_size, parameters.n_hidden), dtype)
        self._slopes = np.empty_like(self._units)
        # Units are kept or not, and scaled through the few output weights.
        self._scale = dtype.type(1 / (1 - dropout))

    def __call__(
        self,
        X: FloatMatrix,
        targets: FloatMatrix,
        weight: FloatMatrix,
        hidden_draws: FloatMatrix | None,
        input_draws: FloatMatrix | None,
    ) -> float:
        """Compute ``sum_i weight_i loss(f(x_i), y_i)`` and its gradient.

        Parameters
        ----------
        X : ndarray of shape (b, n_features)
            Overwritten by the inputs that are kept, where there are `input_draws`.
        targets : ndarray of shape (b, n_outputs)
            Encoded as the loss wants them.
        weight : ndarray of shape (b,)
        hidden_draws : ndarray of shape (b, n_hidden), float32, or None
            A unit is kept where its draw from [0, 1) is at least the rate; None keeps all, unscaled.
        input_draws : ndarray of shape (b, n_features), float32, or None
            Likewise for the inputs.

        Returns
        -------
        float
        """
        p, gradient, scale = self.parameters, self.gradient, self._scale
        units, slopes = self._units[: len(X)], self._slopes[: len(X)]
        if input_draws is not None:
            rate = self._input_dropout
            _drop(X, input_draws, np.float32(rate), X.dtype.type(1 / (1 - rate)))
        np.matmul(X, p.hidden_weights, out=units)
        if hidden_draws is None:
            units += p.hidden_biases
            np.maximum(units, 0, out=units)
            scale = scale.dtype.type(1)
        else:
            _rectify_and_drop(units, p.hidden_biases, hidden_draws, np.float32(self._dropout))
        scaled = p.output_weights * scale
        outputs = units @ scaled
        outputs += p.output_biases
        errors = self._loss.gradient(outputs, targets, weight)
        np.matmul(units.T, errors * scale, out=gradient.output_weights)
        np.add.reduce(errors, axis=0, out=gradient.output_biases)
        np.matmul(errors, scaled.T, out=slopes)
        _through_active(slopes, units)
        np.add.reduce(slopes, axis=0, out=gradient.hidden_biases)
        np.matmul(X.T, slopes, out=gradient.hidden_weights)
        return float(self._loss.value(outputs, targets, weight))


@kernel
def _rectify_and_drop(
    values: FloatMatrix, biases: FloatMatrix, draws: FloatMatrix, dropout: np.float32
) -> None:
    """Add biases, apply the ReLU and zero the units whose draw is below the rate, in place."""
    for i in range(values.shape[0]):
        row, drawn = values[i], draws[i]
        for j in range(row.size):
            value = row[j] + biases[j]
            value = value if value > _ZERO else _ZERO
            row[j] = value if drawn[j] >= dropout else _ZERO


@kernel
def _drop(values: FloatMatrix, draws: FloatMatrix, dropout: np.float32, scale: Any) -> None:
    """Zero the values whose draw is below the rate and multiply the others by `scale`, in place."""
    for i in range(values.shape[0]):
        row, drawn = values[i], draws[i]
        for j in range(row.size):
            row[j] = row[j] * scale if drawn[j] >= dropout else _ZERO


@kernel
def _through_active(slopes: FloatMatrix, units: FloatMatrix) -> None:
    """Zero the slopes of units that are zero, in place."""
    for i in range(slopes.shape[0]):
        row, unit = slopes[i], units[i]
        for j in range(row.size):
            row[j] = row[j] if unit[j] > _ZERO else _ZERO
