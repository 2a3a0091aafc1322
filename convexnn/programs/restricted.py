"""A program over the patterns in use, with a point to start from, and how it grows and shrinks."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.patterns import PatternSet
from convexnn.problem import Neurons, Problem
from convexnn.programs.reconstruct import blocks_from_neurons, neurons_from_blocks
from convexnn.programs.two_layer import program_over
from convexnn_solvers import ConvexProgram, SolveResult

__all__ = ["RestrictedProgram"]

# Singular values, relative to the largest, that are rounding.
_NEGLIGIBLE = 1e-14


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
        if problem.shared:
            others = [neurons for neurons in known if neurons is not best]
            return cls._of_pairs(problem, best, others)
        weights = np.vstack([neurons.weights for neurons in known])
        patterns = _patterns_of(problem, weights)
        program = program_over(problem, patterns)
        return cls(problem, patterns, program, blocks_from_neurons(program, best))

    @classmethod
    def _of_pairs(cls, problem: Problem, best: Neurons, others: list[Neurons]) -> Self:
        """Build the program over pairs of a pattern and a direction: those of neurons, starting from some."""
        groups = [_proper(neurons) for neurons in (best, *others)]
        cells = np.vstack([neurons.cells for neurons in groups])
        patterns = _patterns_of(problem, cells)
        owners = problem.layer.design(patterns).owners(cells) if len(cells) else np.zeros(0, dtype=np.intp)
        pairs = _Pairs(patterns, owners, _all_of(groups), len(groups[0]))
        return cls(problem, patterns, *pairs.program(problem, best.intercept))

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

    def neurons(self, result: SolveResult) -> Neurons:
        """Return the neurons of a solution."""
        return neurons_from_blocks(self.program, result.blocks, result.intercept)

    def lacks(self, paying: Neurons) -> bool:
        """Whether some of the neurons, whose prices are above alpha, are not listed.

        Of shared outputs none of them is: prices of listed pairs of a pattern and a direction are below it.
        """
        if self.problem.shared:
            return len(paying) > 0
        patterns = self.problem.patterns_of(paying.weights)
        return patterns is not None and bool((self.patterns.positions(patterns.bits) < 0).any())

    def grown(self, result: SolveResult, entering: Neurons) -> Self:
        """Drop patterns that a solution does not use and add those of neurons, starting from it."""
        if self.problem.shared:
            return self._grown_by_pairs(result, entering)
        used, kept = _used(result)
        larger = self.patterns.take(used)
        new = self.problem.patterns_of(entering.weights)
        if new is not None:
            larger = larger.union(new)
        if not len(larger):
            larger = self.patterns.take([0])
        signs, outputs, _, d = result.blocks.shape
        blocks = np.zeros((signs, outputs, len(larger), d))
        blocks[:, :, : len(used)] = kept
        program = program_over(self.problem, larger)
        return type(self)(self.problem, larger, program, (blocks, result.intercept))

    def _grown_by_pairs(self, result: SolveResult, entering: Neurons) -> Self:
        """Do the same where outputs are shared."""
        own, entering = self.neurons(result), _proper(entering)
        slots = np.flatnonzero(self.program.block_norms(result.blocks).ravel() > 0)
        used, owners = np.unique(slots % len(self.patterns), return_inverse=True)
        if not self.program.design.constrained:
            own, owners = _recombined(own, owners)
        larger = self.patterns.take(used if used.size else [0])
        new = self.problem.patterns_of(entering.cells)
        if new is not None:
            found = self.problem.layer.design(new).owners(entering.cells)
            entering, larger = entering.take(found >= 0), larger.union(new)
            owners = np.append(owners, larger.positions(new.bits)[found[found >= 0]])
        pairs = _Pairs(larger, owners, _all_of([own, entering]), len(own))
        return type(self)(self.problem, larger, *pairs.program(self.problem, own.intercept))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Neurons on patterns, each with its direction; the first `n_own` of them make the starting point."""

    patterns: PatternSet
    owners: IntArray
    neurons: Neurons
    n_own: int

    def program(
        self, problem: Problem, intercept: FloatArray
    ) -> tuple[ConvexProgram, tuple[FloatArray, FloatArray]]:
        """Return the program and the point: so many blocks on a pattern as it has neurons."""
        n_neurons = len(self.neurons)
        order = np.argsort(self.owners, kind="stable")
        layers = np.empty(n_neurons, dtype=np.intp)
        layers[order] = np.arange(n_neurons) - np.searchsorted(self.owners[order], self.owners[order])
        directions = np.zeros((int(layers.max(initial=0)) + 1, len(self.patterns), problem.n_outputs))
        if not n_neurons:
            directions[...] = 1.0 / np.sqrt(problem.n_outputs)
        directions[layers, self.owners] = self.neurons.directions
        program = program_over(problem, self.patterns, directions)
        blocks, own = program.zeros(), slice(0, self.n_own)
        blocks[0, layers[own], self.owners[own]] = self.neurons.weights[own]
        return program, (blocks, intercept)


def _all_of(groups: list[Neurons]) -> Neurons:
    """Join neurons without what is known of their cells."""
    first, *others = (replace(neurons, gates=None) for neurons in groups)
    for neurons in others:
        first = first.joined(neurons)
    return first


def _recombined(neurons: Neurons, owners: IntArray) -> tuple[Neurons, IntArray]:
    """Rewrite neurons of one pattern each by singular vectors, whose norms add up to the nuclear norm."""
    weights, feeds, kept = [neurons.weights[:0]], [neurons.directions[:0]], [owners[:0]]
    for owner in np.unique(owners):
        own = owners == owner
        left, sizes, right = np.linalg.svd(
            neurons.weights[own].T @ neurons.directions[own], full_matrices=False
        )
        rank = int((sizes > _NEGLIGIBLE * sizes[0]).sum())
        weights.append((left[:, :rank] * sizes[:rank]).T)
        feeds.append(right[:rank])
        kept.append(np.full(rank, owner))
    recombined = Neurons(np.vstack(weights), np.vstack(feeds), neurons.intercept)
    return recombined, np.concatenate(kept)


def _proper(neurons: Neurons) -> Neurons:
    """Leave out neurons that are zero."""
    return neurons.take(np.flatnonzero(neurons.weights.any(axis=1)))


def _patterns_of(problem: Problem, weights: FloatArray) -> PatternSet:
    """Patterns of weights; of no neuron at all any pattern serves: its block stays zero unless it pays."""
    patterns = problem.patterns_of(weights)
    return problem.layer.patterns(np.ones((1, problem.layer.n_weights))) if patterns is None else patterns


def _used(result: SolveResult) -> tuple[IntArray, FloatArray]:
    """Return which patterns a solution uses, and the blocks of these, (S, K, P, d)."""
    used = np.flatnonzero(result.blocks.any(axis=(0, 1, 3)))
    return used, result.blocks[:, :, used]
