"""Second derivatives of a loss, which need no matrix for each sample."""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray

__all__ = ["Curvature"]


@dataclass(frozen=True, eq=False)
class Curvature:
    """Matrices ``diag(d_i) - r_i r_i'``, one for each sample, positive semidefinite.

    Attributes
    ----------
    diagonal : ndarray of shape (n, K)
        ``d_i``.
    outer : ndarray of shape (n, K) or None
        ``r_i``; None where outputs do not interact.
    """

    diagonal: FloatArray
    outer: FloatArray | None = None

    def times(self, change: FloatArray) -> FloatArray:
        """Products with a change of the outputs, (n, K) -> (n, K)."""
        product = self.diagonal * change
        if self.outer is not None:
            product -= self.outer * (self.outer * change).sum(axis=1, keepdims=True)
        return product

    def along(self, directions: FloatArray) -> FloatArray:
        """Second derivatives along directions ``g``, ``g'(diag(d_i) - r_i r_i')g``: (m, K) -> (n, m)."""
        second = self.diagonal @ (directions**2).T
        if self.outer is not None:
            second -= (self.outer @ directions.T) ** 2
        return np.maximum(second, 0.0)

    def matrices(self) -> FloatArray:
        """Return the matrices themselves, (n, K, K)."""
        matrices: FloatArray = self.diagonal[:, :, None] * np.eye(self.diagonal.shape[1])
        if self.outer is not None:
            matrices -= self.outer[:, :, None] * self.outer[:, None, :]
        return matrices
