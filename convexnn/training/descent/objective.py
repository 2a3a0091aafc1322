"""The training objective as a non-convex one: neurons with their output weights balanced away."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IntArray
from convexnn.activations import Activation
from convexnn.layers import HiddenLayer
from convexnn.losses import Loss
from convexnn.problem import Neurons, Problem
from convexnn.training.descent.kinks import add_layer, add_turned, bend_layer, turn
from convexnn_solvers.curvature import Curvature
from convexnn_solvers.threads import in_parts

__all__ = ["Objective"]

# Of the median spread of the columns, what the spread of one counts as at least.
_LEAST_SPREAD = 0.1
# Spread of a column relative to its mean below which it is nothing but rounding.
_CONSTANT = 1e-8
# The same relative to the largest spread, where columns come out of a product of matrices.
_ROUNDING = 1e-12
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
    shared : bool
        Whether a neuron may feed several outputs.
    """

    layer: HiddenLayer
    targets: FloatArray
    weight: FloatArray
    loss: Loss
    alpha: float
    fit_intercept: bool
    constant: FloatArray | None = None
    axes: FloatArray | None = None
    shared: bool = False

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
            problem.shared,
        )

    @property
    def rows(self) -> FloatArray:
        """Rows of the layer, (n P, d)."""
        return self.layer.rows

    @property
    def activation(self) -> Activation:
        """Of the layer."""
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

    def work(self, n_neurons: int) -> float:
        """Return the multiplications of a product with both layers' weights, which work is counted in."""
        return float(n_neurons) * (self.rows.size + self.targets.size)

    def on_rows(self, values: FloatArray) -> FloatArray:
        """Repeat what belongs to the samples, (n, ...), for each of their rows."""
        return values if self.positions == 1 else np.repeat(values, self.positions, axis=0)

    def norms(self, weights: FloatArray) -> FloatArray:
        """Norms over the penalised coordinates, (m, d) -> (m,)."""
        norms: FloatArray = np.linalg.norm(weights * self.penalized, axis=1)
        return norms

    @cached_property
    def _single_rows(self) -> NDArray[np.float32]:
        """The rows in single precision."""
        return self.rows.astype(np.float32)

    def _rows_like(self, values: FloatMatrix) -> FloatMatrix:
        """Return the rows in the precision of some values."""
        return self.rows if values.dtype == np.float64 else self._single_rows

    def products(self, weights: FloatArray) -> FloatArray:
        """``X weights'``, (m, d) -> (n P, m)."""
        products = np.empty((len(self.rows), len(weights)))
        self.write_products(weights, products)
        return products

    def write_products(self, weights: FloatArray, products: FloatMatrix) -> None:
        """Write ``X weights'`` into an array (n P, m), in its precision."""
        X, weights = self._rows_like(products), weights.astype(products.dtype, copy=False)

        def work(part: slice) -> None:
            np.matmul(X[part], weights.T, out=products[part])

        in_parts(work, len(X), 2.0 * X.size * len(weights))

    def rows_times(self, values: FloatMatrix) -> FloatMatrix:
        """``values' X``, (n P, m) -> (m, d), in the precision of the values."""
        X = self._rows_like(values)
        sums = np.empty((values.shape[1], X.shape[1]), values.dtype)

        def work(part: slice) -> None:
            np.matmul(values[:, part].T, X, out=sums[part])

        in_parts(work, values.shape[1], 2.0 * X.size * values.shape[1])
        return sums

    def turn(
        self, slopes: FloatMatrix, kinks: FloatMatrix, products: FloatMatrix, turned: FloatMatrix
    ) -> None:
        """Write the sums of ``slopes * products`` over each sample's rows, then multiply products by `kinks`.

        Arrays are of shape (n P, m) and (n, m).
        """

        def work(part: slice) -> None:
            rows = slice(part.start * self.positions, part.stop * self.positions)
            turn(slopes[rows], kinks[rows], self.positions, products[rows], turned[part])

        in_parts(work, self.n_samples, 4.0 * products.size)

    def add_turned(self, slopes: FloatMatrix, values: FloatMatrix, products: FloatMatrix) -> None:
        """Add ``slopes`` times the values (n, m) of each row's sample to products (n P, m)."""

        def work(part: slice) -> None:
            rows = slice(part.start * self.positions, part.stop * self.positions)
            add_turned(slopes[rows], values[part], self.positions, products[rows])

        in_parts(work, self.n_samples, 2.0 * products.size)

    def open_rows(self, neurons: Neurons) -> BoolArray | None:
        """Which rows the gates of neurons let through, (n P, m); None where the signs of products decide."""
        if not self.activation.gated or neurons.gates is None:
            return None
        return np.asarray(self.rows @ neurons.gates.T >= 0)

    def rounded_layer(
        self,
        products: FloatArray,
        width: FloatArray,
        open_rows: BoolArray | None = None,
        out: FloatArray | None = None,
    ) -> FloatArray:
        """Return the layer at ``X u = products``, with kinks rounded off, (n P, m) -> (n, m).

        The kink of neuron ``j`` at row ``i`` is a parabola within ``width[j] |x_i|``. Gated layers have none.
        It is written into an array if one is given.
        """
        hidden = np.empty((self.n_samples, products.shape[1])) if out is None else out
        hidden[:] = 0.0
        if open_rows is not None:
            answers = np.where(open_rows, self.activation.on, self.activation.off) * products
            return answers.reshape(self.n_samples, self.positions, -1).sum(axis=1, out=hidden)

        def work(part: slice) -> None:
            rows = slice(part.start * self.positions, part.stop * self.positions)
            add_layer(
                products[rows],
                width,
                self.row_norms[rows],
                (self.activation.on, self.activation.off),
                self.positions,
                self.layer.selects,
                hidden[part],
            )

        in_parts(work, self.n_samples, 4.0 * products.size)
        return hidden

    def layer_outputs(self, neurons: Neurons) -> FloatArray:
        """``f`` of shape (n, K)."""
        products, width = self.products(neurons.weights), np.zeros(len(neurons))
        hidden = self.rounded_layer(products, width, self.open_rows(neurons))
        return np.asarray(hidden @ neurons.directions + neurons.intercept)

    def bend(
        self,
        products: FloatArray,
        width: FloatArray,
        pulls: FloatArray,
        open_rows: BoolArray | None,
        slopes: FloatArray,
        kinks: FloatArray,
    ) -> None:
        """Write the slopes of the rounded layer at ``X u = products``, and the curvature of its kinks.

        Parameters
        ----------
        products : ndarray of shape (n P, m)
        width : ndarray of shape (m,)
        pulls : ndarray of shape (n, m)
            Derivatives of the loss in the answers of each neuron.
        open_rows : ndarray of bool, shape (n P, m), or None
            Of a gated layer.
        slopes, kinks : ndarray of shape (n P, m)
            For ``phi'``, and how much of ``x x'`` each row adds to the curvature where its kink holds the
            neuron.
        """
        if open_rows is not None:
            slopes[:], kinks[:] = np.where(open_rows, self.activation.on, self.activation.off), 0.0
            return

        def work(part: slice) -> None:
            rows = slice(part.start * self.positions, part.stop * self.positions)
            bend_layer(
                products[rows],
                width,
                self.row_norms[rows],
                pulls[part],
                (self.activation.on, self.activation.off),
                self.positions,
                self.layer.selects,
                slopes[rows],
                kinks[rows],
            )

        in_parts(work, self.n_samples, 8.0 * products.size)

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

    def ridge(self, hidden: FloatArray, output: FloatArray) -> float:
        """``alpha/2 (|u|^2 + |a|^2)`` of weights (m, d) and (m, K), the same where these are balanced."""
        return 0.5 * self.alpha * float(((hidden * self.penalized) ** 2).sum() + (output**2).sum())

    def fit(self, outputs: FloatArray) -> float:
        """``L(f)``."""
        return self.loss.value(outputs, self.targets, self.weight)

    def value(self, neurons: Neurons) -> float:
        """``F``."""
        return self.fit(self.layer_outputs(neurons)) + self.penalty(neurons)

    def gradient(self, outputs: FloatArray) -> FloatArray:
        """Gradient of ``L``, (n, K)."""
        return self.loss.gradient(outputs, self.targets, self.weight)

    def curvature(self, outputs: FloatArray) -> Curvature:
        """Second derivatives of ``L`` at outputs (n, K)."""
        return Curvature(*self.loss.curvature(outputs, self.targets, self.weight))

    def empty(self) -> Neurons:
        """Return the best network without neurons."""
        intercept = np.zeros(self.targets.shape[1])
        if self.fit_intercept:
            zero = np.zeros(self.targets.shape)
            intercept = self.loss.optimal_intercept(zero, self.targets, self.weight)
        return Neurons.none(self.rows.shape[1], intercept)
