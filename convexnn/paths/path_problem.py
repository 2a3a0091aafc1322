"""One problem for many strengths: over a list of patterns, or with a search for each strength."""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from convexnn._typing import FloatArray
from convexnn.paths.alpha_grid import alpha_max, dual_of_constant, largest_ratio
from convexnn.patterns import PatternSet
from convexnn.problem import Problem
from convexnn.programs.pattern_choice import PatternChoice, choose_patterns
from convexnn.training import Fit, TrainingOptions, check_exact, train
from convexnn.training.listed import ListedProgram
from convexnn.training.listed_pairs import ListedPairs
from convexnn.training.local_search import priced_without_neurons
from convexnn_solvers.clock import Clock
from convexnn_solvers.result import Status

__all__ = ["PathProblem"]

# Strengths at which patterns for a whole path are adapted, in units of the largest: a path from one to a
# thousandth crosses networks of few and of many neurons.
_ADAPTED_AT = (0.3, 0.03, 0.003)
# Share of a limit of time that adapting these may take, all together.
_ADAPTING_SHARE = 0.5
# Relative gap of the programs by which the largest strength of losses with kinks is found.
_KINK_TOL = 1e-8


@dataclass(frozen=True, eq=False)
class PathProblem:
    """A problem, ready for training at any strength.

    Attributes
    ----------
    problem : Problem
        Its own ``alpha`` does not matter.
    listed : ListedProgram, ListedPairs or None
        What trains over a list of patterns that all strengths share; None where patterns are searched for
        at each of them.
    options : TrainingOptions
    """

    problem: Problem
    listed: ListedProgram | ListedPairs | None
    options: TrainingOptions

    @classmethod
    def of(cls, problem: Problem, alphas: int | FloatArray, options: TrainingOptions, clock: Clock) -> Self:
        """Prepare a path.

        With ``patterns="auto"``, where the patterns are too many to list, they are adapted at a few
        strengths, and the union is the list of the whole path.

        Parameters
        ----------
        problem : Problem
        alphas : int or ndarray
            The strengths of the path, or how many between the largest and small fractions of it.
        options : TrainingOptions
            `max_iter` is for each strength.
        clock : Clock
            Of the path.
        """
        options.check()
        # Only alpha = 0 and alpha > 0 differ here: without regularisation patterns cannot be searched for.
        least = 1.0 if isinstance(alphas, int) or problem.shared else float(np.min(alphas))
        choice = choose_patterns(options.patterns, problem.at(min(1.0, least)), options.random_state)
        if choice is not None:
            listed = (ListedPairs if problem.shared else ListedProgram)(problem, choice)
            return cls(problem, listed, options)
        if options.patterns == "exact":
            check_exact(problem, clock)
            return cls(problem, None, options)
        if problem.shared:
            # Neurons move from one strength to the next: a descent from the network before needs no list.
            return cls(problem, None, options)
        if isinstance(alphas, int):
            alphas = (_largest_price(problem, False, clock) or 1.0) * np.array(_ADAPTED_AT)
        adapting = clock.share(_ADAPTING_SHARE)
        patterns = _adapted(problem, alphas, options.quieter, adapting)
        return cls(problem, ListedProgram(problem, PatternChoice(patterns, complete=False)), options)

    def fit(self, alpha: float, clock: Clock, before: Fit | None = None) -> Fit:
        """Train at one strength, starting from what was trained before."""
        options = self.options.quieter
        if self.listed is not None and (alpha > 0 or not self.problem.shared):
            return self.listed.fit(alpha, options, clock, before)
        previous = None if before is None else before.network
        return train(self.problem.at(alpha), options, clock, previous)

    def alpha_max(self, clock: Clock) -> float:
        """Return the least strength that leaves no neurons, see `convexnn.paths.alpha_grid.alpha_max`."""
        problem = self.problem
        if isinstance(self.listed, ListedProgram):
            return problem.frame.scale * alpha_max(self.listed.program, clock)
        if isinstance(self.listed, ListedPairs):
            largest = problem.frame.scale * self.listed.largest_price()
        else:
            largest = _largest_price(problem, True, clock)
        if np.isfinite(problem.loss.smoothness):
            return largest
        fine = replace(self, options=replace(self.options, tol=_KINK_TOL))

        def solved(alpha: float) -> tuple[float, float]:
            found = fine.fit(alpha, clock)
            # Of balanced neurons half the squares of all weights are the sum of norms.
            return found.result.objective, found.network.regularizer()

        return largest_ratio(problem, solved, largest, clock)


def _adapted(problem: Problem, alphas: FloatArray, options: TrainingOptions, clock: Clock) -> PatternSet:
    """Unite the patterns that adapt to at most three of the strengths."""
    chosen = np.unique(alphas[np.linspace(0, len(alphas) - 1, len(_ADAPTED_AT)).astype(np.intp)])[::-1]
    patterns: PatternSet | None = None
    previous = None
    for position, alpha in enumerate(chosen.tolist()):
        found = train(problem.at(alpha), options, clock.share(1.0 / (len(chosen) - position)), previous)
        if found.result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        patterns = found.patterns if patterns is None else patterns.union(found.patterns)
        previous = found.network
    if patterns is None:
        raise ValueError("A path needs at least one alpha. Got none.")
    return patterns


def _largest_price(problem: Problem, proved: bool, clock: Clock) -> float:
    """Return the largest price of a neuron at constant outputs: exact if proved, else as ascents find."""
    layer, theta = problem.layer, dual_of_constant(problem)
    largest = 0.0
    if problem.shared:
        largest = priced_without_neurons(problem)
        if proved:
            bounds = layer.bounds(theta, threshold=largest, time_limit=clock.time_limit)
            largest = max(largest, bounds.upper if bounds.complete or clock.limited else math.inf)
        return problem.frame.scale * largest
    for column in theta.T:
        _, values = layer.maxima(column, np.empty((0, layer.n_weights)))
        largest = max(largest, float(np.abs(values).max(initial=0.0)))
        if proved:
            bounds = layer.bounds(column, threshold=largest, time_limit=clock.time_limit)
            largest = max(largest, bounds.upper if bounds.complete or clock.limited else math.inf)
    return problem.frame.scale * largest
