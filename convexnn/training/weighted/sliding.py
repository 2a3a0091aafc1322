r"""Descent of filters and amounts together, on the non-convex objective of a network with weighted pooling.

The objective has kinks at ``x_ik . u_j = 0``. Where the gradient g of the loss at sample i has
``g_i a_jk > 0`` the kink is convex and can hold its neuron, as it does at most optima. So kinks are first
rounded off within a width that shrinks; then each neuron is confined to the subspace of the convex kinks
within the last width, where the objective is smooth again, and descends without rounding.

References
----------
Denoyelle, Duval, Peyre and Soubies, "The sliding Frank-Wolfe algorithm and its application to
super-resolution microscopy", Inverse Problems 36, 2019, algorithm 2.
"""

import math
from dataclasses import replace

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from convexnn._typing import FloatArray
from convexnn.losses import without_kinks
from convexnn.training.weighted.kinks import kink_subspace
from convexnn.training.weighted.neurons import WeightedNeurons, WeightedProblem
from convexnn_solvers.clock import Clock

__all__ = ["is_better", "slide"]

# L-BFGS: steps, pairs remembered, and the relative fall of the objective below which it ends.
_MAX_STEPS, _MEMORY, _FLAT = 300, 20, 1e-13
# Filters of one output are merged where the cosine of their angle is above this.
_CLOSE = 1 - 1e-3
# Neurons of so small a share of the largest are dropped.
_VANISHED = 1e-5
# Relative rounding of the objective, below which fewer neurons count for more.
_ROUNDING = 1e-13


def slide(
    problem: WeightedProblem,
    neurons: WeightedNeurons,
    widths: tuple[float, ...],
    clock: Clock,
) -> WeightedNeurons:
    """Descend from given neurons.

    Parameters
    ----------
    problem : WeightedProblem
        A loss with kinks is rounded off.
    neurons : WeightedNeurons
    widths : tuple of float
        Within which kinks are rounded off, relative to the norms of filter and patch, one after another.
    clock : Clock

    Returns
    -------
    WeightedNeurons
        Balanced. The objective of `problem` is not above that at `neurons`, see `is_better`.
    """
    rounded = replace(problem, loss=without_kinks(problem.loss, problem.targets, problem.sample_weight))
    best, best_value = neurons, problem.value(neurons)
    for at in (_merged(neurons), neurons):
        reached = at
        for width in widths:
            reached = _Descent(rounded, reached, width, None).run(clock)
            confined = _Descent(rounded, reached, 0.0, _subspaces(rounded, reached, width)).run(clock)
            for found in (reached, confined):
                value = problem.value(found)
                if is_better(value, found, best_value, best):
                    best, best_value = found, value
        if best is not neurons or len(at) == len(neurons) or clock.expired:
            break
    return best


def is_better(value: float, neurons: WeightedNeurons, other_value: float, other: WeightedNeurons) -> bool:
    """Whether a network's objective is lower, or the same to rounding with fewer neurons."""
    rounding = _ROUNDING * abs(other_value) if len(neurons) < len(other) else 0.0
    return value < other_value + rounding


class _Descent:
    """L-BFGS from given neurons; with `subspaces`, projections (m, d, d), each filter stays in its own."""

    def __init__(
        self,
        problem: WeightedProblem,
        neurons: WeightedNeurons,
        width: float,
        subspaces: FloatArray | None,
    ) -> None:
        self._problem, self._start, self._subspaces = problem, neurons, subspaces
        self._width = width * np.linalg.norm(neurons.weights, axis=1)

    def run(self, clock: Clock) -> WeightedNeurons:
        """Descend until the objective no longer falls or time is up."""
        start = self._start
        if not len(start):
            return start

        def watch(intermediate_result: OptimizeResult) -> None:
            del intermediate_result
            if clock.expired:
                raise StopIteration

        found = minimize(
            self._value_and_gradient,
            np.concatenate([start.weights.ravel(), start.amounts.ravel(), start.intercept]),
            jac=True,
            method="L-BFGS-B",
            callback=watch,
            options={"maxiter": _MAX_STEPS, "maxcor": _MEMORY, "ftol": _FLAT, "gtol": 0.0},
        )
        return self._neurons(found.x).balanced()

    def _neurons(self, x: FloatArray) -> WeightedNeurons:
        (m, d), n_positions = self._start.weights.shape, self._start.amounts.shape[1]
        weights, amounts, intercept = np.split(x, [m * d, m * (d + n_positions)])
        return replace(
            self._start,
            weights=self._inside(weights.reshape(m, d)),
            amounts=amounts.reshape(m, n_positions),
            intercept=intercept,
        )

    def _inside(self, weights: FloatArray) -> FloatArray:
        """Project each filter on its subspace."""
        if self._subspaces is None:
            return weights
        return (self._subspaces @ weights[:, :, None])[:, :, 0]

    def _value_and_gradient(self, x: FloatArray) -> tuple[float, FloatArray]:
        value, weights, amounts, intercept = self._problem.value_and_gradient(self._neurons(x), self._width)
        return value, np.concatenate([self._inside(weights).ravel(), amounts.ravel(), intercept])


def _subspaces(problem: WeightedProblem, neurons: WeightedNeurons, width: float) -> FloatArray:
    """Projections (m, d, d) on the subspaces of the convex kinks within a width."""
    rows = problem.rows
    outputs = problem.layer_outputs(neurons)
    gradient = problem.loss.gradient(outputs, problem.targets, problem.sample_weight)
    bend = problem.activation.on - problem.activation.off
    projections = np.empty((len(neurons), rows.shape[1], rows.shape[1]))
    for j, weights in enumerate(neurons.weights):
        resists = bend * np.outer(gradient[:, neurons.outputs[j]], neurons.amounts[j]).ravel() > 0
        projections[j] = kink_subspace(rows, problem.lengths, weights, resists, width)
    return projections


def _merged(neurons: WeightedNeurons) -> WeightedNeurons:
    """Drop negligible neurons; those of one output whose filters nearly agree become the best single one."""
    free = neurons.sizes() > _VANISHED * neurons.sizes().max(initial=0.0)
    cosines = neurons.directions() @ neurons.directions().T
    same = neurons.outputs[:, None] == neurons.outputs
    weights, amounts, outputs = [], [], []
    for j in np.argsort(-neurons.sizes(), kind="stable"):
        if not free[j]:
            continue
        group = np.flatnonzero(free & same[j] & (cosines[j] > _CLOSE))
        free[group] = False
        left, values, right = np.linalg.svd(neurons.weights[group].T @ neurons.amounts[group])
        sign = math.copysign(1.0, float(left[:, 0] @ neurons.weights[j]))
        weights.append(sign * math.sqrt(values[0]) * left[:, 0])
        amounts.append(sign * math.sqrt(values[0]) * right[0])
        outputs.append(neurons.outputs[j])
    if len(weights) == len(neurons):
        return neurons
    return replace(neurons, weights=np.array(weights), amounts=np.array(amounts), outputs=np.array(outputs))
