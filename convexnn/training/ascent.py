r"""Local pricing: neurons that a network lacks, by ascent from many starts.

A neuron of direction ``v`` and sign ``s`` on output ``k`` lowers the objective if its price
``s theta_k . phi(X v) / |v|`` exceeds ``alpha``, where ``theta = -grad L``. The price is constant along rays
and its numerator is linear on each cell of the arrangement. Local maxima lie on hyperplanes ``x_i . v = 0``
of rows with ``s theta_ik < 0``, so the kinks are rounded off within a width that shrinks while the ascent
goes on. Where no such row is near, a step is the fixed-point map ``v <- X' D(v) theta``; rows that hold the
direction back make it a Newton step.
"""

import math
from dataclasses import dataclass

import numpy as np

from convexnn._jit import inlined_kernel, kernel, reordering_kernel
from convexnn._typing import FloatArray, IntArray
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective
from convexnn_solvers.clock import Clock
from convexnn_solvers.threads import in_parts

__all__ = ["Candidates", "best_candidates"]

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
        Directions to start from, with either sign and for every output.
    near : Neurons
        The network's own and others beside them: more starts, each with its sign and output.
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
    n_outputs = theta.shape[1]
    numbers = np.arange(2 * n_outputs * len(starts))
    signs = np.where(numbers % 2 == 0, 1.0, -1.0)
    outputs = (numbers // 2) % n_outputs
    climb = _Climb(objective, theta, Clock() if clock is None else clock)
    directions = climb.run(np.repeat(starts, 2 * n_outputs, axis=0), signs, outputs, _FIRST_WIDTH, _FEW_STEPS)
    prices = climb.prices(directions, signs, outputs)
    chosen = _distinct(objective, directions, signs, outputs, prices, _PROMISING * floor, 2 * n_best, _ALIKE)
    # Those near by are no reason to drop others: what the network lacks may lie close beside its own neurons.
    directions = np.vstack([directions[chosen], near.weights])
    signs, outputs = np.append(signs[chosen], near.signs), np.append(outputs[chosen], near.outputs)
    directions = climb.run(directions, signs, outputs, _SECOND_WIDTH, _ALL_STEPS)
    prices = climb.prices(directions, signs, outputs)
    chosen = _distinct(objective, directions, signs, outputs, prices, floor, n_best, _SAME)
    found = Neurons.separate(
        climb.normalised(directions[chosen]), signs[chosen], outputs[chosen], near.intercept
    )
    return Candidates(found, prices[chosen])


def _selected_candidates(
    objective: Objective, theta: FloatArray, starts: FloatArray, near: Neurons, floor: float, n_best: int
) -> Candidates:
    """Find the same for a layer that selects rows, by the fixed-point map alone."""
    found = []
    for k in range(theta.shape[1]):
        first = np.vstack([starts, near.weights[near.outputs == k]])
        weights, values = objective.layer.maxima(theta[:, k], first, n_starts=len(starts))
        found.append((weights, values, np.full(len(values), k)))
    directions, values, outputs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    signs, prices = np.where(values < 0, -1.0, 1.0), np.abs(values)
    chosen = _distinct(objective, directions, signs, outputs, prices, floor, n_best, _SAME)
    neurons = Neurons.separate(directions[chosen], signs[chosen], outputs[chosen], near.intercept)
    return Candidates(neurons, prices[chosen])


class _Climb:
    """Ascent on the price at a dual point."""

    def __init__(self, objective: Objective, theta: FloatArray, clock: Clock) -> None:
        self.objective, self._clock = objective, clock
        self._pulls = np.ascontiguousarray(objective.on_rows(theta).T)
        self._least = _FLAT * (np.abs(self._pulls) @ objective.row_norms) + _TINY
        phi = objective.activation
        self._slopes = (phi.on, phi.off)

    def normalised(self, directions: FloatArray) -> FloatArray:
        """Scale directions to penalised norm 1."""
        norms = self.objective.norms(directions)
        return directions / np.where(norms > 0, norms, 1.0)[:, None]

    def prices(self, directions: FloatArray, signs: FloatArray, outputs: IntArray) -> FloatArray:
        """Price of each direction; 0 where it has no penalised part beyond rounding."""
        objective, prices = self.objective, np.zeros(len(directions))
        step = max(1, _ENTRIES // len(objective.rows))
        for low in range(0, len(directions), step):
            part = slice(low, low + step)
            hidden = objective.activation(directions[part] @ objective.rows.T)
            prices[part] = signs[part] * (hidden * self._pulls[outputs[part]]).sum(axis=1)
        norms = objective.norms(directions)
        proper = norms > np.sqrt(_NEGLIGIBLE) * np.linalg.norm(directions, axis=1)
        return np.where(proper, prices / np.maximum(norms, _TINY), 0.0)

    def run(
        self, directions: FloatArray, signs: FloatArray, outputs: IntArray, width: float, n_steps: int
    ) -> FloatArray:
        """Ascend from each direction; where the last is not better than the first, the first."""
        ends = directions.copy()
        step = max(1, _ENTRIES // len(self.objective.rows))
        parts = [slice(low, low + step) for low in range(0, len(directions), step)]

        def work(chosen: slice) -> None:
            for part in parts[chosen]:
                current, within = self.normalised(directions[part]), width
                for _ in range(n_steps):
                    if self._clock.expired:
                        break
                    current = self._step(current, signs[part], outputs[part], within)
                    within = max(_NARROWING * within, _LEAST_WIDTH)
                ends[part] = current

        in_parts(work, len(parts), float(n_steps * len(directions) * self.objective.rows.size))
        risen = self.prices(ends, signs, outputs) > self.prices(directions, signs, outputs)
        return np.where(risen[:, None], ends, directions)

    def _step(self, directions: FloatArray, signs: FloatArray, outputs: IntArray, width: float) -> FloatArray:
        """Take Newton steps on the rounded price, halved until it does not fall."""
        objective = self.objective
        X, penalized = objective.rows, objective.penalized
        reach = width * objective.extents(directions)
        products = directions @ X.T
        pulled = np.empty_like(products)
        values = np.empty(len(directions))
        shared = (products, self._pulls, signs, outputs, reach, objective.row_norms, self._slopes)
        _pull(*shared, pulled, values)
        slopes = pulled @ X
        heights = np.maximum(values, 0.1 * np.linalg.norm(slopes * penalized, axis=1)) + self._least[outputs]
        change = slopes - heights[:, None] * directions * penalized
        scales = np.where(penalized, 1.0, _FREE)
        space = np.empty(len(X), dtype=np.intp), np.empty(len(X)), np.empty((3, X.shape[1]))
        _newton(*shared, X, heights, scales, change, *space)
        moved = np.empty_like(directions)
        _halve(*shared, change @ X.T, directions, change, penalized.astype(np.float64), values, moved)
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
    objective: Objective,
    directions: FloatArray,
    signs: FloatArray,
    outputs: IntArray,
    prices: FloatArray,
    floor: float,
    n_best: int,
    cosine: float,
) -> IntArray:
    """Return indices of the largest prices above `floor`, without directions close to a better one."""
    units = objective.standardised(directions)
    units /= np.maximum(np.linalg.norm(units, axis=1), _TINY)[:, None]
    kept: list[int] = []
    for j in np.argsort(-prices, kind="stable").tolist():
        if prices[j] <= floor or len(kept) >= n_best:
            break
        same = (signs[kept] == signs[j]) & (outputs[kept] == outputs[j])
        if (same * (units[kept] @ units[j])).max(initial=0.0) < cosine:
            kept.append(j)
    return np.array(kept, dtype=np.intp)
