"""A hidden layer on its data: what one neuron adds to the outputs, and what it would gain."""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.activations import Activation
from convexnn.pricing.bounds import SupportBounds
from convexnn.pricing.branch_and_bound import support_bounds
from convexnn.pricing.local_ascent import local_maxima
from convexnn.pricing.relaxations import semidefinite

__all__ = ["HiddenLayer"]

_ENTRIES = 4_000_000


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
    def n_weights(self) -> int:
        """Number d of weights of a neuron."""
        return int(self.rows.shape[1])

    def outputs(self, weights: FloatArray) -> FloatArray:
        """``layer(u)`` of neurons, (m, d) -> (n, m)."""
        if self.positions == 1:
            return self.activation(self.rows @ weights.T)
        outputs = np.empty((self.n_samples, len(weights)))
        step = max(1, _ENTRIES // (self.positions * max(1, len(weights))))
        for low in range(0, self.n_samples, step):
            rows = self.rows[low * self.positions : (low + step) * self.positions]
            hidden = self.activation(rows @ weights.T)
            outputs[low : low + step] = hidden.reshape(-1, self.positions, len(weights)).sum(axis=1)
        return outputs

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
