"""The linear maps ``A_i = sum_k (on D_i^k + off (I - D_i^k)) X_k`` of patterns, never formed."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix, IntArray
from convexnn.activations import Activation
from convexnn.designs.precision import times, times_transposed
from convexnn.patterns import PatternSet, apply_patterns, pool_matrix, pool_outputs, spread_dual
from convexnn_solvers.threads import in_parts, sum_of_parts

__all__ = ["MaskedMaps"]

# So many blocks at a time, and products of so many numbers, which stay in the cache.
_BLOCKS, _PRODUCTS = 256, 1 << 17


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

    def _chunks(self, n_blocks: int, samples: slice) -> Iterator[tuple[slice, slice, slice]]:
        """Blocks, samples and their rows, so many at a time that their products fit into the cache."""
        step = max(1, _PRODUCTS // (min(max(n_blocks, 1), _BLOCKS) * self.positions))
        for low in range(samples.start, samples.stop, step):
            part = slice(low, min(low + step, samples.stop))
            rows = slice(part.start * self.positions, part.stop * self.positions)
            for first in range(0, n_blocks, _BLOCKS):
                yield slice(first, min(first + _BLOCKS, n_blocks)), part, rows

    def outputs(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``A_i weights[j]`` for ``i = blocks[j]``: (B,), (B, d) -> (B, n)."""
        values = np.empty((len(blocks), self.n_samples))

        def multiply(part: slice) -> None:
            times_transposed(weights[part], self.X, values[part])
            apply_patterns(self.patterns.bits, blocks[part], *self._slopes, values[part])

        def pool(samples: slice) -> None:
            for chunk, part, rows in self._chunks(len(blocks), samples):
                owners = blocks[chunk]
                products = np.empty((len(owners), rows.stop - rows.start))
                times_transposed(weights[chunk], self.X[rows], products)
                apply_patterns(self.patterns.bits, owners, *self._slopes, products, rows.start)
                pool_outputs(products, self.positions, part.start, values[chunk])

        operations = 2.0 * len(blocks) * self.X.size
        if self.positions == 1:
            in_parts(multiply, len(blocks), operations)
        else:
            in_parts(pool, self.n_samples, operations)
        return values

    def gradients(self, blocks: IntArray, dual: FloatArray, outputs: IntArray) -> FloatArray:
        """``A_i' dual[:, k]`` for ``i = blocks[j], k = outputs[j]``: (B,), (n, K), (B,) -> (B, d)."""

        def work(samples: slice) -> FloatArray:
            gradients = np.zeros((len(blocks), self.n_features))
            for chunk, part, rows in self._chunks(len(blocks), samples):
                owners = blocks[chunk]
                pulls = dual[part].T
                if self.positions > 1:
                    pulls = np.repeat(pulls, self.positions, axis=1)
                pulls = np.ascontiguousarray(pulls)
                values, product = np.empty((len(owners), pulls.shape[1])), np.empty_like(gradients[chunk])
                spread_dual(
                    self.patterns.bits, owners, *self._slopes, rows.start, pulls, outputs[chunk], values
                )
                times(values, self.X[rows], product)
                gradients[chunk] += product
            return gradients

        return sum_of_parts(work, self.n_samples, 2.0 * len(blocks) * self.X.size)

    def _stacked(self, blocks: IntArray) -> FloatArray:
        """``A_i`` side by side for each sample, (B,) -> (n, B, d)."""
        stacked = np.empty((self.n_samples, len(blocks), self.n_features))

        def work(samples: slice) -> None:
            for chunk, part, rows in self._chunks(len(blocks), samples):
                pool_matrix(
                    self.patterns.bits,
                    blocks[chunk],
                    *self._slopes,
                    self.positions,
                    self.X[rows],
                    stacked[part, chunk],
                    rows.start,
                )

        in_parts(work, self.n_samples, 2.0 * len(blocks) * self.X.size)
        return stacked

    def matrices(self, blocks: IntArray) -> FloatArray:
        """``A_i`` for ``i = blocks[j]``, (B,) -> (B, n, d)."""
        return self._stacked(blocks).transpose(1, 0, 2)

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
        for low in range(0, len(blocks), _BLOCKS):
            chunk = slice(low, low + _BLOCKS)
            stacked = self._stacked(blocks[chunk])
            stacked *= np.sqrt(weights[chunk])[:, None]
            flat = stacked.reshape(self.n_samples, -1)
            total += flat @ flat.T
        return total
