r"""Training of convolutional networks with weighted pooling, by convex programs, descent and pricing in turn.

A neuron of filter u and amounts a in R^K adds ``sum_k phi(x_ik . u) a_k``. Over listed filters of norm one
training is a group lasso in the amounts, a convex program. Its dual point theta bounds the optimum over
**all** filters from below as soon as it is scaled to ``max_{|u| <= 1} |(theta . phi(X_k u))_k| <= alpha``,
and where that fails the maximisers are filters worth adding. Filters in use slide to better places by
descent, so that few rounds are needed.

This is not the engine of patterns: columns are filters and not cones, they move between rounds, and what
bounds them may never close the gap, so that hardly a hook would be shared.

References
----------
Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, section 4; Denoyelle, Duval, Peyre
and Soubies, "The sliding Frank-Wolfe algorithm and its application to super-resolution microscopy", Inverse
Problems 36, 2019.
"""

import math
from dataclasses import replace

import numpy as np

from convexnn._random import as_generator
from convexnn._typing import FloatArray
from convexnn.networks import ConvNetwork, Network
from convexnn.pricing.branch_and_bound import cone_operations
from convexnn.problem import Problem, assemble_network, network_weights
from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn.training.weighted.ascent import Priced, searched
from convexnn.training.weighted.bounds import branched, relaxed
from convexnn.training.weighted.neurons import WeightedNeurons, WeightedProblem
from convexnn.training.weighted.sliding import is_better, slide
from convexnn_solvers import ConvexProgram, SolveResult, Status, measure_point, solve
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import into_domain, scaled_bound
from convexnn_solvers.threads import single_blas_thread

__all__ = ["train_weighted"]

# Filters of the first network, and so many more for each further output.
_FIRST_FILTERS, _FIRST_FILTERS_PER_OUTPUT = 24, 6
# Spread of the first network's outputs, relative to that of the loss's gradient: small, so that neurons turn
# before they grow.
_FIRST_SPREAD = 0.1
# Filters of one output that enter at once, and those that are remembered where the loss has kinks.
_MOST_ENTERING, _MOST_KEPT = 30, 100
# Relative distance from filters in use at which others are looked for.
_NEARBY = 0.1
# Starts of a search, and of one before a claim that nothing is left; fewer for each of several outputs.
_STARTS, _THOROUGH_STARTS = 40, 120
# Widths of rounded kinks, relative to filter and patch: of the first descent, and from filters that have
# settled.
_FIRST_WIDTHS, _SETTLED_WIDTHS = (0.3, 0.1, 0.03, 0.01, 1e-3), (0.01, 1e-3)
# Relative gap of the group lasso as a share of the tolerance, its floor, and the factor where it proves too
# coarse.
_PROGRAM_SHARE, _FINEST_TOL, _TIGHTER = 0.1, 1e-10, 0.1
# Relative gap of the group lasso that a warm start begins with.
_LOOSEST_GAP = 1e-3
# So many rounds in a row must bring more than so many times the tolerance: where branch and bound can close
# the gap its last digits are worth the time, elsewhere they are not.
_SLOW_ROUNDS, _SLOW_GAIN, _SLOW_GAIN_OF_RELAXATIONS = 4, 0.1, 4.0
_MAX_ROUNDS, _MOST_SLOW_SPELLS = 60, 2
# Weights of a filter up to which branch and bound ends in seconds on hundreds of samples, the multiplications
# it may take where there is no limit of time (half a minute on one core: a count, as a clock would make the
# bound depend on how busy the machine is), and the share of such a limit that goes into searching.
_FEW_WEIGHTS, _BRANCHING_OPERATIONS, _SEARCHING_SHARE = 6, 4e9, 0.6
# Accuracy of branch and bound as a share of the tolerance; shares of it within which a gap is worth proving,
# and to which a bound is asked for.
_BOUND_SHARE, _PROMISING_SHARE, _ROOM = 0.05, 0.8, 0.9
# Gain above alpha that lets a filter in, as a share of the tolerance.
_PRICE_SHARE = 0.01
_TINY = float(np.finfo(np.float64).tiny)


def train_weighted(
    problem: Problem, options: TrainingOptions, clock: Clock, previous: Network | None = None
) -> Fit:
    """Minimise ``L(f) + alpha / 2 * sum_j (|u_j|^2 + |a_j|^2)`` over filters, output weights and intercept.

    Where filters have at most 6 weights branch and bound bounds the optimum, over a limited number of cones
    unless a limit of time is given; elsewhere a relaxation does, whose gap does not close.

    Parameters
    ----------
    problem : Problem
        With weighted pooling and a positive alpha.
    options : TrainingOptions
        `max_iter` is of each group lasso; `patterns` does not matter.
    clock : Clock
        When it is over the best network so far is returned, with a bound that is valid.
    previous : ConvNetwork, optional
        A network that the answer shall not be worse than (with one neuron for each output that a neuron of
        it feeds).

    Returns
    -------
    Fit
        Its result is of the group lasso over the last filters of norm one, blocks (1, q, P, K); its dual
        point and value hold for **all** filters. `violation` is of the largest gain that a search found at
        the last dual point, or branch and bound proved if it ended.

    Raises
    ------
    ValueError
        If shapes disagree, alpha is not positive or the activation is gated.
    """
    start = None
    if isinstance(previous, ConvNetwork) and previous.n_neurons:
        weights = problem.frame.weights(network_weights(previous))
        start = WeightedNeurons.of(weights, previous.output_weights, previous.output_biases)
    search = _FilterSearch(problem, options, clock)
    with single_blas_thread():
        return search.run(as_generator(options.random_state), start)


class _FilterSearch:
    """State of one run; `neurons` is the best network so far, `value` its objective."""

    def __init__(self, problem: Problem, options: TrainingOptions, clock: Clock) -> None:
        self._whole, self._options, self._tol = problem, options, options.tol
        self._clock, self._searching = clock, clock.share(_SEARCHING_SHARE)
        self._problem = WeightedProblem.of(problem)
        layer = problem.layer
        cone = cone_operations(len(layer.rows), layer.n_weights + layer.positions)
        self._cones = math.inf if clock.limited else _BRANCHING_OPERATIONS / cone
        self._neurons = self._problem.empty()
        self._value = self._problem.value(self._neurons)
        self._bound, self._dual = -math.inf, np.zeros(problem.targets.shape)
        self._violation, self._n_nodes, self._n_rounds, self._n_iter = math.inf, 0, 0, 0
        self._theta = np.zeros(problem.targets.shape)

    def run(self, rng: np.random.Generator, previous: WeightedNeurons | None) -> Fit:
        """Solve, slide and price; until the gap is closed or a limit is reached."""
        try:
            self._begin(rng, previous)
            stopped, message = self._rounds(rng)
        except KeyboardInterrupt:
            stopped, message = Status.INTERRUPTED, "Interrupted from the keyboard."
        return self._fit(stopped, message)

    @property
    def _few_weights(self) -> bool:
        return int(self._problem.patches.shape[2]) <= _FEW_WEIGHTS

    @property
    def _closed(self) -> bool:
        return self._value - self._bound <= self._tol * abs(self._value)

    def _begin(self, rng: np.random.Generator, previous: WeightedNeurons | None) -> None:
        """Descend from random filters and from those that gain most at the network without neurons."""
        problem = self._problem
        if previous is not None and problem.value(previous) < self._value:
            self._neurons, self._value = previous, problem.value(previous)
        empty = problem.empty()
        gradient = problem.loss.gradient(problem.layer_outputs(empty), problem.targets, problem.sample_weight)
        found = self._search(into_domain(problem, -gradient), rng, _STARTS)
        if previous is not None:
            self._solve(found.directions, _LOOSEST_GAP)
            self._slide(_SETTLED_WIDTHS)
        elif found.largest > problem.alpha:
            spread = float(np.abs(gradient).sum() / (problem.sample_weight.sum() * gradient.shape[1]))
            first = self._random_network(rng, found.directions, spread)
            self._keep(slide(problem, first, _FIRST_WIDTHS, self._searching))
            self._slide(_SETTLED_WIDTHS)

    def _random_network(
        self, rng: np.random.Generator, directions: FloatArray, spread: float
    ) -> WeightedNeurons:
        """Return neurons of given and of random filters, with random amounts and outputs below `spread`."""
        empty, n_outputs = self._problem.empty(), self._problem.targets.shape[1]
        n_random = _FIRST_FILTERS + _FIRST_FILTERS_PER_OUTPUT * (n_outputs - 1)
        directions = np.vstack([directions, self._random(rng, n_random)])
        amounts = rng.standard_normal((len(directions), self._problem.patches.shape[1]))
        fed = np.arange(len(directions)) % n_outputs
        raw = WeightedNeurons(directions, amounts, fed, empty.intercept)
        size = float(np.abs(self._problem.layer_outputs(raw) - empty.intercept).mean())
        scaled: FloatArray = amounts * (_FIRST_SPREAD * spread / max(size, _TINY))
        return replace(raw, amounts=scaled).balanced()

    def _random(self, rng: np.random.Generator, n_directions: int) -> FloatArray:
        """Draw Gaussian filters, as long in one coordinate of the patches as in another."""
        scale = np.sqrt(np.mean(self._problem.rows**2, axis=0))
        drawn = rng.standard_normal((n_directions, len(scale))) / np.where(scale > 0, scale, 1.0)
        directions: FloatArray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return directions

    def _solve(self, new: FloatArray, tol: float) -> tuple[ConvexProgram, SolveResult]:
        """Solve the group lasso over the filters in use and new ones; keep what it uses."""
        problem, options = self._problem, self._options
        directions = np.vstack([self._neurons.directions(), new])
        if not len(directions):
            directions = self._any_filter()
        program = problem.program(directions)
        result = solve(
            program,
            solver=options.solver,
            tol=max(tol, _FINEST_TOL),
            max_iter=options.max_iter,
            time_limit=self._clock,
            verbose=options.quieter.verbose,
            start=problem.point(program, self._neurons),
        )
        self._n_rounds += 1
        self._n_iter += result.n_iter
        self._theta = result.dual_point
        self._keep(problem.neurons(directions, result))
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return program, result

    def _any_filter(self) -> FloatArray:
        return np.eye(self._problem.patches.shape[2])[:1]

    def _slide(self, widths: tuple[float, ...]) -> None:
        self._keep(slide(self._problem, self._neurons, widths, self._searching))

    def _keep(self, neurons: WeightedNeurons) -> None:
        """Take a network for the best one unless it is worse."""
        value = self._problem.value(neurons)
        if is_better(value, neurons, self._value, self._neurons):
            self._neurons, self._value = neurons, value

    def _rounds(self, rng: np.random.Generator) -> tuple[Status, str]:
        """Return why the rounds ended."""
        accuracy, values, n_slow_spells = _PROGRAM_SHARE * self._tol, [self._value], 0
        kept = np.empty((0, self._problem.patches.shape[2]))
        for _ in range(_MAX_ROUNDS):
            program, result = self._solve(kept, accuracy)
            if result.status is Status.FAILED:
                return result.status, result.message
            values.append(self._value)
            found = self._searched(program, result, rng)
            new, late = found.directions, self._searching.expired
            slow = self._slow(values)
            if late or slow or self._promising(program, result, found.largest):
                proved = self._prove(program, result, found.largest, late or slow)
                if not self._closed:
                    n_slow_spells += slow
                    stopped = self._stopped(n_slow_spells, proved)
                    if stopped is not None:
                        return stopped
                    values = values[-1:] if slow else values
                    # Where no filter is missing the program's own gap is too large.
                    accuracy *= 1.0 if len(proved.directions) else _TIGHTER
                    new = np.vstack([new, proved.directions])
            self._report(len(new))
            if self._closed:
                return Status.CONVERGED, "The bound over all filters closes the gap."
            self._solve(new, accuracy)
            self._slide(_SETTLED_WIDTHS)
            if not math.isfinite(self._problem.loss.smoothness):
                # At kinks of the loss filters that are not used still say which dual point is right.
                kept = np.vstack([kept, new])[-_MOST_KEPT:]
        return Status.ITERATION_LIMIT, f"{_MAX_ROUNDS} rounds were not enough."

    def _stopped(self, n_slow_spells: int, proved: Priced) -> tuple[Status, str] | None:
        """Return why a search ends whose gap a bound has not closed, if it does."""
        if self._searching.expired:
            return Status.TIME_LIMIT, "The time limit was reached."
        if not (proved.complete or len(proved.directions)):
            return Status.INACCURATE, "No more filters were found that gain; the bound leaves a gap."
        if n_slow_spells > _MOST_SLOW_SPELLS:
            return Status.INACCURATE, "Rounds bring less than tol."
        return None

    def _slow(self, values: list[float]) -> bool:
        """Whether the last rounds together brought little."""
        if len(values) <= _SLOW_ROUNDS:
            return False
        gain = _SLOW_GAIN if self._few_weights else _SLOW_GAIN_OF_RELAXATIONS
        return values[-1 - _SLOW_ROUNDS] - values[-1] <= gain * self._tol * abs(values[-1])

    def _searched(self, program: ConvexProgram, result: SolveResult, rng: np.random.Generator) -> Priced:
        """Search all filters for gains above alpha, thoroughly before a claim that there are none."""
        found = self._search(result.dual_point, rng, _STARTS)
        if self._promising(program, result, found.largest):
            found = self._search(result.dual_point, rng, _THOROUGH_STARTS)
        self._violation = max(0.0, found.largest / self._problem.alpha - 1.0)
        return found

    def _search(self, theta: FloatArray, rng: np.random.Generator, n_starts: int) -> Priced:
        used = self._neurons.directions()
        # With many outputs fewer starts for each of them.
        n_starts //= math.ceil(math.sqrt(theta.shape[1]))
        near = used + _NEARBY * rng.standard_normal(used.shape) / math.sqrt(used.shape[1])
        return searched(
            self._problem,
            theta,
            self._problem.alpha * (1 + _PRICE_SHARE * self._tol),
            self._random(rng, n_starts // 2),
            used,
            near / np.linalg.norm(near, axis=1, keepdims=True),
            self._neurons.outputs,
            n_starts=n_starts // 2,
            seed=self._n_rounds,
            at_most=_MOST_ENTERING,
            clock=self._searching,
        )

    def _promising(self, program: ConvexProgram, result: SolveResult, largest: float) -> bool:
        """Whether the gap would be small enough if no gain were larger."""
        _, value = scaled_bound(program, result.dual_point, largest)
        return self._value - value <= _PROMISING_SHARE * self._tol * abs(self._value)

    def _prove(self, program: ConvexProgram, result: SolveResult, known: float, last: bool) -> Priced:
        """Bound all gains at a dual point and so the optimum; return filters that gain too much."""
        problem, theta = self._problem, result.dual_point
        priced = Priced(math.inf, np.empty((0, problem.patches.shape[2])))
        if self._few_weights and self._n_nodes < self._cones:
            threshold = self._sufficient(program, theta, known)
            priced = branched(
                problem,
                theta,
                threshold,
                tol=_BOUND_SHARE * self._tol,
                stop_above=math.inf if last else threshold,
                clock=self._clock,
                max_nodes=self._cones - self._n_nodes,
            )
            self._n_nodes += priced.n_nodes
        largest = priced.largest
        if not priced.complete and not len(priced.directions):
            largest = min(largest, relaxed(problem, theta, clock=self._clock))
        if priced.complete or len(priced.directions):
            self._violation = max(self._violation, largest / problem.alpha - 1.0)
        dual, value = scaled_bound(program, theta, largest)
        if value > self._bound:
            self._bound, self._dual = value, dual
        return priced

    def _sufficient(self, program: ConvexProgram, theta: FloatArray, known: float) -> float:
        """Return about the largest gain that still closes the gap, no less than what is known."""
        known = max(known, self._problem.alpha)
        wanted = self._value - _ROOM * self._tol * abs(self._value)
        share = 1.0
        while share > _ROOM * self._tol**2:
            if scaled_bound(program, theta, known * (1 + share))[1] >= wanted:
                return known * (1 + share)
            share *= 0.5
        return known

    def _report(self, n_new: int) -> None:
        if self._options.verbose:
            print(
                f"round {self._n_rounds:3d}  objective {self._value:.8g}  bound {self._bound:.8g}  "
                f"{len(self._neurons)} neurons, {n_new} more filters, "
                f"violation {self._violation:.1e}, {self._clock.elapsed:.1f} s"
            )

    def _fit(self, stopped: Status, message: str) -> Fit:
        """Measure the best network once more, from its weights."""
        problem, whole = self._problem, self._whole
        directions = self._neurons.directions()
        if not len(directions):
            directions = self._any_filter()
        program = problem.program(directions)
        result = measure_point(program, *problem.point(program, self._neurons))
        neurons = problem.neurons(directions, result)
        if self._bound == -math.inf:
            largest = relaxed(problem, self._theta, clock=Clock(0.0))
            self._dual, self._bound = scaled_bound(program, self._theta, largest)
        result = replace(
            result,
            objective=problem.value(neurons),
            dual_point=self._dual,
            dual_objective=self._bound,
            status=Status.CONVERGED if self._closed else stopped,
            solver=self._options.solver if self._options.solver != "auto" else result.solver,
            n_iter=max(self._n_iter, self._n_rounds),
            time=self._clock.elapsed,
            message=f"{self._n_rounds} programs, {self._n_nodes} cones; {message}",
        )
        # Back in the coordinates of the data filters and amounts are balanced by them.
        filters = WeightedNeurons(
            whole.frame.original_weights(neurons.weights), neurons.amounts, neurons.outputs, neurons.intercept
        ).balanced()
        network = assemble_network(
            whole.kind,
            filters.weights,
            filters.output_weights(),
            filters.intercept,
            classes=whole.data.classes,
        )
        return Fit(
            whole,
            network,
            result,
            whole.patterns_of(neurons.weights) or whole.no_patterns(),
            whole.scope(complete=True),
            self._violation,
            self._n_rounds,
            bound_is_relaxed=not self._few_weights,
        )
