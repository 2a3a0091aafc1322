"""A hidden layer on its data: what one neuron adds to the outputs, and what it would gain."""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import BoolArray, FloatArray, RandomState, WordArray
from convexnn.activations import Activation
from convexnn.patterns import PatternSet, enumerate_patterns, pack_bits
from convexnn.patterns.sample import sample_and_tell
from convexnn.patterns.selection import enumerate_selections, selection_bits, selection_patterns
from convexnn.patterns.witnesses import as_generator
from convexnn.pricing.bounds import SupportBounds
from convexnn.pricing.branch_and_bound import support_bounds
from convexnn.pricing.grouped import gain_bounds
from convexnn.pricing.grouped_ascent import ascend
from convexnn.pricing.grouped_gain import GroupedGain
from convexnn.pricing.local_ascent import local_maxima
from convexnn.pricing.relaxations import semidefinite
from convexnn.pricing.weighted_relaxations import eigenvalue_bound, position_bound

__all__ = ["GroupedLayer", "HiddenLayer", "MaxLayer", "WeightedLayer", "hidden_layer"]

_ENTRIES = 4_000_000
_FEW_ROWS = 500


def hidden_layer(
    rows: FloatArray, positions: int, activation: Activation, penalized: BoolArray, pooling: str | None
) -> "HiddenLayer":
    """Return the layer of a way of pooling; fields as in `HiddenLayer`."""
    kinds = {"max": MaxLayer, "weighted": WeightedLayer}
    return kinds.get(pooling or "", HiddenLayer)(rows, positions, activation, penalized)


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Neurons ``u`` with ``layer(u)_i = sum_k phi(x_ik . u)`` over the K rows of sample i.

    A dense layer has one row for each sample, a convolutional one the patches of an image.

    Attributes
    ----------
    rows : ndarray of shape (n K, d)
        As the neurons see them, one sample after another; with the column of ones where there is a bias.
    positions : int
        K.
    activation : Activation
        Not gated where gains are asked for.
    penalized : ndarray of bool, shape (d,)
        Which coordinates of ``u`` its norm counts: all, or all but the bias.
    """

    rows: FloatArray
    positions: int
    activation: Activation
    penalized: BoolArray

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.rows) // self.positions

    @property
    def selects(self) -> bool:
        """Whether each sample answers by one of its rows, the largest, and not by their sum."""
        return isinstance(self, MaxLayer)

    @property
    def n_weights(self) -> int:
        """Number d of weights of a neuron."""
        return int(self.rows.shape[1])

    def responses(self, weights: FloatArray) -> FloatArray:
        """Return what neurons (m, d) answer to each sample, (n, r, m).

        r is 1 unless output weights differ from row to row of a sample; then it is K.
        """
        m, r = len(weights), self.positions if isinstance(self, WeightedLayer) else 1
        responses = np.empty((self.n_samples, r, m))
        step = max(1, _ENTRIES // (self.positions * max(1, m)))
        for low in range(0, self.n_samples, step):
            rows = self.rows[low * self.positions : (low + step) * self.positions]
            products = (rows @ weights.T).reshape(-1, self.positions, m)
            responses[low : low + step] = self._pooled(products)
        return responses

    def _pooled(self, products: FloatArray) -> FloatArray:
        """Activate and pool products with the rows, (samples, K, m) -> (samples, r, m)."""
        return np.asarray(self.activation(products).sum(axis=1, keepdims=True))

    def patterns(self, weights: FloatArray) -> PatternSet:
        """Distinct patterns of weights (m, d), none of them zero; see `PatternSet.from_weights`."""
        return PatternSet.from_weights(self.rows, weights)

    def bits(self, weights: FloatArray) -> WordArray:
        """Packed patterns of weights (m, d) as they are, on a hyperplane or not."""
        return pack_bits(weights @ self.rows.T >= 0)

    def has_more_patterns_than(self, limit: int) -> bool:
        """Whether some of the rows alone show that more patterns exist; False says nothing.

        Every hyperplane through the origin that no other row has adds two cells at least.
        """
        some = self.rows[:: max(1, len(self.rows) // _FEW_ROWS)]
        sizes = np.linalg.norm(some, axis=1)
        units = some[sizes > 0] / sizes[sizes > 0, None]
        firsts = np.take_along_axis(units, np.abs(units).argmax(axis=1)[:, None], axis=1)
        return 2 * len(np.unique(np.round(units * np.sign(firsts), 6) + 0.0, axis=0)) > limit

    def all_patterns(self, max_patterns: int) -> PatternSet:
        """All patterns; raises PatternBudgetError if they are more than so many."""
        return enumerate_patterns(self.rows, max_patterns=max_patterns)

    def some_patterns(self, n_patterns: int, random_state: RandomState) -> tuple[PatternSet, bool]:
        """So many patterns of random weights, and whether they are all that exist; see `sample_patterns`."""
        return sample_and_tell(self.rows, n_patterns, random_state=random_state)

    def has(self, patterns: PatternSet) -> bool:
        """Whether patterns are those of their generators on these rows, up to rounding."""
        return patterns.holds_on(self.rows)

    def gain(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return t (n K,) and g0 (d,) with ``theta . layer(u) = g0 . u + sum_r t_r max(x_r . u, 0)``.

        The sum of theta (n,) is taken as zero where the bias has no norm.
        """
        phi = self.activation
        pulls = np.repeat(theta, self.positions)
        linear = np.where(self.penalized, phi.off * (pulls @ self.rows), 0.0)
        return (phi.on - phi.off) * pulls, linear

    def maxima(
        self, theta: FloatArray, near: FloatArray, *, n_starts: int = 40, seed: int = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Ascend ``|theta . layer(u)| / |u|`` from many starts.

        Parameters
        ----------
        theta : ndarray of shape (n,)
        near : ndarray of shape (m, d)
            More starts.
        n_starts, seed
            See `convexnn.pricing.local_ascent.local_maxima`.

        Returns
        -------
        weights : ndarray of shape (q, d)
        values : ndarray of shape (q,)
            With their signs, the largest absolute value first.
        """
        t, linear = self.gain(theta)
        weights, values = local_maxima(
            self.rows,
            t,
            linear=linear,
            penalized=self.penalized,
            starts=near.T,
            n_starts=n_starts,
            seed=seed,
        )
        return weights.T, values

    def bounds(
        self,
        theta: FloatArray,
        *,
        threshold: float,
        tol: float = 1e-7,
        stop_above: float = np.inf,
        time_limit: float | None = None,
    ) -> SupportBounds:
        """Bound ``max |theta . layer(u)| / |u|`` over all u; see `branch_and_bound.support_bounds`."""
        t, linear = self.gain(theta)
        return support_bounds(
            self.rows,
            t,
            linear=linear,
            penalized=self.penalized,
            threshold=threshold,
            tol=tol,
            stop_above=stop_above,
            time_limit=time_limit,
        )

    def relaxed(self, theta: FloatArray, time_limit: float | None) -> float:
        """Upper bound of the same by semidefinite relaxation."""
        t, linear = self.gain(theta)
        return semidefinite(
            self.rows, t, linear=linear, penalized=self.penalized, time_limit=time_limit
        ).upper


class GroupedLayer(HiddenLayer):
    """A layer whose gain is one of groups of rows; all weights are in the norm."""

    def grouped(self, theta: FloatArray) -> GroupedGain:
        """Return the gain of all outputs together at a dual point (n, q)."""
        raise NotImplementedError

    def maxima(
        self, theta: FloatArray, near: FloatArray, *, n_starts: int = 40, seed: int = 0
    ) -> tuple[FloatArray, FloatArray]:
        """Ascend ``|theta . layer(u)| / |u|`` from many starts; see `HiddenLayer.maxima`."""
        weights, values = ascend(self.grouped(theta[:, None]), near.T, n_starts, seed)
        return weights.T, values

    def bounds(
        self,
        theta: FloatArray,
        *,
        threshold: float,
        tol: float = 1e-7,
        stop_above: float = np.inf,
        time_limit: float | None = None,
    ) -> SupportBounds:
        """Bound ``max |theta . layer(u)| / |u|``, theta (n,) or, for all outputs together, (n, q)."""
        return gain_bounds(
            self.grouped(theta.reshape(len(theta), -1)),
            threshold=threshold,
            tol=tol,
            stop_above=stop_above,
            time_limit=time_limit,
        )

    def relaxed(self, theta: FloatArray, time_limit: float | None) -> float:
        """Upper bound of the same by the triangle inequality."""
        del time_limit
        return self.grouped(theta[:, None]).bound


class MaxLayer(GroupedLayer):
    """Neurons ``u`` with ``layer(u)_i = max_k max(x_ik . u, 0)``; patterns say which row a sample takes."""

    def _pooled(self, products: FloatArray) -> FloatArray:
        largest: FloatArray = products.max(axis=1, keepdims=True)
        return np.maximum(largest, 0.0)

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


class WeightedLayer(GroupedLayer):
    """Neurons ``u`` that answer ``phi(x_ik . u)`` for each k; their output weights differ from k to k."""

    def _pooled(self, products: FloatArray) -> FloatArray:
        return self.activation(products)

    @property
    def patches(self) -> FloatArray:
        """The rows of each sample, (n, K, d)."""
        return self.rows.reshape(self.n_samples, self.positions, -1)

    def relaxed(self, theta: FloatArray, time_limit: float | None) -> float:
        """Upper bound by eigenvalues and, position by position, semidefinite relaxations."""
        upper = eigenvalue_bound(self.patches, self.activation, theta)
        if time_limit is None or time_limit > 0:
            upper = min(upper, position_bound(self.patches, self.activation, theta, time_limit))
        return upper

    def grouped(self, theta: FloatArray) -> GroupedGain:
        """Return the gain of all outputs together at a dual point (n, q): entry ``k q + o`` for output o."""
        phi, (n, q), K = self.activation, theta.shape, self.positions
        offsets = np.tile(q * np.arange(K), n)
        linear = phi.off * np.einsum("no,nkd->kod", theta, self.patches, optimize=True).reshape(K * q, -1)
        values = (phi.on - phi.off) * np.repeat(theta, K, axis=0)
        return GroupedGain.of(self.rows, values, 1, offsets, K * q, linear)
