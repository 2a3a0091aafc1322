"""The layer of weighted pooling: a neuron has an output weight for each row of a sample."""

import numpy as np

from convexnn._typing import FloatArray
from convexnn.layers.grouped import GroupedLayer
from convexnn.pricing.grouped_gain import GroupedGain
from convexnn.pricing.weighted_relaxations import eigenvalue_bound, position_bound

__all__ = ["WeightedLayer"]


class WeightedLayer(GroupedLayer):
    """Neurons ``u`` that answer ``phi(x_ik . u)`` for each k; their output weights differ from k to k."""

    @property
    def n_answers(self) -> int:
        """Number K of answers of a neuron to a sample, one for each row."""
        return self.positions

    def _pooled(self, products: FloatArray) -> FloatArray:
        return self.activation(products)

    @property
    def patches(self) -> FloatArray:
        """The rows of each sample, (n, K, d)."""
        return self.rows.reshape(self.n_samples, self.positions, -1)

    def relaxed(self, theta: FloatArray, time_limit: float | None) -> float:
        """Upper bound by eigenvalues and, position by position, semidefinite relaxations."""
        upper = eigenvalue_bound(self.patches, self.activation, theta)
        if time_limit is None or time_limit > 0:
            upper = min(upper, position_bound(self.patches, self.activation, theta, time_limit))
        return upper

    def grouped(self, theta: FloatArray) -> GroupedGain:
        """Return the gain of all outputs together at a dual point (n, q): entry ``k q + o`` for output o."""
        phi, (n, q), K = self.activation, theta.shape, self.positions
        offsets = np.tile(q * np.arange(K), n)
        linear = phi.off * np.einsum("no,nkd->kod", theta, self.patches, optimize=True).reshape(K * q, -1)
        values = (phi.on - phi.off) * np.repeat(theta, K, axis=0)
        return GroupedGain.of(self.rows, values, 1, offsets, K * q, linear)
