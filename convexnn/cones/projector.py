"""Projections, proximal points and support functions on the cones of many patterns, with a memory."""

import numpy as np

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IntArray, WordArray
from convexnn.cones._projection import project_on_cones
from convexnn.cones._remembering import Memory, Projector
from convexnn.cones._slopes import shrink_slopes_on_cones

__all__ = ["ConeProjector"]


class ConeProjector(Projector):
    """Nearest and proximal points of the cones ``{u : (2 D_i - I) X u >= 0}``.

    With a free coordinate the norm of proximal points is that of the others, the slope, and they are no
    longer projections with the shrinkage taken off.

    Parameters
    ----------
    X : ndarray of shape (n, d), float64 or float32
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns.
    lengths : ndarray of shape (n,)
        Norms of the rows, 1 for zero rows.
    penalized : ndarray of bool, shape (d,)
        Which coordinates the norm of proximal points counts; at most one may be left out.
    """

    def __init__(self, X: FloatMatrix, bits: WordArray, lengths: FloatArray, penalized: BoolArray) -> None:
        super().__init__(len(bits), *X.shape)
        self._X = X
        self._bits = bits
        self._inverse = np.where(X.any(axis=1), 1.0 / lengths, 0.0)
        free = np.flatnonzero(~penalized)
        self._free = int(free[0]) if free.size else -1

    def rows(self, owners: IntArray, indices: IntArray) -> FloatArray:
        """Rows of cones, see `Projector.rows`."""
        on = (self._bits[owners, indices >> 6] >> (indices & 63).astype(np.uint64)) & np.uint64(1)
        return np.asarray(np.where(on[:, None], 1.0, -1.0) * self._X[indices])

    def _project(
        self,
        owners: IntArray,
        slots: IntArray,
        vectors: FloatArray,
        memory: Memory,
        threshold: float = 0.0,
    ) -> tuple[FloatArray, FloatArray]:
        """Call the kernel; projections and multipliers."""
        vectors = np.ascontiguousarray(vectors)

        def kernel(part: slice, projected: FloatArray, multipliers: FloatArray) -> None:
            project_on_cones(
                self._X,
                self._inverse,
                self._bits,
                owners[part],
                slots[part],
                vectors[part],
                threshold,
                memory.active,
                memory.sizes,
                multipliers,
                projected,
            )

        return self._run(kernel, len(vectors))

    def shrink(self, slots: IntArray, points: FloatArray, shrinkage: float, n_slots: int) -> FloatArray:
        """Proximal points, see `Projector.shrink`; with a free coordinate in the norm of the others."""
        if self._free < 0:
            return super().shrink(slots, points, shrinkage, n_slots)
        return self._shrink_slopes(slots, points, shrinkage, self.remember(n_slots))

    def _shrink_slopes(
        self, slots: IntArray, points: FloatArray, shrinkage: float, memory: Memory
    ) -> FloatArray:
        """``argmin_u 1/2 |u - p|^2 + shrinkage |u_slope|`` over the cones; see `shrink_slopes_on_cones`."""
        points, owners = np.ascontiguousarray(points), slots % self.n_cones

        def kernel(part: slice, shrunk: FloatArray, _: FloatArray) -> None:
            shrink_slopes_on_cones(
                self._X,
                self._inverse,
                self._bits,
                owners[part],
                slots[part],
                points[part],
                shrinkage,
                self._free,
                memory.active,
                memory.sizes,
                memory.lengths,
                shrunk,
            )

        return self._run(kernel, len(points))[0]

    def derivative_factors(
        self, slots: IntArray, shrunk: FloatArray, shrinkage: float
    ) -> tuple[IntArray, FloatArray]:
        """Factors of derivatives, see `Projector.derivative_factors`.

        With a free coordinate ``N (I + shrinkage Hess|u_slope|) N'`` is 1 along ``u`` and
        ``1 + shrinkage / |u_slope|`` across, but for one direction across: the part in the face of the free
        coordinate's unit vector, in which less of a slope changes. A point without a slope can move along
        the free coordinate only.
        """
        if self._free < 0 or not len(slots):
            return super().derivative_factors(slots, shrunk, shrinkage)
        counts, bases = self._faces(slots, shrunk)
        starts, owners = np.cumsum(counts) - counts, np.repeat(np.arange(len(slots)), counts)
        slope = np.arange(self.n_features) != self._free
        norms, lengths = np.linalg.norm(shrunk, axis=1), np.linalg.norm(shrunk[:, slope], axis=1)
        moving = lengths > 0
        ratios = np.divide(shrinkage, lengths, out=np.zeros_like(lengths), where=moving)
        across = np.where(moving, 1.0 / np.sqrt(1.0 + ratios), 0.0)

        # The part in the face of the free coordinate's unit vector: along u, and across in the basis.
        along = shrunk[:, self._free] / norms
        leaning = bases[:, self._free].copy()
        leaning[starts] = 0.0
        squares = np.add.reduceat(leaning**2, starts)
        lean = np.add.reduceat(leaning[:, None] * bases, starts)
        in_face = lean[:, slope] + (along / norms)[:, None] * shrunk[:, slope]
        share = squares + along**2
        steep = np.divide((in_face**2).sum(axis=1), share, out=np.ones_like(share), where=share > 0)
        relative = np.divide(norms, lengths, out=np.zeros_like(norms), where=moving)
        less = np.where(moving, 1.0 / np.sqrt(1.0 + ratios * relative**2 * steep), 0.0)

        factors = across[owners, None] * bases
        factors[starts] = bases[starts]
        extra = np.divide(less - across, squares, out=np.zeros_like(squares), where=squares > 0)
        factors += (leaning * extra[owners])[:, None] * lean[owners]
        return counts, factors
