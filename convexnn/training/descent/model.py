r"""Quadratic models of the training objective with rounded kinks, in the weights of both layers.

With ``phi`` rounded off within a width the objective

.. math:: F = L(\sum_j \phi(X u_j) a_j' + c) + \frac\alpha2 \sum_j (|u_j|^2 + |a_j|^2)

is smooth. Its model has the Gauss-Newton curvature of the loss, the products of both layers' changes, and the
curvature of kinks that hold their neuron; that of kinks that push it away is left out. A product with the
model costs about as much as a gradient.
"""

import math

import numpy as np

from convexnn._typing import FloatArray
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.weights import Weights

__all__ = ["RoundedModel", "Workspace"]

# Of the largest entry of the diagonal: what another counts as at least. Of the curvature in an intercept.
_LEAST_SHARE, _INTERCEPT_DAMPING = 1e-10, 1e-6
_TINY = float(np.finfo(np.float64).tiny)


class Workspace:
    """Arrays that are used again and again: fresh memory takes longer than what is computed in it."""

    def __init__(self) -> None:
        self._buffers: dict[str, FloatArray] = {}

    def array(self, name: str, *shape: int) -> FloatArray:
        """Return an array that shares its memory with all others of its name."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.empty(size)
        return self._buffers[name][:size].reshape(shape)


class RoundedModel:
    """The model at a point.

    Parameters
    ----------
    objective : Objective
    at : Weights
    products : ndarray of shape (n P, m)
        ``X u_j``.
    width : float
        Within which kinks are rounded off, relative to the norms of row and neuron.
    space : Workspace, optional
        Of models that are no longer needed.

    Attributes
    ----------
    value : float
        Of the rounded objective.
    gradient : ndarray
        Its gradient, as `Weights.flat`.
    diagonal : ndarray
        Of the model, positive, likewise; it measures steps and preconditions.
    """

    def __init__(
        self,
        objective: Objective,
        at: Weights,
        products: FloatArray,
        width: float,
        space: Workspace | None = None,
    ) -> None:
        self.objective, self.at, self._space = objective, at, space or Workspace()
        self._width = width * objective.extents(at.hidden)
        self._hidden = objective.rounded_layer(
            products, self._width, at.open_rows, self._of_samples("hidden")
        )
        outputs = self._hidden @ at.output + at.intercept
        self.value = objective.fit(outputs) + objective.ridge(at.hidden, at.output)
        self._gradient, self._curvature = objective.gradient(outputs), objective.curvature(outputs)
        pulls = np.matmul(self._gradient, at.output.T, out=self._of_samples("first"))
        self._slopes, self._kinks = self._of_rows("slopes"), self._of_rows("kinks")
        objective.bend(products, self._width, pulls, at.open_rows, self._slopes, self._kinks)
        pulled = np.multiply(self._slopes, objective.on_rows(pulls), out=self._of_rows("products"))
        alpha, penalized = objective.alpha, objective.penalized
        slope = Weights(
            objective.rows_times(pulled) + alpha * penalized * at.hidden,
            self._fed(self._hidden.T @ self._gradient + alpha * at.output),
            self._gradient.sum(axis=0) * objective.fit_intercept,
        )
        self.gradient, self.diagonal = slope.flat(), self._diagonal()

    def _of_samples(self, name: str) -> FloatArray:
        """Return an array (n, m)."""
        return self._space.array(name, self.objective.n_samples, len(self.at.hidden))

    def _of_rows(self, name: str) -> FloatArray:
        """Return an array (n P, m)."""
        return self._space.array(name, len(self.objective.rows), len(self.at.hidden))

    def _fed(self, output: FloatArray) -> FloatArray:
        """Leave out what neurons may not feed."""
        return output if self.at.fed is None else output * self.at.fed

    def _diagonal(self) -> FloatArray:
        objective, alpha = self.objective, self.objective.alpha
        along = self._curvature.along(self.at.output, self._of_samples("first"))
        squares = np.multiply(self._slopes, self._slopes, out=self._of_rows("products"))
        squares *= objective.on_rows(along)
        # With several rows for each sample the square of their sum is at most so many times that of squares.
        squares *= objective.positions
        squares += self._kinks
        hidden = squares.T @ objective.rows**2 + alpha * objective.penalized
        each = self._curvature.along(np.eye(len(self.at.intercept)))
        output = np.multiply(self._hidden, self._hidden, out=along).T @ each + alpha
        intercept = (1 + _INTERCEPT_DAMPING) * each.sum(axis=0)
        hidden, output, intercept = (
            np.maximum(part, _LEAST_SHARE * part.max(initial=_TINY)) for part in (hidden, output, intercept)
        )
        return Weights(hidden, output, intercept).flat()

    def product(self, flat: FloatArray) -> FloatArray:
        """Product of the model's curvature with a step."""
        objective, at, step = self.objective, self.at, self.at.like(flat)
        alpha, n_outputs = objective.alpha, len(at.intercept)
        products, turned, both = (
            self._of_rows("products"),
            self._of_samples("first"),
            self._of_samples("second"),
        )
        objective.products(step.hidden, products)
        objective.turn(self._slopes, self._kinks, products, turned)
        change = turned @ at.output
        change += self._hidden @ step.output
        change += step.intercept * objective.fit_intercept
        bent = self._curvature.times(change)
        left, right = np.hstack([bent, self._gradient]), np.hstack([at.output, step.output])
        np.matmul(left, right.T, out=both)
        objective.add_turned(self._slopes, both, products)
        output = self._hidden.T @ bent
        output += turned.T @ self._gradient
        damping = _INTERCEPT_DAMPING * self.diagonal[-n_outputs:]
        curved = Weights(
            objective.rows_times(products) + alpha * objective.penalized * step.hidden,
            self._fed(output + alpha * step.output),
            (bent.sum(axis=0) + damping * step.intercept) * objective.fit_intercept,
        )
        return curved.flat()

    def moved(self, step: FloatArray) -> tuple[Weights, FloatArray, float]:
        """Return the weights after a step, their products with the rows, and the rounded objective there."""
        objective = self.objective
        after = self.at.like(self.at.flat() + step)
        products = objective.products(after.hidden)
        hidden = objective.rounded_layer(products, self._width, after.open_rows, self._of_samples("first"))
        outputs = hidden @ after.output + after.intercept
        return after, products, objective.fit(outputs) + objective.ridge(after.hidden, after.output)
