"""The weights of both layers of a network, as a descent moves them."""

from dataclasses import dataclass, replace

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective

__all__ = ["Weights"]


@dataclass(frozen=True, eq=False)
class Weights:
    """Hidden weights ``u_j``, output weights ``a_j`` and intercept, or a step of these.

    Attributes
    ----------
    hidden : ndarray of shape (m, d)
    output : ndarray of shape (m, K)
    intercept : ndarray of shape (K,)
    fed : ndarray of shape (m, K) or None
        1 where a neuron may feed an output, else 0; None where it may feed all of them.
    gates : ndarray of shape (m, d) or None
        Of a gated layer.
    open_rows : ndarray of bool, shape (n P, m), or None
        Which rows those let through.
    """

    hidden: FloatArray
    output: FloatArray
    intercept: FloatArray
    fed: FloatArray | None = None
    gates: FloatArray | None = None
    open_rows: BoolArray | None = None

    @classmethod
    def of(cls, objective: Objective, neurons: Neurons) -> "Weights":
        """Return the balanced weights of neurons: ``|u_j| = |a_j|`` over penalised weights."""
        roots = np.sqrt(objective.norms(neurons.weights))
        kept, roots = neurons.take(roots > 0), roots[roots > 0, None]
        fed = None if objective.shared else (kept.directions != 0).astype(np.float64)
        open_rows = objective.open_rows(kept)
        gates = None if open_rows is None else kept.gates
        hidden, output = kept.weights / roots, kept.directions * roots
        return cls(hidden, output, neurons.intercept, fed, gates, open_rows)

    def neurons(self) -> Neurons:
        """Return the neurons, without those that feed nothing."""
        sizes = np.linalg.norm(self.output, axis=1)
        fed = sizes > 0
        sizes = sizes[fed, None]
        gates = None if self.gates is None else self.gates[fed]
        return Neurons(self.hidden[fed] * sizes, self.output[fed] / sizes, self.intercept, gates)

    def take(self, which: BoolArray) -> "Weights":
        """Return those of some of the neurons."""
        return replace(
            self,
            hidden=self.hidden[which],
            output=self.output[which],
            fed=None if self.fed is None else self.fed[which],
            gates=None if self.gates is None else self.gates[which],
            open_rows=None if self.open_rows is None else self.open_rows[:, which],
        )

    def flat(self) -> FloatArray:
        """All numbers in a row."""
        return np.concatenate([self.hidden.ravel(), self.output.ravel(), self.intercept])

    def like(self, flat: FloatArray) -> "Weights":
        """Return weights of these shapes whose numbers are `flat`; views of it."""
        m, n = self.hidden.size, self.hidden.size + self.output.size
        hidden, output = flat[:m].reshape(self.hidden.shape), flat[m:n].reshape(self.output.shape)
        return replace(self, hidden=hidden, output=output, intercept=flat[n:])
