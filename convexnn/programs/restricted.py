"""A program over the patterns in use, with a point to start from, and how it grows and shrinks."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.patterns import PatternSet
from convexnn.problem import Neurons, Problem
from convexnn.programs.reconstruct import blocks_from_neurons
from convexnn.programs.two_layer import program_over
from convexnn_solvers import ConvexProgram, SolveResult

__all__ = ["RestrictedProgram"]


@dataclass(frozen=True, eq=False)
class RestrictedProgram:
    """The program of a problem over some of its patterns.

    Attributes
    ----------
    problem : Problem
    patterns : PatternSet
        Of the rows of the problem's layer.
    program : ConvexProgram
        Over these.
    start : tuple of ndarrays (S, K, P, d) and (K,)
        A point of it.
    """

    problem: Problem
    patterns: PatternSet
    program: ConvexProgram
    start: tuple[FloatArray, FloatArray]

    @classmethod
    def from_neurons(cls, problem: Problem, known: list[Neurons], best: Neurons) -> Self:
        """Build the program over the patterns of several networks, starting from one of these."""
        weights = np.vstack([neurons.weights for neurons in known])
        patterns = problem.patterns_of(weights)
        if patterns is None:
            # Of no neuron at all any pattern serves: its block stays zero unless it pays.
            patterns = problem.layer.patterns(np.ones((1, problem.layer.n_weights)))
        program = program_over(problem, patterns)
        return cls(problem, patterns, program, blocks_from_neurons(program, best))

    @classmethod
    def from_point(cls, problem: Problem, patterns: PatternSet, result: SolveResult) -> Self:
        """Build the program over those of the patterns that a solution uses, starting from it."""
        used, blocks = _used(result)
        if not used.size:
            used, blocks = np.zeros(1, dtype=np.intp), np.zeros_like(result.blocks[:, :, :1])
        kept = patterns.take(used)
        return cls(problem, kept, program_over(problem, kept), (blocks, result.intercept))

    def n_used(self, result: SolveResult) -> int:
        """Return how many of the patterns a solution uses."""
        return len(_used(result)[0])

    def lacks(self, weights: FloatArray) -> bool:
        """Whether some of the weights (m, d) have a pattern that is not listed."""
        patterns = self.problem.patterns_of(weights)
        return patterns is not None and bool((self.patterns.positions(patterns.bits) < 0).any())

    def grown(self, result: SolveResult, entering: FloatArray) -> Self:
        """Drop patterns that a solution does not use and add those of weights (m, d), starting from it."""
        used, kept = _used(result)
        larger = self.patterns.take(used)
        new = self.problem.patterns_of(entering)
        if new is not None:
            larger = larger.union(new)
        if not len(larger):
            larger = self.patterns.take([0])
        signs, outputs, _, d = result.blocks.shape
        blocks = np.zeros((signs, outputs, len(larger), d))
        blocks[:, :, : len(used)] = kept
        program = program_over(self.problem, larger)
        return type(self)(self.problem, larger, program, (blocks, result.intercept))


def _used(result: SolveResult) -> tuple[IntArray, FloatArray]:
    """Return which patterns a solution uses, and the blocks of these, (S, K, P, d)."""
    used = np.flatnonzero(result.blocks.any(axis=(0, 1, 3)))
    return used, result.blocks[:, :, used]
