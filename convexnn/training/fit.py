"""What training returns, whatever was trained and however."""

import math
from dataclasses import dataclass
from functools import cached_property

from convexnn.networks import Network
from convexnn.patterns import PatternSet
from convexnn.problem import Problem
from convexnn_solvers import SolveResult, Status
from convexnn_solvers.result import relative_gap

__all__ = ["Fit"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained network and what its bound bounds.

    Attributes
    ----------
    problem : Problem
    network : TwoLayerNetwork or ConvNetwork
        In the coordinates of the data.
    result : SolveResult
        Of the last convex program, over the distinct samples in the problem's frame; its objective is F.
    patterns : PatternSet
        Of that program, on the distinct samples in the frame. Where the program is not over patterns, those
        of the network's neurons, and none of linear ones.
    scope : {"global", "patterns"}
        Whether the result's lower bound holds for all networks or for those with the program's patterns.
    violation : float
        ``max(0, H / alpha - 1)`` with H the largest price of a neuron, at the program's dual point, that a
        search over all patterns found or proved; infinite if a search was begun and not ended, NaN if none
        was made.
    n_rounds : int
        Programs solved.
    bound_is_relaxed : bool
        Whether only a relaxation bounds the optimum, so that the gap stays open however well the fit went.
    """

    problem: Problem
    network: Network
    result: SolveResult
    patterns: PatternSet
    scope: str
    violation: float = math.nan
    n_rounds: int = 1
    bound_is_relaxed: bool = False

    @cached_property
    def objective(self) -> float:
        """``F`` of the network on all samples as they were given, recomputed from its weights."""
        return self.problem.objective(self.network)

    @cached_property
    def patterns_on_all_samples(self) -> PatternSet:
        """The patterns on all samples as they were given."""
        return self.problem.on_all_samples(self.patterns)

    def complaint(self, tol: float) -> str:
        """Say why the fit did not converge and what to try; empty if it did.

        Parameters
        ----------
        tol : float
            The relative gap that was asked for.
        """
        result = self.result
        found_all = self.bound_is_relaxed and self.violation <= tol and result.status is Status.INACCURATE
        if result.converged or found_all:
            return ""
        gap = relative_gap(self.objective, result.dual_objective)
        if gap <= tol:
            state = f"The search for patterns was cut short ({result.status.name})."
        else:
            state = f"The relative duality gap is {gap:.2g}, above tol={tol:.2g} ({result.status.name})."
        return f"{state} {result.status.value} [{result.message}]"
