"""Column generation: solve the program over some patterns, price all neurons, let those in that pay, repeat.

The engine knows limits, interruption, progress and what the answer is made of. How accurately a program is
solved, how neurons are priced and when nothing is left to gain is the policy's: local search over all
patterns, exact pricing, or a certificate's own bounds.

References
----------
Denoyelle, Duval, Peyre and Soubies, "The sliding Frank-Wolfe algorithm and its application to
super-resolution microscopy", Inverse Problems 36, 2019; Bach, "Breaking the curse of dimensionality with
convex neural networks", JMLR 18, 2017, section 3, for incremental learning.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from convexnn.problem import Neurons, Problem
from convexnn.programs.restricted import RestrictedProgram
from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn_solvers import SolveResult, Status, measure_point, solve
from convexnn_solvers.clock import Clock
from convexnn_solvers.registry import automatic

__all__ = ["ColumnGeneration", "Policy", "Step"]

# Far more rounds than any fit has been seen to need (tens); a cap for data on which they never end.
_MAX_ROUNDS = 200
# Iterations of one program with many constraints: new patterns then help more than its last digits.
_CAPPED_ITERATIONS = 100


@dataclass(frozen=True)
class Step:
    """What a policy decides after a program was solved.

    Attributes
    ----------
    entering : Neurons
        Those whose patterns join, with the directions that they feed in where outputs are shared.
    accuracy : float
        Relative gap to which the next program is solved.
    stopped : Status or None
        Why there is no next program, None if there is one.
    message : str
        The same in words.
    """

    entering: Neurons
    accuracy: float
    stopped: Status | None = None
    message: str = ""


class Policy(Protocol):
    """Decides accuracy, pricing and end of a column generation."""

    violation: float
    """See `Fit.violation`; of the last step."""
    complete: bool
    """Whether bounds are over all patterns."""
    first_accuracy: float
    """Relative gap of the first program."""
    most_constraints: float
    """Rows of all cones together above which programs are not solved to the end."""

    def prepare(self, restricted: RestrictedProgram, clock: Clock) -> RestrictedProgram:
        """Return a program to solve instead, with a better point to start from if there is one."""
        del clock
        return restricted

    def step(self, generation: "ColumnGeneration") -> Step:
        """Price the result of the last program."""

    def conclude(self, generation: "ColumnGeneration", status: Status) -> SolveResult:
        """Return the last result with the best bound; an `INTERRUPTED` run must not be kept waiting."""


class ColumnGeneration:
    """One run of solving, pricing and growing.

    Parameters
    ----------
    problem : Problem
    options : TrainingOptions
        `time_limit` is not looked at: the clock is.
    policy : Policy
    clock : Clock
        Of the rounds.

    Attributes
    ----------
    restricted : RestrictedProgram
        The last program.
    result : SolveResult
        Its solution, never worse than any before.
    values : list of float
        Objectives, that of the starting point first.
    n_rounds, n_iter : int
        Programs solved, and iterations of solvers.
    """

    restricted: RestrictedProgram
    result: SolveResult

    def __init__(self, problem: Problem, options: TrainingOptions, policy: Policy, clock: Clock) -> None:
        self.problem, self.options, self.policy, self.clock = problem, options, policy, clock
        self.values: list[float] = []
        self.n_rounds, self.n_iter = 0, 0

    def run(self, first: RestrictedProgram, began: Clock, status: Status = Status.CONVERGED) -> Fit:
        """Run from a program with a point to start from.

        Parameters
        ----------
        first : RestrictedProgram
        began : Clock
            Of the whole fit, from whose beginning its time counts.
        status : Status
            `INTERRUPTED` if the user has stopped the fit already: then the starting point is the answer.
        """
        self.restricted = first
        self.values.append(first.program.objective(*first.start))
        message = "Interrupted from the keyboard."
        if status is not Status.INTERRUPTED:
            try:
                status, message = self._rounds(first)
            except KeyboardInterrupt:
                status = Status.INTERRUPTED
        if self.n_rounds == 0:
            self.result = measure_point(
                first.program, *first.start, tol=self.options.tol, stopped=status, time_limit=self.clock
            )
        try:
            result = self.policy.conclude(self, status)
        except KeyboardInterrupt:
            status, message = Status.INTERRUPTED, "Interrupted from the keyboard."
            result = self.policy.conclude(self, status)
        return self._fit(result, status, message, began)

    def _rounds(self, restricted: RestrictedProgram) -> tuple[Status, str]:
        """Solve, price and grow in turn; returns why that ended."""
        accuracy = self.policy.first_accuracy
        for _ in range(_MAX_ROUNDS):
            if self.clock.expired:
                return Status.TIME_LIMIT, "The time limit was reached."
            restricted = self.policy.prepare(restricted, self.clock)
            self._solve(restricted, accuracy)
            if self.result.status not in (Status.CONVERGED, Status.INACCURATE):
                return self.result.status, self.result.message
            step = self.policy.step(self)
            self._report(len(step.entering))
            if step.stopped is not None:
                return step.stopped, step.message
            restricted, accuracy = restricted.grown(self.result, step.entering), step.accuracy
        return Status.ITERATION_LIMIT, f"{_MAX_ROUNDS} rounds were not enough."

    def _solve(self, restricted: RestrictedProgram, accuracy: float) -> None:
        """Solve a program from its starting point."""
        options = self.options
        rows = len(self.problem.layer.rows) * len(restricted.patterns)
        many = rows > self.policy.most_constraints
        capped = many and (options.max_iter is None or options.max_iter > _CAPPED_ITERATIONS)
        result = solve(
            restricted.program,
            solver=_solver_of_many(restricted, options.solver) if many else options.solver,
            tol=accuracy,
            max_iter=_CAPPED_ITERATIONS if capped else options.max_iter,
            time_limit=self.clock,
            verbose=options.quieter.verbose,
            start=restricted.start,
        )
        if capped and result.status is Status.ITERATION_LIMIT:
            result = replace(result, status=Status.INACCURATE)
        self.restricted, self.result = restricted, result
        self.values.append(result.objective)
        self.n_rounds += 1
        self.n_iter += result.n_iter

    def _report(self, n_entering: int) -> None:
        if self.options.verbose:
            print(
                f"round {self.n_rounds:3d}  objective {self.result.objective:.8g}  "
                f"gap {self.result.relative_gap:.1e}  {self.restricted.n_used(self.result)} patterns used, "
                f"{n_entering} enter, violation {self.policy.violation:.1e}  {self.clock.elapsed:.1f} s"
            )

    def _fit(self, result: SolveResult, stopped: Status, message: str, began: Clock) -> Fit:
        """Return the answer, with a status that its figures bear out."""
        closed = result.relative_gap <= self.options.tol or (
            result.status is Status.CONVERGED and result.objective == result.dual_objective
        )
        status = stopped
        if closed and (self.policy.complete or stopped in (Status.CONVERGED, Status.INACCURATE)):
            status = Status.CONVERGED
        elif status is Status.CONVERGED:
            status = Status.INACCURATE
        result = replace(result, status=status, message=message, n_iter=self.n_iter, time=began.elapsed)
        neurons = self.restricted.neurons(result)
        return Fit(
            problem=self.problem,
            network=self.problem.network(neurons),
            result=result,
            patterns=self.restricted.patterns,
            scope=self.problem.scope(self.policy.complete),
            violation=self.policy.violation,
            n_rounds=self.n_rounds,
        )


def _solver_of_many(restricted: RestrictedProgram, solver: str) -> str:
    """Return the first of several automatic solvers: the others work with all rows of all cones at once."""
    names = automatic(restricted.program) if solver == "auto" else []
    return names[0] if len(names) > 1 else solver
