r"""Search for filters of large gain with weighted pooling.

The gain of a filter of norm one is ``|G(u)|`` with ``G_k(u) = theta . phi(X_k u)``. Ascents by its gradient
stop short of maxima on kinks, where most of them are; so a second ascent rounds the kinks off, finds those
that hold the filter, and ends in their subspace.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.training.weighted.kinks import kink_subspace
from convexnn.training.weighted.neurons import WeightedProblem
from convexnn_solvers.clock import Clock

__all__ = ["Priced", "distinct", "refined", "searched"]

# Steps of L-BFGS from a start that gradient ascents have brought near a maximum.
_MAX_STEPS = 50
# Widths within which kinks are rounded off, relative to the norms of filter and patch.
_WIDTHS = (0.01, 1e-3)
# Cosines above which filters count as equal, before and after refinement.
_ALIKE, _SAME = 1 - 1e-3, 1 - 1e-9


@dataclass(frozen=True, eq=False)
class Priced:
    """What pricing of one dual point found.

    Attributes
    ----------
    largest : float
        A bound of ``max |G|`` over unit filters and outputs: a lower one from a search, else an upper one.
    directions : ndarray of shape (m, d)
        Unit filters whose gain is above the threshold, best first.
    n_nodes : int
        Cones that branch and bound looked at.
    complete : bool
        Whether branch and bound ended by itself.
    """

    largest: float
    directions: FloatArray
    n_nodes: int = 0
    complete: bool = False


def searched(
    problem: WeightedProblem,
    theta: FloatArray,
    threshold: float,
    starts: FloatArray,
    used: FloatArray,
    near: FloatArray,
    feeds: IntArray,
    *,
    n_starts: int,
    seed: int,
    at_most: int,
    clock: Clock,
) -> Priced:
    """Ascend the gain of every output from many starts.

    Parameters
    ----------
    problem : WeightedProblem
    theta : ndarray of shape (n, q)
    threshold : float
        Gains at or below it are left out.
    starts : ndarray of shape (m', d)
        Filters to start from for every output, beside random ones.
    used, near : ndarray of shape (m, d)
        Filters to start from for the output that they feed, and others whose neighbourhoods are looked at.
    feeds : ndarray of int, shape (m,)
        These outputs.
    n_starts, seed : int
        Of the random ones.
    at_most : int
        Directions for each output.
    clock : Clock
        When it is over no more outputs are looked at.

    Returns
    -------
    Priced
        `largest` is infinite if outputs were left out.
    """
    largest, found = 0.0, [np.empty((0, starts.shape[1]))]
    for k in range(theta.shape[1]):
        if clock.expired:
            return Priced(math.inf, np.vstack(found))
        own = feeds == k
        first = np.vstack([used[own], starts])
        weights, gains = problem.layer.maxima(theta[:, k], first, n_starts=n_starts, seed=seed)
        largest = max(largest, float(np.abs(gains).max(initial=0.0)))
        above = weights[np.abs(gains) > threshold]
        refinements = refined(problem, theta[:, k], np.vstack([distinct(above, at_most, _ALIKE), near[own]]))
        gain = _Gain(problem, theta[:, k])
        gains = np.array([gain.value(direction) for direction in refinements])
        largest = max(largest, float(gains.max(initial=0.0)))
        order = np.argsort(-gains, kind="stable")
        found.append(distinct(refinements[order[gains[order] > threshold]], at_most))
    return Priced(largest, np.vstack(found))


def refined(problem: WeightedProblem, theta: FloatArray, directions: FloatArray) -> FloatArray:
    """Ascend the gain of one output to maxima on kinks.

    Parameters
    ----------
    problem : WeightedProblem
    theta : ndarray of shape (n,)
        Of that output.
    directions : ndarray of shape (m, d)
        Unit filters.

    Returns
    -------
    ndarray of shape (m, d)
        Unit filters of gains no smaller.
    """
    gain = _Gain(problem, theta)
    found = np.empty_like(directions)
    for j, direction in enumerate(directions):
        best, reached = direction, direction
        for width in _WIDTHS:
            reached = gain.climbed(reached, width, np.eye(len(direction)))
            subspace = kink_subspace(problem.rows, problem.lengths, reached, gain.holding(reached), width)
            best = max(best, reached, gain.climbed(reached, 0.0, subspace), key=gain.value)
        found[j] = best
    return found


class _Gain:
    """``|G(u)| / |u|`` for one output, with kinks rounded off or not."""

    def __init__(self, problem: WeightedProblem, theta: FloatArray) -> None:
        self._problem, self._theta = problem, theta

    def value(self, weights: FloatArray) -> float:
        """Gain without rounding."""
        return float(np.linalg.norm(self._parts(weights, 0.0)[0]))

    def _parts(self, weights: FloatArray, width: float) -> tuple[FloatArray, FloatArray]:
        """``G(u / |u|)``, (K,), and the slopes of the activation, (n, K)."""
        n, n_positions, _ = self._problem.patches.shape
        unit = weights / np.linalg.norm(weights)
        layer, slopes = self._problem.rounded(slice(None), unit[None], np.array([width]))
        return self._theta @ layer.reshape(n, n_positions), slopes.reshape(n, n_positions)

    def holding(self, weights: FloatArray) -> BoolArray:
        """Which kinks can hold a filter that ascends, (n * K,)."""
        bend = self._problem.activation.on - self._problem.activation.off
        return bend * np.outer(self._theta, self._parts(weights, 0.0)[0]).ravel() < 0

    def climbed(self, weights: FloatArray, width: float, subspace: FloatArray) -> FloatArray:
        """Ascend within a subspace; returns a unit filter."""
        start = subspace @ weights
        if not start.any():
            return weights
        size = self.value(start) or 1.0

        def descent(x: FloatArray) -> tuple[float, FloatArray]:
            norm = float(np.linalg.norm(x))
            gains, slopes = self._parts(x, width)
            value = float(np.linalg.norm(gains))
            pull = np.outer(self._theta, gains / value) * slopes if value > 0 else slopes * 0.0
            gradient = subspace @ (pull.ravel() @ self._problem.rows)
            return -value / size, -(gradient - (gradient @ x) / norm**2 * x) / (norm * size)

        found = minimize(
            descent,
            start / np.linalg.norm(start),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_STEPS},
        )
        end = subspace @ found.x
        return end / np.linalg.norm(end)


def distinct(weights: FloatArray, at_most: int, cosine: float = _SAME) -> FloatArray:
    """First unit vectors of a list, without zeros and near repetitions."""
    kept: list[FloatArray] = []
    for weight in weights:
        norm = np.linalg.norm(weight)
        if norm == 0 or len(kept) == at_most:
            continue
        direction = weight / norm
        if not kept or np.max(np.array(kept) @ direction) < cosine:
            kept.append(direction)
    return np.array(kept).reshape(-1, weights.shape[1])
