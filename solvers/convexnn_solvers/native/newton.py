"""Semismooth Newton directions of a proximal step's dual function.

The generalised Hessian is ``I + sigma S' A M A' S`` with ``M`` the derivatives of the blocks' proximal maps,
``M_j = C_j' C_j`` of low rank for blocks on a face and zero for zero blocks. It is formed and factorised in
the smaller of its two dimensions (samples, or rows of all ``C_j``), or applied in conjugate gradients where
both are large. Long steps leave each block one direction, along its weights, and one more where it has a free
coordinate, in which ``M_j`` is not small. The Hessian of these alone is factorised: its preconditioner.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from convexnn_solvers._typing import BoolArray, FloatArray, IntArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.native.blocks import BlockList
from convexnn_solvers.native.factorise import cholesky_solve, cholesky_solver
from convexnn_solvers.native.subproblem import Evaluation, Subproblem
from convexnn_solvers.threads import in_parts

__all__ = ["newton_direction"]

_MAX_CG_STEPS = 200
# Of the trace of a matrix of 2 by 2, what is added before it is factorised.
_RIDGE = 1e-12
# Coordinates of a block up to which the derivatives themselves are formed, for one product with all blocks.
_FEW_COORDINATES = 128
# What conjugate gradients are expected to take: products, and multiplications that cost as much as the calls
# of one; those in thin matrices take about twice as long as those in a factorisation.
_CG_PRODUCTS, _CG_CALLS, _THIN = 75.0, 2e6, 2.0


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
    factors = _Factors.of(step, at, clock or Clock())
    if _dense_cost(step, factors) > _cg_cost(step, factors):
        stiff = factors.stiff(at.weights)
        return _by_conjugate_gradients(step, factors, stiff, at.gradient, _diagonal(step, at))
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


def _across_is_cheaper(step: Subproblem, factors: "_Factors", k: int) -> bool:
    """Whether blocks without cones have more weights than there are samples."""
    n_rows = int((factors.outputs == k).sum())
    return not step.blocks.program.design.constrained and n_rows > step.outputs.shape[0]


def _cg_cost(step: Subproblem, factors: "_Factors") -> float:
    """Multiplications of conjugate gradients, in units of those in a factorisation."""
    one_way = float(step.outputs.shape[0] * factors.rows.shape[1]) * (factors.n_blocks + 1)
    return _CG_PRODUCTS * (_CG_CALLS + 2 * _THIN * one_way)


def _dense_cost(step: Subproblem, factors: "_Factors") -> float:
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


@dataclass(frozen=True, eq=False)
class _Factors:
    """The rows ``C_j`` of all non-zero blocks, and one row of ones for each output with an intercept.

    Attributes
    ----------
    active : BlockList
        The non-zero blocks.
    rows : ndarray of shape (q, d)
        ``C_j`` one below another; the intercept's rows are zero here.
    owners : ndarray of shape (q,)
        Position of the row's block among the active ones; -1 for intercepts.
    feeds : ndarray of shape (q, K)
        Directions in which they feed the outputs.
    intercept_root : float
        Root of the intercept's step length over that of the blocks.
    """

    active: BlockList
    rows: FloatArray
    owners: IntArray
    feeds: FloatArray
    intercept_root: float

    @classmethod
    def of(cls, step: Subproblem, at: Evaluation, clock: Clock) -> "_Factors":
        program = step.blocks.program
        used = np.flatnonzero(at.weights.any(axis=1))
        active = BlockList(program, step.blocks.slots[used])
        counts, rows = active.derivative_factors(at.weights[used], step.shrinkage, clock)
        root = float(np.sqrt(step.intercept_step / step.step))
        return cls._with_intercept(active, counts, rows, root)

    @classmethod
    def _with_intercept(
        cls, active: BlockList, counts: IntArray, rows: FloatArray, root: float
    ) -> "_Factors":
        """Return factors of so many rows for each block, and those of the intercept."""
        program = active.program
        owners = np.repeat(np.arange(len(counts)), counts)
        feeds = active.feeds[owners]
        if program.fit_intercept:
            rows = np.vstack([rows, np.zeros((program.n_outputs, rows.shape[1]))])
            owners = np.append(owners, np.full(program.n_outputs, -1))
            feeds = np.vstack([feeds, np.eye(program.n_outputs)])
        return cls(active, rows, owners, feeds, root)

    @property
    def n_blocks(self) -> int:
        return len(self.active.slots)

    def stiff(self, weights: FloatArray) -> "_Factors":
        """Return factors of the part of each ``M_j`` that acts along its weights and free coordinates.

        On the span of some vectors ``S`` it is ``M S (S' M S)^-1 S' M``, no larger than ``M``.
        """
        weights = weights[weights.any(axis=1)]
        free = np.eye(weights.shape[1])[~self.active.program.design.penalized]
        spans = np.concatenate([weights[:, None], np.broadcast_to(free, (len(weights), *free.shape))], axis=1)
        spans /= np.linalg.norm(spans, axis=2, keepdims=True)
        images = np.stack([self._derive(span) for span in spans.transpose(1, 0, 2)], axis=1)
        grams = spans @ images.transpose(0, 2, 1)
        count = spans.shape[1]
        # Of a slope of zero both vectors are one.
        traces = np.trace(grams, axis1=1, axis2=2)
        grams += (_RIDGE * traces)[:, None, None] * np.eye(count)
        rows = np.linalg.solve(np.linalg.cholesky(grams), images).reshape(-1, weights.shape[1])
        counts = np.full(len(weights), count)
        return self._with_intercept(self.active, counts, rows, self.intercept_root)

    @cached_property
    def outputs(self) -> IntArray:
        """Output that each row feeds, where it is one, (q,)."""
        return np.asarray(np.abs(self.feeds).argmax(axis=1), dtype=np.intp)

    def dense_rows(self, wanted: BoolArray) -> FloatArray:
        """``A_j C_j'`` row by row for the rows wanted, shape (q, n); signs are left out, they cancel."""
        design, own = self.active.program.design, wanted & (self.owners >= 0)
        dense = design.block_outputs(self.active.patterns[self.owners[own]], self.rows[own])
        n_intercepts = int((wanted & (self.owners < 0)).sum())
        if n_intercepts == 0:
            return dense
        return np.vstack([dense, np.full((n_intercepts, design.n_samples), self.intercept_root)])

    def apply(self, dual: FloatArray) -> FloatArray:
        """Apply ``A M A'``, (n, K) -> (n, K), without forming anything of n by q."""
        weights = self._derive(self.active.adjoint(dual))
        return np.asarray(self.active.forward(weights) + self.intercept_root**2 * dual.sum(axis=0))

    def _derive(self, weights: FloatArray) -> FloatArray:
        """``M_j weights[j]``, (m, d) -> (m, d)."""
        if self._derivatives is not None:
            return np.asarray(np.matmul(self._derivatives, weights[:, :, None])[:, :, 0])
        moved = [(rows @ own) @ rows for rows, own in zip(self._parts, weights, strict=True)]
        return np.reshape(moved, weights.shape)

    @cached_property
    def _parts(self) -> list[FloatArray]:
        """``C_j`` of each block."""
        ends = np.searchsorted(self.owners[self.owners >= 0], np.arange(self.n_blocks), side="right")
        return np.split(self.rows, ends)[:-1]

    @cached_property
    def _derivatives(self) -> FloatArray | None:
        """``C_j' C_j`` of blocks of few coordinates, (m, d, d)."""
        d = self.rows.shape[1]
        if d > _FEW_COORDINATES:
            return None
        return np.reshape([rows.T @ rows for rows in self._parts], (self.n_blocks, d, d))


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
    factors: _Factors,
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


def _coupled(step: Subproblem, factors: _Factors, right: FloatArray, diagonal: FloatArray) -> FloatArray:
    """Solve where blocks or samples make the outputs interact, all of them together."""
    return -_low_rank_solver(step, factors, diagonal)(right)


def _low_rank_solver(
    step: Subproblem, factors: _Factors, diagonal: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    """Return ``b -> (I + sigma S' A C'C A' S)^-1 b`` with ``S`` over a diagonal, (n, K) -> (n, K)."""
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


def _by_conjugate_gradients(
    step: Subproblem, factors: _Factors, stiff: _Factors, gradient: FloatArray, diagonal: FloatArray
) -> FloatArray:
    """Solve to a tolerance that falls with the gradient, so that convergence stays superlinear."""
    shape, root = gradient.shape, np.sqrt(diagonal)
    nearly = _low_rank_solver(step, stiff, root)

    def apply(vector: FloatArray) -> FloatArray:
        dual = vector.reshape(shape)
        change = step.model.weigh(factors.apply(step.model.spread(dual)))
        return (diagonal * dual + step.step * change).ravel()

    def precondition(vector: FloatArray) -> FloatArray:
        return (nearly(vector.reshape(shape) / root) / root).ravel()

    solution, _ = cg(
        LinearOperator((gradient.size, gradient.size), apply, dtype=np.float64),
        -gradient.ravel(),
        rtol=min(0.1, math.sqrt(np.linalg.norm(gradient))),
        maxiter=_MAX_CG_STEPS,
        M=LinearOperator((gradient.size, gradient.size), precondition, dtype=np.float64),
    )
    return np.asarray(solution.reshape(shape))
