"""The linear maps ``A_i = sum_k (on D_i^k + off (I - D_i^k)) X_k`` of patterns, never formed."""

from functools import cached_property

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix, IntArray
from convexnn.activations import Activation
from convexnn.patterns import PatternSet, apply_patterns, pool_matrix, pool_outputs, spread_dual
from convexnn.programs._precision import times, times_transposed
from convexnn_solvers.threads import in_parts

__all__ = ["MaskedMaps"]

_CHUNK = 256
# Of pooled layers so many blocks at a time, and products of so many numbers, which stay in the cache.
_POOLED_CHUNK, _PRODUCTS = 32, 1 << 17


class MaskedMaps:
    """What a hidden layer is on each of its patterns, over one or several rows for each sample.

    Two masked matrix products serve every request. Rows of one sample are added up, the products of
    some samples at a time: they are never all in memory.

    Parameters
    ----------
    X : ndarray of shape (n K, d), float64 or float32
        Rows as the hidden units see them, K of them for each sample, one sample after another.
    patterns : PatternSet
        Patterns of the rows.
    activation : Activation
    positions : int
        K.
    """

    def __init__(
        self, X: FloatMatrix, patterns: PatternSet, activation: Activation, positions: int = 1
    ) -> None:
        self.X, self.patterns, self.positions = X, patterns, positions
        self.n_samples, self.n_features = len(X) // positions, int(X.shape[1])
        self._slopes = (activation.on, activation.off)

    @cached_property
    def _inner_products(self) -> FloatArray:
        """``X X'``."""
        products = np.empty((self.n_samples, self.n_samples))
        times_transposed(np.asarray(self.X, dtype=np.float64), self.X, products)
        return products

    def outputs(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``A_i weights[j]`` for ``i = blocks[j]``: (B,), (B, d) -> (B, n)."""
        values = np.empty((len(blocks), self.n_samples))

        def work(part: slice) -> None:
            if self.positions > 1:
                self._pooled_outputs(blocks[part], weights[part], values[part])
                return
            times_transposed(weights[part], self.X, values[part])
            apply_patterns(self.patterns.bits, blocks[part], *self._slopes, values[part])

        in_parts(work, len(blocks), 2.0 * len(blocks) * self.X.size)
        return values

    def gradients(self, blocks: IntArray, dual: FloatArray, outputs: IntArray) -> FloatArray:
        """``A_i' dual[:, k]`` for ``i = blocks[j], k = outputs[j]``: (B,), (n, K), (B,) -> (B, d)."""
        columns = np.ascontiguousarray(dual.T)
        gradients = np.empty((len(blocks), self.n_features))

        def work(part: slice) -> None:
            if self.positions > 1:
                self._pooled_gradients(blocks[part], columns, outputs[part], gradients[part])
                return
            for start in range(part.start, part.stop, _CHUNK):
                chunk = slice(start, min(start + _CHUNK, part.stop))
                values = columns[outputs[chunk]]
                apply_patterns(self.patterns.bits, blocks[chunk], *self._slopes, values)
                times(values, self.X, gradients[chunk])

        in_parts(work, len(blocks), 2.0 * len(blocks) * self.X.size)
        return gradients

    def _parts(self, n_blocks: int) -> list[tuple[slice, slice]]:
        """Pairs of blocks and rows whose products fit into the cache; the rows of whole samples."""
        samples = max(1, _PRODUCTS // (_POOLED_CHUNK * self.positions))
        step = samples * self.positions
        rows = [slice(low, min(low + step, len(self.X))) for low in range(0, len(self.X), step)]
        chunks = [slice(low, min(low + _POOLED_CHUNK, n_blocks)) for low in range(0, n_blocks, _POOLED_CHUNK)]
        return [(chunk, part) for part in rows for chunk in chunks]

    def _pooled_outputs(self, blocks: IntArray, weights: FloatArray, pooled: FloatArray) -> None:
        for chunk, rows in self._parts(len(blocks)):
            X = self.X[rows]
            values = np.empty((chunk.stop - chunk.start, len(X)))
            times_transposed(weights[chunk], X, values)
            pool_outputs(
                self.patterns.bits,
                blocks[chunk],
                *self._slopes,
                rows.start,
                self.positions,
                values,
                pooled[chunk],
            )

    def _pooled_gradients(
        self, blocks: IntArray, columns: FloatArray, outputs: IntArray, gradients: FloatArray
    ) -> None:
        gradients[:] = 0.0
        for chunk, rows in self._parts(len(blocks)):
            X = self.X[rows]
            values = np.empty((chunk.stop - chunk.start, len(X)))
            spread_dual(
                self.patterns.bits,
                blocks[chunk],
                *self._slopes,
                rows.start,
                self.positions,
                columns,
                outputs[chunk],
                values,
            )
            product = np.empty((len(values), self.n_features))
            times(values, X, product)
            gradients[chunk] += product

    def matrices(self, blocks: IntArray) -> FloatArray:
        """``A_i`` for ``i = blocks[j]``, (B,) -> (B, n, d)."""
        matrices = np.empty((len(blocks), self.n_samples, self.n_features))

        def work(part: slice) -> None:
            pool_matrix(
                self.patterns.bits, blocks[part], *self._slopes, self.positions, self.X, matrices[part]
            )

        in_parts(work, len(blocks), 2.0 * len(blocks) * self.X.size)
        return matrices

    def gram(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``sum_j weights[j] A_i A_i'`` with ``i = blocks[j]``: (B,), (B,) -> (n, n).

        With one row for each sample slopes of the patterns enter as ``(sum_j weights[j] s_i s_i') * X X'``,
        entry by entry.
        """
        total: FloatArray
        if self.positions == 1:
            slopes = np.where(self.patterns.take(blocks).to_dense(), *self._slopes)
            slopes *= np.sqrt(weights)[:, None]
            total = (slopes.T @ slopes) * self._inner_products
            return total
        total = np.zeros((self.n_samples, self.n_samples))
        for low in range(0, len(blocks), _POOLED_CHUNK):
            chunk = slice(low, low + _POOLED_CHUNK)
            matrices = self.matrices(blocks[chunk]) * np.sqrt(weights[chunk])[:, None, None]
            flat = matrices.transpose(1, 0, 2).reshape(self.n_samples, -1)
            total += flat @ flat.T
        return total
