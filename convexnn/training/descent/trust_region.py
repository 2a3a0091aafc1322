r"""Descent on the training objective as a non-convex problem, by a trust-region Newton method.

Neurons cross freely from cell to cell. The optimum has neurons on hyperplanes ``x_i . u_j = 0``, where
``phi`` has its kink and methods for smooth functions stall. So ``phi`` is rounded off within a width that
shrinks while the descent goes on; a kink that holds its neuron is a curvature of the model then. Wide
roundings first also lead to better optima. A model is minimised by conjugate gradients up to the radius that
it is trusted in; where a step fails, it is shortened along the path of their iterates.

References
----------
Steihaug, "The conjugate gradient method and trust regions in large scale optimization", SIAM Journal on
Numerical Analysis 20, 1983.
"""

import math
from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray
from convexnn.problem import Neurons
from convexnn.training.descent.merging import clustered
from convexnn.training.descent.model import RoundedModel, Workspace
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.weights import Weights
from convexnn_solvers.clock import Clock

__all__ = ["Descent"]

# Widths within which kinks are rounded off, relative to the norms of row and neuron: of random neurons, and
# of those that have settled. With a first one of .3 descents ended up to 30% higher, with .03 1% on average.
_FIRST_WIDTH, _SETTLED_WIDTH, _LEAST_WIDTH, _NARROWING = 0.05, 0.02, 1e-3, 0.25
# First radius, relative to the weights, and where a descent gives up.
_FIRST_RADIUS, _LEAST_RADIUS = 0.3, 1e-9
# Of what the model promises: too little to go there, little enough to trust it less, enough to trust it more.
_ENOUGH, _LITTLE, _MUCH = 0.1, 0.25, 0.75
# Growth of the radius then, and where nearly all of it came true.
_GROWTH, _NEARLY_ALL, _FASTER_GROWTH = 2.0, 0.9, 4.0
# How much shorter a failed step is tried again.
_SHORTER = 0.35
# Conjugate gradients: the residual that ends them, products, and numbers of all iterates together (160 MB).
_ACCURACY, _MOST_PRODUCTS, _FEWEST_PRODUCTS, _PATH_ENTRIES = 0.1, 60, 10, 20_000_000
# A step's work besides products, in such.
_OTHER_PRODUCTS = 4
# Share of the neurons that is worth a change to fewer ones.
_MANY_FEWER = 0.8
# Of the largest neuron: what counts as none.
_VANISHED = 1e-7


class Descent:
    """A descent from given neurons.

    Parameters
    ----------
    objective : Objective
    neurons : Neurons
    settled : bool
        Whether the neurons come from a descent, on a part of the samples say: kinks are rounded off less.

    Attributes
    ----------
    best : Neurons
    best_value : float
        The best point so far and its objective.
    n_steps : int
    work : float
        In multiplications, see `Objective.work`.
    """

    def __init__(self, objective: Objective, neurons: Neurons, *, settled: bool = False) -> None:
        self.objective = objective
        self.width = _SETTLED_WIDTH if settled else _FIRST_WIDTH
        self._at, self._radius = Weights.of(objective, neurons), math.nan
        self._products = objective.products(self._at.hidden)
        self._trusts_more, self.work, self.n_steps, self._space = False, 0.0, 0, Workspace()
        self.best, self.best_value = neurons, objective.value(neurons)

    def run(self, n_steps: int, tol: float, clock: Clock) -> Neurons:
        """Take steps until the narrowest width brings less than `tol` of the objective; returns the best."""
        for _ in range(n_steps):
            if clock.expired:
                break
            self._drop_vanished()
            if not len(self._at.hidden):
                break
            self.n_steps += 1
            if self._step(clock) < tol and not self._trusts_more:
                if self.width <= _LEAST_WIDTH:
                    break
                self.width = max(_NARROWING * self.width, _LEAST_WIDTH)
                self._cluster()
        return self.best

    def _cluster(self) -> None:
        """Go on from fewer neurons where many are alike, which makes the other steps cheap."""
        if self.objective.activation.gated:
            return
        neurons = self._at.neurons()
        fewer = clustered(self.objective, neurons)
        if len(fewer) < _MANY_FEWER * len(neurons):
            self._at = Weights.of(self.objective, fewer)
            self._products = self.objective.products(self._at.hidden)

    def _drop_vanished(self) -> None:
        """Leave out neurons that are zero or nearly so."""
        at = self._at
        sizes = self.objective.norms(at.hidden) * np.linalg.norm(at.output, axis=1)
        kept = sizes > _VANISHED * sizes.max(initial=0.0)
        if not kept.all():
            self._at, self._products = at.take(kept), np.compress(kept, self._products, axis=1)

    def _step(self, clock: Clock) -> float:
        """Take one step; returns what it brings relative to the rounded objective, 0 if none was found."""
        model = RoundedModel(self.objective, self._at, self._products, self.width, self._space)
        if not math.isfinite(self._radius):
            size = self._at.flat()
            self._radius = _FIRST_RADIUS * math.sqrt(float(size @ (model.diagonal * size)))
        path = _path(model, self._radius, clock)
        self.work += (len(path) + _OTHER_PRODUCTS) * self.objective.work(len(self._at.hidden))
        at_boundary = path[-1].length >= self._radius
        k, end = len(path) - 1, path[-1]
        self._trusts_more = False
        while end.length > 0:
            after, products, value = model.moved(end.step)
            ratio = (model.value - value) / -end.promise if end.promise < 0 else -1.0
            if ratio > _ENOUGH:
                if ratio < _LITTLE:
                    self._radius = 0.5 * end.length
                elif ratio > _MUCH and at_boundary:
                    growth = _FASTER_GROWTH if ratio > _NEARLY_ALL else _GROWTH
                    self._radius, self._trusts_more = growth * end.length, True
                self._accept(after, products)
                return (model.value - value) / max(abs(value), np.finfo(np.float64).tiny)
            self._radius, at_boundary = _SHORTER * end.length, False
            if self._radius < _LEAST_RADIUS * math.sqrt(float(model.diagonal @ self._at.flat() ** 2)):
                break
            while k > 1 and path[k - 1].length >= self._radius:
                k -= 1
            end = path[k - 1].towards(path[k], self._radius, model.diagonal)
        self._radius = math.nan
        return 0.0

    def _accept(self, after: Weights, products: FloatArray) -> None:
        """Go on from there, and remember the best point."""
        self._at, self._products = after, products
        objective = self.objective
        hidden = objective.rounded_layer(products, np.zeros(len(after.hidden)), after.open_rows)
        outputs = hidden @ after.output
        sizes = objective.norms(after.hidden) * np.linalg.norm(after.output, axis=1)
        value = objective.fit(outputs + after.intercept) + objective.alpha * float(sizes.sum())
        if value < self.best_value:
            self.best, self.best_value = after.neurons(), value


@dataclass(frozen=True, eq=False)
class _Iterate:
    """A step, its length in the norm of the model's diagonal, and the change that the model promises."""

    step: FloatArray
    length: float
    promise: float

    def towards(self, other: "_Iterate", length: float, diagonal: FloatArray) -> "_Iterate":
        """Return the step of a given length between this one and a longer one."""
        difference = other.step - self.step
        share = min(1.0, _reaching(self.step, difference, length, diagonal))
        # Along a direction of conjugate gradients the model is a parabola with its least value at the end.
        promise = self.promise + (other.promise - self.promise) * share * (2.0 - share)
        step = self.step + share * difference
        return _Iterate(step, math.sqrt(float(step @ (diagonal * step))), promise)


def _reaching(step: FloatArray, direction: FloatArray, length: float, diagonal: FloatArray) -> float:
    """Return how far along a direction a step gets a given length."""
    scaled = diagonal * direction
    square, along = float(direction @ scaled), float(step @ scaled)
    missing = max(0.0, length**2 - float(step @ (diagonal * step)))
    return missing / (along + math.sqrt(along**2 + square * missing)) if square > 0 else 0.0


def _path(model: RoundedModel, radius: float, clock: Clock) -> list[_Iterate]:
    """Return the iterates of conjugate gradients on the model, up to a radius.

    A direction of negative curvature is followed to the radius, which no solver of linear systems would do.
    """
    diagonal = model.diagonal
    step, residual = np.zeros_like(diagonal), -model.gradient
    scaled = residual / diagonal
    direction, square = scaled, float(residual @ scaled)
    wanted, path = _ACCURACY**2 * square, [_Iterate(step, 0.0, 0.0)]
    most = max(_FEWEST_PRODUCTS, min(_MOST_PRODUCTS, _PATH_ENTRIES // diagonal.size))
    for _ in range(most):
        if square <= wanted or (clock.expired and len(path) > 1):
            break
        image = model.product(direction)
        curvature, farthest = float(direction @ image), _reaching(step, direction, radius, diagonal)
        length = square / curvature if curvature > 0 else math.inf
        ends = length >= farthest
        length = min(length, farthest)
        promise = path[-1].promise - length * float(residual @ direction) + 0.5 * length**2 * curvature
        step = step + length * direction
        path.append(_Iterate(step, radius if ends else math.sqrt(float(step @ (diagonal * step))), promise))
        if ends:
            break
        residual = residual - length * image
        scaled = residual / diagonal
        square, before = float(residual @ scaled), square
        direction = scaled + (square / before) * direction
    return path
