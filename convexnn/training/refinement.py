"""Better dual points for certificates, by column generation that asks for the certificate's own bound.

The optimum over more and more patterns falls towards the optimum over all of them, and the dual points of
these programs towards the best dual point. Local ascents look for patterns that are missing; where they find
none the certificate is asked, which either closes the gap, or knows a neuron that pays, or cannot tell.
"""

from dataclasses import replace

import numpy as np

from convexnn.certificates.refining import AskBound, register_refinement
from convexnn.networks import Network
from convexnn.problem import Problem
from convexnn.programs.restricted import RestrictedProgram
from convexnn.training.descent.objective import Objective
from convexnn.training.engine import ColumnGeneration, Step
from convexnn.training.local_search import LocalSearch
from convexnn.training.options import TrainingOptions
from convexnn.training.train import train
from convexnn_solvers import SolverError, SolveResult, Status
from convexnn_solvers.clock import Clock
from convexnn_solvers.result import relative_gap

__all__ = ["CertifiedSearch", "refine"]

# Share of the tolerance that the local search works to: a price above alpha costs the bound more than that.
_SEARCH_SHARE = 0.2
# Factor of its tolerance where the certificate's bound says that no pattern is missing, and the finest one.
_TIGHTER, _FINEST_TOL = 0.1, 1e-10
# Share of the time for training; the rest is for the bound.
_TRAINING_SHARE = 0.5
# Seconds of a training with weighted pooling where there is no limit of time.
_WEIGHTED_SECONDS = 30.0
# Neurons whose patterns the first program has; wider networks begin with their largest ones.
_MOST_FIRST = 300


class CertifiedSearch:
    """Policy: local ascents; where these find nothing new, the bound of a certificate.

    Parameters
    ----------
    objective : Objective
        Of positive alpha.
    problem : Problem
    ask : callable
        See `convexnn.certificates.refining.Refinement`.
    attained : float
        Objective of the network that is certified.
    tol : float
        Wanted relative gap.
    """

    complete = False
    most_constraints = LocalSearch.most_constraints

    def __init__(self, problem: Problem, ask: AskBound, attained: float, tol: float) -> None:
        self._problem, self._objective = problem, Objective.of(problem)
        self._ask, self._attained, self._tol = ask, attained, tol
        self._bound = -np.inf
        self._search = self._searching(max(_FINEST_TOL, _SEARCH_SHARE * tol))
        self.first_accuracy, self.violation = self._search.first_accuracy, np.inf

    def _searching(self, tol: float) -> LocalSearch:
        self._search_tol = tol
        return LocalSearch(self._objective, tol, np.random.default_rng(0))

    def step(self, generation: ColumnGeneration) -> Step:
        """Ascend, and ask where that ends."""
        step = self._search.step(generation)
        self.violation = self._search.violation
        return step if step.stopped is None else self._asked(generation, step)

    def conclude(self, generation: ColumnGeneration, status: Status) -> SolveResult:
        """Ask for the bound of a last dual point that rounds have not come to ask for."""
        if status in (Status.TIME_LIMIT, Status.ITERATION_LIMIT, Status.FAILED):
            self._bound = max(self._bound, self._ask(generation.result.dual_point).value)
        return generation.result

    def _asked(self, generation: ColumnGeneration, ended: Step) -> Step:
        """Return what the bound at a dual point leaves to do after the local search has ended."""
        bound = self._ask(generation.result.dual_point)
        self._bound = max(self._bound, bound.value)
        if relative_gap(min(self._attained, generation.result.objective), self._bound) <= self._tol:
            return replace(ended, stopped=Status.CONVERGED, message="The bound closes the gap.")
        entering = self._problem.frame.weights(bound.price.neurons)
        if generation.restricted.lacks(entering):
            return Step(entering, ended.accuracy)
        known = max(self._problem.alpha, bound.price.lower)
        if bound.price.upper > known * (1 + self._tol):
            return replace(ended, stopped=Status.INACCURATE, message="What bounds the gains leaves a gap.")
        if ended.stopped is Status.INACCURATE or self._search_tol <= _FINEST_TOL:
            return replace(ended, stopped=Status.INACCURATE)
        self._search = self._searching(max(_FINEST_TOL, _TIGHTER * self._search_tol))
        return Step(np.empty((0, entering.shape[1])), self._search_tol)


def refine(
    problem: Problem, network: Network, ask: AskBound, *, attained: float, tol: float, clock: Clock
) -> str:
    """Train from a network for better dual points; see `convexnn.certificates.refining.Refinement`."""
    training = clock.share(_TRAINING_SHARE)
    options = TrainingOptions(tol=max(_FINEST_TOL, tol), random_state=0)
    try:
        if problem.kind.pooling == "weighted":
            limited = training if training.limited else Clock(_WEIGHTED_SECONDS)
            fit = train(problem, options, limited, network if network.n_neurons else None)
            ask(fit.result.dual_point)
        else:
            search = CertifiedSearch(problem, ask, attained, tol)
            generation = ColumnGeneration(problem, options, search, training)
            fit = generation.run(_first_program(problem, network), clock)
    except SolverError as error:
        return f"No better network could be trained: {error}"
    if fit.result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return ""


def _first_program(problem: Problem, network: Network) -> RestrictedProgram:
    """Return the program over the patterns of the network's neurons, the largest ones of many."""
    objective, neurons = Objective.of(problem), problem.neurons(network)
    neurons = neurons.take(np.sort(np.argsort(-objective.norms(neurons.weights))[:_MOST_FIRST]))
    known = [objective.empty(), neurons]
    return RestrictedProgram.from_neurons(problem, known, min(known, key=objective.value))


register_refinement(refine)
