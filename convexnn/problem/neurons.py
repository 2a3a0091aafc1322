"""The neurons of a network with its output weights balanced away."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from convexnn._typing import BoolArray, FloatArray, IntArray

__all__ = ["Neurons"]


@dataclass(frozen=True, eq=False)
class Neurons:
    """A network with balanced weights: neuron ``j`` adds ``phi(x . weights[j]) directions[j]`` to ``f(x)``.

    Its part of the regulariser is ``alpha |weights[j]|``, the norm over penalised weights.

    Attributes
    ----------
    weights : ndarray of shape (m, d)
        In the coordinates of a problem's rows.
    directions : ndarray of shape (m, K)
        Of norm one: how a neuron is shared among the outputs. Neurons that feed one output each have a
        coordinate vector or minus one; see `outputs` and `signs`.
    intercept : ndarray of shape (K,)
    gates : ndarray of shape (m, d) or None
        Of a gated activation; else, where they are known, points inside the cells of the neurons.
    """

    weights: FloatArray
    directions: FloatArray
    intercept: FloatArray
    gates: FloatArray | None = None

    @classmethod
    def separate(
        cls, weights: FloatArray, signs: FloatArray, outputs: IntArray, intercept: FloatArray
    ) -> "Neurons":
        """Return neurons of signs -1 and 1, (m,), that feed one of the outputs each, (m,)."""
        directions = np.zeros((len(weights), len(intercept)))
        directions[np.arange(len(weights)), outputs] = signs
        return cls(weights, directions, intercept)

    @classmethod
    def none(cls, n_weights: int, intercept: FloatArray) -> "Neurons":
        """Return a network without neurons, of any activation."""
        nothing = np.zeros((0, n_weights))
        return cls(nothing, np.zeros((0, len(intercept))), intercept, nothing)

    def __len__(self) -> int:
        """Return the number of neurons."""
        return len(self.weights)

    @property
    def cells(self) -> FloatArray:
        """Points whose patterns are those of the neurons, (m, d)."""
        return self.weights if self.gates is None else self.gates

    @property
    def outputs(self) -> IntArray:
        """Which output each neuron feeds most, (m,)."""
        return np.asarray(np.abs(self.directions).argmax(axis=1), dtype=np.intp)

    @property
    def signs(self) -> FloatArray:
        """Sign of each neuron on that output, (m,)."""
        return np.asarray(np.sign(self.directions[np.arange(len(self)), self.outputs]))

    def take(self, which: IntArray | BoolArray) -> Self:
        """Return some of the neurons."""
        return replace(
            self,
            weights=self.weights[which],
            directions=self.directions[which],
            gates=None if self.gates is None else self.gates[which],
        )

    def joined(self, others: Self) -> Self:
        """Return the neurons and others, with gates if both have some."""
        gates = None
        if self.gates is not None and others.gates is not None:
            gates = np.vstack([self.gates, others.gates])
        return replace(
            self,
            weights=np.vstack([self.weights, others.weights]),
            directions=np.vstack([self.directions, others.directions]),
            gates=gates,
        )

    def with_weights(self, weights: FloatArray) -> Self:
        """Return neurons of other weights (m, d) that feed the same outputs."""
        return replace(self, weights=weights)
