"""The one place where points are judged: repaired if need be, then valued from the program's data."""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.dual import dual_bound
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.program import ConvexProgram

__all__ = ["Measurement", "measure"]

_TRIM_LEVELS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


@dataclass(frozen=True, eq=False)
class Measurement:
    """A feasible point with its objective and a lower bound; fields as in `SolveResult`."""

    blocks: FloatArray
    intercept: FloatArray
    objective: float
    dual_point: FloatArray
    dual_objective: float
    violation: float


def measure(
    program: ConvexProgram,
    blocks: FloatArray,
    intercept: FloatArray,
    *,
    dual: FloatArray | None = None,
    slack: float = 0.0,
) -> Measurement:
    """Make a point feasible and compute objective, dual point and lower bound from the data.

    Blocks outside their cones are projected on them. Blocks of negligible norm, which interior-point codes
    leave everywhere, are set to zero as long as the objective does not rise by more than a relative
    `slack`. The intercept is replaced by the best one where that lowers the objective.

    Parameters
    ----------
    program : ConvexProgram
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)
        Ignored if the program has no intercept.
    dual : ndarray of shape (n, K), optional
        A solver's own dual point; the gradient's is tried as well where the loss is smooth.
    slack : float
        Relative rise of the objective that setting small blocks to zero may cost.

    Raises
    ------
    BackendError
        If the point is not finite.
    """
    if not (np.isfinite(blocks).all() and np.isfinite(intercept).all()):
        raise BackendError("The solver returned a point with NaN or infinity.")
    violation = program.design.violation(blocks)
    if violation > 0:
        blocks = program.design.project(blocks)
    blocks, intercept, objective = _trim(program, blocks, intercept, slack)

    guesses = []
    usable = dual is not None and np.isfinite(dual).all()
    if np.isfinite(program.loss.smoothness) or not usable:
        outputs = program.outputs(blocks, intercept)
        guesses.append(-program.loss.gradient(outputs, program.targets, program.sample_weight))
    if dual is not None and usable:
        guesses.append(dual)
    theta, bound = max((dual_bound(program, guess) for guess in guesses), key=lambda pair: pair[1])
    return Measurement(blocks, intercept, objective, theta, bound, violation)


def _with_best_intercept(
    program: ConvexProgram, blocks: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, float]:
    """Return the better of `intercept` and the loss's own minimiser, with the objective there."""
    if not program.fit_intercept:
        zero = np.zeros(program.n_outputs)
        return zero, program.objective(blocks, zero)
    raw = program.outputs(blocks, np.zeros(program.n_outputs))
    best = program.loss.optimal_intercept(raw, program.targets, program.sample_weight)
    value, best_value = (program.objective(blocks, c) for c in (intercept, best))
    return (best, best_value) if best_value <= value else (intercept, value)


def _trim(
    program: ConvexProgram, blocks: FloatArray, intercept: FloatArray, slack: float
) -> tuple[FloatArray, FloatArray, float]:
    """Drop as many small blocks as `slack` allows."""
    intercept, objective = _with_best_intercept(program, blocks, intercept)
    norms = np.linalg.norm(blocks, axis=-1)
    largest = norms.max(initial=0.0)
    for level in _TRIM_LEVELS:
        small = (norms > 0) & (norms <= level * largest)
        if not small.any():
            continue
        trimmed = np.where(small[..., None], 0.0, blocks)
        shifted, value = _with_best_intercept(program, trimmed, intercept)
        if value <= objective + slack * abs(objective):
            return trimmed, shifted, value
    return blocks, intercept, objective
