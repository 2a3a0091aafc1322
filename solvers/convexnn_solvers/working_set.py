"""Working sets: solve over few blocks, price all of them, add those that violate the dual, repeat.

At an optimum few blocks are non-zero, so a cone solver needs to see few of them. The lower bound of each
round is over **all** blocks of the program, so the gap means the same as after a solve of the whole program.
This is column generation over a list (Desaulniers, Desrosiers and Solomon, "Column generation", 2005).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.backends.base import Backend
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import support
from convexnn_solvers.measure import Measurement, measure
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status

__all__ = ["Round", "direct", "working_sets"]

_LEAST_ADDED = 16
_MAX_ROUNDS = 100
_VIOLATED = 1 + 1e-9
_INACTIVE = 0.95


@dataclass(frozen=True, eq=False)
class Round:
    """A measured point, why the solver stopped there, its iterations and its last word."""

    point: Measurement
    stopped: Status
    n_iter: int
    message: str


def direct(
    program: ConvexProgram,
    backend: Backend,
    options: SolveOptions,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> Iterator[Round]:
    """Yield one round over the whole program."""
    candidate = backend.run(program, options, start)
    point = measure(
        program,
        candidate.blocks,
        candidate.intercept,
        dual=candidate.dual,
        slack=options.slack,
        clock=options.clock,
    )
    yield Round(point, candidate.stopped, candidate.n_iter, candidate.message)


def working_sets(
    program: ConvexProgram,
    backend: Backend,
    options: SolveOptions,
    start: Measurement,
    bound: Measurement,
) -> Iterator[Round]:
    """Yield rounds over growing subsets of the blocks; the caller stops when the gap is small enough.

    Parameters
    ----------
    program : ConvexProgram
    backend : Backend
        Solves the restricted programs.
    options : SolveOptions
        Limits are for all rounds together.
    start, bound : Measurement
        Points whose blocks and whose dual point choose the first working set.

    Yields
    ------
    Round
        Points of the whole program, with bounds over all of its blocks.
    """
    chosen = _first(program, start, bound, options.clock)
    point, n_iter = start, 0
    for n_rounds in range(1, _MAX_ROUNDS + 1):
        left = options.after(n_iter)
        if isinstance(left, Status):
            yield Round(point, left, n_iter, "limit reached between two working sets")
            return
        restricted = program.restrict(chosen)
        (inner,) = direct(restricted, backend, left, (point.blocks[:, :, chosen], point.intercept))
        n_iter += inner.n_iter
        point = _on_all_blocks(program, inner.point, chosen, options.clock)
        message = f"{inner.message}; round {n_rounds} over {chosen.size} of {program.design.n_blocks} blocks"
        yield Round(point, inner.stopped, n_iter, message)
        if inner.stopped in (Status.TIME_LIMIT, Status.ITERATION_LIMIT):
            return
        prices = support(program, inner.point.dual_point, options.clock)
        entering = _entering(prices, chosen, program.alpha)
        if entering.size == 0:
            return
        kept = np.isin(chosen, _used(point.blocks)) | (prices[chosen] > _INACTIVE * program.alpha)
        chosen = np.sort(np.concatenate([chosen[kept], entering]))


def _first(program: ConvexProgram, start: Measurement, bound: Measurement, clock: Clock) -> IntArray:
    """Return the blocks in use and those of the largest prices at the start."""
    prices = support(program, bound.dual_point, clock)
    return np.union1d(_used(start.blocks), np.argsort(-prices, kind="stable")[:_LEAST_ADDED])


def _used(blocks: FloatArray) -> IntArray:
    return np.flatnonzero(blocks.any(axis=(0, 1, 3)))


def _entering(prices: FloatArray, chosen: IntArray, alpha: float) -> IntArray:
    """Return the most violated blocks that are not chosen, about as many as there are chosen ones."""
    outside = np.setdiff1d(np.flatnonzero(prices > _VIOLATED * alpha), chosen)
    n_added = max(_LEAST_ADDED, chosen.size)
    return outside[np.argsort(-prices[outside], kind="stable")[:n_added]]


def _on_all_blocks(program: ConvexProgram, point: Measurement, chosen: IntArray, clock: Clock) -> Measurement:
    """Return a restricted program's point as one of the whole program, with a bound over all blocks."""
    blocks = program.zeros()
    blocks[:, :, chosen] = point.blocks
    whole = measure(program, blocks, point.intercept, dual=point.dual_point, clock=clock)
    return replace(whole, violation=point.violation)
