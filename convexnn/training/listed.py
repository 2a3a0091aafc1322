"""Training over a list of patterns: one program."""

from dataclasses import replace

from convexnn._typing import FloatArray
from convexnn.networks import Network
from convexnn.problem import Problem
from convexnn.programs import blocks_from_neurons, neurons_from_blocks, program_over
from convexnn.programs.pattern_choice import PatternChoice
from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn_solvers import ConvexProgram, solve
from convexnn_solvers.clock import Clock

__all__ = ["ListedProgram"]


class ListedProgram:
    """The program of a problem over listed patterns, whose design serves any strength of regularisation.

    Parameters
    ----------
    problem : Problem
    choice : PatternChoice
        Patterns and whether they are all that exist.
    previous : TwoLayerNetwork or ConvNetwork, optional
        A network whose patterns join the listed ones, and from which `fit` starts unless told otherwise.
    """

    def __init__(self, problem: Problem, choice: PatternChoice, previous: Network | None = None) -> None:
        neurons = None if previous is None else problem.neurons(previous)
        self.problem, self.choice = problem, choice.joined(problem, neurons)
        self._start: tuple[FloatArray, FloatArray] | None = None
        self.program = program_over(problem, self.choice.patterns)
        if neurons is not None:
            self._start = blocks_from_neurons(self.program, neurons)

    def at(self, alpha: float) -> ConvexProgram:
        """Return the program at another strength, on the same design."""
        return replace(self.program, alpha=self.problem.at(alpha).alpha_in_frame)

    def fit(self, alpha: float, options: TrainingOptions, clock: Clock, before: Fit | None = None) -> Fit:
        """Train at a strength, starting from an earlier fit of this program where there is one."""
        program = self.at(alpha)
        result = solve(
            program,
            solver=options.solver,
            tol=options.tol,
            max_iter=options.max_iter,
            time_limit=clock,
            verbose=options.verbose,
            start=self._start if before is None else (before.result.blocks, before.result.intercept),
        )
        problem = self.problem.at(alpha)
        neurons = neurons_from_blocks(program, result.blocks, result.intercept)
        scope = problem.scope(self.choice.complete)
        return Fit(problem, problem.network(neurons), result, self.choice.patterns, scope)
