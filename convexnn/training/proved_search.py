"""The optimum over all patterns, by column generation with exact pricing.

The first patterns are adapted ones. The program over a few patterns is solved; its dual point is priced over
all patterns at once: first by ascent from many starts, which is quick, and where that finds nothing by branch
and bound, which either finds neurons that pay or proves that there are none. New patterns join, unused ones
leave, until the bound over all patterns closes the gap. The full program is never formed and its cells are
never listed.

References
----------
Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, theorem 1.
"""

import math
from dataclasses import replace

import numpy as np

from convexnn._typing import FloatArray
from convexnn.networks import Network
from convexnn.pricing.bounds import SupportBounds
from convexnn.problem import Neurons, Problem
from convexnn.programs.restricted import RestrictedProgram
from convexnn.training.ascent import best_candidates, feeding_best
from convexnn.training.descent.objective import Objective
from convexnn.training.engine import ColumnGeneration, Policy, Step
from convexnn.training.fit import Fit
from convexnn.training.local_search import adapt
from convexnn.training.options import TrainingOptions
from convexnn_solvers import SolveResult, Status
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import into_domain, scaled_bound

__all__ = ["ProvedSearch", "prove"]

# Shares of the tolerance: of the restricted programs' gaps, and of prices above alpha that are let pass.
_PROGRAM_SHARE, _PRICE_SHARE = 0.25, 0.5
# Accuracy of branch and bound, as a share of the tolerance of prices.
_BOUND_SHARE = 0.1
# Factor of the tolerance of programs where prices say that no pattern is missing, and the finest tolerance.
_TIGHTER, _FINEST_TOL = 0.1, 1e-12
# So many rounds together bring little if it is less than the tolerance of programs, which is then tightened
# to such a share of the tolerance at most: later digits need other solvers than the native one.
_SLOW_ROUNDS, _FINEST_SHARE = 3, 1e-4
# Tolerance to which patterns are adapted at least: later digits are the proved search's own work.
_ADAPTED_TOL = 1e-6
# Shares of a limit of time: adapting patterns; rounds; branch and bound, of what is left, the rest going into
# relaxations and the answer.
_ADAPTING_SHARE, _ROUNDS_SHARE, _BRANCHING_SHARE = 0.3, 0.6, 0.8
# Neurons of one search that enter at once; the program's cost grows with them.
_MOST_ENTERING = 200
# Random starts beside those near the last program's neurons and near what branch and bound found, how far
# from that they are, relative to it.
_STARTS, _STARTS_NEARBY, _NEARBY = 16, 20, 0.1
# Starts from each neuron of a program at each of some distances, relative to it: cells next to its own, which
# are the smaller the more rows there are, are where neurons pay a little. Of 2,000 rows they spare half the
# searches. There are fewer of them where their products with all rows would have more entries than so many.
_COPIES, _DISTANCES, _COPY_ENTRIES = 4, (0.1, 0.01, 0.001), 4_000_000


def prove(problem: Problem, options: TrainingOptions, clock: Clock, previous: Network | None = None) -> Fit:
    """Train a network to the optimum over all patterns.

    Parameters
    ----------
    problem : Problem
        Of positive ``alpha``, not gated. With separate outputs the optimum is over networks whose neurons
        feed one of them each.
    options : TrainingOptions
        `tol` is the wanted relative gap over all patterns; `patterns`, `time_limit` and `random_state` do
        not matter: the search always begins alike.
    clock : Clock
        When it is over the best answer so far is returned, with a bound that is valid.
    previous : TwoLayerNetwork or ConvNetwork, optional
        A network that the answer shall not be worse than.

    Returns
    -------
    Fit
        The dual point of its result and its value hold for **all** patterns.
    """
    rounds = clock.share(_ROUNDS_SHARE)
    first = replace(options, tol=max(options.tol, _ADAPTED_TOL), random_state=0).quieter
    adapted = adapt(problem, first, clock.share(_ADAPTING_SHARE), previous, thorough=False)
    search = ProvedSearch(Objective.of(problem), options.tol, clock)
    generation = ColumnGeneration(problem, options, search, rounds)
    generation.n_iter = adapted.result.n_iter
    if problem.shared:
        own = problem.neurons(adapted.network)
        start = RestrictedProgram.from_neurons(problem, [own], own)
    else:
        start = RestrictedProgram.from_point(problem, adapted.patterns, adapted.result)
    return generation.run(start, clock, adapted.result.status)


class ProvedSearch(Policy):
    """Policy: ascents while they find neurons that pay, then bounds over all patterns.

    Parameters
    ----------
    objective : Objective
    tol : float
        Wanted relative gap.
    clock : Clock
        Of the whole fit.
    """

    complete = True
    most_constraints = math.inf

    def __init__(self, objective: Objective, tol: float, clock: Clock) -> None:
        self.objective, self.violation = objective, math.inf
        self._layer, self._alpha = objective.layer, objective.alpha
        self._tol, self._program_tol, self._price_tol, self._clock = tol, tol, tol, clock
        self.first_accuracy = tol * _PROGRAM_SHARE
        self._bound, self._dual = -math.inf, np.empty((0, 0))
        self.n_nodes = 0

    def step(self, generation: ColumnGeneration) -> Step:
        """Look for neurons that pay; where ascents find no new pattern, bound all prices."""
        result, restricted = generation.result, generation.restricted
        threshold = self._alpha * (1 + _PRICE_SHARE * self._price_tol)
        entering = self._ascents(generation, threshold)
        if self._is_slow(generation.values):
            self._program_tol = max(_TIGHTER * self._program_tol, _FINEST_SHARE * self._tol)
        if not restricted.lacks(entering):
            entering = self._bounded(generation, threshold, stop_above=threshold)
            if self._closed(result):
                message = f"The bound over all patterns closes the gap; {self.n_nodes} cones."
                return self._step(entering, Status.CONVERGED, message)
            if not restricted.lacks(entering):
                # Prices say that the program has all it needs, so that its own gap is too large.
                self._program_tol *= _TIGHTER
                self._price_tol *= _TIGHTER
                if self._program_tol < _FINEST_TOL or result.status is Status.INACCURATE:
                    return self._step(entering, Status.INACCURATE, f"No pattern is missing; {result.message}")
        return self._step(entering)

    def _is_slow(self, values: list[float]) -> bool:
        """Whether rounds bring less than programs leave open, so that prices mislead: pairs come and go."""
        recent = values[-1 - _SLOW_ROUNDS :]
        return len(recent) > _SLOW_ROUNDS and recent[0] - recent[-1] < self._program_tol * abs(recent[-1])

    def conclude(self, generation: ColumnGeneration, status: Status) -> SolveResult:
        """Return the last result with the best bound over all patterns, priced once more if it is open."""
        result, program = generation.result, generation.restricted.program
        if status in (Status.TIME_LIMIT, Status.ITERATION_LIMIT) and not self._closed(result):
            threshold = self._alpha * (1 + _PRICE_SHARE * self._tol)
            self._bounded(generation, threshold, stop_above=math.inf)
        if self._bound == -math.inf:
            zero = into_domain(program, np.zeros(self.objective.targets.shape))
            self._dual, self._bound = scaled_bound(program, zero, 0.0)
        return replace(result, dual_point=self._dual, dual_objective=self._bound)

    def _step(self, entering: Neurons, status: Status | None = None, message: str = "") -> Step:
        accuracy = max(_PROGRAM_SHARE * self._program_tol, _FINEST_TOL)
        return Step(entering, accuracy, status, message)

    def _closed(self, result: SolveResult) -> bool:
        return result.objective - self._bound <= self._tol * abs(result.objective)

    def _ascents(self, generation: ColumnGeneration, threshold: float) -> Neurons:
        """Return local maxima of the price above a threshold."""
        result, objective = generation.result, self.objective
        own, rng = generation.restricted.neurons(result), np.random.default_rng(generation.n_rounds)
        starts = np.vstack([self._beside(own.weights, rng), objective.random_directions(_STARTS, rng)])
        if objective.shared:
            found = best_candidates(
                objective, result.dual_point, starts, own, floor=threshold, n_best=_MOST_ENTERING
            )
            return found.neurons
        near, every = np.vstack([own.weights, starts]), objective.empty()
        for k, column in enumerate(result.dual_point.T):
            weights, values = self._layer.maxima(column, near, seed=generation.n_rounds)
            above = np.flatnonzero(np.abs(values) > threshold)[:_MOST_ENTERING]
            every = every.joined(self._on_output(weights[above], np.sign(values[above]), k))
        return every

    def _on_output(self, weights: FloatArray, signs: FloatArray, k: int) -> Neurons:
        """Return neurons that feed one output."""
        outputs = np.full(len(weights), k)
        return Neurons.separate(weights, signs, outputs, self.objective.empty().intercept)

    def _beside(self, weights: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return random weights at several distances from given ones, (m, d) -> (q, d)."""
        affordable = _COPY_ENTRIES // (len(_DISTANCES) * len(self._layer.rows) * max(1, len(weights)))
        copies = np.tile(weights, (min(_COPIES, affordable), 1))
        root = np.sqrt(copies.shape[1])
        return np.vstack([_scattered(copies, far / root, rng) for far in _DISTANCES])

    def _bounded(self, generation: ColumnGeneration, threshold: float, stop_above: float) -> Neurons:
        """Price over all patterns: improve the bound, and return neurons that pay.

        Where branch and bound runs out of time the relaxation may bound better. Shared outputs are priced
        together.
        """
        theta, layer, shared = generation.result.dual_point, self._layer, self.objective.shared
        largest, found = 0.0, self.objective.empty()
        for k, column in enumerate([theta] if shared else list(theta.T)):
            bounds = layer.bounds(
                column,
                threshold=threshold,
                tol=_BOUND_SHARE * _PRICE_SHARE * self._tol,
                stop_above=stop_above,
                time_limit=self._clock.share(_BRANCHING_SHARE).time_limit,
            )
            self.n_nodes += bounds.n_nodes
            upper = bounds.upper
            if not bounds.complete and stop_above == math.inf:
                upper = min(upper, layer.relaxed(column, self._clock.time_limit))
            largest = max(largest, upper)
            if bounds.lower > threshold:
                near = self._neighbours(bounds, generation.n_rounds)
                found = found.joined(self._paying(near, bounds.others, theta, k, threshold))
        dual, value = scaled_bound(generation.restricted.program, theta, largest)
        self.violation = max(0.0, largest / self._alpha - 1.0)
        if value > self._bound:
            self._bound, self._dual = value, dual
        return found

    def _neighbours(self, bounds: SupportBounds, seed: int) -> FloatArray:
        """Return weights near those that pay most, and others that the search has met."""
        copies = np.tile(bounds.weights, (_STARTS_NEARBY, 1))
        return np.vstack([_scattered(copies, _NEARBY, np.random.default_rng(seed)), bounds.others])

    def _paying(
        self, near: FloatArray, others: FloatArray, theta: FloatArray, k: int, threshold: float
    ) -> Neurons:
        """Return the neurons that pay and what ascents from near them find."""
        objective = self.objective
        if objective.shared:
            own = feeding_best(objective, theta, others)
            found = best_candidates(objective, theta, near, own, floor=threshold, n_best=_MOST_ENTERING)
            return found.neurons
        weights, values = self._layer.maxima(theta[:, k], near, n_starts=4)
        above = np.flatnonzero(np.abs(values) > threshold)[:_MOST_ENTERING]
        return self._on_output(np.vstack([others, weights[above]]), np.ones(len(others) + above.size), k)


def _scattered(weights: FloatArray, distance: float, rng: np.random.Generator) -> FloatArray:
    """Add Gaussian noise to each row, of so many times its norm in each coordinate."""
    lengths = distance * np.linalg.norm(weights, axis=1, keepdims=True)
    return np.asarray(weights + lengths * rng.standard_normal(weights.shape))
