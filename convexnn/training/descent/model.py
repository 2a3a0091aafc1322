r"""Quadratic models of the training objective with rounded kinks, in the weights of both layers.

With ``phi`` rounded off within a width the objective

.. math:: F = L(\sum_j \phi(X u_j) a_j' + c) + \frac\alpha2 \sum_j (|u_j|^2 + |a_j|^2)

is smooth. Its model has the Gauss-Newton curvature of the loss, the products of both layers' changes, and the
curvature of kinks that hold their neuron; that of kinks that push it away is left out. A product with the
model costs about as much as a gradient.
"""

from functools import cached_property

import numpy as np

from convexnn._typing import FloatArray
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.weights import Weights

__all__ = ["RoundedModel"]

# Of the largest entry of the diagonal: what another counts as at least. Of the curvature in an intercept.
_LEAST_SHARE, _INTERCEPT_DAMPING = 1e-10, 1e-6
_TINY = float(np.finfo(np.float64).tiny)


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

    Attributes
    ----------
    value : float
        Of the rounded objective.
    gradient : ndarray
        Its gradient, as `Weights.flat`.
    diagonal : ndarray
        Of the model, positive, likewise; it measures steps and preconditions.
    """

    def __init__(self, objective: Objective, at: Weights, products: FloatArray, width: float) -> None:
        self.objective, self.at = objective, at
        self._width = width * objective.extents(at.hidden)
        self._hidden = objective.rounded_layer(products, self._width, at.open_rows)
        outputs = self._hidden @ at.output + at.intercept
        self.value = objective.fit(outputs) + objective.ridge(at.hidden, at.output)
        self._gradient, self._curvature = objective.gradient(outputs), objective.curvature(outputs)
        pulls = self._gradient @ at.output.T
        self._slopes, self._kinks = objective.slopes(products, self._width, pulls, at.open_rows)
        pulled = self._slopes * objective.on_rows(pulls)
        alpha, penalized = objective.alpha, objective.penalized
        slope = Weights(
            objective.rows_times(pulled) + alpha * penalized * at.hidden,
            self._fed(self._hidden.T @ self._gradient + alpha * at.output),
            self._gradient.sum(axis=0) * objective.fit_intercept,
        )
        self.gradient, self.diagonal = slope.flat(), self._diagonal()

    def _fed(self, output: FloatArray) -> FloatArray:
        """Leave out what neurons may not feed."""
        return output if self.at.fed is None else output * self.at.fed

    def _diagonal(self) -> FloatArray:
        objective, alpha = self.objective, self.objective.alpha
        along = self._curvature.along(self.at.output)
        # With several rows for each sample the square of their sum is at most so many times that of squares.
        squares = objective.positions * objective.on_rows(along) * self._slopes**2 + self._kinks
        hidden = squares.T @ objective.rows**2 + alpha * objective.penalized
        each = self._curvature.along(np.eye(len(self.at.intercept)))
        output = (self._hidden**2).T @ each + alpha
        intercept = (1 + _INTERCEPT_DAMPING) * each.sum(axis=0)
        hidden, output, intercept = (
            np.maximum(part, _LEAST_SHARE * part.max(initial=_TINY)) for part in (hidden, output, intercept)
        )
        return Weights(hidden, output, intercept).flat()

    def product(self, flat: FloatArray) -> FloatArray:
        """Product of the model's curvature with a step."""
        objective, at, step = self.objective, self.at, self.at.like(flat)
        alpha, n_outputs = objective.alpha, len(at.intercept)
        products, turned, both, left, right = self._space
        objective.products(step.hidden, products)
        objective.turn(self._slopes, self._kinks, products, turned)
        change = turned @ at.output
        change += self._hidden @ step.output
        change += step.intercept * objective.fit_intercept
        bent = self._curvature.times(change)
        left[:, :n_outputs], right[:, n_outputs:] = bent, step.output
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

    @cached_property
    def _space(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Arrays that products are computed in: fresh memory for each of them would cost as much again."""
        (n, m), n_outputs = self._hidden.shape, len(self.at.intercept)
        left, right = np.empty((n, 2 * n_outputs)), np.empty((m, 2 * n_outputs))
        left[:, n_outputs:], right[:, :n_outputs] = self._gradient, self.at.output
        return np.empty(self._slopes.shape), np.empty((n, m)), np.empty((n, m)), left, right

    def moved(self, step: FloatArray) -> tuple[Weights, FloatArray, float]:
        """Return the weights after a step, their products with the rows, and the rounded objective there."""
        objective = self.objective
        after = self.at.like(self.at.flat() + step)
        products = objective.products(after.hidden)
        hidden = objective.rounded_layer(products, self._width, after.open_rows)
        outputs = hidden @ after.output + after.intercept
        return after, products, objective.fit(outputs) + objective.ridge(after.hidden, after.output)
