"""Fewer blocks with the same outputs: a vertex of the polytope of all such points.

Blocks ``b_j`` of one output may be scaled: ``t_j b_j`` with ``t_j >= 0`` stays in its cone. Of all scales of
the same outputs ``sum_j t_j A_j b_j`` those of least ``sum_j t_j |b_j|`` are a linear program, and its basic
solutions have at most as many positive ones as there are samples (Caratheodory). Interior points, which
spread weight over all blocks that are worth the same, end with hundreds more.

References
----------
Mishkin and Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023 (minimal networks).
"""

import numpy as np
from scipy import linalg
from scipy.optimize import linprog

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.program import ConvexProgram

__all__ = ["fewer_blocks"]

# Feasibility of the linear program, the least that HiGHS takes; what it finds is then solved for exactly.
_FEASIBLE = 1e-10
# Share of the time that is left for the linear program.
_SHARE = 0.25


def fewer_blocks(program: ConvexProgram, blocks: FloatArray, clock: Clock) -> FloatArray:
    """Return blocks of the same outputs, to rounding, no larger norms, and independent ones for each output.

    Parameters
    ----------
    program : ConvexProgram
        With norms of blocks.
    blocks : ndarray of shape (S, K, P, d)
        Inside their cones.
    clock : Clock
        Where it leaves no time the blocks are returned as they are.

    Returns
    -------
    ndarray of shape (S, K, P, d)
    """
    fewer, flat = blocks, blocks.reshape(-1, blocks.shape[-1])
    used = np.flatnonzero(flat.any(axis=1))
    feeds = program.feeds(used)
    # Blocks that feed one output each can be chosen output after output.
    if program.directions is None:
        groups = [np.flatnonzero(feeds[:, k]) for k in range(program.n_outputs)]
    else:
        groups = [np.arange(used.size)]
    for own in groups:
        fed = feeds[own][:, feeds[own].any(axis=0)]
        if own.size <= program.design.n_samples * fed.shape[1] or clock.expired:
            continue
        slots = used[own]
        scales = _scales(program, slots, flat[slots], fed, clock)
        if scales is not None:
            fewer = fewer.copy() if fewer is blocks else fewer
            fewer.reshape(flat.shape)[slots] *= scales[:, None]
    return fewer


def _scales(
    program: ConvexProgram, slots: IntArray, weights: FloatArray, feeds: FloatArray, clock: Clock
) -> FloatArray | None:
    """Return scales of blocks (m, d) that feed in directions (m, q), most of them zero, if some are found."""
    values = program.design.block_outputs(slots % program.design.n_blocks, weights)
    columns = (feeds[:, :, None] * values[:, None, :]).reshape(len(slots), -1).T
    costs = np.linalg.norm(weights[:, program.design.penalized], axis=1)
    target = columns.sum(axis=1)
    sizes = np.linalg.norm(columns, axis=0)
    # Blocks without outputs cost and bring nothing.
    used = np.flatnonzero(sizes > 0)
    unit, height = columns[:, used] / sizes[used], float(np.abs(target).max())
    if not height > 0:
        return np.zeros(len(weights))
    found = linprog(
        costs[used] / sizes[used],
        A_eq=unit,
        b_eq=target / height,
        method="highs-ds",
        # With presolve nearly dependent columns may make it infeasible to a tolerance so small.
        options={
            "primal_feasibility_tolerance": _FEASIBLE,
            "presolve": False,
            "time_limit": _SHARE * clock.left,
        },
    )
    if found.x is None:
        return None
    support = np.flatnonzero(found.x > 0)
    exact = linalg.lstsq(unit[:, support], target, check_finite=False)[0]
    scales = np.zeros(len(weights))
    scales[used[support]] = np.maximum(exact, 0.0) / sizes[used[support]]
    return scales
