r"""Newton descent on the training objective of a two-layer network, as a non-convex problem.

With output weights balanced away, neurons ``u_j`` of sign ``s_j`` on output ``k_j`` have the objective ::

    F = L(sum_j s_j phi(X u_j) e_{k_j} + c) + alpha sum_j |u_j|.

Neurons cross from cell to cell freely. The optimum has neurons on hyperplanes ``x_i . u_j = 0``, where
``phi`` has its kink and methods for smooth functions stall. So ``phi`` is rounded off within a width that
shrinks while the descent goes on; a kink that holds its neuron is a curvature of the model then. The model is
the Gauss-Newton one with the curvature of the norms and of such kinks. Wide roundings first also lead to
better optima.
"""

from dataclasses import replace

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.problem import Neurons
from convexnn.training.descent.newton_models import DescentModel, descent_model
from convexnn.training.descent.objective import Objective
from convexnn_solvers.clock import Clock

__all__ = ["Descent"]

# Widths within which kinks are rounded off, relative to the norms of row and neuron.
_FIRST_WIDTH, _LEAST_WIDTH, _NARROWING = 0.3, 1e-3, 0.3
# Damping relative to the diagonal of the model. A light one lets the first steps reverse most neurons.
_LEAST_DAMPING, _FIRST_DAMPING, _MOST_DAMPING = 1e-7, 1.0, 1e6
_SETTLED_WIDTH, _SETTLED_DAMPING = 0.03, 1e-2
# Line searches: sufficient decrease, halvings, a step so short that the damping grows.
_SUFFICIENT, _MAX_HALVINGS, _SHORT = 1e-4, 7, 0.2
_VANISHED = 1e-7


class Descent:
    """A descent from given neurons; `best` and `best_value` are the best point so far.

    Parameters
    ----------
    objective : Objective
    neurons : Neurons
    settled : bool
        Whether the neurons come from a descent, on a part of the samples say: kinks are rounded off less.
    """

    def __init__(self, objective: Objective, neurons: Neurons, *, settled: bool = False) -> None:
        self.objective = objective
        self.width = _SETTLED_WIDTH if settled else _FIRST_WIDTH
        self._damping = _SETTLED_DAMPING if settled else _FIRST_DAMPING
        self._at, self.best = neurons, neurons
        self.best_value = objective.value(neurons)

    def run(self, n_steps: int, tol: float, clock: Clock) -> Neurons:
        """Take steps until the narrowest width brings less than `tol` of the objective; returns the best."""
        for _ in range(n_steps):
            if not len(self._at) or clock.expired:
                break
            before = self.best_value
            length = self._step()
            if length == 0.0 or before - self.best_value < tol * abs(before):
                if self.width <= _LEAST_WIDTH:
                    break
                self.width *= _NARROWING
        return self.best

    def _step(self) -> float:
        """Take one Newton step; returns its length, 0 if none was found."""
        model = descent_model(self.objective, self._at, self.width)
        while self._damping <= _MOST_DAMPING:
            direction = model.direction(self._damping)
            length = 0.0 if direction is None else self._search(model, *direction)
            if length == 1.0:
                self._damping = max(self._damping / 5, _LEAST_DAMPING)
            elif length < _SHORT:
                self._damping *= 3 if length > 0 else 10
            if length > 0:
                return length
        self._damping = _FIRST_DAMPING
        return 0.0

    def _search(self, model: DescentModel, change: FloatArray, shift: FloatArray) -> float:
        """Halve the step until the rounded objective, without what ends, falls enough; 0 if it never does."""
        objective, neurons = self.objective, self._at
        slope = float((model.slopes * change).sum() + model.intercept_slope @ shift)
        products_change = objective.rows @ change.T
        length = 1.0
        for _ in range(_MAX_HALVINGS):
            moved = replace(
                neurons,
                weights=neurons.weights + length * change,
                intercept=neurons.intercept + length * shift,
            )
            products, step, alive = model.products, products_change, self._alive(moved)
            if not alive.all():
                moved = moved.take(alive)
                products, step = (np.compress(alive, part, axis=1) for part in (products, step))
            outputs = objective.rounded_outputs(moved, products, step, length, model.width[alive])
            value = objective.fit(outputs) + objective.penalty(moved)
            # Where none is left the step was too long: descents would end there.
            if len(moved) and value <= model.value + _SUFFICIENT * length * slope:
                self._accept(moved)
                return length
            length *= 0.5
        return 0.0

    def _alive(self, moved: Neurons) -> BoolArray:
        """Which neurons neither went through zero nor vanished, (m,)."""
        norms = self.objective.norms(moved.weights)
        along = (moved.weights * self._at.weights) @ self.objective.penalized
        alive: BoolArray = (along > 0) & (norms > _VANISHED * norms.max(initial=0.0))
        return alive

    def _accept(self, moved: Neurons) -> None:
        """Go on from there, and remember the best point."""
        self._at, value = moved, self.objective.value(moved)
        if value < self.best_value:
            self.best, self.best_value = moved, value
