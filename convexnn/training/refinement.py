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
from convexnn.training.ascent import feeding_best
from convexnn.training.descent.first_network import descend, first_descent
from convexnn.training.descent.merging import merged
from convexnn.training.descent.objective import Objective
from convexnn.training.engine import ColumnGeneration, Policy, Step
from convexnn.training.local_search import LocalSearch
from convexnn.training.options import TrainingOptions
from convexnn.training.train import train
from convexnn_solvers import SolverError, SolveResult, Status
from convexnn_solvers.clock import Clock
from convexnn_solvers.result import relative_gap
from convexnn_solvers.threads import single_blas_thread

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
_LOOSE = "What bounds the gains leaves a gap that no training closes."
# Share of the training's time for a first descent of another network.
_DESCENT_SHARE = 0.4
# Rows of all cones together, added up over the rounds, after which training ends where there is no limit of
# time: a round takes some 20 microseconds for each, so that this is about a minute.
_MOST_VISITS = 3_000_000
# Where programs cost much and gains are bounded by relaxations: share of the time, or seconds where there is
# no limit, for a bound after the first program; and what share of that bound above alpha training must be
# able to remove for going on.
_TRIAL_SHARE, _TRIAL_SECONDS, _TRAINABLE_SHARE = 0.2, 10.0, 0.1


class CertifiedSearch(Policy):
    """Policy: local ascents; where these find nothing new, the bound of a certificate.

    Parameters
    ----------
    objective : Objective
        Of positive alpha.
    problem : Problem
        Of positive alpha.
    ask, attained, exact, tol
        See `convexnn.certificates.refining.Refinement`.
    clock : Clock
        Of rounds and bounds together.
    """

    complete = False
    most_constraints = LocalSearch.most_constraints

    def __init__(
        self, problem: Problem, ask: AskBound, attained: float, exact: bool, tol: float, clock: Clock
    ) -> None:
        self._problem, self._objective, self._clock = problem, Objective.of(problem), clock
        self._ask, self._attained, self._exact, self._tol = ask, attained, exact, tol
        self._bound, self._visits = -np.inf, 0
        self._search = self._searching(max(_FINEST_TOL, _SEARCH_SHARE * tol))
        self.first_accuracy, self.violation = self._search.first_accuracy, np.inf

    def _searching(self, tol: float) -> LocalSearch:
        self._search_tol = tol
        return LocalSearch(self._objective, tol, np.random.default_rng(0))

    def first_program(self, network: Network, clock: Clock) -> RestrictedProgram:
        """Return the program over the patterns of the network's neurons, the largest ones of many.

        Where programs cost much those of a descent join, which gets near the optimum sooner than rounds do.
        """
        objective, neurons = self._objective, self._problem.neurons(network)
        largest = np.argsort(-objective.norms(neurons.weights))[:_MOST_FIRST]
        known = [objective.empty(), neurons.take(np.sort(largest))]
        if len(objective.rows) * len(largest) > self.most_constraints:
            with single_blas_thread():
                self._search.begin(clock)
                least = self._search.largest_without_neurons
                descent = first_descent(objective, least, np.random.default_rng(0), clock)
                if descent is not None:
                    descend(descent, clock, 0)
                    known.append(merged(objective, descent.best))
        return RestrictedProgram.from_neurons(self._problem, known, min(known, key=objective.value))

    def step(self, generation: ColumnGeneration) -> Step:
        """Ascend, and ask where that ends."""
        step = self._search.step(generation)
        self.violation = self._search.violation
        visited = len(self._problem.layer.rows) * len(generation.restricted.patterns)
        self._visits += visited
        on_trial = generation.n_rounds == 1 and visited > self.most_constraints and not self._exact
        if on_trial and not self._promises(generation):
            return replace(step, stopped=Status.INACCURATE, message=_LOOSE)
        if not generation.clock.limited and self._visits > _MOST_VISITS:
            return replace(step, stopped=Status.ITERATION_LIMIT, message="More rounds would take minutes.")
        if step.stopped in (None, Status.TIME_LIMIT):
            return step
        return self._asked(generation, step)

    def _promises(self, generation: ColumnGeneration) -> bool:
        """Whether training may bring much: it lowers gains to alpha, but no bound of them below the gain."""
        trial = self._clock.share(_TRIAL_SHARE) if self._clock.limited else Clock(_TRIAL_SECONDS)
        bound = self._ask(generation.result.dual_point, trial)
        self._bound = max(self._bound, bound.value)
        alpha, price = self._problem.alpha, bound.price
        return price.lower - alpha > _TRAINABLE_SHARE * (price.upper - alpha)

    def conclude(self, generation: ColumnGeneration, status: Status) -> SolveResult:
        """Ask for the bound of a last dual point that rounds have not come to ask for."""
        if status in (Status.TIME_LIMIT, Status.ITERATION_LIMIT, Status.FAILED):
            self._bound = max(self._bound, self._ask(generation.result.dual_point, self._clock).value)
        return generation.result

    def _asked(self, generation: ColumnGeneration, ended: Step) -> Step:
        """Return what the bound at a dual point leaves to do after the local search has ended."""
        bound = self._ask(generation.result.dual_point, self._clock)
        self._bound = max(self._bound, bound.value)
        if relative_gap(min(self._attained, generation.result.objective), self._bound) <= self._tol:
            return replace(ended, stopped=Status.CONVERGED, message="The bound closes the gap.")
        weights = self._problem.frame.weights(bound.price.neurons)
        entering = feeding_best(
            self._objective, generation.result.dual_point, weights, floor=self._objective.alpha
        )
        if generation.restricted.lacks(entering):
            return Step(entering, ended.accuracy)
        known = max(self._problem.alpha, bound.price.lower)
        if bound.price.upper > known * (1 + self._tol):
            return replace(ended, stopped=Status.INACCURATE, message=_LOOSE)
        if ended.stopped is Status.INACCURATE or self._search_tol <= _FINEST_TOL:
            return replace(ended, stopped=Status.INACCURATE)
        self._search = self._searching(max(_FINEST_TOL, _TIGHTER * self._search_tol))
        return Step(self._objective.empty(), self._search_tol)


def refine(
    problem: Problem,
    network: Network,
    ask: AskBound,
    *,
    attained: float,
    exact: bool,
    tol: float,
    clock: Clock,
) -> str:
    """Train from a network for better dual points; see `convexnn.certificates.refining.Refinement`."""
    training = clock.share(_TRAINING_SHARE)
    options = TrainingOptions(tol=max(_FINEST_TOL, tol), random_state=0)
    try:
        if problem.kind.pooling == "weighted":
            limited = training if training.limited else Clock(_WEIGHTED_SECONDS)
            fit = train(problem, options, limited, network if network.n_neurons else None)
            ask(fit.result.dual_point, clock)
        else:
            search = CertifiedSearch(problem, ask, attained, exact, tol, clock)
            first = search.first_program(network, training.share(_DESCENT_SHARE))
            fit = ColumnGeneration(problem, options, search, training).run(first, clock)
    except SolverError as error:
        return f"No better network could be trained: {error}"
    if fit.result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return ""


register_refinement(refine)
