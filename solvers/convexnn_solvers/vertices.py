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
    n, fewer = program.design.n_samples, blocks
    for k in range(program.n_outputs):
        signs, patterns = np.nonzero(blocks[:, k].any(axis=-1))
        if patterns.size <= n or clock.expired:
            continue
        scales = _scales(
            program, blocks[signs, k, patterns], np.where(signs == 0, 1.0, -1.0), patterns, clock
        )
        if scales is not None:
            fewer = fewer.copy() if fewer is blocks else fewer
            fewer[signs, k, patterns] *= scales[:, None]
    return fewer


def _scales(
    program: ConvexProgram, weights: FloatArray, signs: FloatArray, patterns: IntArray, clock: Clock
) -> FloatArray | None:
    """Return scales of blocks, most of them zero, or None if none better are found."""
    columns = program.design.block_outputs(patterns, signs[:, None] * weights).T
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
