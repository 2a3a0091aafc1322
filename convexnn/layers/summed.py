"""Layers that sum over the rows of a sample: dense ones, and convolutional ones with average pooling."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from convexnn._typing import BoolArray, FloatArray, RandomState, WordArray
from convexnn.activations import Activation
from convexnn.designs import MaskedDesign
from convexnn.patterns import PatternSet, enumerate_patterns, pack_bits
from convexnn.patterns.sample import sample_and_tell
from convexnn.pricing.bounds import SupportBounds
from convexnn.pricing.branch_and_bound import support_bounds
from convexnn.pricing.local_ascent import local_maxima
from convexnn.pricing.relaxations import semidefinite
from convexnn.pricing.vector_gain import vector_bounds

__all__ = ["HiddenLayer"]

# Entries of the products of rows and neurons that are in memory at a time: 32 MB.
_PRODUCT_ENTRIES = 4_000_000
# Rows that are looked at to see whether there are many patterns; enough for any limit on listed ones.
_ROWS_LOOKED_AT = 500


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Neurons ``u`` with ``layer(u)_i = sum_k phi(x_ik . u)`` over the K rows of sample i.

    A dense layer has one row for each sample, a convolutional one the patches of an image. Layers that pool
    in other ways are subclasses; whoever asks a layer does not need to know which one it is.

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

    selects: ClassVar[bool] = False
    """Whether each sample answers by one of its rows, the largest, and not by their sum."""
    bounds_outputs_jointly: ClassVar[bool] = False
    """Whether `bounds` takes dual points of several outputs at once."""

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.rows) // self.positions

    @property
    def n_weights(self) -> int:
        """Number d of weights of a neuron."""
        return int(self.rows.shape[1])

    @property
    def n_answers(self) -> int:
        """Number r of answers of a neuron to a sample, each with output weights of its own."""
        return 1

    def responses(self, weights: FloatArray) -> FloatArray:
        """Return what neurons (m, d) answer to each sample, (n, r, m).

        r is `n_answers`.
        """
        m = len(weights)
        responses = np.empty((self.n_samples, self.n_answers, m))
        step = max(1, _PRODUCT_ENTRIES // (self.positions * max(1, m)))
        for low in range(0, self.n_samples, step):
            rows = self.rows[low * self.positions : (low + step) * self.positions]
            products = (rows @ weights.T).reshape(-1, self.positions, m)
            responses[low : low + step] = self._pooled(products)
        return responses

    def _pooled(self, products: FloatArray) -> FloatArray:
        """Activate and pool products with the rows, (samples, K, m) -> (samples, r, m)."""
        return np.asarray(self.activation(products).sum(axis=1, keepdims=True))

    @cached_property
    def reach(self) -> FloatArray:
        """What ``|layer(u)_i|`` is at most where it counts for ``|u| <= 1``, rounded up, shape (n,).

        It is ``sum_k |x_ik|``. Where the bias has no norm only biases at kinks ``-x_j . w`` count, for dual
        points that sum to zero, which gives ``max_j |x_ik - x_j|``, at most the sum of the distances from the
        centre.
        """
        if self.penalized.all():
            reach = np.linalg.norm(self.rows, axis=1)
        else:
            slopes = self.rows[:, :-1]
            away = np.linalg.norm(slopes - slopes.mean(axis=0), axis=1)
            size = np.linalg.norm(slopes, axis=1)
            reach = away + away.max() + 1e-14 * (size + size.max())
        rounding = 1 + 1e-12 + self.positions * np.finfo(np.float64).eps
        return np.asarray(self._pooled_reach(reach.reshape(self.n_samples, -1)) * rounding)

    def _pooled_reach(self, by_row: FloatArray) -> FloatArray:
        """Return the reach of samples from that of their rows, (n, K) -> (n,)."""
        return np.asarray(by_row.sum(axis=1))

    def design(self, patterns: PatternSet) -> MaskedDesign:
        """Return the design operator of a program over patterns of the rows."""
        return MaskedDesign(self.rows, patterns, self.activation, self.penalized, self.positions)

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
        some = self.rows[:: max(1, len(self.rows) // _ROWS_LOOKED_AT)]
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

        The sum of theta (n,) is taken as zero where the bias has no norm. Of theta (n, q), for several
        outputs together, they are t (n K, q) and g0 (q, d).
        """
        phi = self.activation
        pulls = np.repeat(theta, self.positions, axis=0)
        linear = np.where(self.penalized, phi.off * (pulls.T @ self.rows), 0.0)
        return (phi.on - phi.off) * pulls, linear

    def maxima(
        self,
        theta: FloatArray,
        near: FloatArray,
        *,
        n_starts: int = 40,
        seed: int = 0,
        time_limit: float | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Ascend ``|theta . layer(u)| / |u|`` from many starts.

        Parameters
        ----------
        theta : ndarray of shape (n,)
        near : ndarray of shape (m, d)
            More starts.
        n_starts, seed, time_limit
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
            time_limit=time_limit,
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
        """Bound ``max |theta' layer(u)| / |u|`` over all u, theta (n,) or, for all outputs together, (n, q).

        See `branch_and_bound.support_bounds` and `vector_gain.vector_bounds`.
        """
        t, linear = self.gain(theta)
        bound = support_bounds if theta.ndim == 1 else vector_bounds
        return bound(
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
        """Upper bound of the same by semidefinite relaxation, output after output."""
        if theta.ndim == 2:
            share = None if time_limit is None else time_limit / theta.shape[1]
            bounds = [self.relaxed(np.ascontiguousarray(column), share) for column in theta.T]
            return math.hypot(*bounds) * (1 + 8 * len(bounds) * float(np.finfo(np.float64).eps))
        t, linear = self.gain(theta)
        return semidefinite(
            self.rows, t, linear=linear, penalized=self.penalized, time_limit=time_limit
        ).upper
