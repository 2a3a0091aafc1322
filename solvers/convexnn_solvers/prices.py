"""Prices of blocks, all at once or, where time is limited, piece by piece."""

import numpy as np

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.clock import Clock, pieces
from convexnn_solvers.program import ConvexProgram

__all__ = ["prices", "support"]

# Operations that take some tenths of a second, not worth looking at the clock: of products with the data, and
# of projections.
_QUICK_PRODUCTS, _QUICK_PROJECTIONS = 1e9, 2e8


def prices(
    program: ConvexProgram, theta: FloatArray, n_largest: int | None = None, clock: Clock | None = None
) -> FloatArray:
    """Upper bounds of ``max {+-theta . A_i u : u in C_i, |u| <= 1}``, shape ``(S, K, P)``.

    Of the bounds above ``alpha`` the `n_largest` largest are tight, all of them with None; at or below
    ``alpha`` nothing tighter is needed.

    Parameters
    ----------
    program : ConvexProgram
    theta : ndarray of shape (n, K)
        With an intercept its columns sum to zero.
    n_largest : int, optional
    clock : Clock, optional
        Where it stops the bounds of what is left are norms of gradients, or infinite.
    """
    design, limited = program.design, clock is not None and clock.limited
    n, d = design.n_samples, design.n_features
    n_slots = program.n_slots
    gradients: FloatArray | None
    if clock is None or not limited or 2.0 * n * d * len(_feeding_slots(program)) <= _QUICK_PRODUCTS:
        gradients = _all_gradients(program, theta)
    else:
        gradients = _gradients(program, theta, clock)
    if gradients is None:
        return np.full(program.block_shape[:3], np.inf)
    gradients = np.stack([gradients, -gradients]) if program.n_signs == 2 else gradients[None]
    # A projection passes over the data a few times, and over a triangle as large as the weights for each.
    quick = not design.constrained or n_slots * (4.0 * n * d + float(d) ** 3) <= _QUICK_PROJECTIONS
    if clock is None or not limited or quick:
        return design.support(gradients, program.alpha, n_largest)
    return _projected(program, gradients, n_largest, clock)


def support(program: ConvexProgram, theta: FloatArray, clock: Clock | None = None) -> FloatArray:
    """Largest of the `prices` of each pattern over signs and outputs, shape ``(P,)``."""
    largest: FloatArray = prices(program, theta, None, clock).max(axis=(0, 1))
    return largest


def _feeding_slots(program: ConvexProgram) -> IntArray:
    """Slots of the first sign that feed an output, (m,)."""
    if program.directions is None:
        return np.arange(program.n_slots // program.n_signs)
    # Patterns have one direction more or less: what is left of an array of as many for each has none.
    return np.flatnonzero(program.directions.any(axis=2))


def _all_gradients(program: ConvexProgram, theta: FloatArray) -> FloatArray:
    """``A_i' theta g`` of the first sign, (K, P, d)."""
    if program.directions is None:
        return program.design.adjoint(theta)
    gradients, slots = np.zeros(program.block_shape[1:]), _feeding_slots(program)
    gradients.reshape(-1, gradients.shape[-1])[slots] = program.gradients(slots, theta)
    return gradients


def _gradients(program: ConvexProgram, theta: FloatArray, clock: Clock) -> FloatArray | None:
    """Return the same piece by piece; None if the time is over before all are known."""
    gradients, slots, start = np.zeros(program.block_shape[1:]), _feeding_slots(program), 0
    flat = gradients.reshape(-1, gradients.shape[-1])
    for size in pieces(clock):
        part = slots[start : start + size]
        flat[part] = program.gradients(part, theta)
        start += size
        if start >= len(slots):
            return gradients
    return None


def _projected(
    program: ConvexProgram, gradients: FloatArray, n_largest: int | None, clock: Clock
) -> FloatArray:
    """Bounds from projections on the cones, those of the longest gradients first."""
    if not program.design.penalized.all():
        return _projected_block_by_block(program, gradients, clock)
    design, flat = program.design, gradients.reshape(-1, gradients.shape[-1])
    bounds: FloatArray = np.linalg.norm(flat, axis=1)
    waiting = np.flatnonzero(bounds > program.alpha)
    waiting = waiting[np.argsort(-bounds[waiting], kind="stable")]
    threshold, settled = program.alpha, np.empty(0)
    for size in pieces(clock):
        chosen, waiting = waiting[:size], waiting[size:]
        # Zeros cost nothing, and the places of the others are those that the design remembers.
        part = np.zeros_like(flat)
        part[chosen] = flat[chosen]
        found = design.support(part.reshape(gradients.shape), threshold, n_largest).ravel()
        bounds[chosen] = found[chosen]
        if n_largest is not None:
            settled = np.concatenate([settled, bounds[chosen]])
            if settled.size >= n_largest:
                threshold = max(threshold, float(np.partition(settled, -n_largest)[-n_largest]))
            waiting = waiting[bounds[waiting] > threshold]
        if waiting.size == 0:
            break
    return bounds.reshape(gradients.shape[:-1])


def _projected_block_by_block(program: ConvexProgram, gradients: FloatArray, clock: Clock) -> FloatArray:
    """Bounds where a coordinate is free: it has no norm, so that only a block's cone gives one."""
    bounds = np.full(gradients.shape[:-1], np.inf)
    start, n_blocks = 0, gradients.shape[-2]
    for size in pieces(clock):
        part = slice(start, min(start + size, n_blocks))
        design = program.design.restrict(np.arange(part.start, part.stop))
        bounds[..., part] = design.support(gradients[..., part, :], program.alpha)
        start += size
        if start >= n_blocks:
            break
    return bounds
