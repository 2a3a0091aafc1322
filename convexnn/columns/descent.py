r"""Newton descent on the training objective of a two-layer network, as a non-convex problem.

With output weights balanced away, neurons ``u_j`` of sign ``s_j`` on output ``k_j`` have the objective ::

    F = L(sum_j s_j phi(X u_j) e_{k_j} + c) + alpha sum_j |u_j|.

Neurons cross from cell to cell freely. The optimum has neurons on hyperplanes ``x_i . u_j = 0``, where
``phi`` has its kink and methods for smooth functions stall. So ``phi`` is rounded off within a width that
shrinks while the descent goes on; a kink that holds its neuron is a curvature of the model then. The model is
the Gauss-Newton one with the curvature of the norms and of such kinks. Wide roundings first also lead to
better optima.
"""

import time
from dataclasses import replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular

from convexnn._typing import FloatArray, IntArray
from convexnn.columns.objective import Neurons, Objective

__all__ = ["Descent"]

# Widths within which kinks are rounded off, relative to the norms of row and neuron.
_FIRST_WIDTH, _LEAST_WIDTH, _NARROWING = 0.3, 1e-3, 0.3
# Damping relative to the diagonal of the model. A light one lets the first steps reverse most neurons.
_LEAST_DAMPING, _FIRST_DAMPING, _MOST_DAMPING = 1e-7, 1.0, 1e6
_SETTLED_WIDTH, _SETTLED_DAMPING = 0.03, 1e-2
_INTERCEPT_DAMPING, _LEAST_SHARE = 1e-6, 1e-12
# Line searches: sufficient decrease, halvings, a step so short that the damping grows.
_SUFFICIENT, _MAX_HALVINGS, _SHORT = 1e-4, 7, 0.2
_VANISHED = 1e-7
# Rows at a time, and entries of a batch of whitened data.
_CHUNK, _ENTRIES = 2048, 4_000_000
_TINY = float(np.finfo(np.float64).tiny)


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

    def run(self, n_steps: int, tol: float, until: float) -> Neurons:
        """Take steps until the narrowest width brings less than `tol` of the objective; returns the best."""
        for _ in range(n_steps):
            if not len(self._at) or time.perf_counter() > until:
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
        model = _Model(self.objective, self._at, self.width)
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

    def _search(self, model: "_Model", change: FloatArray, shift: FloatArray) -> float:
        """Halve the step until the rounded objective falls enough; 0 if it never does."""
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
            outputs = objective.rounded_outputs(moved, model.products, products_change, length, model.width)
            value = objective.fit(outputs) + objective.penalty(moved)
            if value <= model.value + _SUFFICIENT * length * slope:
                self._accept(moved)
                return length
            length *= 0.5
        return 0.0

    def _accept(self, moved: Neurons) -> None:
        """Drop neurons that went through zero or vanished, and remember the best point."""
        norms = self.objective.norms(moved.weights)
        along = (moved.weights * self._at.weights) @ self.objective.penalized
        self._at = moved.take((along > 0) & (norms > _VANISHED * norms.max(initial=0.0)))
        value = self.objective.value(self._at)
        if value < self.best_value:
            self.best, self.best_value = self._at, value


class _Model:
    """Quadratic model of the rounded objective at a point, output by output."""

    def __init__(self, objective: Objective, neurons: Neurons, width: float) -> None:
        self.objective, self.neurons = objective, neurons
        X, alpha = objective.rows, objective.alpha
        norms = np.maximum(objective.norms(neurons.weights), _TINY)
        self.width = width * np.linalg.norm(neurons.weights, axis=1)
        self.products = X @ neurons.weights.T
        outputs = objective.rounded_outputs(neurons, self.products, self.products, 0.0, self.width)
        self.value = objective.fit(outputs) + objective.penalty(neurons)
        gradient = objective.gradient(outputs)
        self.root = np.sqrt(np.maximum(objective.curvature(outputs), 0.0))
        self.layer, pulled, kinks = objective.slopes(neurons, self.products, self.width, gradient)
        self.units = neurons.weights * objective.penalized / norms[:, None]
        self.slopes = pulled.T @ X + alpha * self.units
        self.intercept_slope = gradient.sum(axis=0) * objective.fit_intercept
        self.blocks = self._blocks(norms) + objective.kink_curvature(kinks)

    def _blocks(self, norms: FloatArray) -> FloatArray:
        """Curvature of each neuron's norm, (m, d, d)."""
        alpha, penalized = self.objective.alpha, self.objective.penalized
        blocks = -self.units[:, :, None] * self.units[:, None, :]
        diagonal = np.arange(len(penalized))
        blocks[:, diagonal, diagonal] += penalized
        blocks *= (alpha / norms)[:, None, None]
        return np.asarray(blocks)

    def direction(self, damping: float) -> tuple[FloatArray, FloatArray] | None:
        """Newton direction of weights and intercept; None if the system is not positive definite."""
        change, shift = np.zeros_like(self.slopes), np.zeros_like(self.intercept_slope)
        for k in range(len(shift)):
            members = np.flatnonzero(self.neurons.outputs == k)
            try:
                change[members], shift[k] = self._solve(k, members, damping)
            except LinAlgError:
                return None
        return change, shift

    def _solve(self, k: int, members: IntArray, damping: float) -> tuple[FloatArray, float]:
        """Newton direction of one output's neurons and intercept, in the smaller of two spaces."""
        X, root = self.objective.rows, self.root[:, k]
        n, d = self.objective.n_samples, X.shape[1]
        diagonal = np.arange(d)
        blocks = self.blocks[members].copy()
        # With several rows for each sample the square of their sum is at most so many times that of squares.
        root_rows = np.sqrt(self.objective.positions) * self.objective.on_rows(root)[:, None]
        size = ((root_rows * self.layer[:, members]) ** 2).T @ X**2 + blocks[:, diagonal, diagonal]
        size = np.maximum(size, _LEAST_SHARE * size.max(initial=_TINY))
        blocks[:, diagonal, diagonal] += damping * size
        extra = _INTERCEPT_DAMPING * max(float((root**2).sum()), _TINY)
        solve = self._in_weights if members.size * d <= n else self._in_samples
        return solve(k, members, blocks, extra)

    def _in_weights(
        self, k: int, members: IntArray, blocks: FloatArray, extra: float
    ) -> tuple[FloatArray, float]:
        """Solve the system of the weights, of order ``m d + 1``."""
        n, fit_intercept = self.objective.n_samples, self.objective.fit_intercept
        d, m = self.objective.rows.shape[1], members.size
        hessian = np.zeros((m * d + 1, m * d + 1))
        for low in range(0, n, _CHUNK):
            samples = slice(low, min(low + _CHUNK, n))
            root = self.root[samples, k]
            columns = np.empty((len(root), m * d + 1))
            self._layer_gradients(samples, members, columns[:, :-1].reshape(len(root), m, d))
            columns[:, :-1] *= root[:, None]
            columns[:, -1] = root if fit_intercept else 0.0
            hessian += columns.T @ columns
        for j in range(m):
            hessian[j * d : (j + 1) * d, j * d : (j + 1) * d] += blocks[j]
        hessian[-1, -1] += extra
        slope = np.append(self.slopes[members].ravel(), self.intercept_slope[k])
        factor = cho_factor(hessian, lower=True, overwrite_a=True, check_finite=False)
        solution = -cho_solve(factor, slope, check_finite=False)
        return solution[:-1].reshape(m, d), float(solution[-1]) if fit_intercept else 0.0

    def _layer_gradients(self, samples: slice, members: IntArray, gradients: FloatArray) -> None:
        """Gradients of some samples' layers in the weights of some neurons, (samples, m, d)."""
        X, P = self.objective.rows, self.objective.positions
        rows = slice(P * samples.start, P * samples.stop)
        layer = self.layer[rows, members]
        if P == 1:
            np.multiply(layer[:, :, None], X[rows, None, :], out=gradients)
            return
        by_sample = layer.reshape(len(gradients), P, members.size).transpose(0, 2, 1)
        np.matmul(by_sample, X[rows].reshape(len(gradients), P, -1), out=gradients)

    def _in_samples(
        self, k: int, members: IntArray, blocks: FloatArray, extra: float
    ) -> tuple[FloatArray, float]:
        """Solve the same system in the samples, of order ``n``, by the Woodbury identity."""
        objective, root = self.objective, self.root[:, k]
        X, n, fit_intercept = objective.rows, objective.n_samples, objective.fit_intercept
        n_rows, d = X.shape
        system = np.eye(n)
        image = np.zeros(n)
        if fit_intercept:
            system += np.outer(root, root) / extra
            image += root * (self.intercept_slope[k] / extra)
        factors = np.linalg.cholesky(blocks)
        whitened = np.empty((members.size, d))
        step = max(1, _ENTRIES // (n_rows * d))
        parts = [slice(low, low + step) for low in range(0, members.size, step)]
        rows = []
        for part in parts:
            chosen = members[part]
            white = np.empty((len(chosen), d, n_rows))
            for j, factor in enumerate(factors[part]):
                white[j] = solve_triangular(factor, X.T, lower=True, check_finite=False)
                whitened[part.start + j] = solve_triangular(factor, self.slopes[chosen[j]], lower=True)
            white *= (objective.on_rows(root)[:, None] * self.layer[:, chosen]).T[:, None, :]
            flat = white.reshape(-1, n, objective.positions).sum(axis=2)
            system += flat.T @ flat
            image += whitened[part].ravel() @ flat
            rows.append(flat)
        inner = cho_solve(cho_factor(system, lower=True, check_finite=False), image, check_finite=False)
        whitened -= np.concatenate([flat @ inner for flat in rows]).reshape(-1, d)
        change = -np.linalg.solve(factors.transpose(0, 2, 1), whitened[:, :, None])[:, :, 0]
        shift = (root @ inner - self.intercept_slope[k]) / extra if fit_intercept else 0.0
        return change, float(shift)
