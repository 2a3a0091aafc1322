"""Projections, proximal points and support functions on the cones of many patterns, with a memory."""

from itertools import repeat

import numpy as np

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IntArray, WordArray
from convexnn.cones._projection import project_on_cones
from convexnn.cones._remembering import Memory, Projector
from convexnn.patterns import unpack_bits

__all__ = ["ConeProjector"]

_VANISHED = 1e-10
_ROOT_STEPS = 100
_ROOT_TOLERANCE = 1e-14


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
        ratios: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Call the kernel; projections and multipliers."""
        vectors = np.ascontiguousarray(vectors)
        ratios = np.zeros(len(vectors)) if ratios is None else ratios

        def kernel(part: slice, projected: FloatArray, multipliers: FloatArray) -> None:
            project_on_cones(
                self._X,
                self._inverse,
                self._bits,
                owners[part],
                slots[part],
                vectors[part],
                threshold,
                ratios[part],
                self._free,
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
        return self._shrink_slopes(slots % self.n_cones, slots, points, shrinkage, self._remember(n_slots))

    def _shrink_slopes(
        self, owners: IntArray, slots: IntArray, points: FloatArray, shrinkage: float, memory: Memory
    ) -> FloatArray:
        """``argmin_u 1/2 |u - p|^2 + shrinkage |u_slope|`` over the cones, all coordinates but one the slope.

        For the right length ``r`` of the slope that is the minimiser with ``shrinkage |u_slope|^2 / (2 r)``
        instead, a projection in a scaled metric. ``|u_slope(r)| / r`` falls with ``r``, so that the right
        length is a root, found by the Illinois method with bisections in between.
        """
        slope = np.arange(points.shape[1]) != self._free
        shrunk = np.zeros(points.shape)

        def excess(chosen: IntArray, lengths: FloatArray) -> FloatArray:
            shrunk[chosen], _ = self._project(
                owners[chosen], slots[chosen], points[chosen], memory, ratios=shrinkage / lengths
            )
            return np.asarray(np.linalg.norm(shrunk[chosen][:, slope], axis=1) - lengths)

        everything = np.arange(len(points))
        shrunk[:], _ = self._project(owners, slots, points, memory)
        high = np.linalg.norm(shrunk[:, slope], axis=1)
        vanishing = high <= _VANISHED * np.linalg.norm(points, axis=1)
        low = _VANISHED * np.where(vanishing, 1.0, high)
        low_excess, high_excess = excess(everything, low), -high
        vanishing |= low_excess <= 0
        left = np.flatnonzero(~vanishing)
        for step in range(_ROOT_STEPS):
            if left.size == 0:
                break
            a, b, fa, fb = low[left], high[left], low_excess[left], high_excess[left]
            length = np.sqrt(a * b) if step % 4 == 0 else (a * fb - b * fa) / (fb - fa)
            found = excess(left, length)
            short = found > 0
            low[left], high[left] = np.where(short, length, a), np.where(short, b, length)
            low_excess[left] = np.where(short, found, 0.5 * fa)
            high_excess[left] = np.where(short, 0.5 * fb, found)
            narrow = high[left] - low[left] <= _ROOT_TOLERANCE * high[left]
            left = left[(np.abs(found) > _ROOT_TOLERANCE * length) & ~narrow]
        shrunk[vanishing] = 0.0
        shrunk[vanishing, self._free] = self._constants(owners[vanishing], points[vanishing, self._free])
        memory.sizes[slots[vanishing]] = 0
        return shrunk

    def _constants(self, owners: IntArray, values: FloatArray) -> FloatArray:
        """Nearest numbers that the cones allow as the free coordinate of otherwise zero vectors."""
        sides = np.where(unpack_bits(self._bits[owners], len(self._X)), 1.0, -1.0) * self._X[:, self._free]
        allowed = (np.sign(values)[:, None] * sides >= 0).all(axis=1)
        return np.where(allowed, values, 0.0)

    def derivative_factors(
        self, slots: IntArray, shrunk: FloatArray, shrinkage: float
    ) -> tuple[IntArray, FloatArray]:
        """Factors of derivatives, see `Projector.derivative_factors`."""
        if self._free < 0 or not len(slots):
            return super().derivative_factors(slots, shrunk, shrinkage)
        counts, bases = self._faces(slots, shrunk)
        parts = np.split(bases, np.cumsum(counts)[:-1])
        return counts, np.vstack(list(map(self._whitened, parts, shrunk, repeat(shrinkage))))

    def _whitened(self, basis: FloatArray, u: FloatArray, shrinkage: float) -> FloatArray:
        """Rows ``L^-1 N`` with ``L L' = N (I + shrinkage Hess|u_slope|) N'``, for a basis ``N`` of the face.

        The Hessian is ``(I - s s') / |u_slope|`` with the unit slope ``s``. A point without a slope can move
        along the free coordinate only.
        """
        slope = np.arange(len(u)) != self._free
        norm = np.linalg.norm(u[slope])
        if norm == 0:
            rows = np.zeros(basis.shape)
            rows[0, self._free] = 1.0
            return rows
        along = basis[:, slope] @ u[slope] / norm
        curvature = basis[:, slope] @ basis[:, slope].T - np.outer(along, along)
        lower = np.linalg.cholesky(np.eye(len(basis)) + shrinkage / norm * curvature)
        return np.asarray(np.linalg.solve(lower, basis))
