"""Factors of the derivatives of blocks' proximal maps, of which Newton systems are made."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexnn_solvers._typing import BoolArray, FloatArray, IntArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.native.blocks import BlockList
from convexnn_solvers.native.subproblem import Evaluation, Subproblem

__all__ = ["Factors"]

# Of the trace of a small matrix, what is added to its diagonal before it is factorised.
_RIDGE = 1e-12
# Coordinates of a block up to which the derivatives themselves are formed, for one product with all blocks.
_FEW_COORDINATES = 128
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Factors:
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
    def of(cls, step: Subproblem, at: Evaluation, clock: Clock) -> "Factors":
        """Return the factors at the last evaluation of a step.

        `OutOfTimeError` is raised where the clock stops before the faces of large blocks are known.
        """
        program = step.blocks.program
        used = np.flatnonzero(at.weights.any(axis=1))
        active = BlockList(program, step.blocks.slots[used])
        counts, rows = active.derivative_factors(at.weights[used], step.shrinkage, clock)
        root = float(np.sqrt(step.intercept_step / step.step))
        return cls._with_intercept(active, counts, rows, root)

    @classmethod
    def _with_intercept(cls, active: BlockList, counts: IntArray, rows: FloatArray, root: float) -> "Factors":
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
        """Number of non-zero blocks."""
        return len(self.active.slots)

    @property
    def n_stiff(self) -> int:
        """Number of rows of `stiff`."""
        program = self.active.program
        n_free = int((~program.design.penalized).sum())
        return self.n_blocks * (1 + n_free) + program.n_outputs * program.fit_intercept

    def stiff(self, weights: FloatArray) -> "Factors":
        """Return factors of the part of each ``M_j`` that acts along its weights and free coordinates.

        On the span of some vectors ``S`` it is ``M S (S' M S)^-1 S' M``, no larger than ``M``.
        """
        along = weights[weights.any(axis=1)]
        along = along / np.abs(along).max(axis=1, keepdims=True, initial=_TINY)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        (m, d), free = along.shape, np.eye(along.shape[1])[~self.active.program.design.penalized]
        spans = np.stack([along, *(np.tile(unit, (m, 1)) for unit in free)], axis=1)
        images = np.stack([self._derive(spans[:, i]) for i in range(spans.shape[1])], axis=1)
        grams = spans @ images.transpose(0, 2, 1)
        # Of weights without a slope both vectors are one.
        ridges = _RIDGE * np.trace(grams, axis1=1, axis2=2)
        grams += ridges[:, None, None] * np.eye(spans.shape[1])
        rows = np.linalg.solve(np.linalg.cholesky(grams), images).reshape(-1, d)
        return self._with_intercept(self.active, np.full(m, spans.shape[1]), rows, self.intercept_root)

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
