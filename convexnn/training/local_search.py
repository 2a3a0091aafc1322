"""Adaptive patterns: a descent of a wide network, then column generation by local ascent.

The descent, whose neurons cross freely from cell to cell, gives a first network. Then, round after round, the
convex program over the patterns in use is solved, neurons that would lower the objective are found by ascent
on their price from many starts, and their patterns join. The answer is never worse than the descent.
"""

import math

import numpy as np

from convexnn._random import as_generator
from convexnn._typing import FloatArray
from convexnn.networks import Network
from convexnn.problem import Neurons, Problem
from convexnn.programs.restricted import RestrictedProgram
from convexnn.training.ascent import Candidates, best_candidates
from convexnn.training.descent.merging import merged
from convexnn.training.descent.objective import Objective
from convexnn.training.engine import ColumnGeneration, Policy, Step
from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn.training.sliding import Sliding, dual_guess
from convexnn_solvers import SolveResult, Status
from convexnn_solvers.clock import Clock
from convexnn_solvers.threads import single_blas_thread

__all__ = ["LocalSearch", "adapt", "priced_without_neurons"]

# Random starts of a search, and of one before a claim that nothing is left. On planted data and tables of 100
# to 5,000 rows more of them did not lead to other networks.
_STARTS, _THOROUGH_STARTS = 40, 80
# Starts on large data: at least so many, and as long as their products with all rows have so many entries.
_FEWEST_STARTS, _START_ENTRIES = 4, 200_000_000
# Starts beside each neuron of the network before such a claim, and how far away: with data 30 or 100 standard
# deviations off the centre a neuron was missed at one seed of five that these find.
_BESIDE, _DISTANCES = 4, (0.03, 0.3)
# Candidates that may enter at once; more where the network has more than twice as many neurons.
_CANDIDATES = 60
# Of the tolerance, what programs are solved to and prices are searched to; a proof takes up the rest.
_GOAL, _GOAL_BEFORE_PROOF = 0.9, 0.5
# Relative gap beyond which prices are too wrong to be of use.
_LOOSEST_GAP = 1e-2
# What a round must bring, in units of the tolerance, that takes as long as the first descent; at most so much
# for each second, so that small problems are solved to the end; and what it must where a proof follows.
_WORTH, _WORTH_A_SECOND, _WORTH_BEFORE_PROOF = 30.0, 100.0, 1.0
# Products with both layers' weights that take as long as a third of one of a solver's iterations: the
# next program begins where this one ends, and takes a third of its iterations. Multiplications of these a
# second. Counts, as with a clock the answer would depend on the machine's load.
_PRODUCTS_OF_A_STEP, _MULTIPLICATIONS_A_SECOND = 20.0, 5e8
# Rows of all cones together from where on one interior-point solve costs more than several rounds.
_MANY_CONSTRAINTS = 100_000
_TINY = float(np.finfo(np.float64).tiny)


def adapt(
    problem: Problem,
    options: TrainingOptions,
    clock: Clock,
    previous: Network | None = None,
    *,
    thorough: bool = True,
) -> Fit:
    """Train a network on patterns that are found on the way.

    The objective is never above that of the descent it starts from, nor above that of `previous` (with one
    neuron for each output that a neuron of it feeds). The same `random_state` gives the same network, unless
    a limit of time interferes. With ``alpha = 0`` the descent runs at a millionth of the least alpha that
    leaves no neurons.

    Parameters
    ----------
    problem : Problem
    options : TrainingOptions
        `tol` is the wanted relative gap of the last program and largest violation; `patterns` and
        `time_limit` do not matter.
    clock : Clock
        For everything.
    previous : TwoLayerNetwork or ConvNetwork, optional
        Of the same kind, for the same inputs and outputs.
    thorough : bool
        Whether a last search from more starts comes before the end; to be spared where a proof follows.

    Returns
    -------
    Fit
        `CONVERGED` if the program's gap is within the tolerance and no neuron was found that pays more than
        that, or rounds no longer brought anything worth it.

    Raises
    ------
    ValueError
        If the activation is gated.
    """
    activation = problem.kind.activation
    if activation.gated:
        raise ValueError(
            f"Adaptive patterns need neurons that descend. Got the activation {activation.name!r}, "
            "whose gates are fixed; choose patterns='exact' or a number of patterns."
        )
    rng, objective, status = as_generator(options.random_state), Objective.of(problem), Status.CONVERGED
    search = LocalSearch(objective, options.tol, rng, thorough=thorough)
    known = [objective.empty()] if previous is None else [objective.empty(), problem.neurons(previous)]
    sliding = Sliding(objective, search.priced, options.tol, options.verbose)
    with single_blas_thread():
        try:
            search.begin(clock)
            # Where outputs are shared no list of patterns is common to both networks: it goes on from there.
            before = known[-1] if problem.shared else None
            sliding.run(search.largest_without_neurons, rng, clock, before, wide=thorough)
        except KeyboardInterrupt:
            status = Status.INTERRUPTED
        search.follow(sliding)
        if sliding.best is not None:
            fewer = merged(objective, sliding.best)
            known.append(min(sliding.best, fewer, key=objective.value))
        best = min(known, key=objective.value)
        if sliding.found is not None:
            known.append(sliding.found.neurons)
        first = RestrictedProgram.from_neurons(problem, known, best)
        generation = ColumnGeneration(problem, options, search, clock)
        generation.values += sliding.values
        generation.n_iter = sliding.n_steps
        return generation.run(first, clock, status)


def priced_without_neurons(problem: Problem) -> float:
    """Return the largest price of a neuron at constant outputs that ascents find."""
    search = LocalSearch(Objective.of(problem), 1.0, np.random.default_rng(0))
    search.begin(Clock())
    return search.largest_without_neurons


class LocalSearch(Policy):
    """Policy: prices by ascents, programs no more accurate than the next round needs.

    Parameters
    ----------
    objective : Objective
    tol : float
        Wanted relative gap and largest violation.
    rng : Generator
        Of the starts.
    thorough : bool
        Whether to search from more starts before it is claimed that no neuron is missing.
    """

    complete = False
    most_constraints = float(_MANY_CONSTRAINTS)

    def __init__(
        self, objective: Objective, tol: float, rng: np.random.Generator, *, thorough: bool = True
    ) -> None:
        self.objective, self.violation, self._thorough = objective, np.inf, thorough
        self._tol, self._rng = tol, rng
        self._goal = (_GOAL if thorough else _GOAL_BEFORE_PROOF) * tol
        self.first_accuracy = self._accuracy = max(self._goal, _LOOSEST_GAP)
        self._first_work = math.inf
        self.largest_without_neurons, self._unit = 0.0, objective.alpha or 1.0

    def begin(self, clock: Clock) -> None:
        """Price the network without neurons: ``alpha`` above its largest price leaves none."""
        objective = self.objective
        empty = objective.empty()
        theta = dual_guess(objective, objective.layer_outputs(empty))
        starts = objective.random_directions(self._affordable(_STARTS), self._rng)
        found = best_candidates(objective, theta, starts, empty, floor=0.0, n_best=1, clock=clock)
        self.largest_without_neurons = found.largest
        # Without regularisation there is no alpha that violations could be measured by.
        self._unit = objective.alpha or found.largest or 1.0

    def follow(self, sliding: Sliding) -> None:
        """Take descents and searches as the first rounds: they have gone as far as loose programs would."""
        self._first_work = sliding.first_work
        if sliding.values:
            self.first_accuracy = self._accuracy = self._goal

    def step(self, generation: ColumnGeneration) -> Step:
        """Search all patterns for neurons whose price is above alpha, thoroughly before a claim of none."""
        result, values, goal = generation.result, generation.values, self._goal
        theta, own, clock = result.dual_point, generation.restricted.neurons(result), generation.clock
        candidates = self.priced(theta, own, clock)
        if generation.clock.expired:
            return self._end(Status.TIME_LIMIT, "The time limit was reached.")
        stuck = result.status is Status.INACCURATE
        tight = self._accuracy <= goal or result.relative_gap <= goal or stuck
        if tight and self._thorough and self.violation <= goal:
            candidates = self.priced(theta, own, clock, thorough=True)
        if tight and self.violation <= goal:
            return self._end(
                result.status, f"No neuron found that would lower the objective; {result.message}"
            )
        slow = len(values) > 2 and _fall(values, 2) < 2.0 * self._tol * self._worth(result.n_iter, len(own))
        if tight and slow:
            return self._stalled(result)
        settled = slow or self.violation <= goal
        self._accuracy = goal if settled else max(goal, min(_LOOSEST_GAP, _fall(values, 1)))
        return Step(candidates.neurons, self._accuracy)

    def _worth(self, n_iter: int, n_neurons: int) -> float:
        """Return what a round must bring, in units of the tolerance."""
        work = _PRODUCTS_OF_A_STEP * n_iter * self.objective.work(n_neurons)
        for_time = _WORTH_A_SECOND * work / _MULTIPLICATIONS_A_SECOND
        for_share = (_WORTH if self._thorough else _WORTH_BEFORE_PROOF) * work / self._first_work
        return max(1.0, min(for_time, for_share))

    def conclude(self, generation: ColumnGeneration, status: Status) -> SolveResult:
        """Return the last result; a search proves nothing about other patterns."""
        del status
        return generation.result

    def _stalled(self, result: SolveResult) -> Step:
        """Return how a search ends whose rounds bring little."""
        if self.violation <= self._tol:
            return self._end(
                result.status, f"Neurons found lower the objective within tol only; {result.message}"
            )
        message = f"Rounds bring less than tol, with prices {self.violation:.1e} above alpha."
        return self._end(Status.INACCURATE, message)

    def _end(self, status: Status, message: str) -> Step:
        return Step(self.objective.empty(), self._accuracy, status, message)

    def _affordable(self, n_starts: int) -> int:
        """Return how many starts of so many to take, few of them for large data."""
        entries: int = self.objective.rows.size * self.objective.targets.shape[1]
        return max(_FEWEST_STARTS, min(n_starts, _START_ENTRIES // entries))

    def priced(self, theta: FloatArray, own: Neurons, clock: Clock, *, thorough: bool = False) -> Candidates:
        """Ascend from random starts and the network's own neurons, thoroughly also from beside these."""
        objective, near = self.objective, own
        n_best = max(_CANDIDATES, len(own) // 2)
        n_starts = self._affordable(_THOROUGH_STARTS if thorough else _STARTS)
        if thorough:
            beside = self._rng.permutation(np.arange(_BESIDE * len(own)) % len(own))[:n_starts]
            distances = np.resize(_DISTANCES, len(beside))
            near = near.joined(objective.beside(near.take(beside), distances, self._rng))
        self.violation = np.inf  # until the search is done
        found = best_candidates(
            objective,
            theta,
            objective.random_directions(n_starts, self._rng),
            near,
            floor=objective.alpha + 0.1 * self._tol * self._unit,
            n_best=n_best,
            clock=clock,
        )
        if clock.expired:
            return found  # cut short: that it found no price says nothing
        self.violation = max(0.0, found.largest - objective.alpha) / self._unit
        return found


def _fall(values: list[float], n_rounds: int) -> float:
    """Relative fall of the objective over the last rounds."""
    return (values[-1 - n_rounds] - values[-1]) / max(abs(values[-1]), _TINY)
