"""Projections, proximal points and support functions on the cones of selections."""

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix, IndexArray, IntArray
from convexnn.cones._projection import project_on_selections
from convexnn.cones._remembering import Memory, Projector
from convexnn.cones._selections import products_inside
from convexnn_solvers.threads import in_parts

__all__ = ["SelectionProjector"]

_EPS = float(np.finfo(np.float64).eps)


class SelectionProjector(Projector):
    """Nearest and proximal points of the cones of weights whose max-pooled units take given patches.

    Where a sample takes patch ``m``, the cone has ``x_m . u >= x_l . u`` for its patches ``l`` and
    ``x_m . u >= 0``; where it takes none it has ``x_l . u <= 0``.

    Parameters
    ----------
    patches : ndarray of shape (n K, d), float64 or float32
        K patches for each sample, one sample after another.
    chosen : ndarray of int32, shape (P, n)
        The patch that each sample takes, 0 to K - 1 or -1 for none; see `convexnn.patterns.selection`.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures", ICLR 2021 (max pooling).
    """

    def __init__(self, patches: FloatMatrix, chosen: IndexArray) -> None:
        super().__init__(len(chosen), *patches.shape)
        self._patches, self._chosen = patches, chosen
        self._positions = len(patches) // chosen.shape[1]

    def rows(self, owners: IntArray, indices: IntArray) -> FloatArray:
        """Rows of cones, see `Projector.rows`."""
        samples = indices // self._positions
        chosen = self._chosen[owners, samples]
        taken = samples * self._positions + chosen
        own = np.asarray(self._patches[indices], dtype=np.float64)
        ahead = np.where(((chosen < 0) | (taken == indices))[:, None], 0.0, self._patches[taken])
        return np.where((taken == indices)[:, None], own, ahead - own)

    def _project(
        self, owners: IntArray, slots: IntArray, vectors: FloatArray, memory: Memory, threshold: float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Call the kernel; projections and multipliers."""
        vectors = np.ascontiguousarray(vectors)

        def kernel(part: slice, projected: FloatArray, multipliers: FloatArray) -> None:
            project_on_selections(
                self._patches,
                self._chosen,
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

    def inside(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """``r.v / |r|`` for each vector and row of its cone, (B, d), (B,) -> (B, n K); 0 for zero rows."""
        return self._products(vectors, owners, absolute=False)

    def rounding(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Bounds of the errors of `inside`, (B, d), (B,) -> (B, n K)."""
        return 4 * self.n_features * _EPS * self._products(vectors, owners, absolute=True)

    def _products(self, vectors: FloatArray, owners: IntArray, *, absolute: bool) -> FloatArray:
        products = np.empty((len(vectors), self.n_rows))
        vectors = np.ascontiguousarray(vectors)

        def work(part: slice) -> None:
            products_inside(
                self._patches, self._chosen, owners[part], vectors[part], absolute, products[part]
            )

        in_parts(work, len(vectors), 4.0 * products.size * self.n_features)
        return products
