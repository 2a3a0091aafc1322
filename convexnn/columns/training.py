"""Training with any `patterns` option: over a list of patterns, or by searching for those that matter."""

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Protocol

from convexnn._typing import FloatArray, RandomState
from convexnn.columns.adaptive import adapt
from convexnn.columns.exact import exact_training
from convexnn.exceptions import PatternBudgetError
from convexnn.networks import Network
from convexnn.patterns import PatternSet
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.enumerate import check_budget
from convexnn.patterns.witnesses import ScaledData
from convexnn.programs import blocks_from_network
from convexnn.programs.restricted import RestrictedPrograms
from convexnn.programs.training import NetworkKind, TrainingData, TrainingProblem, training_problem
from convexnn_solvers import SolveResult, solve

__all__ = ["SolverSettings", "Trained", "TrainedNetwork", "check_exact", "solve_problem", "train"]

# Cells up to which branch and bound is begun without a limit of time: more where the rank is small, as it
# looks at few cones there.
_SMALL_RANK, _MOST_CELLS, _MOST_CELLS_OF_SMALL_RANK = 5, 10**10, 10**13


@dataclass(frozen=True)
class SolverSettings:
    """Options of the solver, as `convexnn_solvers.solve` has them."""

    solver: str = "auto"
    tol: float = 1e-4
    max_iter: int | None = None
    time_limit: float | None = None
    verbose: int = 0


class TrainedNetwork(Protocol):
    """A trained network and what its bound bounds; see `Trained`."""

    @property
    def network(self) -> Network:
        """The network."""

    @property
    def patterns(self) -> PatternSet:
        """Patterns of the program, on all samples as the hidden layer sees them."""

    @property
    def result(self) -> SolveResult:
        """The program's solution."""

    @property
    def scope(self) -> str:
        """What the bound bounds."""

    @property
    def violation(self) -> float:
        """Largest relative excess of a price."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and what its bound bounds.

    Attributes
    ----------
    problem : TrainingProblem
        With the patterns of the (last) convex program.
    result : SolveResult
        Its solution.
    scope : {"global", "patterns"}
        Whether the result's lower bound holds for all networks or for those with the program's patterns.
    violation : float
        Largest relative excess of a neuron's price over ``alpha`` that is known over all patterns; NaN if
        no search was made.
    """

    problem: TrainingProblem
    result: SolveResult
    scope: str
    violation: float

    @cached_property
    def network(self) -> Network:
        """The network of the solution."""
        return self.problem.network(self.result)

    @property
    def patterns(self) -> PatternSet:
        """Patterns of the program, on all samples as the hidden layer sees them."""
        return self.problem.patterns


def train(
    data: TrainingData,
    kind: NetworkKind,
    *,
    alpha: float,
    settings: SolverSettings,
    random_state: RandomState,
    previous: Network | None = None,
) -> Trained:
    """Train one network.

    Parameters
    ----------
    data : TrainingData
    kind : NetworkKind
        Its `patterns` decide: all are listed where they are few; where they are many "exact" generates
        columns with exact pricing, "auto" adapts patterns; numbers and PatternSets are lists.
    alpha : float
    settings : SolverSettings
    random_state : int, RandomState, Generator or None
    previous : TwoLayerNetwork or ConvNetwork, optional
        A network that the result shall not be worse than.

    Returns
    -------
    Trained

    Raises
    ------
    PatternBudgetError
        With "exact", if the patterns are too many to begin without a limit of time, or have to be listed
        and are too many for that.
    """
    problem = training_problem(data, kind, alpha=alpha, random_state=random_state, previous=previous)
    if problem is not None:
        start = blocks_from_network(problem.program, previous) if previous is not None else None
        return solve_problem(problem, alpha, settings, start)
    if kind.patterns == "auto":
        found = adapt(
            data,
            kind,
            alpha=alpha,
            random_state=random_state,
            previous=previous,
            **asdict(settings),
        )
        result = replace(found.result, message=found.message)
        return Trained(found.problem, result, "patterns", found.violation)
    check_exact(data, kind, settings)
    exact = exact_training(
        data,
        kind,
        alpha=alpha,
        previous=previous,
        **asdict(settings),
    )
    scope = "global" if data.targets.shape[1] == 1 else "patterns"
    return Trained(exact.problem, exact.result, scope, exact.violation)


def solve_problem(
    problem: TrainingProblem,
    alpha: float,
    settings: SolverSettings,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> Trained:
    """Solve the program over a list of patterns at a strength; see `train` and `convexnn_solvers.solve`."""
    program = problem.at(alpha)
    result = solve(
        program,
        start=start,
        **asdict(settings),
    )
    return Trained(problem, result, problem.gap_scope, math.nan)


def check_exact(data: TrainingData, kind: NetworkKind, settings: SolverSettings) -> None:
    """Raise PatternBudgetError for an exact search that may well never end and has no limit of time."""
    if settings.time_limit is not None:
        return
    try:
        scaled = ScaledData.of(RestrictedPrograms.of(data, kind, 1.0).layer.rows)
        arrangement = Arrangement.of(scaled)
        small = arrangement.rank <= _SMALL_RANK
        check_budget(scaled, arrangement, _MOST_CELLS_OF_SMALL_RANK if small else _MOST_CELLS)
    except PatternBudgetError as error:
        raise PatternBudgetError(
            "patterns='exact' searches among all activation patterns of the distinct training samples. "
            f"{error} Try patterns='auto', a number of patterns to sample, fewer columns or samples, or a "
            "time_limit: the bound reached by then is valid."
        ) from error
