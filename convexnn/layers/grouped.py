"""Layers whose gain is one of groups of rows: max pooling."""

import numpy as np

from convexnn._random import as_generator
from convexnn._typing import FloatArray, RandomState, WordArray
from convexnn.designs import MaxDesign
from convexnn.layers.summed import HiddenLayer
from convexnn.patterns import PatternSet
from convexnn.patterns.selection import enumerate_selections, selection_bits, selection_patterns
from convexnn.pricing.bounds import SupportBounds
from convexnn.pricing.grouped import gain_bounds
from convexnn.pricing.grouped_ascent import ascend
from convexnn.pricing.grouped_gain import GroupedGain

__all__ = ["GroupedLayer", "MaxLayer"]


class GroupedLayer(HiddenLayer):
    """A layer whose gain is one of groups of rows; all weights are in the norm."""

    bounds_outputs_jointly = True

    def grouped(self, theta: FloatArray) -> GroupedGain:
        """Return the gain of all outputs together at a dual point (n, q)."""
        raise NotImplementedError

    def maxima(
        self,
        theta: FloatArray,
        near: FloatArray,
        *,
        n_starts: int = 40,
        seed: int = 0,
        time_limit: float | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Ascend ``|theta' layer(u)| / |u|``, theta (n,) or (n, q), from many starts; see `HiddenLayer`."""
        gain = self.grouped(theta.reshape(len(theta), -1))
        weights, values = ascend(gain, near.T, n_starts, seed, time_limit)
        return weights.T, values

    def bounds(
        self,
        theta: FloatArray,
        *,
        threshold: float,
        tol: float = 1e-7,
        stop_above: float = np.inf,
        time_limit: float | None = None,
        max_nodes: float = np.inf,
    ) -> SupportBounds:
        """Bound ``max |theta . layer(u)| / |u|``, theta (n,) or, for all outputs together, (n, q)."""
        return gain_bounds(
            self.grouped(theta.reshape(len(theta), -1)),
            threshold=threshold,
            tol=tol,
            stop_above=stop_above,
            time_limit=time_limit,
            max_nodes=max_nodes,
        )

    def relaxed(self, theta: FloatArray, time_limit: float | None) -> float:
        """Upper bound of the same by the triangle inequality."""
        del time_limit
        return self.grouped(theta[:, None]).bound


class MaxLayer(GroupedLayer):
    """Neurons ``u`` with ``layer(u)_i = max_k max(x_ik . u, 0)``; patterns say which row a sample takes."""

    selects = True

    def _pooled(self, products: FloatArray) -> FloatArray:
        largest: FloatArray = products.max(axis=1, keepdims=True)
        return np.maximum(largest, 0.0)

    def _pooled_reach(self, by_row: FloatArray) -> FloatArray:
        return np.asarray(by_row.max(axis=1))

    def design(self, patterns: PatternSet) -> MaxDesign:
        """Return the design operator of a program over selections of the rows."""
        return MaxDesign(self.rows, patterns, self.positions)

    def patterns(self, weights: FloatArray) -> PatternSet:
        """Distinct selections of weights (m, d); see `selection_patterns`."""
        return selection_patterns(self.rows, self.positions, weights)

    def bits(self, weights: FloatArray) -> WordArray:
        """Packed selections of weights (m, d)."""
        return selection_bits(self.rows, self.positions, weights)

    def all_patterns(self, max_patterns: int) -> PatternSet:
        """All selections; raises PatternBudgetError if they are too many to list."""
        return enumerate_selections(self.rows, self.positions, max_patterns=max_patterns)

    def some_patterns(self, n_patterns: int, random_state: RandomState) -> tuple[PatternSet, bool]:
        """Return the distinct selections of so many Gaussian weights."""
        weights = as_generator(random_state).standard_normal((n_patterns, self.n_weights))
        return self.patterns(weights), False

    def has(self, patterns: PatternSet) -> bool:
        """Whether patterns are the selections of their generators on these rows."""
        return np.array_equal(self.bits(patterns.generators), patterns.bits)

    def grouped(self, theta: FloatArray) -> GroupedGain:
        """Return the gain of all outputs together at a dual point (n, q)."""
        return GroupedGain.of(self.rows, theta, self.positions, None, None, None)
