"""The training objective as a non-convex one: neurons with their output weights balanced away."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.activations import Activation
from convexnn.layers import HiddenLayer
from convexnn.losses import Loss
from convexnn.problem import Neurons, Problem
from convexnn_solvers.threads import in_parts, sum_of_parts

__all__ = ["Objective", "merged", "random_neurons"]

# Of a loss, relative to its largest: where all samples are on straight pieces a step needs some length.
_LEAST_CURVATURE = 1e-6
_FIRST_SHARE = 0.2
# Of the median spread of the columns, what the spread of one counts as at least.
_LEAST_SPREAD = 0.1
# Spread of a column relative to its mean below which it is nothing but rounding.
_CONSTANT = 1e-8
# The same relative to the largest spread, where columns come out of a product of matrices.
_ROUNDING = 1e-12
# Weights of a neuron up to which squares of rows are added up by a kernel instead of by BLAS.
_SMALL = 32
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Objective:
    """Data of the objective.

    Attributes
    ----------
    layer : HiddenLayer
        On the samples, its rows P for each of them.
    targets : ndarray of shape (n, K)
    weight : ndarray of shape (n,)
    loss : Loss
        Smooth, for descents.
    alpha : float
    fit_intercept : bool
    constant : ndarray of shape (d,) or None
        Weights that answer one on every row, where hidden units have a bias.
    axes : ndarray of shape (d, columns) or None
        Turns rows into the columns of the data; None where they are the same.
    """

    layer: HiddenLayer
    targets: FloatArray
    weight: FloatArray
    loss: Loss
    alpha: float
    fit_intercept: bool
    constant: FloatArray | None = None
    axes: FloatArray | None = None

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return the objective of a problem, in the coordinates of its frame."""
        return cls(
            problem.layer,
            problem.targets,
            problem.sample_weight,
            problem.loss,
            problem.alpha_in_frame,
            problem.fit_intercept,
            problem.constant,
            problem.frame.basis,
        )

    @property
    def rows(self) -> FloatArray:
        """Rows of the layer, (n P, d)."""
        return self.layer.rows

    @property
    def activation(self) -> Activation:
        """Of the layer, not gated."""
        return self.layer.activation

    @property
    def penalized(self) -> BoolArray:
        """Which weights of a neuron its norm counts."""
        return self.layer.penalized

    @property
    def positions(self) -> int:
        """Rows P of each sample."""
        return self.layer.positions

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def on_rows(self, values: FloatArray) -> FloatArray:
        """Repeat what belongs to the samples, (n, ...), for each of their rows."""
        return values if self.positions == 1 else np.repeat(values, self.positions, axis=0)

    def norms(self, weights: FloatArray) -> FloatArray:
        """Norms over the penalised coordinates, (m, d) -> (m,)."""
        norms: FloatArray = np.linalg.norm(weights * self.penalized, axis=1)
        return norms

    def layer_outputs(self, neurons: Neurons) -> FloatArray:
        """``f`` of shape (n, K)."""
        products = self.rows @ neurons.weights.T
        return self.rounded_outputs(neurons, products, products, 0.0, np.zeros(len(neurons)))

    def rounded_outputs(
        self, neurons: Neurons, products: FloatArray, change: FloatArray, length: float, width: FloatArray
    ) -> FloatArray:
        """``f`` at ``X u = products + length * change``, the activation rounded off within a width.

        The kink of neuron ``j`` at row ``i`` is a parabola within ``width[j] |x_i|``.
        """
        outputs = np.tile(neurons.intercept, (self.n_samples, 1))
        slopes = (self.activation.on, self.activation.off)
        _add_layer(
            products,
            change,
            length,
            width,
            self.row_norms,
            neurons.signs,
            neurons.outputs,
            slopes,
            self.positions,
            self.layer.selects,
            outputs,
        )
        return outputs

    def slopes(
        self, neurons: Neurons, products: FloatArray, width: FloatArray, gradient: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Slopes of the rounded layer at ``X u = products``, those times the loss's, and curvature of kinks.

        Parameters
        ----------
        neurons : Neurons
        products : ndarray of shape (n P, m)
        width : ndarray of shape (m,)
        gradient : ndarray of shape (n, K)
            Of the loss.

        Returns
        -------
        layer, pulled, kinks : ndarray of shape (n P, m)
            ``signs[j] phi'``, ``signs[j] phi' gradient``, and how much of ``x x'`` each row adds to the
            curvature where its kink holds the neuron.
        """
        layer, pulled, kinks = (np.empty(products.shape) for _ in range(3))
        slopes = (self.activation.on, self.activation.off)

        def work(part: slice) -> None:
            rows = slice(part.start * self.positions, part.stop * self.positions)
            _bend_layer(
                products[rows],
                width,
                self.row_norms[rows],
                neurons.signs,
                neurons.outputs,
                gradient[part],
                slopes,
                self.positions,
                self.layer.selects,
                layer[rows],
                pulled[rows],
                kinks[rows],
            )

        in_parts(work, self.n_samples, 8.0 * products.size)
        return layer, pulled, kinks

    def kink_curvature(self, kinks: FloatArray) -> FloatArray:
        """``sum_r kinks[r, j] x_r x_r'``, (n P, m) -> (m, d, d)."""
        (m, d), X = (kinks.shape[1], self.rows.shape[1]), self.rows
        if d > _SMALL:
            blocks = np.zeros((m, d, d))

            def square(part: slice) -> None:
                for j in range(part.start, part.stop):
                    held = np.flatnonzero(kinks[:, j])
                    blocks[j] = (X[held] * kinks[held, j, None]).T @ X[held]

            in_parts(square, m, float(kinks.size * d))
            return blocks

        def work(part: slice) -> FloatArray:
            own = np.zeros((m, d, d))
            _add_squares(kinks[part], X[part], own)
            return own

        lower = sum_of_parts(work, len(X), float(kinks.size * d))
        upper = np.tril(lower, -1).transpose(0, 2, 1)
        return np.asarray(np.tril(lower) + upper)

    def part(self, samples: IntArray) -> "Objective":
        """Return the objective of some samples, their weights raised to make up for the others."""
        weight = self.weight[samples] * (self.weight.sum() / self.weight[samples].sum())
        rows = (self.positions * samples[:, None] + np.arange(self.positions)).ravel()
        layer = replace(self.layer, rows=self.rows[rows])
        return replace(self, layer=layer, targets=self.targets[samples], weight=weight)

    @cached_property
    def _centre(self) -> FloatArray:
        """Mean row where a bias can make up for it, else zero: searches must not depend on offsets."""
        return np.zeros(self.rows.shape[1]) if self.constant is None else self.rows.mean(axis=0)

    def _columns(self, rows: FloatArray) -> FloatArray:
        """Columns of the data on rows (n, d): coordinates that were turned say nothing by themselves."""
        return rows if self.axes is None else rows @ self.axes

    @cached_property
    def _spreads(self) -> FloatArray:
        """Root mean squares of the columns about the centre."""
        return np.asarray(np.sqrt(np.mean(self._columns(self.rows - self._centre) ** 2, axis=0)))

    @cached_property
    def _unit(self) -> float:
        """Length of a row that answers one to the bias: what a bias of norm one answers."""
        return 0.0 if self.constant is None else 1.0 / float(np.linalg.norm(self.constant))

    def random_directions(self, n_directions: int, rng: np.random.Generator) -> FloatArray:
        """Draw weights (n, d) whose answers are Gaussian, as large by one column of the data as by another.

        Columns that are mostly zero would get weights so large that they rule the norms of neurons, so that
        small spreads are raised; those of constant columns are one. With a bias hyperplanes pass near
        the centre of the data, wherever that is.
        """
        noise = _CONSTANT * np.abs(self._columns(self._centre))
        if self.axes is not None:
            # Turned back, columns of zeros hold the rounding of the others.
            noise = np.maximum(noise, _ROUNDING * self._spreads.max(initial=0.0))
        spreads = np.where(self._spreads > noise, self._spreads, 0.0)
        positive = spreads[spreads > 0]
        least = _LEAST_SPREAD * float(np.median(positive)) if positive.size else 1.0
        spreads = np.where(spreads > 0, np.maximum(spreads, least), 1.0)
        drawn = rng.standard_normal((n_directions, len(spreads))) / spreads
        drawn = drawn if self.axes is None else drawn @ self.axes.T
        if self.constant is not None:
            # The shortest change that moves answers at the centre: neurons of small norm pay.
            answers = rng.standard_normal(n_directions) - drawn @ self._centre
            drawn += answers[:, None] * (self._centre / float(self._centre @ self._centre))
        return drawn

    def beside(self, neurons: Neurons, distances: FloatArray, rng: np.random.Generator) -> Neurons:
        """Neurons moved by so much of their size, measured by their answers, in random directions."""
        moves = self.random_directions(len(neurons), rng)
        sizes = np.linalg.norm(self.standardised(neurons.weights), axis=1)
        lengths = np.maximum(np.linalg.norm(self.standardised(moves), axis=1), _TINY)
        return neurons.with_weights(neurons.weights + (distances * sizes / lengths)[:, None] * moves)

    @cached_property
    def row_norms(self) -> FloatArray:
        """Lengths of the rows, seen from the centre."""
        return np.asarray(np.sqrt(np.sum((self.rows - self._centre) ** 2, axis=1) + self._unit**2))

    def extents(self, weights: FloatArray) -> FloatArray:
        """Norms of weights (m, d) with the bias taken at the centre: offsets leave them alone."""
        if self.constant is None:
            return np.asarray(np.linalg.norm(weights, axis=1))
        along = weights @ self.constant / float(self.constant @ self.constant)
        slopes = weights - along[:, None] * self.constant
        at_centre = weights @ self._centre / self._unit
        return np.asarray(np.sqrt(np.sum(slopes**2, axis=1) + at_centre**2))

    def standardised(self, weights: FloatArray) -> FloatArray:
        """Weights (m, d) of the columns times their spreads, and answers at the centre: (m, columns + 1)."""
        return np.column_stack([self._columns(weights) * self._spreads, weights @ self._centre])

    def penalty(self, neurons: Neurons) -> float:
        """``alpha sum_j |u_j|``."""
        return self.alpha * float(self.norms(neurons.weights).sum())

    def fit(self, outputs: FloatArray) -> float:
        """``L(f)``."""
        return self.loss.value(outputs, self.targets, self.weight)

    def value(self, neurons: Neurons) -> float:
        """``F``."""
        return self.fit(self.layer_outputs(neurons)) + self.penalty(neurons)

    def gradient(self, outputs: FloatArray) -> FloatArray:
        """Gradient of ``L``, (n, K)."""
        return self.loss.gradient(outputs, self.targets, self.weight)

    def curvature(self, outputs: FloatArray) -> FloatArray:
        """Diagonal second derivatives of ``L``, (n, K); outputs are treated as if they were separate."""
        bend = np.diagonal(self.loss.curvature(outputs, self.targets, self.weight), axis1=1, axis2=2)
        least = _LEAST_CURVATURE * self.loss.smoothness if self.loss.is_smooth else 0.0
        return np.maximum(bend, least * self.weight[:, None])

    def empty(self) -> Neurons:
        """Return the best network without neurons."""
        intercept = np.zeros(self.targets.shape[1])
        if self.fit_intercept:
            zero = np.zeros(self.targets.shape)
            intercept = self.loss.optimal_intercept(zero, self.targets, self.weight)
        return Neurons.none(self.rows.shape[1], intercept)


@kernel
def _add_layer(
    products: FloatArray,
    change: FloatArray,
    length: float,
    width: FloatArray,
    row_norms: FloatArray,
    signs: FloatArray,
    outputs: IntArray,
    slopes: tuple[float, float],
    positions: int,
    selects: bool,
    total: FloatArray,
) -> None:
    """Add ``signs[j] phi(products + length * change)`` to column ``outputs[j]`` of each row's sample.

    If the layer selects, the largest row of each sample counts, otherwise their sum. Within ``w = width[j] *
    row_norms[i]`` of zero the kink is replaced by a parabola.
    """
    n, m = products.shape
    on, off = slopes
    bend = on - off
    for low in range(0, n, positions):
        sample = low // positions
        for j in range(m):
            kept = -1
            if selects:
                kept = low
                for i in range(low + 1, low + positions):
                    if products[i, j] + length * change[i, j] > products[kept, j] + length * change[kept, j]:
                        kept = i
            for i in range(low, low + positions):
                if selects and i != kept:
                    continue
                t = products[i, j] + length * change[i, j]
                w = width[j] * row_norms[i]
                if t >= w:
                    value = on * t
                elif t <= -w:
                    value = off * t
                else:
                    value = off * t + bend * (t + w) * (t + w) / (4.0 * w)
                total[sample, outputs[j]] += signs[j] * value


@kernel
def _bend_layer(
    products: FloatArray,
    width: FloatArray,
    row_norms: FloatArray,
    signs: FloatArray,
    outputs: IntArray,
    gradient: FloatArray,
    slopes: tuple[float, float],
    positions: int,
    selects: bool,
    layer: FloatArray,
    pulled: FloatArray,
    kinks: FloatArray,
) -> None:
    """Fill the last three arrays as `Objective.slopes` describes."""
    n, m = products.shape
    on, off = slopes
    bend = on - off
    for low in range(0, n, positions):
        sample = low // positions
        for j in range(m):
            kept = -1
            if selects:
                kept = low
                for i in range(low + 1, low + positions):
                    if products[i, j] > products[kept, j]:
                        kept = i
            pull = signs[j] * gradient[sample, outputs[j]]
            for i in range(low, low + positions):
                layer[i, j], pulled[i, j], kinks[i, j] = 0.0, 0.0, 0.0
                if selects and i != kept:
                    continue
                t, w = products[i, j], width[j] * row_norms[i]
                slope = on if t >= w else off
                if -w < t < w:
                    slope = off + bend * 0.5 * (t / w + 1.0)
                    kinks[i, j] = max(pull, 0.0) * bend / (2.0 * w)
                layer[i, j] = signs[j] * slope
                pulled[i, j] = slope * pull


@kernel
def _add_squares(weights: FloatArray, rows: FloatArray, blocks: FloatArray) -> None:
    """Add the lower triangles of ``weights[r, j] x_r x_r'`` to each block j."""
    for r in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            if weights[r, j] != 0.0:
                for a in range(rows.shape[1]):
                    factor = weights[r, j] * rows[r, a]
                    for b in range(a + 1):
                        blocks[j, a, b] += factor * rows[r, b]


def random_neurons(objective: Objective, n_neurons: int, rng: np.random.Generator) -> Neurons:
    """Draw neurons of Gaussian directions, of both signs for every output, smaller than the targets."""
    n_outputs = objective.targets.shape[1]
    weights = objective.random_directions(n_neurons, rng)
    empty = objective.empty()
    spread = 1.0
    if objective.loss.task == "regression":
        spread = float(np.abs(objective.targets - empty.intercept).mean()) or 1.0
    size = (
        objective.positions
        * float(np.abs(objective.rows @ weights.T).mean())
        * math.sqrt(max(1.0, n_neurons / n_outputs))
    )
    weights *= _FIRST_SHARE * spread / max(size, _TINY)
    numbers = np.arange(n_neurons)
    signs = np.where(numbers % 2 == 0, 1.0, -1.0)
    return Neurons.separate(weights, signs, (numbers // 2) % n_outputs, empty.intercept)


def merged(objective: Objective, neurons: Neurons) -> Neurons:
    """Add up neurons of one output direction and pattern, which cannot raise the objective."""
    if not len(neurons):
        return neurons
    bits = objective.layer.bits(neurons.weights)
    kinds = (neurons.directions + 0.0).view(np.uint64)
    _, first, inverse = np.unique(np.hstack([bits, kinds]), axis=0, return_index=True, return_inverse=True)
    weights = np.zeros((len(first), neurons.weights.shape[1]))
    np.add.at(weights, inverse.ravel(), neurons.weights)
    return neurons.take(first).with_weights(weights)
