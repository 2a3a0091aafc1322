"""The one place where points are judged: repaired if need be, then valued from the program's data."""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock, pieces
from convexnn_solvers.dual import dual_bound
from convexnn_solvers.exceptions import BackendError
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.vertices import fewer_blocks

__all__ = ["Measurement", "measure"]

# Seconds for making a solver's point feasible where it has left none.
_GRACE = 0.3
# Norms, relative to the largest, up to which blocks are tried without; interior points leave them anywhere.
_TRIM_LEVELS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_EPS = float(np.finfo(np.float64).eps)
# Roundings of a term that its sum may be off by: sums of some dozens of terms lose a few of them.
_ROUNDINGS = 4
# Share of the loss of zero outputs that no rounding has, of terms up to 1e11 times as large as the targets.
_NEARLY_ZERO = 1e-8


@dataclass(frozen=True, eq=False)
class Measurement:
    """A feasible point with its objective and a lower bound; fields as in `SolveResult`."""

    blocks: FloatArray
    intercept: FloatArray
    objective: float
    rounding: float
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
    clock: Clock | None = None,
) -> Measurement:
    """Make a point feasible and compute objective, dual point and lower bound from the data.

    Blocks outside their cones are projected on them. Blocks of negligible norm, which interior-point codes
    leave everywhere, are set to zero as long as the objective does not rise by more than a relative
    `slack`, and so are those without which an output of more blocks than samples can do. The intercept is
    replaced by the best one where that lowers the objective.

    Parameters
    ----------
    program : ConvexProgram
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)
        Ignored if the program has no intercept.
    dual : ndarray of shape (n, K), optional
        A solver's own dual point; the gradient's is tried as well where the loss is smooth.
    slack : float
        Relative rise of the objective that setting blocks to zero may cost.
    clock : Clock, optional
        Where it stops, blocks that are not known to be feasible are zero and the bound is a weaker one.

    Raises
    ------
    BackendError
        If the point is not finite.
    """
    if not (np.isfinite(blocks).all() and np.isfinite(intercept).all()):
        raise BackendError("The solver returned a point with NaN or infinity.")
    violation = program.design.violation(blocks)
    if violation > 0:
        blocks = _projected(program, blocks, clock)
    blocks, intercept, objective = _trim(program, blocks, intercept, slack)
    if slack > 0:
        blocks, intercept, objective = _at_vertex(program, blocks, intercept, objective, slack, clock)
    outputs = program.outputs(blocks, intercept)
    slopes = program.loss.gradient(outputs, program.targets, program.sample_weight)

    guesses = []
    usable = dual is not None and np.isfinite(dual).all()
    if dual is not None and usable:
        guesses.append(dual)
    if np.isfinite(program.loss.smoothness) or not usable:
        guesses.append(-slopes)
    theta, bound = max((dual_bound(program, guess, clock) for guess in guesses), key=lambda pair: pair[1])
    rounding = _rounding(program, blocks, intercept, objective, slopes)
    return Measurement(blocks, intercept, objective, rounding, theta, bound, violation)


def _projected(program: ConvexProgram, blocks: FloatArray, clock: Clock | None) -> FloatArray:
    """Project blocks on their cones; those for which there is no time become zero.

    A limit that the solver has used up is overrun a little, for the sake of what it has found.
    """
    if clock is None or not clock.limited:
        return program.design.project(blocks)
    clock = clock.lasting(_GRACE)
    flat, projected = blocks.reshape(-1, blocks.shape[-1]), program.zeros()
    waiting = np.argsort(-np.linalg.norm(flat, axis=1), kind="stable")
    waiting = waiting[flat[waiting].any(axis=1)]
    for size in pieces(clock):
        chosen, waiting = waiting[:size], waiting[size:]
        part = np.zeros_like(flat)
        part[chosen] = flat[chosen]
        projected += program.design.project(part.reshape(blocks.shape))
        if waiting.size == 0:
            break
    return projected


def _rounding(
    program: ConvexProgram, blocks: FloatArray, intercept: FloatArray, objective: float, slopes: FloatArray
) -> float:
    """How much the objective rises if weights, intercept and targets are off by a few roundings.

    An objective that is no larger than that is zero as far as float64 can tell: of interpolated targets, say.
    Not worth computing, and 0, for objectives of a size that no rounding has.
    """
    targets, weight = program.targets, program.sample_weight
    if objective > _NEARLY_ZERO * program.loss.value(np.zeros_like(targets), targets, weight):
        return 0.0
    sides = np.random.default_rng(0).choice([-_EPS, _EPS], size=blocks.shape)
    outputs = program.outputs(blocks, intercept)
    errors = np.abs(program.outputs(blocks * (1 + sides), intercept) - outputs)
    errors = _ROUNDINGS * (errors + _EPS * (np.abs(targets) + np.abs(intercept)))
    moved = outputs + np.copysign(errors, slopes)
    return program.loss.value(moved, targets, weight) - program.loss.value(outputs, targets, weight)


def _with_best_intercept(
    program: ConvexProgram, blocks: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, float]:
    """Return the better of `intercept` and the loss's own minimiser, with the objective there."""
    zero = np.zeros(program.n_outputs)
    raw = program.outputs(blocks, zero)
    candidates = [zero]
    if program.fit_intercept:
        best = program.loss.optimal_intercept(raw, program.targets, program.sample_weight)
        candidates = [best, intercept]
    values = [program.loss.value(raw + c, program.targets, program.sample_weight) for c in candidates]
    chosen = int(np.argmin(values))
    penalty = program.alpha * float(program.block_norms(blocks).sum())
    return candidates[chosen], values[chosen] + penalty


def _at_vertex(
    program: ConvexProgram,
    blocks: FloatArray,
    intercept: FloatArray,
    objective: float,
    slack: float,
    clock: Clock | None,
) -> tuple[FloatArray, FloatArray, float]:
    """Leave out blocks that others can stand in for, if the objective does not rise by more than `slack`."""
    # Without regularisation no block is worth more than another, and interpolation wants all of them.
    if program.norm != "group" or program.alpha == 0:
        return blocks, intercept, objective
    fewer = fewer_blocks(program, blocks, clock or Clock())
    if fewer is blocks:
        return blocks, intercept, objective
    if program.design.violation(fewer) > 0:
        fewer = _projected(program, fewer, clock)
    shifted, value = _with_best_intercept(program, fewer, intercept)
    if value > objective + slack * abs(objective):
        return blocks, intercept, objective
    return fewer, shifted, value


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
