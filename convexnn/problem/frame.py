r"""Coordinates in which a problem is well conditioned, and the way back.

Rows ``x~`` become ``z = Q (x~ - m) / c`` and weights ``u' = c Q u``, so that every product ``u . x~`` and
with it the network's function stays what it is, while all norms grow by ``c``:

.. math:: \alpha \sum_j |u_j| |a_j| = \frac\alpha c \sum_j |u'_j| |a_j| .

``c`` is a power of two, so that scaling rounds nothing. Where the bias has no norm rows are centred too, ``u
. x + b = u . (x - m) + (b + u . m)``; with a penalised bias that would change its norm. ``Q`` has orthonormal
rows that span the rows of the data; it is used where these are fewer than the columns. The optimum lies in
their span, and a rotation changes no norm, so that nothing is lost.
"""

import math
from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray, HiddenBias

__all__ = ["Frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A change of coordinates.

    Attributes
    ----------
    centre : ndarray of shape (d,)
        ``m``, zero for the bias.
    scale : float
        ``c``, a power of two.
    basis : ndarray of shape (r, d) or None
        ``Q``; None stands for the identity. A bias without a norm is the last coordinate on both sides.
    free_bias : bool
        Whether the last coordinate is a bias without a norm, which is neither scaled nor turned.
    """

    centre: FloatArray
    scale: float
    basis: FloatArray | None
    free_bias: bool

    @classmethod
    def of(cls, rows: FloatArray, hidden_bias: HiddenBias) -> "Frame":
        """Return the coordinates for rows (n, d), the last column being one where there is a bias."""
        n, d = rows.shape
        free = hidden_bias == "free"
        turned = slice(0, d - 1) if free else slice(0, d)
        centre = np.zeros(d)
        if free:
            centre[turned] = rows[:, turned].mean(axis=0)
        centred = rows[:, turned] - centre[turned]
        largest = float(np.abs(centred).max(initial=0.0))
        scale = 2.0 ** round(math.log2(largest)) if largest > 0 else 1.0
        basis = None
        if 0 < n < centred.shape[1]:
            basis = np.zeros((n + free, d))
            basis[:n, turned] = np.linalg.qr((centred / scale).T)[0].T
            if free:
                basis[-1, -1] = 1.0
        return cls(centre, scale, basis, free)

    def _scaled(self, values: FloatArray, factor: float) -> FloatArray:
        """Multiply all coordinates but a free bias by a factor, in place."""
        values[:, : values.shape[1] - self.free_bias] *= factor
        return values

    def rows(self, rows: FloatArray) -> FloatArray:
        """Rows (n, d) in the new coordinates, (n, r)."""
        moved = self._scaled(rows - self.centre, 1.0 / self.scale)
        return np.ascontiguousarray(moved if self.basis is None else moved @ self.basis.T)

    def weights(self, weights: FloatArray) -> FloatArray:
        """Weights (m, d) in the new coordinates, (m, r); what is orthogonal to all rows is lost."""
        moved = np.array(weights, dtype=np.float64)
        if self.free_bias:
            moved[:, -1] += moved @ self.centre
        moved = moved if self.basis is None else moved @ self.basis.T
        return self._scaled(moved, self.scale)

    def original_weights(self, weights: FloatArray) -> FloatArray:
        """Weights (m, r) in the coordinates of the data, (m, d)."""
        moved = self._scaled(np.array(weights, dtype=np.float64), 1.0 / self.scale)
        moved = moved if self.basis is None else moved @ self.basis
        if self.free_bias:
            moved[:, -1] -= moved @ self.centre
        return np.ascontiguousarray(moved)
