r"""Local pricing: neurons that a network lacks, by ascent from many starts.

A neuron of direction ``v`` that feeds the outputs in the direction ``g`` lowers the objective if its price
``(theta g) . phi(X v) / |v|`` exceeds ``alpha``, where ``theta = -grad L``. The price is constant along rays
and its numerator is linear on each cell of the arrangement. Where outputs are separate ``g`` is a coordinate
vector or minus one, and stays; where they are shared it is, step after step, the best one,
``theta' phi(X v)`` at norm one. Local maxima lie on hyperplanes ``x_i . v = 0`` of rows with
``(theta g)_i < 0``, so the kinks are rounded off within a width that shrinks while the ascent
goes on. Where no such row is near, a step is the fixed-point map ``v <- X' D(v) theta``; rows that hold the
direction back make it a Newton step.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from convexnn._jit import inlined_kernel, kernel, reordering_kernel
from convexnn._typing import FloatArray, IntArray
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective
from convexnn_solvers.clock import Clock
from convexnn_solvers.threads import in_parts

__all__ = ["Candidates", "best_candidates", "feeding_best"]

# Widths within which kinks are rounded off, relative to the norms of row and direction. With a second width
# of .05 four of five starts at .03 from a neuron reached the maximum beside it, with .1 one of seven.
_FIRST_WIDTH, _SECOND_WIDTH, _LEAST_WIDTH, _NARROWING = 0.2, 0.05, 1e-5, 0.6
# All starts take a few steps, the best ones climb to the top.
_FEW_STEPS, _ALL_STEPS = 4, 22
_PROMISING = 0.5
_ALIKE, _SAME = 0.99, 0.999
_MAX_HALVINGS = 6
_FREE = 1e-3
# Conjugate gradients: operations of one direction, and iterations in any case. Any direction will do.
_CG_OPERATIONS, _FEW_ITERATIONS = 4e6, 5
_CG_TOL = 1e-6  # square of the residual that is left, relative, in the norm of the preconditioner
_MOST_ROWS = 4096
# A square of the penalised part, relative to the whole, below which a direction is a constant.
_NEGLIGIBLE = 1e-18
_ENTRIES = 4_000_000
# Of the sum of all rows' sizes: what the price is taken to be where it is flat.
_FLAT = 1e-12
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Local maxima of the price, the largest first.

    Attributes
    ----------
    neurons : Neurons
        Of penalised norm 1.
    prices : ndarray of shape (m,)
    """

    neurons: Neurons
    prices: FloatArray

    @property
    def largest(self) -> float:
        """Largest price, 0 without candidates."""
        return float(self.prices[0]) if len(self.prices) else 0.0


def best_candidates(
    objective: Objective,
    theta: FloatArray,
    starts: FloatArray,
    near: Neurons,
    *,
    floor: float,
    n_best: int,
    clock: Clock | None = None,
) -> Candidates:
    """Find local maxima of the price above `floor`.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (n, K)
        Its columns sum to zero if hidden biases are free.
    starts : ndarray of shape (B, d)
        Weights to start from.
    near : Neurons
        The network's own and others beside them: more starts, each with the direction it feeds in.
    floor : float
    n_best : int
        At most so many are returned.
    clock : Clock, optional
        When it is over ascents end where they are.

    Returns
    -------
    Candidates
        Prices are those of the neurons as they are, not rounded off.
    """
    if objective.layer.selects:
        return _selected_candidates(objective, theta, starts, near, floor, n_best)
    climb = _Climb(objective, theta, Clock() if clock is None else clock)
    first = Neurons(*climb.begin(starts), near.intercept)
    first = climb.run(first, _FIRST_WIDTH, _FEW_STEPS)
    prices = climb.prices(first)
    chosen = _distinct(objective, first, prices, _PROMISING * floor, 2 * n_best, _ALIKE)
    # Those near by are no reason to drop others: what the network lacks may lie close beside its own neurons.
    climbed = climb.run(first.take(chosen).joined(near), _SECOND_WIDTH, _ALL_STEPS)
    prices = climb.prices(climbed)
    chosen = _distinct(objective, climbed, prices, floor, n_best, _SAME)
    found = climbed.take(chosen)
    return Candidates(found.with_weights(climb.normalised(found.weights)), prices[chosen])


def feeding_best(
    objective: Objective, theta: FloatArray, weights: FloatArray, *, floor: float = -math.inf
) -> Neurons:
    """Return neurons of given weights (m, d) that feed the outputs in the directions that gain most.

    Those whose prices are not above `floor` are left out.
    """
    gains = objective.rounded_layer(objective.products(weights), np.zeros(len(weights))).T @ theta
    intercept = objective.empty().intercept
    if objective.shared:
        sizes = np.linalg.norm(gains, axis=1)
        neurons = Neurons(weights, _unit(gains), intercept)
    else:
        outputs = np.abs(gains).argmax(axis=1)
        sizes = np.abs(gains).max(axis=1)
        signs = np.where(gains[np.arange(len(weights)), outputs] < 0, -1.0, 1.0)
        neurons = Neurons.separate(weights, signs, outputs, intercept)
    return neurons.take(np.flatnonzero(sizes > floor * objective.norms(weights)))


def _unit(gains: FloatArray) -> FloatArray:
    """Return rows of norm one, (B, K); of no gain at all any direction is as good."""
    sizes = np.linalg.norm(gains, axis=1, keepdims=True)
    return np.where(sizes > 0, gains / np.maximum(sizes, _TINY), 1.0 / math.sqrt(gains.shape[1]))


def _selected_candidates(
    objective: Objective, theta: FloatArray, starts: FloatArray, near: Neurons, floor: float, n_best: int
) -> Candidates:
    """Find the same for a layer that selects rows, by the fixed-point map alone."""
    if objective.shared:
        first = np.vstack([starts, near.weights])
        weights, prices = objective.layer.maxima(theta, first, n_starts=len(starts))
        neurons = feeding_best(objective, theta, weights)
    else:
        found = []
        for k in range(theta.shape[1]):
            first = np.vstack([starts, near.weights[near.outputs == k]])
            weights, values = objective.layer.maxima(theta[:, k], first, n_starts=len(starts))
            found.append((weights, values, np.full(len(values), k)))
        weights, values, outputs = (np.concatenate(parts) for parts in zip(*found, strict=True))
        signs, prices = np.where(values < 0, -1.0, 1.0), np.abs(values)
        neurons = Neurons.separate(weights, signs, outputs, near.intercept)
    chosen = _distinct(objective, neurons, prices, floor, n_best, _SAME)
    return Candidates(neurons.take(chosen), prices[chosen])


class _Climb:
    """Ascent on the price at a dual point."""

    def __init__(self, objective: Objective, theta: FloatArray, clock: Clock) -> None:
        self.objective, self._clock = objective, clock
        self._rows = np.ascontiguousarray(objective.on_rows(theta).T)
        phi = objective.activation
        self._slopes = (phi.on, phi.off)

    def begin(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return starts and what they feed: with both signs for each of separate outputs."""
        if self.objective.shared:
            return weights, self._best_feeds(weights)
        coordinates = np.eye(len(self._rows))
        feeds = np.stack([coordinates, -coordinates], axis=1).reshape(-1, len(self._rows))
        return np.repeat(weights, len(feeds), axis=0), np.tile(feeds, (len(weights), 1))

    def normalised(self, weights: FloatArray) -> FloatArray:
        """Scale weights to penalised norm 1."""
        norms = self.objective.norms(weights)
        return weights / np.where(norms > 0, norms, 1.0)[:, None]

    def _gains(self, weights: FloatArray) -> FloatArray:
        """``theta' phi(X v)``, (B, d) -> (B, K)."""
        objective, gains = self.objective, np.empty((len(weights), len(self._rows)))
        step = max(1, _ENTRIES // len(objective.rows))
        for low in range(0, len(weights), step):
            part = slice(low, low + step)
            gains[part] = objective.activation(weights[part] @ objective.rows.T) @ self._rows.T
        return gains

    def _best_feeds(self, weights: FloatArray) -> FloatArray:
        """Directions of the outputs in which neurons gain most, (B, d) -> (B, K)."""
        return _unit(self._gains(weights))

    def prices(self, neurons: Neurons) -> FloatArray:
        """Price of each neuron; 0 where it has no penalised part beyond rounding."""
        gains = (self._gains(neurons.weights) * neurons.directions).sum(axis=1)
        norms = self.objective.norms(neurons.weights)
        proper = norms > np.sqrt(_NEGLIGIBLE) * np.linalg.norm(neurons.weights, axis=1)
        return np.where(proper, gains / np.maximum(norms, _TINY), 0.0)

    def run(self, neurons: Neurons, width: float, n_steps: int) -> Neurons:
        """Ascend from each neuron; where the last is not better than the first, the first."""
        ends, feeds = neurons.weights.copy(), neurons.directions.copy()
        step = max(1, _ENTRIES // len(self.objective.rows))
        parts = [slice(low, low + step) for low in range(0, len(ends), step)]

        def work(chosen: slice) -> None:
            for part in parts[chosen]:
                current, within = self.normalised(ends[part]), width
                for _ in range(n_steps):
                    if self._clock.expired:
                        break
                    if self.objective.shared:
                        feeds[part] = self._best_feeds(current)
                    current = self._step(current, feeds[part], within)
                    within = max(_NARROWING * within, _LEAST_WIDTH)
                if self.objective.shared:
                    feeds[part] = self._best_feeds(current)
                ends[part] = current

        in_parts(work, len(parts), float(n_steps * len(ends) * self.objective.rows.size))
        after = replace(neurons, weights=ends, directions=feeds)
        risen = self.prices(after) > self.prices(neurons)
        return replace(
            neurons,
            weights=np.where(risen[:, None], ends, neurons.weights),
            directions=np.where(risen[:, None], feeds, neurons.directions),
        )

    def _pulls(self, feeds: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return what the dual point pulls at the rows, (Q, n P), its sign and which each neuron sees."""
        if self.objective.shared:
            return feeds @ self._rows, np.ones(len(feeds)), np.arange(len(feeds))
        outputs = np.abs(feeds).argmax(axis=1)
        return self._rows, np.sign(feeds[np.arange(len(feeds)), outputs]), outputs

    def _step(self, weights: FloatArray, feeds: FloatArray, width: float) -> FloatArray:
        """Take Newton steps on the rounded price, halved until it does not fall."""
        objective = self.objective
        X, penalized = objective.rows, objective.penalized
        reach = width * objective.extents(weights)
        products = weights @ X.T
        pulled = np.empty_like(products)
        values = np.empty(len(weights))
        pulls, signs, owners = self._pulls(feeds)
        least = _FLAT * (np.abs(pulls) @ objective.row_norms) + _TINY
        shared = (products, pulls, signs, owners, reach, objective.row_norms, self._slopes)
        _pull(*shared, pulled, values)
        slopes = pulled @ X
        heights = np.maximum(values, 0.1 * np.linalg.norm(slopes * penalized, axis=1)) + least[owners]
        change = slopes - heights[:, None] * weights * penalized
        scales = np.where(penalized, 1.0, _FREE)
        space = np.empty(len(X), dtype=np.intp), np.empty(len(X)), np.empty((3, X.shape[1]))
        _newton(*shared, X, heights, scales, change, *space)
        moved = np.empty_like(weights)
        _halve(*shared, change @ X.T, weights, change, penalized.astype(np.float64), values, moved)
        return self.normalised(moved)


@kernel
def _pull(
    products: FloatArray,
    pulls: FloatArray,
    signs: FloatArray,
    outputs: IntArray,
    reach: FloatArray,
    row_norms: FloatArray,
    slopes: tuple[float, float],
    pulled: FloatArray,
    values: FloatArray,
) -> None:
    """Slopes of the rounded activation times signed theta, and the rounded prices of unit directions."""
    on, off = slopes
    bend = on - off
    for b in range(products.shape[0]):
        total = 0.0
        for i in range(products.shape[1]):
            t, w, pull = products[b, i], reach[b] * row_norms[i], signs[b] * pulls[outputs[b], i]
            if t >= w:
                pulled[b, i] = on * pull
                total += on * t * pull
            elif t <= -w:
                pulled[b, i] = off * pull
                total += off * t * pull
            else:
                share = 0.5 * (t / w + 1.0)
                pulled[b, i] = (off + bend * share) * pull
                total += (off * t + bend * w * share * share) * pull
        values[b] = total


# Loops are written out: numba compiles array expressions, copies and calls of BLAS several times slower.


@inlined_kernel
def _holding(
    products: FloatArray,
    pulls: FloatArray,
    sign: float,
    reach: float,
    row_norms: FloatArray,
    bend: float,
    rows: IntArray,
    weights: FloatArray,
) -> int:
    """Write the rows within reach that hold a direction back, with their weights; return how many.

    Of very many it is some, with larger weights.
    """
    count = 0
    for i in range(products.shape[0]):
        w, pull = reach * row_norms[i], sign * pulls[i]
        if pull < 0.0 and -w < products[i] < w:
            rows[count] = i
            weights[count] = -pull * bend / (2.0 * w)
            count += 1
    if count > _MOST_ROWS:
        every = count // _MOST_ROWS
        count //= every
        for r in range(count):
            rows[r], weights[r] = rows[r * every], every * weights[r * every]
    return count


@reordering_kernel
def _newton(
    products: FloatArray,
    pulls: FloatArray,
    signs: FloatArray,
    outputs: IntArray,
    reach: FloatArray,
    row_norms: FloatArray,
    slopes: tuple[float, float],
    X: FloatArray,
    heights: FloatArray,
    scales: FloatArray,
    change: FloatArray,
    rows: IntArray,
    weights: FloatArray,
    space: FloatArray,
) -> None:
    """Solve ``(height scale + sum_r weights_r x_r x_r') u = change`` over the rows of `_holding`, in place.

    By conjugate gradients, preconditioned by the scales.
    """
    d, bend = X.shape[1], slopes[0] - slopes[1]
    residual, search, image = space[0], space[1], space[2]
    for b in range(heights.shape[0]):
        pull = pulls[outputs[b]]
        count = _holding(products[b], pull, signs[b], reach[b], row_norms, bend, rows, weights)
        most = max(_FEW_ITERATIONS, int(_CG_OPERATIONS / (count * d + 1.0)))
        size = 0.0
        for j in range(d):
            residual[j] = image[j] = change[b, j]
            search[j] = change[b, j] / (heights[b] * scales[j])
            size += residual[j] * search[j]
            change[b, j] = 0.0
        wanted, curvature = _CG_TOL * size, size
        for _ in range(min(most, count, d) + 1):
            if size <= wanted:
                break
            for r in range(count):
                row, along = X[rows[r]], 0.0
                for j in range(d):
                    along += row[j] * search[j]
                curvature += weights[r] * along * along
                for j in range(d):
                    image[j] += weights[r] * along * row[j]
            length, before, size = size / curvature, size, 0.0
            for j in range(d):
                change[b, j] += length * search[j]
                residual[j] -= length * image[j]
                size += residual[j] * residual[j] / (heights[b] * scales[j])
            curvature = 0.0
            for j in range(d):
                image[j] = residual[j] + size / before * (heights[b] * scales[j]) * search[j]
                search[j] = image[j] / (heights[b] * scales[j])
                curvature += image[j] * search[j]


@kernel
def _halve(
    products: FloatArray,
    pulls: FloatArray,
    signs: FloatArray,
    outputs: IntArray,
    reach: FloatArray,
    row_norms: FloatArray,
    slopes: tuple[float, float],
    products_change: FloatArray,
    directions: FloatArray,
    change: FloatArray,
    penalized: FloatArray,
    values: FloatArray,
    moved: FloatArray,
) -> None:
    """Halve each step until the rounded price does not fall; directions that never rise stay."""
    on, off = slopes
    bend = on - off
    n, d = products.shape[1], directions.shape[1]
    for b in range(values.shape[0]):
        for j in range(d):
            moved[b, j] = directions[b, j]
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            total = 0.0
            for i in range(n):
                t = products[b, i] + length * products_change[b, i]
                w = reach[b] * row_norms[i]
                value = on * t if t >= w else off * t
                if -w < t < w:
                    value = off * t + bend * (t + w) * (t + w) / (4.0 * w)
                total += value * signs[b] * pulls[outputs[b], i]
            square, whole = 0.0, 0.0
            for j in range(d):
                part = (directions[b, j] + length * change[b, j]) ** 2
                whole += part
                square += penalized[j] * part
            if square > _NEGLIGIBLE * whole and total >= values[b] * math.sqrt(square):
                for j in range(d):
                    moved[b, j] += length * change[b, j]
                break
            length *= 0.5


def _distinct(
    objective: Objective, neurons: Neurons, prices: FloatArray, floor: float, n_best: int, cosine: float
) -> IntArray:
    """Return indices of the largest prices above `floor`, without neurons close to a better one."""
    units, feeds = objective.standardised(neurons.weights), neurons.directions
    units /= np.maximum(np.linalg.norm(units, axis=1), _TINY)[:, None]
    kept: list[int] = []
    for j in np.argsort(-prices, kind="stable").tolist():
        if prices[j] <= floor or len(kept) >= n_best:
            break
        alike = np.minimum(units[kept] @ units[j], feeds[kept] @ feeds[j])
        if alike.max(initial=0.0) < cosine:
            kept.append(j)
    return np.array(kept, dtype=np.intp)
