"""Quadratic models of the rounded training objective, and their Newton directions.

Small models are solved by Cholesky factors, in the space of the weights or in that of the samples, whichever
is smaller; large ones by conjugate gradients, whose truncated iterates are directions of descent too.
"""

from abc import ABC, abstractmethod

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from convexnn._typing import FloatArray, IntArray
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective
from convexnn_solvers.threads import in_parts

__all__ = ["DescentModel", "DirectModel", "IterativeModel", "descent_model"]

_INTERCEPT_DAMPING, _LEAST_SHARE = 1e-6, 1e-12
# Rows at a time, and entries of a batch of whitened data.
_CHUNK, _ENTRIES = 2048, 4_000_000
# Operations above which a model is not solved directly, and how well and how long it is solved then.
_DIRECT_OPERATIONS = 1e11
_ACCURACY, _MAX_PRODUCTS = 0.05, 60
_TINY = float(np.finfo(np.float64).tiny)


def descent_model(objective: Objective, neurons: Neurons, width: float) -> "DescentModel":
    """Return the model at a point, of the kind that suits its size."""
    counts = np.bincount(neurons.outputs)
    d, n = objective.rows.shape[1], objective.n_samples
    operations = float(n) * d * sum(float(m) * (d + min(n, m * d)) for m in counts.tolist())
    kind = DirectModel if operations <= _DIRECT_OPERATIONS else IterativeModel
    return kind(objective, neurons, width)


class DescentModel(ABC):
    """Quadratic model of the rounded objective at a point, output by output.

    Parameters
    ----------
    objective : Objective
    neurons : Neurons
    width : float
        Within which kinks are rounded off, relative to the norms of row and neuron.

    Attributes
    ----------
    value : float
        Of the rounded objective.
    slopes : ndarray of shape (m, d)
        Its gradient in the weights.
    intercept_slope : ndarray of shape (K,)
    products : ndarray of shape (n P, m)
        ``X u_j``.
    """

    def __init__(self, objective: Objective, neurons: Neurons, width: float) -> None:
        self.objective, self.neurons = objective, neurons
        X, alpha = objective.rows, objective.alpha
        self.norms = np.maximum(objective.norms(neurons.weights), _TINY)
        self.width = width * objective.extents(neurons.weights)
        self.products = X @ neurons.weights.T
        outputs = objective.rounded_outputs(neurons, self.products, self.products, 0.0, self.width)
        self.value = objective.fit(outputs) + objective.penalty(neurons)
        gradient = objective.gradient(outputs)
        self.root = np.sqrt(np.maximum(objective.curvature(outputs), 0.0))
        self.layer, pulled, self.kinks = objective.slopes(neurons, self.products, self.width, gradient)
        self.units = neurons.weights * objective.penalized / self.norms[:, None]
        self.slopes = pulled.T @ X + alpha * self.units
        self.intercept_slope = gradient.sum(axis=0) * objective.fit_intercept

    @abstractmethod
    def direction(self, damping: float) -> tuple[FloatArray, FloatArray] | None:
        """Newton direction of weights and intercept; None if the system is not positive definite."""

    def _intercept_damping(self, root: FloatArray) -> FloatArray:
        """Return what is added to the curvature in the intercepts whose curvatures are ``root**2``."""
        return np.asarray(_INTERCEPT_DAMPING * np.maximum((root**2).sum(axis=0), _TINY))


class DirectModel(DescentModel):
    """A model solved by Cholesky factors."""

    def __init__(self, objective: Objective, neurons: Neurons, width: float) -> None:
        super().__init__(objective, neurons, width)
        self.blocks = self._norm_curvature() + objective.kink_curvature(self.kinks)

    def _norm_curvature(self) -> FloatArray:
        """Curvature of each neuron's norm, (m, d, d)."""
        alpha, penalized = self.objective.alpha, self.objective.penalized
        blocks = -self.units[:, :, None] * self.units[:, None, :]
        diagonal = np.arange(len(penalized))
        blocks[:, diagonal, diagonal] += penalized
        blocks *= (alpha / self.norms)[:, None, None]
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
        extra = float(self._intercept_damping(root))
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
        # Of factors of order d, so that the inverses are as good as solving, and one call does all neurons.
        whitening = np.linalg.inv(np.linalg.cholesky(blocks))
        whitened = np.matmul(whitening, self.slopes[members][:, :, None])[:, :, 0]
        step = max(1, _ENTRIES // (n_rows * d))
        parts = [slice(low, low + step) for low in range(0, members.size, step)]
        rows = []
        for part in parts:
            chosen = members[part]
            white = np.matmul(whitening[part], X.T)
            white *= (objective.on_rows(root)[:, None] * self.layer[:, chosen]).T[:, None, :]
            flat = white.reshape(-1, n, objective.positions).sum(axis=2)
            system += flat.T @ flat
            image += whitened[part].ravel() @ flat
            rows.append(flat)
        inner = cho_solve(cho_factor(system, lower=True, check_finite=False), image, check_finite=False)
        whitened -= np.concatenate([flat @ inner for flat in rows]).reshape(-1, d)
        change = -np.matmul(whitening.transpose(0, 2, 1), whitened[:, :, None])[:, :, 0]
        shift = (root @ inner - self.intercept_slope[k]) / extra if fit_intercept else 0.0
        return change, float(shift)


class IterativeModel(DescentModel):
    """A model solved by conjugate gradients, to some accuracy, without any matrix of its own."""

    def __init__(self, objective: Objective, neurons: Neurons, width: float) -> None:
        super().__init__(objective, neurons, width)
        self._feeds = np.eye(len(self.intercept_slope))[neurons.outputs]
        self._curvature = self.root**2
        X_squared = objective.rows**2
        # With several rows for each sample the square of their sum is at most so many times that of squares.
        squares = objective.positions * objective.on_rows(self._curvature)[:, neurons.outputs] * self.layer**2
        norms = (objective.alpha / self.norms)[:, None] * (objective.penalized - self.units**2)
        size = (squares + self.kinks).T @ X_squared + norms
        self._size = np.maximum(size, _LEAST_SHARE * size.max(initial=_TINY))
        self._extra = self._intercept_damping(self.root)

    def direction(self, damping: float) -> tuple[FloatArray, FloatArray] | None:
        """Newton direction of weights and intercept, truncated; never None."""
        m, d = self.slopes.shape
        order = m * d + self.intercept_slope.size
        diagonal = np.append((1 + damping) * self._size.ravel(), self._curvature.sum(axis=0) + self._extra)
        system = LinearOperator(
            (order, order), matvec=lambda flat: self._product(flat, damping), dtype=np.float64
        )
        scaling = LinearOperator((order, order), matvec=lambda flat: flat / diagonal, dtype=np.float64)
        slope = np.append(self.slopes.ravel(), self.intercept_slope)
        solution, _ = cg(system, -slope, rtol=_ACCURACY, maxiter=_MAX_PRODUCTS, M=scaling)
        shift = solution[m * d :] * self.objective.fit_intercept
        return solution[: m * d].reshape(m, d), shift

    def _product(self, flat: FloatArray, damping: float) -> FloatArray:
        """Product of the damped curvature with a change of weights and intercepts."""
        objective, alpha = self.objective, self.objective.alpha
        m, d = self.slopes.shape
        change, shift = flat[: m * d].reshape(m, d), flat[m * d :]
        products = self._forward(change)
        by_output = (self.layer * products) @ self._feeds
        outputs = by_output.reshape(objective.n_samples, objective.positions, -1).sum(axis=1)
        bent = self._curvature * (outputs + shift * objective.fit_intercept)
        pulled = self.layer * objective.on_rows(bent)[:, self.neurons.outputs] + self.kinks * products
        along = (self.units * change).sum(axis=1, keepdims=True)
        norms = (alpha / self.norms)[:, None] * (change * objective.penalized - self.units * along)
        curved = self._adjoint(pulled) + norms + damping * self._size * change
        return np.append(curved.ravel(), bent.sum(axis=0) * objective.fit_intercept + self._extra * shift)

    def _forward(self, weights: FloatArray) -> FloatArray:
        """``X weights'``, (m, d) -> (n P, m)."""
        X = self.objective.rows
        products = np.empty((len(X), len(weights)))

        def work(part: slice) -> None:
            np.matmul(X[part], weights.T, out=products[part])

        in_parts(work, len(X), 2.0 * X.size * len(weights))
        return products

    def _adjoint(self, values: FloatArray) -> FloatArray:
        """``values' X``, (n P, m) -> (m, d)."""
        X = self.objective.rows
        slopes = np.empty((values.shape[1], X.shape[1]))

        def work(part: slice) -> None:
            np.matmul(values[:, part].T, X, out=slopes[part])

        in_parts(work, values.shape[1], 2.0 * X.size * values.shape[1])
        return slopes
