"""What projectors of every kind of cone share: proximal points and support functions with a memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from convexnn._typing import FloatArray, IndexArray, IntArray
from convexnn.cones._faces import face_bases
from convexnn_solvers.threads import in_parts

__all__ = ["Memory", "Projector", "tightened"]

# Passes over the data that a projection takes, roughly.
_PASSES = 4
_BATCH = 64


class Memory:
    """Active rows of the slots, the vectors ``R' lam`` that their multipliers add, lengths of slopes."""

    def __init__(self, n_slots: int, d: int) -> None:
        self.active: IndexArray = np.zeros((n_slots, d + 1), dtype=np.int32)
        self.sizes: IndexArray = np.zeros(n_slots, dtype=np.int32)
        self.shifts: FloatArray = np.zeros((n_slots, d))
        self.lengths: FloatArray = np.zeros(n_slots)


class Projector(ABC):
    """Nearest and proximal points of polyhedral cones.

    Work is addressed by *slots*: slot ``j`` is on cone ``j mod P``. For each slot the rows that were active
    the last time are remembered and tried first. What is remembered makes results faster, never wrong:
    bounds are proved by multipliers computed anew.

    Parameters
    ----------
    n_cones, n_rows, n_features : int
        Number P of cones, of the rows of each and of coordinates d.
    """

    def __init__(self, n_cones: int, n_rows: int, n_features: int) -> None:
        self.n_cones, self.n_rows, self.n_features = n_cones, n_rows, n_features
        self._memory = Memory(0, n_features)

    @abstractmethod
    def rows(self, owners: IntArray, indices: IntArray) -> FloatArray:
        """Rows of cones, which are ``{u : r.u >= 0 for all its rows r}``.

        Parameters
        ----------
        owners : ndarray of shape (B,)
            Cones.
        indices : ndarray of shape (B,)
            A row of each.

        Returns
        -------
        ndarray of float64, shape (B, d)
            Not scaled to unit length; zero rows are free.
        """

    @abstractmethod
    def _project(
        self, owners: IntArray, slots: IntArray, vectors: FloatArray, memory: Memory, threshold: float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Projections and multipliers, see `project`; starts from the memory's rows and leaves the last."""

    def remember(self, n_slots: int) -> Memory:
        """Return the memory of so many slots, or of more."""
        if len(self._memory.sizes) < n_slots:
            self._memory = Memory(n_slots, self.n_features)
        return self._memory

    def _run(
        self, kernel: Callable[[slice, FloatArray, FloatArray], None], n_vectors: int
    ) -> tuple[FloatArray, FloatArray]:
        """Call a kernel on parts of the vectors; it fills in parts of the projections and multipliers."""
        projected = np.empty((n_vectors, self.n_features))
        multipliers = np.zeros((n_vectors, self.n_features + 1))
        in_parts(
            lambda part: kernel(part, projected[part], multipliers[part]),
            n_vectors,
            _PASSES * n_vectors * self.n_rows * self.n_features,
        )
        return projected, multipliers

    def project(
        self, owners: IntArray, vectors: FloatArray, threshold: float = 0.0
    ) -> tuple[FloatArray, IndexArray, FloatArray]:
        """Project each vector on the cone of its owner, without the memory.

        Parameters
        ----------
        owners : ndarray of shape (B,)
            Cones.
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
        fresh = Memory(len(vectors), self.n_features)
        slots = np.arange(len(vectors))
        projected, multipliers = self._project(owners, slots, vectors, fresh, threshold)
        beyond = np.arange(self.n_features + 1) >= fresh.sizes[:, None]
        fresh.active[beyond], multipliers[beyond] = -1, 0.0
        return projected, fresh.active, multipliers

    def multipliers(self, slots: IntArray, vectors: FloatArray, n_slots: int) -> tuple[IntArray, FloatArray]:
        """Active rows and multipliers of the projections on the slots' cones, 0 beyond the active ones.

        Parameters
        ----------
        slots : ndarray of shape (B,)
            Distinct slots.
        vectors : ndarray of shape (B, d)
        n_slots : int
            Number of slots in use altogether.

        Returns
        -------
        rows : ndarray of shape (B, d + 1)
        multipliers : ndarray of shape (B, d + 1)
            Those of the rows scaled to unit length.
        """
        memory = self.remember(n_slots)
        _, multipliers = self._project(slots % self.n_cones, slots, vectors, memory)
        beyond = np.arange(self.n_features + 1) >= memory.sizes[slots][:, None]
        multipliers[beyond] = 0.0
        return memory.active[slots].astype(np.intp), multipliers

    def shrink(self, slots: IntArray, points: FloatArray, shrinkage: float, n_slots: int) -> FloatArray:
        """Proximal points ``argmin_u 1/2 |u - p|^2 + shrinkage |u|`` over the slots' cones.

        They are the projections with ``shrinkage`` taken off their norms.

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
        memory = self.remember(n_slots)
        projected, _ = self._project(slots % self.n_cones, slots, points, memory, shrinkage)
        norms = np.linalg.norm(projected, axis=1)
        left = 1.0 - np.divide(shrinkage, norms, out=np.ones_like(norms), where=norms > shrinkage)
        return np.asarray(left[:, None] * projected)

    def _faces(self, slots: IntArray, shrunk: FloatArray) -> tuple[IntArray, FloatArray]:
        """Orthonormal bases of the faces of the last results, the first vectors along them; their sizes."""
        d, sizes = self.n_features, self._memory.sizes[slots]
        counts = np.asarray(d - sizes, dtype=np.intp)
        used = np.arange(d + 1) < sizes[:, None]
        owners = np.repeat(slots % self.n_cones, sizes)
        normals = self.rows(owners, self._memory.active[slots][used].astype(np.intp))
        bases = np.empty((int(counts.sum()), d))
        ends, normal_ends = np.cumsum(counts), np.cumsum(sizes)

        def work(part: slice) -> None:
            first, last = part.start, part.stop - 1
            face_bases(
                normals[normal_ends[first] - sizes[first] : normal_ends[last]],
                sizes[part],
                shrunk[part],
                bases[ends[first] - counts[first] : ends[last]],
            )

        if len(slots):
            in_parts(work, len(slots), _PASSES * len(slots) * d**3)
        return counts, bases

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
            it is ``N' (N (I + shrinkage Hess|u|) N')^-1 N``, which is 1 along ``u`` and
            ``|u| / (|u| + shrinkage)`` across where all of ``u`` is in the norm.
        """
        counts, bases = self._faces(slots, shrunk)
        norms = np.linalg.norm(shrunk, axis=1)
        across = np.repeat(np.sqrt(norms / (norms + shrinkage)), counts)
        across[np.cumsum(counts) - counts] = 1.0
        bases *= across[:, None]
        return counts, bases

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
        memory = self.remember(n_slots)
        bounds = np.linalg.norm(vectors, axis=1)
        bounds = np.minimum(bounds, np.linalg.norm(vectors + memory.shifts[:n_slots], axis=1))

        def tighten(slots: IntArray, threshold: float) -> FloatArray:
            projected, _ = self._project(slots % self.n_cones, slots, vectors[slots], memory, threshold)
            memory.shifts[slots] = projected - vectors[slots]
            return np.asarray(np.linalg.norm(projected, axis=1))

        return tightened(bounds, tighten, threshold, n_largest)


def tightened(
    bounds: FloatArray,
    tighten: Callable[[IntArray, float], FloatArray],
    threshold: float,
    n_largest: int | None,
) -> FloatArray:
    """Replace bounds above a threshold by tight ones, the largest first.

    Parameters
    ----------
    bounds : ndarray of shape (n_slots,)
        Changed.
    tighten : callable
        Tight bounds for some slots; those at or below the threshold, which is its second argument, need not
        be tight.
    threshold, n_largest
        As in `Projector.support`.

    Returns
    -------
    ndarray of shape (n_slots,)
    """
    waiting = np.flatnonzero(bounds > threshold)
    waiting = waiting[np.argsort(-bounds[waiting], kind="stable")]
    settled = np.empty(0)
    batch = _BATCH if n_largest is not None else max(1, len(waiting))
    while waiting.size:
        slots, waiting = waiting[:batch], waiting[batch:]
        bounds[slots] = tighten(slots, threshold)
        if n_largest is not None:
            settled = np.concatenate([settled, bounds[slots]])
            if settled.size >= n_largest:
                threshold = max(threshold, float(np.partition(settled, -n_largest)[-n_largest]))
            waiting = waiting[bounds[waiting] > threshold]
    return bounds
