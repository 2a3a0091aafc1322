"""Semismooth Newton directions of a proximal step's dual function.

The generalised Hessian is ``I + sigma S' A M A' S`` with ``M`` the derivatives of the blocks' proximal maps,
``M_j = C_j' C_j`` of low rank for blocks on a face and zero for zero blocks. It is formed and factorised in
the smaller of its two dimensions (samples, or rows of all ``C_j``), or applied in conjugate gradients where
both are large. Long steps leave each block one direction, along its weights, and one more where it has a free
coordinate, in which ``M_j`` is not small. The Hessian of these alone is factorised: its preconditioner.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.native.factorise import cholesky_solve, cholesky_solver
from convexnn_solvers.native.factors import Factors
from convexnn_solvers.native.subproblem import Evaluation, Subproblem
from convexnn_solvers.threads import in_parts

__all__ = ["newton_direction"]

# Conjugate gradients: steps, and the largest relative residual that ends them. With a hundredth of it Newton
# takes a third fewer steps and as long.
_MAX_CG_STEPS, _CG_TOL = 200, 0.1
# Products that conjugate gradients are expected to take, with a preconditioner and without. With it they take
# 5 to 15; the rest makes up for the Newton steps that directions cost which are not exact.
_CG_PRODUCTS, _PLAIN_CG_PRODUCTS = 25.0, 75.0
# Multiplications that cost as much as the calls of one; those in thin matrices take about twice as long as
# those in a factorisation.
_CG_CALLS, _THIN = 2e6, 2.0


def newton_direction(step: Subproblem, at: Evaluation, clock: Clock | None = None) -> FloatArray:
    """Return the direction ``-(I + sigma S' A M A' S)^-1 gradient``, shape (n, K).

    Parameters
    ----------
    step : Subproblem
    at : Evaluation
        The last evaluation of `step`.
    clock : Clock, optional
        `OutOfTimeError` is raised where it stops before the faces of large blocks are known.
    """
    factors = Factors.of(step, at, clock or Clock())
    if _dense_cost(step, factors) > _cg_cost(step, factors):
        return _by_conjugate_gradients(step, factors, at)
    # The slack adds a diagonal, which is scaled to one.
    diagonal = np.sqrt(_diagonal(step, at))
    right = at.gradient / diagonal
    if _interact(step):
        return _coupled(step, factors, right, diagonal) / diagonal
    direction = np.empty_like(at.gradient)
    for k in range(at.gradient.shape[1]):
        root = np.sqrt(step.step) * step.model.root[:, k] / diagonal[:, k]
        if _across_is_cheaper(step, factors, k):
            direction[:, k] = -_solve_across(factors, at.weights, step.shrinkage, k, root, right[:, k])
        else:
            scaled = factors.dense_rows(factors.outputs == k) * root
            direction[:, k] = -_regularised_solve(scaled, right[:, k])
    return direction / diagonal


def _diagonal(step: Subproblem, at: Evaluation) -> FloatArray:
    """Return the part of the Hessian that is diagonal: the identity, and the slack's ``S M S'``."""
    if at.slack_moves is None:
        return np.ones_like(at.gradient)
    return np.asarray(1.0 + step.slack_step * np.where(at.slack_moves, step.model.root**2, 0.0))


def _interact(step: Subproblem) -> bool:
    """Whether outputs have to be solved for together."""
    return step.model.coupled or step.blocks.program.directions is not None


def _across_is_cheaper(step: Subproblem, factors: Factors, k: int) -> bool:
    """Whether blocks without cones have more weights than there are samples."""
    n_rows = int((factors.outputs == k).sum())
    return not step.blocks.program.design.constrained and n_rows > step.outputs.shape[0]


def _cg_cost(step: Subproblem, factors: Factors) -> float:
    """Multiplications of conjugate gradients, in units of those in a factorisation."""
    return min(_plain_cost(step, factors), _preconditioned_cost(step, factors))


def _plain_cost(step: Subproblem, factors: Factors) -> float:
    """Multiplications of those without a preconditioner."""
    return _PLAIN_CG_PRODUCTS * _product_cost(step, factors)


def _preconditioned_cost(step: Subproblem, factors: Factors) -> float:
    """Multiplications of those with one, its own included."""
    return _CG_PRODUCTS * _product_cost(step, factors) + _stiff_cost(step, factors)


def _product_cost(step: Subproblem, factors: Factors) -> float:
    """Multiplications of one product."""
    one_way = float(step.outputs.shape[0] * factors.rows.shape[1]) * (factors.n_blocks + 1)
    return _CG_CALLS + 2 * _THIN * one_way


def _stiff_cost(step: Subproblem, factors: Factors) -> float:
    """Multiplications of forming and factorising a preconditioner."""
    program, (n, n_outputs) = step.blocks.program, step.outputs.shape
    q = float(factors.n_stiff)
    outputs = 1 if program.directions is None else n_outputs
    return float(q * n * (q * outputs + factors.rows.shape[1]) + q**3 / 3)


def _dense_cost(step: Subproblem, factors: Factors) -> float:
    """Multiplications of forming and factorising the Hessian."""
    n, n_outputs = step.outputs.shape
    d = factors.rows.shape[1]
    per_output = np.bincount(factors.outputs, minlength=n_outputs).astype(float)
    if _interact(step):
        q = float(per_output.sum())
        pairs = 0 if step.blocks.program.directions is None else factors.n_blocks**2
        return float(n * (q * (q + d) + pairs * n_outputs) + q**3 / 3)
    small = np.minimum(per_output, n)
    if not step.blocks.program.design.constrained:
        per_output = np.where(per_output > n, 2 * per_output / d, per_output)
    return float((small * per_output * n + small**3 / 3).sum())


def _regularised_solve(rows: FloatArray, right: FloatArray) -> FloatArray:
    """``(I + rows' rows)^-1 right`` by a Cholesky factor of the smaller dimension."""
    q, n = rows.shape
    if q == 0:
        return right
    if n <= q:
        matrix = _gram(rows)
        matrix[np.diag_indices(n)] += 1.0
        return np.asarray(cholesky_solve(matrix, right))
    matrix = _gram(rows.T)
    matrix[np.diag_indices(q)] += 1.0
    return np.asarray(right - cholesky_solve(matrix, rows @ right) @ rows)


def _gram(columns: FloatArray) -> FloatArray:
    """``columns' columns``, with the rows of its lower triangle shared between threads."""
    n = columns.shape[1]
    matrix = np.empty((n, n))

    def work(part: slice) -> None:
        # So many rows that parts have the same share of the triangle.
        low, high = math.isqrt(part.start * n), math.isqrt(part.stop * n)
        block = columns[:, low:high].T @ columns[:, :high]
        matrix[low:high, :high], matrix[:low, low:high] = block, block[:, :low].T

    in_parts(work, n, float(columns.size) * n)
    return matrix


def _solve_across(
    factors: Factors,
    weights: FloatArray,
    shrinkage: float,
    k: int,
    root: FloatArray,
    right: FloatArray,
) -> FloatArray:
    """Solve for one output of a program without cones, in the dimension of the samples.

    The derivative of a block is ``t I + (1 - t) u u' / |u|^2`` with ``t = |u| / (|u| + shrinkage)``.
    """
    own = factors.active.feeds[:, k] != 0
    patterns, design = factors.active.patterns[own], factors.active.program.design
    weights = weights[weights.any(axis=1)][own]
    norms = np.linalg.norm(weights, axis=1)
    across = norms / (norms + shrinkage)
    along = design.block_outputs(patterns, weights * (np.sqrt(1 - across) / norms)[:, None])
    matrix = design.gram(patterns, across) + _gram(along) + factors.intercept_root**2
    matrix *= root[:, None] * root
    matrix[np.diag_indices(len(root))] += 1.0
    return cholesky_solve(matrix, right)


def _coupled(step: Subproblem, factors: Factors, right: FloatArray, diagonal: FloatArray) -> FloatArray:
    """Solve where blocks or samples make the outputs interact, all of them together."""
    return -_low_rank_solver(step, factors, diagonal)(right)


def _low_rank_solver(
    step: Subproblem, factors: Factors, diagonal: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    """Return ``b -> (I + sigma S' A C'C A' S)^-1 b`` with ``S`` over a diagonal, (n, K) -> (n, K)."""
    # Only a loss with slack has a diagonal, and its outputs do not interact.
    model = step.model if step.model.coupled else step.model.scaled(diagonal)
    rows, feeds = factors.dense_rows(np.ones(len(factors.owners), dtype=np.bool_)), factors.feeds
    matrix = step.step * model.gram(rows, feeds)
    matrix[np.diag_indices(len(rows))] += 1.0
    solve = cholesky_solver(matrix)

    def apply(right: FloatArray) -> FloatArray:
        pulls = np.einsum("qn,qn->q", rows, feeds @ model.spread(right).T)
        shares = step.step * solve(pulls)
        return right - model.weigh(rows.T @ (shares[:, None] * feeds))

    return apply


def _by_conjugate_gradients(step: Subproblem, factors: Factors, at: Evaluation) -> FloatArray:
    """Solve to a tolerance that falls with the gradient, so that convergence stays superlinear."""
    gradient, diagonal = at.gradient, _diagonal(step, at)
    shape, root, size = gradient.shape, np.sqrt(diagonal), gradient.size
    nearly: Callable[[FloatArray], FloatArray] | None = None
    if _preconditioned_cost(step, factors) < _plain_cost(step, factors):
        nearly = _low_rank_solver(step, factors.stiff(at.weights), root)

    def apply(vector: FloatArray) -> FloatArray:
        dual = vector.reshape(shape)
        change = step.model.weigh(factors.apply(step.model.spread(dual)))
        return (diagonal * dual + step.step * change).ravel()

    def precondition(vector: FloatArray) -> FloatArray:
        scaled = vector.reshape(shape) / root
        return ((scaled if nearly is None else nearly(scaled)) / root).ravel()

    solution, _ = cg(
        LinearOperator((size, size), apply, dtype=np.float64),
        -gradient.ravel(),
        rtol=min(_CG_TOL, math.sqrt(np.linalg.norm(gradient))),
        maxiter=_MAX_CG_STEPS,
        M=LinearOperator((size, size), precondition, dtype=np.float64),
    )
    return np.asarray(solution.reshape(shape))
