"""Second derivatives of a loss, which need no matrix for each sample."""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray

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

    def along(self, directions: FloatArray, out: FloatArray | None = None) -> FloatArray:
        """Second derivatives along directions ``g``, ``g'(diag(d_i) - r_i r_i')g``: (m, K) -> (n, m).

        They are written into an array if one is given.
        """
        second = np.matmul(self.diagonal, (directions**2).T, out=out)
        if self.outer is not None:
            product = self.outer @ directions.T
            product *= product
            second -= product
        return np.maximum(second, 0.0, out=second)

    def root(self) -> tuple[FloatArray, FloatArray | None]:
        """Return ``t_i`` and ``l_i`` of roots ``S_i = diag(t_i) (I - l_i l_i')``, ``S_i S_i'`` the matrices.

        With ``q = r / sqrt(d)`` the matrix between two factors ``sqrt(d)`` is ``I - q q'``, whose root takes
        ``1 - sqrt(1 - |q|^2)`` off the unit along ``q``.
        """
        scale = np.sqrt(np.maximum(self.diagonal, 0.0))
        if self.outer is None:
            return scale, None
        along = np.divide(self.outer, scale, out=np.zeros_like(scale), where=scale > 0)
        square = (along * along).sum(axis=1, keepdims=True)
        taken = 1.0 - np.sqrt(np.maximum(1.0 - square, 0.0))
        return scale, along * np.sqrt(np.divide(taken, square, out=np.zeros_like(square), where=square > 0))

    @property
    def total(self) -> float:
        """Sum of the traces."""
        outer = 0.0 if self.outer is None else float((self.outer**2).sum())
        return max(float(self.diagonal.sum()) - outer, 0.0)

    def between(self, k: int, m: int) -> FloatArray | None:
        """Entries of two outputs, (n,); None where these do not interact."""
        if self.outer is None:
            return self.diagonal[:, k] if k == m else None
        product = self.outer[:, k] * self.outer[:, m]
        return np.asarray(self.diagonal[:, k] - product if k == m else -product)

    def matrices(self) -> FloatArray:
        """Return the matrices themselves, (n, K, K)."""
        matrices: FloatArray = self.diagonal[:, :, None] * np.eye(self.diagonal.shape[1])
        if self.outer is not None:
            matrices -= self.outer[:, :, None] * self.outer[:, None, :]
        return matrices
