r"""Quadratic models of the training objective with rounded kinks, in the weights of both layers.

With ``phi`` rounded off within a width the objective

.. math:: F = L(\sum_j \phi(X u_j) a_j' + c) + \frac\alpha2 \sum_j (|u_j|^2 + |a_j|^2)

is smooth. Its model has the Gauss-Newton curvature of the loss, the products of both layers' changes, and the
curvature of kinks that hold their neuron; that of kinks that push it away is left out. A product with the
model costs about as much as a gradient, and half of that in single precision, which is all that conjugate
gradients stopped at a tenth of the residual need. Value, gradient and diagonal are in double precision.
"""

import math
from typing import TypeAlias, cast

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.weights import Weights

__all__ = ["RoundedModel", "Workspace"]

Precision: TypeAlias = type[np.float32] | type[np.float64]

# Of the largest entry of the diagonal: what another counts as at least. Of the curvature in an intercept.
_LEAST_SHARE, _INTERCEPT_DAMPING = 1e-10, 1e-6
# Sizes of weights, data and derivatives whose products are far from the limits of single precision, 1e-38 and
# 1e38.
_SMALLEST_SINGLE, _LARGEST_SINGLE = 1e-8, 1e8
_TINY = float(np.finfo(np.float64).tiny)


class Workspace:
    """Arrays that are used again and again: fresh memory takes longer than what is computed in it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, type], FloatMatrix] = {}

    def double(self, name: str, *shape: int) -> FloatArray:
        """Return an array that shares its memory with all others of its name."""
        return cast(FloatArray, self.array(name, np.float64, *shape))

    def array(self, name: str, precision: Precision, *shape: int) -> FloatMatrix:
        """Return the same in single or double precision; these two share nothing."""
        size, key = math.prod(shape), (name, precision)
        if key not in self._buffers or self._buffers[key].size < size:
            self._buffers[key] = np.empty(size, precision)
        return self._buffers[key][:size].reshape(shape)


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
    precision : {numpy.float32, numpy.float64}, optional
        Of products with the curvature; single unless given, but double where sizes are extreme.

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
        precision: Precision | None = None,
    ) -> None:
        self.objective, self.at, self._space = objective, at, space or Workspace()
        self._width = width * objective.extents(at.hidden)
        samples, rows = self._of_samples, self._of_rows
        hidden = objective.rounded_layer(products, self._width, at.open_rows, samples("hidden"))
        outputs = hidden @ at.output + at.intercept
        self.value = objective.fit(outputs) + objective.ridge(at.hidden, at.output)
        gradient, self._curvature = objective.gradient(outputs), objective.curvature(outputs)
        pulls = np.matmul(gradient, at.output.T, out=samples("first"))
        slopes, kinks = rows("slopes"), rows("kinks")
        objective.bend(products, self._width, pulls, at.open_rows, slopes, kinks)
        pulled = np.multiply(slopes, objective.on_rows(pulls), out=rows("products"))
        self.gradient = Weights(
            objective.rows_times(pulled) + objective.alpha * objective.penalized * at.hidden,
            self._fed(hidden.T @ gradient + objective.alpha * at.output),
            gradient.sum(axis=0) * objective.fit_intercept,
        ).flat()
        self.diagonal = self._diagonal(hidden, slopes, kinks)
        sizes = (objective.row_norms, at.hidden, at.output, gradient, self._curvature.diagonal, kinks)
        self._precision = precision or (np.float32 if all(map(_is_moderate, sizes)) else np.float64)
        self._hidden, self._slopes, self._kinks = (
            self._kept(name, values)
            for name, values in (("hidden", hidden), ("slopes", slopes), ("kinks", kinks))
        )
        self._output = self._rounded(at.output)
        self._gradient = self._rounded(gradient)

    def _of_samples(self, name: str) -> FloatArray:
        """Return an array (n, m)."""
        return self._space.double(name, self.objective.n_samples, len(self.at.hidden))

    def _of_rows(self, name: str) -> FloatArray:
        """Return an array (n P, m)."""
        return self._space.double(name, len(self.objective.rows), len(self.at.hidden))

    def _rounded(self, values: FloatArray) -> FloatMatrix:
        """Return values in the precision of products."""
        rounded: FloatMatrix = values.astype(self._precision, copy=False)
        return rounded

    def _kept(self, name: str, values: FloatArray) -> FloatMatrix:
        """Return the same in an array of the workspace."""
        if self._precision is np.float64:
            return values
        rounded = self._space.array(name, self._precision, *values.shape)
        rounded[:] = values
        return rounded

    def _fed(self, output: FloatArray) -> FloatArray:
        """Leave out what neurons may not feed."""
        return output if self.at.fed is None else output * self.at.fed

    def _diagonal(self, hidden: FloatArray, slopes: FloatArray, kinks: FloatArray) -> FloatArray:
        objective, alpha = self.objective, self.objective.alpha
        along = self._curvature.along(self.at.output, self._of_samples("first"))
        squares = np.multiply(slopes, slopes, out=self._of_rows("products"))
        squares *= objective.on_rows(along)
        # With several rows for each sample the square of their sum is at most so many times that of squares.
        squares *= objective.positions
        squares += kinks
        each = self._curvature.along(np.eye(len(self.at.intercept)))
        parts = (
            squares.T @ objective.rows**2 + alpha * objective.penalized,
            np.multiply(hidden, hidden, out=along).T @ each + alpha,
            (1 + _INTERCEPT_DAMPING) * each.sum(axis=0),
        )
        return Weights(*(np.maximum(part, _LEAST_SHARE * part.max(initial=_TINY)) for part in parts)).flat()

    def product(self, flat: FloatArray) -> FloatArray:
        """Product of the model's curvature with a step."""
        objective, at, step, precision = self.objective, self.at, self.at.like(flat), self._precision
        alpha, n_outputs = objective.alpha, len(at.intercept)
        m, n, array = len(at.hidden), objective.n_samples, self._space.array
        products = array("products", precision, len(objective.rows), m)
        turned, both = array("first", precision, n, m), array("second", precision, n, m)
        output_step = self._rounded(step.output)
        objective.write_products(step.hidden, products)
        objective.turn(self._slopes, self._kinks, products, turned)
        change = turned @ self._output
        change += self._hidden @ output_step
        bent = self._curvature.times(change + step.intercept * objective.fit_intercept)
        bent_rounded = self._rounded(bent)
        left, right = np.hstack([bent_rounded, self._gradient]), np.hstack([self._output, output_step])
        np.matmul(left, right.T, out=both)
        objective.add_turned(self._slopes, both, products)
        output = self._hidden.T @ bent_rounded
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


def _is_moderate(values: FloatArray) -> bool:
    """Whether the largest of some numbers is zero or of moderate size."""
    largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    return largest == 0 or _SMALLEST_SINGLE < largest < _LARGEST_SINGLE
