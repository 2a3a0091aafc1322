"""One problem for many strengths: over a list of patterns, or with an exact search for each strength."""

import math
from dataclasses import dataclass, replace

import numpy as np

from convexnn._typing import FloatArray
from convexnn.columns import SolverSettings, Trained, check_exact, solve_problem, train
from convexnn.paths.alpha_grid import alpha_max, dual_of_constant, largest_ratio
from convexnn.patterns import PatternSet
from convexnn.programs.pattern_choice import PatternChoice
from convexnn.programs.restricted import RestrictedPrograms
from convexnn.programs.training import NetworkKind, TrainingData, TrainingProblem, training_problem
from convexnn_solvers import ConvexProgram
from convexnn_solvers.result import Status

__all__ = ["PathProblem", "path_problem"]

# Strengths at which patterns for a whole path are adapted, in units of the largest.
_ADAPTED_AT = (0.3, 0.03, 0.003)
_KINK_TOL = 1e-8


@dataclass(frozen=True, eq=False)
class PathProblem:
    """Samples and kind of networks, ready for training at any strength.

    Attributes
    ----------
    data : TrainingData
    kind : NetworkKind
    listed : TrainingProblem or None
        The problem over a list of patterns, which all strengths share; None with an exact search.
    """

    data: TrainingData
    kind: NetworkKind
    listed: TrainingProblem | None

    def trained(self, alpha: float, settings: SolverSettings, before: Trained | None) -> Trained:
        """Train at one strength, starting from what was trained before."""
        if self.listed is None:
            previous = None if before is None else before.network
            return train(
                self.data, self.kind, alpha=alpha, settings=settings, random_state=0, previous=previous
            )
        start = None if before is None else (before.result.blocks, before.result.intercept)
        return solve_problem(self.listed, alpha, settings, start)

    def alpha_max(self) -> float:
        """Return the least strength that leaves no neurons, see `convexnn.paths.alpha_grid.alpha_max`."""
        if self.listed is not None:
            return alpha_max(self.listed.program)
        program = _one_pattern(self.data, self.kind)
        largest = largest_price(self.data, self.kind, program)
        if np.isfinite(program.loss.smoothness):
            return largest

        def solved(alpha: float) -> tuple[float, float]:
            found = self.trained(alpha, SolverSettings(tol=_KINK_TOL), None)
            norms = found.problem.at(alpha).block_norms(found.result.blocks)
            return found.result.objective, float(norms.sum())

        return largest_ratio(program, solved, largest)


def path_problem(
    data: TrainingData, kind: NetworkKind, *, alphas: int | FloatArray, settings: SolverSettings, seed: int
) -> PathProblem:
    """Prepare a path.

    With ``patterns="auto"``, where the patterns are too many to list, they are adapted at a few strengths,
    and the union is the list of the whole path.

    Parameters
    ----------
    data : TrainingData
    kind : NetworkKind
    alphas : int or ndarray
        The strengths of the path, or how many between the largest and small fractions of it.
    settings : SolverSettings
    seed : int
    """
    # Only alpha = 0 and alpha > 0 differ here: without regularisation patterns cannot be searched for.
    least = 1.0 if isinstance(alphas, int) else float(np.min(alphas))
    listed = training_problem(data, kind, alpha=min(1.0, least), random_state=seed)
    if listed is not None:
        return PathProblem(data, kind, listed)
    if kind.patterns == "exact":
        check_exact(data, kind, settings)
        return PathProblem(data, kind, None)
    if isinstance(alphas, int):
        program = _one_pattern(data, kind)
        alphas = (largest_price(data, kind, program) or 1.0) * np.array(_ADAPTED_AT)
    return PathProblem(data, kind, _adapted(data, kind, alphas, settings, seed))


def _adapted(
    data: TrainingData, kind: NetworkKind, alphas: FloatArray, settings: SolverSettings, seed: int
) -> TrainingProblem:
    """Unite the patterns that adapt to at most three of the strengths."""
    chosen = np.unique(alphas[np.linspace(0, len(alphas) - 1, len(_ADAPTED_AT)).astype(np.intp)])[::-1]
    programs = RestrictedPrograms.of(data, kind, 1.0)
    patterns: PatternSet | None = None
    previous = None
    for alpha in chosen.tolist():
        share = None if settings.time_limit is None else settings.time_limit / (2 * len(chosen))
        found = train(
            data,
            kind,
            alpha=alpha,
            settings=replace(settings, time_limit=share, verbose=max(0, settings.verbose - 1)),
            random_state=seed,
            previous=previous,
        )
        if found.result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        own = found.problem.choice.patterns
        patterns = own if patterns is None else patterns.union(own)
        previous = found.network
    if patterns is None:
        raise ValueError("A path needs at least one alpha. Got none.")
    choice = PatternChoice(patterns, complete=False)
    return TrainingProblem(data, kind, programs.program(patterns), choice)


def _one_pattern(data: TrainingData, kind: NetworkKind) -> ConvexProgram:
    programs = RestrictedPrograms.of(data, kind, 1.0)
    return programs.program(programs.patterns(np.eye(programs.layer.n_weights)[:1]))


def largest_price(data: TrainingData, kind: NetworkKind, program: ConvexProgram) -> float:
    """Return the largest price of a neuron at constant outputs: exact with "exact", else as ascents find."""
    theta = dual_of_constant(program)
    layer = RestrictedPrograms.of(data, kind, 1.0).layer
    largest = 0.0
    for column in theta.T:
        _, values = layer.maxima(column, np.empty((0, layer.n_weights)))
        largest = max(largest, float(np.abs(values).max(initial=0.0)))
        if kind.patterns == "exact":
            bounds = layer.bounds(column, threshold=largest)
            largest = max(largest, bounds.upper if bounds.complete else math.inf)
    return largest
