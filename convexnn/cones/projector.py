"""Projections, proximal points and support functions on the cones of many patterns, with a memory."""

from itertools import repeat

import numpy as np

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IndexArray, IntArray, WordArray
from convexnn.cones._faces import face_bases
from convexnn.cones._projection import project_on_cones
from convexnn.patterns import unpack_bits
from convexnn_solvers.threads import in_parts

__all__ = ["ConeProjector"]

# Passes over the data that a projection takes, roughly.
_PASSES = 4
_VANISHED = 1e-10
_ROOT_STEPS = 100
_ROOT_TOLERANCE = 1e-14
_BATCH = 64


class ConeProjector:
    """Nearest and proximal points of the cones ``{u : (2 D_i - I) X u >= 0}``.

    Work is addressed by *slots*: slot ``j`` is on the cone of pattern ``j mod P``. For each slot the rows
    that were active the last time are remembered and tried first. What is remembered makes results
    faster, never wrong: bounds are proved by multipliers computed anew.

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
        self._X = X
        self._bits = bits
        self._inverse = np.where(X.any(axis=1), 1.0 / lengths, 0.0)
        free = np.flatnonzero(~penalized)
        self._free = int(free[0]) if free.size else -1
        self._memory = _Memory(0, X.shape[1])

    def _remember(self, n_slots: int) -> "_Memory":
        """Return the memory, of at least so many slots."""
        if len(self._memory.sizes) < n_slots:
            self._memory = _Memory(n_slots, self._X.shape[1])
        return self._memory

    def project(
        self, owners: IntArray, vectors: FloatArray, threshold: float = 0.0
    ) -> tuple[FloatArray, IndexArray, FloatArray]:
        """Project each vector on the cone of its owner, without the memory.

        Parameters
        ----------
        owners : ndarray of shape (B,)
            Patterns.
        vectors : ndarray of shape (B, d)
        threshold : float
            Vectors may stop outside the cone once their norm is at most this.

        Returns
        -------
        projected : ndarray of shape (B, d)
        rows : ndarray of int32, shape (B, d + 1)
            Active rows, then -1.
        multipliers : ndarray of shape (B, d + 1)
            Those of the active rows scaled to unit length, then 0.
        """
        fresh = _Memory(len(vectors), self._X.shape[1])
        slots = np.arange(len(vectors))
        projected, multipliers = self._project(owners, slots, vectors, fresh, threshold)
        beyond = np.arange(self._X.shape[1] + 1) >= fresh.sizes[:, None]
        fresh.active[beyond], multipliers[beyond] = -1, 0.0
        return projected, fresh.active, multipliers

    def _project(
        self,
        owners: IntArray,
        slots: IntArray,
        vectors: FloatArray,
        memory: "_Memory",
        threshold: float = 0.0,
        ratios: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Call the kernel; projections and multipliers."""
        vectors = np.ascontiguousarray(vectors)
        ratios = np.zeros(len(vectors)) if ratios is None else ratios
        projected = np.empty(vectors.shape)
        multipliers = np.zeros((len(vectors), self._X.shape[1] + 1))

        def work(part: slice) -> None:
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
                multipliers[part],
                projected[part],
            )

        in_parts(work, len(vectors), _PASSES * len(vectors) * self._X.size)
        return projected, multipliers

    def shrink(self, slots: IntArray, points: FloatArray, shrinkage: float, n_slots: int) -> FloatArray:
        """Proximal points ``argmin_u 1/2 |u - p|^2 + shrinkage |u|`` over the slots' cones.

        They are the projections with ``shrinkage`` taken off their norms; with a free coordinate the norm is
        that of the others.

        Parameters
        ----------
        slots : ndarray of shape (B,)
            Distinct slots.
        points : ndarray of shape (B, d)
        shrinkage : float
        n_slots : int
            Number of slots in use altogether.

        Returns
        -------
        ndarray of shape (B, d)
        """
        memory, owners = self._remember(n_slots), slots % len(self._bits)
        if self._free >= 0:
            return self._shrink_slopes(owners, slots, points, shrinkage, memory)
        projected, _ = self._project(owners, slots, points, memory, shrinkage)
        norms = np.linalg.norm(projected, axis=1)
        left = 1.0 - np.divide(shrinkage, norms, out=np.ones_like(norms), where=norms > shrinkage)
        return np.asarray(left[:, None] * projected)

    def _shrink_slopes(
        self, owners: IntArray, slots: IntArray, points: FloatArray, shrinkage: float, memory: "_Memory"
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
        """Factors of the derivatives of `shrink` at the points it returned last.

        Parameters
        ----------
        slots : ndarray of shape (B,)
        shrunk : ndarray of shape (B, d)
            Results of `shrink` for those slots, none of them zero.
        shrinkage : float

        Returns
        -------
        counts : ndarray of shape (B,)
            Number of rows of each point.
        factors : ndarray of shape (sum of counts, d)
            With the rows ``C`` of a point its derivative is ``C' C``: on a face with orthonormal basis ``N``
            it is ``N' (N (I + shrinkage Hess|u|) N')^-1 N``. Without a free coordinate that is 1 along
            ``u`` and ``|u| / (|u| + shrinkage)`` across.
        """
        counts = np.asarray(self._X.shape[1] - self._memory.sizes[slots], dtype=np.intp)
        bases = np.empty((int(counts.sum()), self._X.shape[1]))
        ends = np.cumsum(counts)

        def work(part: slice) -> None:
            rows = slice(ends[part.start] - counts[part.start], ends[part.stop - 1])
            face_bases(
                self._X, slots[part], shrunk[part], self._memory.active, self._memory.sizes, bases[rows]
            )

        if not len(slots):
            return counts, bases
        in_parts(work, len(slots), _PASSES * len(slots) * self._X.shape[1] ** 3)
        if self._free >= 0:
            return counts, np.vstack(
                list(map(self._whitened, np.split(bases, ends[:-1]), shrunk, repeat(shrinkage)))
            )
        norms = np.linalg.norm(shrunk, axis=1)
        across = np.repeat(np.sqrt(norms / (norms + shrinkage)), counts)
        across[ends - counts] = 1.0
        return counts, across[:, None] * bases

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

    def support(self, vectors: FloatArray, threshold: float, n_largest: int | None) -> FloatArray:
        """Upper bounds of ``max {g.u : u in C, |u| <= 1}``, one vector for each slot.

        The largest are settled first, so that most of the others need no more than the bound that their
        remembered multipliers give.

        Parameters
        ----------
        vectors : ndarray of shape (n_slots, d)
        threshold : float
        n_largest : int or None
            So many of the largest bounds above the threshold are tight; all of them with None.

        Returns
        -------
        ndarray of shape (n_slots,)
        """
        n_slots = len(vectors)
        memory = self._remember(n_slots)
        bounds = np.linalg.norm(vectors, axis=1)
        bounds = np.minimum(bounds, np.linalg.norm(vectors + memory.shifts[:n_slots], axis=1))
        waiting = np.flatnonzero(bounds > threshold)
        waiting = waiting[np.argsort(-bounds[waiting], kind="stable")]
        settled = np.empty(0)
        batch = _BATCH if n_largest is not None else max(1, len(waiting))
        while waiting.size:
            slots, waiting = waiting[:batch], waiting[batch:]
            projected, _ = self._project(slots % len(self._bits), slots, vectors[slots], memory, threshold)
            memory.shifts[slots] = projected - vectors[slots]
            bounds[slots] = np.linalg.norm(projected, axis=1)
            if n_largest is not None:
                settled = np.concatenate([settled, bounds[slots]])
                if settled.size >= n_largest:
                    threshold = max(threshold, float(np.partition(settled, -n_largest)[-n_largest]))
                waiting = waiting[bounds[waiting] > threshold]
        return np.asarray(bounds)


class _Memory:
    """Active rows of the slots and the vectors ``R' lam`` that their multipliers add."""

    def __init__(self, n_slots: int, d: int) -> None:
        self.active: IndexArray = np.zeros((n_slots, d + 1), dtype=np.int32)
        self.sizes: IndexArray = np.zeros(n_slots, dtype=np.int32)
        self.shifts: FloatArray = np.zeros((n_slots, d))
