"""The blocks that a working set lists, and the linear maps between them and the outputs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.clock import Clock, pieces
from convexnn_solvers.program import ConvexProgram

__all__ = ["BlockList", "OutOfTimeError"]

# Operations of factors that take some tenths of a second, not worth looking at the clock.
_QUICK_FACTORS = 1e9


class OutOfTimeError(Exception):
    """The time limit passed in the middle of a step."""


@dataclass(frozen=True, eq=False)
class BlockList:
    """Distinct blocks of a program, each a pattern with a direction; weights are arrays of shape (m, d).

    Attributes
    ----------
    program : ConvexProgram
    slots : ndarray of intp, shape (m,)
        Positions in the flattened leading axes ``(S, K, P)`` of the program's blocks.
    """

    program: ConvexProgram
    slots: IntArray

    @property
    def patterns(self) -> IntArray:
        """Pattern of each block."""
        return self.slots % self.program.design.n_blocks

    @cached_property
    def feeds(self) -> FloatArray:
        """Direction in which each block feeds the outputs, its sign included, (m, K)."""
        return self.program.feeds(self.slots)

    def gather(self, blocks: FloatArray) -> FloatArray:
        """Weights of the listed blocks, (S, K, P, d) -> (m, d)."""
        return np.array(blocks.reshape(-1, blocks.shape[-1])[self.slots])

    def scatter(self, weights: FloatArray) -> FloatArray:
        """Blocks of the whole program that are zero where they are not listed, (m, d) -> (S, K, P, d)."""
        blocks = self.program.zeros()
        blocks.reshape(-1, blocks.shape[-1])[self.slots] = weights
        return blocks

    def forward(self, weights: FloatArray) -> FloatArray:
        """``f = sum_j A_j weights[j] g_j'``, (m, d) -> (n, K)."""
        used = np.flatnonzero(weights.any(axis=1))
        values = self.program.design.block_outputs(self.patterns[used], weights[used])
        return np.asarray(values.T @ self.feeds[used])

    def adjoint(self, dual: FloatArray) -> FloatArray:
        """``A_j' dual g_j``, (n, K) -> (m, d)."""
        return self.program.gradients(self.slots, dual)

    def norms(self, weights: FloatArray) -> FloatArray:
        """Norms over the penalised coordinates, (m, d) -> (m,)."""
        norms: FloatArray = np.linalg.norm(weights[:, self.program.design.penalized], axis=1)
        return norms

    def derivative_factors(
        self, weights: FloatArray, shrinkage: float, clock: Clock
    ) -> tuple[IntArray, FloatArray]:
        """Factors of the proximal maps' derivatives at their last results (m, d), none of them zero.

        See `Design.derivative_factors`. Faces of thousands of dimensions take a second each: where the clock
        stops before all are there, `OutOfTimeError` is raised.
        """
        design, m = self.program.design, len(self.slots)
        if not clock.limited or m * float(design.n_features) ** 3 <= _QUICK_FACTORS:
            return design.derivative_factors(self.slots, weights, shrinkage)
        parts: list[tuple[IntArray, FloatArray]] = []
        done = 0
        for size in pieces(clock):
            part = slice(done, done + size)
            parts.append(design.derivative_factors(self.slots[part], weights[part], shrinkage))
            done += size
            if done >= m:
                counts, rows = zip(*parts, strict=True)
                return np.concatenate(counts), np.concatenate(rows)
        raise OutOfTimeError
