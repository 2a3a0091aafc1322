"""The explicit design: given matrices ``A_i``, blocks without cones. The program is a group lasso."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.designs.group_norm import group_derivative_factors, group_shrink
from convexnn_solvers.threads import in_parts

__all__ = ["ExplicitDesign"]

_CHUNK = 256


class ExplicitDesign:
    """Design operator of a group lasso: block ``i`` is multiplied by ``A_i = features[:, i, :]``.

    All coordinates are penalised: without cones, a free one would have no finite price.

    Parameters
    ----------
    features : ndarray of shape (n, P, d), float64
        Kept as it is where it is contiguous, not copied.

    Raises
    ------
    ValueError
        If `features` does not have three axes.

    References
    ----------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables", Journal of the
    Royal Statistical Society B 68, 2006.
    """

    def __init__(self, features: FloatArray) -> None:
        if features.ndim != 3:
            raise ValueError(
                f"features must have the shape (n_samples, n_blocks, n_features); got {features.shape}. "
                "Add an axis of length one for blocks of one weight."
            )
        self._blocks = np.ascontiguousarray(features, dtype=np.float64)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self._blocks.shape[0])

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self._blocks.shape[1])

    @property
    def n_features(self) -> int:
        """Number of weights in a block."""
        return int(self._blocks.shape[2])

    @property
    def penalized(self) -> BoolArray:
        """All of the coordinates."""
        return np.ones(self.n_features, dtype=np.bool_)

    @property
    def constrained(self) -> bool:
        """No block is confined to a cone."""
        return False

    @property
    def _matrix(self) -> FloatArray:
        """``[A_1 ... A_P]`` of shape (n, P d), a view."""
        return self._blocks.reshape(self.n_samples, self.n_blocks * self.n_features)

    def forward(self, weights: FloatArray) -> FloatArray:
        """``sum_i A_i weights[k, i]``: (K, P, d) -> (n, K); blocks that are zero cost nothing."""
        used = np.flatnonzero(weights.any(axis=(0, 2)))
        few = used.size < self.n_blocks
        blocks, weights = (self._blocks[:, used], weights[:, used]) if few else (self._blocks, weights)
        matrix, columns = blocks.reshape(self.n_samples, -1), weights.reshape(len(weights), -1).T
        outputs = np.empty((self.n_samples, columns.shape[1]))

        def work(part: slice) -> None:
            np.matmul(matrix[part], columns, out=outputs[part])

        in_parts(work, self.n_samples, 2.0 * matrix.size * columns.shape[1])
        return outputs

    def adjoint(self, dual: FloatArray) -> FloatArray:
        """``A_i' dual[:, k]``: (n, K) -> (K, P, d)."""
        matrix, n_outputs = self._matrix, dual.shape[1]
        gradients = np.empty((n_outputs, matrix.shape[1]))

        def work(part: slice) -> None:
            np.matmul(dual.T, matrix[:, part], out=gradients[:, part])

        in_parts(work, matrix.shape[1], 2.0 * matrix.size * n_outputs)
        return gradients.reshape(n_outputs, self.n_blocks, self.n_features)

    def features(self) -> sparse.csc_array:
        """``[A_1 ... A_P]`` of shape (n, P d)."""
        return sparse.csc_array(self._matrix)

    def cones(self) -> sparse.csc_array:
        """No rows, shape (0, P d)."""
        return sparse.csc_array((0, self.n_blocks * self.n_features))

    def violation(self, blocks: FloatArray) -> float:
        """0: all blocks are feasible."""
        del blocks
        return 0.0

    def project(self, blocks: FloatArray) -> FloatArray:
        """Return a copy of the blocks."""
        return blocks.copy()

    def support(self, gradients: FloatArray, threshold: float, n_largest: int | None = None) -> FloatArray:
        """Norms of the gradients: ``(..., P, d) -> (..., P)``."""
        del threshold, n_largest
        return np.asarray(np.linalg.norm(gradients, axis=-1))

    def block_outputs(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``A_i weights[j]`` for ``i = blocks[j]``: (B,), (B, d) -> (B, n)."""
        values = np.empty((len(blocks), self.n_samples))

        def work(part: slice) -> None:
            # Rows of one block come one after another and share a product.
            ends = part.start + 1 + np.flatnonzero(np.diff(blocks[part], append=-1))
            start = part.start
            for end in ends.tolist():
                np.matmul(weights[start:end], self._blocks[:, blocks[start]].T, out=values[start:end])
                start = end

        in_parts(work, len(blocks), 2.0 * len(blocks) * self.n_samples * self.n_features)
        return values

    def block_gradients(self, blocks: IntArray, dual: FloatArray, outputs: IntArray) -> FloatArray:
        """``A_i' dual[:, k]`` for ``i = blocks[j], k = outputs[j]``: (B,), (n, K), (B,) -> (B, d)."""
        gradients = np.empty((len(blocks), self.n_features))

        def work(part: slice) -> None:
            for k in range(dual.shape[1]):
                members = part.start + np.flatnonzero(outputs[part] == k)
                for start in range(0, members.size, _CHUNK):
                    chunk = members[start : start + _CHUNK]
                    matrix = self._blocks[:, blocks[chunk]].reshape(self.n_samples, -1)
                    gradients[chunk] = (dual[:, k] @ matrix).reshape(-1, self.n_features)

        in_parts(work, len(blocks), 2.0 * len(blocks) * self.n_samples * self.n_features)
        return gradients

    def gram(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``sum_j weights[j] A_i A_i'`` with ``i = blocks[j]``: (B,), (B,) -> (n, n)."""
        scaled = self._blocks[:, blocks] * np.sqrt(weights)[:, None]
        matrix = scaled.reshape(self.n_samples, -1)
        return np.asarray(matrix @ matrix.T)

    def shrink(self, slots: IntArray, points: FloatArray, shrinkage: float, n_slots: int) -> FloatArray:
        """``argmin_u 1/2 |u - p|^2 + shrinkage |u|`` for each point; see `group_shrink`."""
        del slots, n_slots
        return group_shrink(points, shrinkage)

    def derivative_factors(
        self, slots: IntArray, shrunk: FloatArray, shrinkage: float
    ) -> tuple[IntArray, FloatArray]:
        """Rows ``C`` with ``C' C`` the derivative of `shrink` at its last, non-zero results."""
        del slots
        return group_derivative_factors(shrunk, shrinkage)

    def normalized(self) -> None:
        """All coordinates are in the norm, which leaves no choice of others."""

    def restrict(self, indices: IntArray | Sequence[int]) -> "ExplicitDesign":
        """Return the design of a subset of the blocks."""
        return ExplicitDesign(self._blocks[:, np.asarray(indices, dtype=np.intp)])
