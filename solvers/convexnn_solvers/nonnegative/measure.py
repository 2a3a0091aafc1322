"""The one place where weights are judged, from the program's data.

With the columns ``a_j`` and the target ``b`` of the weighted data, ridge rows included, and
``g_j = a_j.(A w - b)``, half a component of the gradient, the scaled residuals of the Karush-Kuhn-Tucker
conditions are::

    stationarity     max_j  max(0, -g_j) / (|a_j| |b|)
    complementarity  max_j  w_j |g_j| / |b|^2
    feasibility      0, for weights below zero are set to zero

With the sum constraint ``g_j - g.w`` takes the place of ``g_j``, ``|a_j - b|`` that of ``|a_j|`` and
``min_j |a_j - b|``, the error of the best single column, that of ``|b|``; no norm counts as less than
``1e-6 |b|``, the accuracy to which the data can hold such differences. ``-2 min_j (g_j - g.w)`` is
the duality gap of Frank and Wolfe (Jaggi, "Revisiting Frank-Wolfe", ICML 2013), so that `stationarity` zero
proves the optimum. `feasibility` is ``|1.w - 1|`` then.
"""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.nonnegative.program import NonnegativeProgram
from convexnn_solvers.nonnegative.unit import Scales

__all__ = ["Measurement", "measure"]

_ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class Measurement:
    """Feasible weights with what they are worth; fields as in `NonnegativeResult`.

    `relative` is the objective divided by the square of the reference norm, which neither overflows nor
    underflows, and `rounding` bounds its rounding error.
    """

    weights: FloatArray
    objective: float
    relative: float
    rounding: float
    multipliers: FloatArray
    stationarity: float
    feasibility: float
    complementarity: float

    @property
    def optimality(self) -> float:
        """Largest of the three residuals."""
        return max(self.stationarity, self.feasibility, self.complementarity)


@np.errstate(over="ignore", invalid="ignore")
def measure(program: NonnegativeProgram, scales: Scales, weights: FloatArray) -> Measurement:
    """Compute objective, multipliers and residuals (see the module's formulas) of weights ``>= 0``.

    Raises
    ------
    BackendError
        If a weight is not finite.
    """
    if not np.isfinite(weights).all():
        raise BackendError("The solver returned weights with NaN or infinity.")
    size = scales.reference
    residual = program.residual(weights)
    root = 1.0 if program.sample_weight is None else np.sqrt(program.sample_weight)
    residual_rows, ridge_rows = root * residual, np.sqrt(program.ridge) * weights
    scaled, shrunk = residual_rows / size, ridge_rows / size
    weighted = root * scaled
    slopes = weighted @ program.matrix + np.sqrt(program.ridge) * shrunk
    if program.sum_to_one:
        # slopes.w, for A w = (A w - b) + b; the sum itself loses digits where large columns cancel.
        slopes = slopes - scaled @ residual_rows - shrunk @ ridge_rows - weighted @ program.targets
    relative = float(scaled @ scaled + shrunk @ shrunk)
    cosines = slopes / scales.columns
    shares = weights * (scales.columns / size)
    error = _ROUNDING * (1 + float(weights @ (scales.terms / size)))
    return Measurement(
        weights=weights,
        objective=program.objective(weights, residual),
        relative=relative,
        rounding=error * (2 * np.sqrt(relative) + error),
        multipliers=2 * size * slopes,
        stationarity=float(np.maximum(-cosines, 0.0).max()),
        feasibility=abs(float(weights.sum()) - 1) if program.sum_to_one else 0.0,
        complementarity=float((shares * np.abs(cosines)).max()),
    )
