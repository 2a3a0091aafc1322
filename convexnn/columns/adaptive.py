"""Training on patterns found by descent and local pricing: never worse than the descent it starts from.

A descent of a wide network, whose neurons cross freely from cell to cell, gives a first network. Then, round
after round, the convex program over the patterns in use is solved, neurons that would lower the objective
are found by ascent on their price from many starts, and their patterns join. This is column generation
without a list of the columns; each program starts from the point of the one before.

References
----------
Denoyelle, Duval, Peyre and Soubies, "The sliding Frank-Wolfe algorithm and its application to
super-resolution microscopy", Inverse Problems 36, 2019: descents of positions beside convex steps.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from convexnn._typing import FloatArray, RandomState
from convexnn.columns.ascent import Candidates, best_candidates
from convexnn.columns.descent import Descent
from convexnn.columns.objective import Neurons, Objective, merged, random_neurons
from convexnn.losses import without_kinks
from convexnn.networks import Network
from convexnn.patterns import PatternSet
from convexnn.pricing.hidden_layer import HiddenLayer
from convexnn.programs import blocks_from_weights, network_weights
from convexnn.programs.pattern_choice import PatternChoice
from convexnn.programs.restricted import RestrictedPrograms
from convexnn.programs.training import NetworkKind, TrainingData, TrainingProblem
from convexnn_solvers import ConvexProgram, SolveResult, Status, measure_point, solve
from convexnn_solvers.registry import automatic
from convexnn_solvers.threads import single_blas_thread

__all__ = ["AdaptiveFit", "adapt"]

# Width of the network that descends: so many neurons for alpha at its largest, more below it, within
# limits, and as the operations of one of its steps and the entries of its layer allow.
_FEWEST, _MOST = 16, 300
_WIDTH_AT_LARGEST = 5.0
_STEP_OPERATIONS = 3e9
_LAYER_ENTRIES = 30_000_000
_MAX_STEPS = 200
_DESCENT_TOL = 1e-3
# Of a limit of time: what leading samples and the descent on all of them may take.
_SHARE_OF_SAMPLE, _SHARE_OF_DESCENT = 0.3, 0.8
# Of more samples than twice this, so many lead the descent until its last steps.
_SAMPLE = 1500
# Pricing: random starts, more of them before a claim that nothing is left, candidates taken at least.
_STARTS, _MANY_STARTS, _CANDIDATES = 40, 80, 60
_FEWEST_STARTS, _START_ENTRIES = 4, 200_000_000
# Rounds: at most so many; they stop where so many in a row bring less than so many times the tolerance.
_MAX_ROUNDS, _SLOW_ROUNDS, _SLOW_GAIN = 200, 4, 4.0
_LOOSEST = 1e-2
# Rows of all cones together, above which a round must not take interior-point steps, or many of others:
# new patterns help more than the last digits on those at hand.
_MANY_CONSTRAINTS, _FEW_ITERATIONS = 100_000, 100
_NEARLY_ZERO = 1e-6
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class AdaptiveFit:
    """The best network found, and what is known of its patterns.

    Attributes
    ----------
    problem : TrainingProblem
        With the last patterns, not all that exist.
    result : SolveResult
        Of ``problem.program``.
    violation : float
        ``max(0, price / alpha - 1)`` for the largest price, at the program's dual point, that a search of all
        patterns found: a local one, so it proves nothing. With ``alpha = 0`` the price divided by the
        largest at the best network without neurons. Infinite if no search was made.
    n_rounds : int
        Programs solved.
    stopped : Status
        `CONVERGED` if the program's gap is within the tolerance and so is the violation; `INACCURATE` if
        rounds no longer brought anything worth the tolerance before that.
    message : str
    """

    problem: TrainingProblem
    result: SolveResult
    violation: float
    n_rounds: int
    stopped: Status
    message: str


def adapt(
    data: TrainingData,
    kind: NetworkKind,
    *,
    alpha: float,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    random_state: RandomState = None,
    previous: Network | None = None,
) -> AdaptiveFit:
    """Train a network on patterns that are found on the way.

    The objective is never above that of the descent it starts from, nor above that of `previous` (with one
    neuron for each output that a neuron of it feeds). The same `random_state` gives the same network, unless
    a time limit interferes. With ``alpha = 0`` the descent runs at a millionth of the least alpha that
    leaves no neurons.

    Parameters
    ----------
    data : TrainingData
    kind : NetworkKind
        Its `patterns` do not matter.
    alpha : float
    solver : str
        For the convex programs, as in `convexnn_solvers.solve`.
    tol : float
        Wanted relative gap of the last program, and largest violation.
    max_iter : int, optional
        Limit of the solver's iterations in each program.
    time_limit : float, optional
        Seconds for everything; one program may overrun it by its set-up.
    verbose : int
    random_state : int, RandomState, Generator or None
    previous : TwoLayerNetwork, optional
        Of the same kind, for the same inputs and outputs.

    Returns
    -------
    AdaptiveFit

    Raises
    ------
    ValueError
        If the activation is gated, or modes do not fit.
    """
    if kind.activation.gated:
        raise ValueError(
            f"Adaptive patterns need neurons that descend. Got the activation {kind.activation.name!r}, "
            "whose gates are fixed; choose patterns='exact' or a number of patterns."
        )
    search = _Search(data, kind, alpha, _Limits(solver, tol, max_iter, time_limit, verbose))
    with single_blas_thread():
        task, result, stopped, message = search.run(
            _generator(random_state), None if previous is None else _neurons(previous)
        )
    problem = TrainingProblem(data, kind, task.program, PatternChoice(task.patterns, complete=False))
    return AdaptiveFit(problem, result, search.violation, search.n_rounds, stopped, message)


def _generator(random_state: RandomState) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1, size=4).tolist())
    return np.random.default_rng(random_state)


@dataclass(frozen=True)
class _Limits:
    """Options of the search."""

    solver: str
    tol: float
    max_iter: int | None
    time_limit: float | None
    verbose: int


@dataclass(frozen=True, eq=False)
class _Round:
    """A program over the patterns in use, with a point to start from."""

    patterns: PatternSet
    program: ConvexProgram
    start: tuple[FloatArray, FloatArray]


class _Search:
    """State of a search; `answer` is the last program solved with its result."""

    def __init__(self, data: TrainingData, kind: NetworkKind, alpha: float, limits: _Limits) -> None:
        self.kind, self.alpha, self.limits = kind, alpha, limits
        self.programs = programs = RestrictedPrograms.of(data, kind, alpha)
        self.loss = data.loss
        self.objective = Objective(
            programs.layer,
            programs.samples.targets,
            programs.samples.weight,
            data.loss,
            alpha,
            kind.fit_intercept,
        )
        self.until = math.inf if limits.time_limit is None else time.perf_counter() + limits.time_limit
        self.descent: Descent | None = None
        self.answer: tuple[_Round, SolveResult] | None = None
        self.violation, self.n_rounds, self.n_iter, self.accurate = math.inf, 0, 0, False

    def run(
        self, rng: np.random.Generator, previous: Neurons | None
    ) -> tuple[_Round, SolveResult, Status, str]:
        """Descend, then generate columns until nothing is left, time is up or the user interrupts."""
        try:
            self._descend(rng)
            stopped, message = self._rounds(self._first_round(previous), rng)
        except KeyboardInterrupt:
            stopped, message = Status.INTERRUPTED, "Interrupted from the keyboard."
        task, result = self.answer or self._measured(self._first_round(previous), stopped)
        if result.converged and not self.accurate:
            result = replace(result, status=stopped)
        return task, result, stopped, message

    def _descend(self, rng: np.random.Generator) -> None:
        """Find the scale of alpha by pricing the network without neurons, and descend if it is below that."""
        objective = self.objective
        empty = objective.empty()
        theta = -objective.gradient(objective.layer_outputs(empty))
        if objective.fit_intercept:
            # A subgradient of a loss with kinks need not be orthogonal to the intercept.
            theta -= objective.weight[:, None] * (theta.sum(axis=0) / objective.weight.sum())
        starts = self._starts(rng, _STARTS)
        largest = best_candidates(objective, theta, starts, empty, floor=0.0, n_best=1).largest
        self.unit = self.alpha or largest or 1.0
        alpha = self.alpha or _NEARLY_ZERO * largest
        if alpha >= largest:
            return
        rounded = without_kinks(self.loss, objective.targets, objective.weight)
        objective = replace(objective, alpha=alpha, loss=rounded)
        width = _width(objective, min(_MOST, max(_FEWEST, round(_WIDTH_AT_LARGEST * largest / alpha))))
        neurons, n_samples = random_neurons(objective, width, rng), objective.n_samples
        if n_samples > 2 * _SAMPLE:
            part = objective.part(rng.permutation(n_samples)[:_SAMPLE])
            neurons = Descent(part, neurons).run(_MAX_STEPS, _DESCENT_TOL, self._within(_SHARE_OF_SAMPLE))
        self.descent = Descent(objective, neurons, settled=n_samples > 2 * _SAMPLE)
        self.descent.run(_MAX_STEPS, _DESCENT_TOL, self._within(_SHARE_OF_DESCENT))
        if self.limits.verbose:
            found = self.descent
            print(
                f"descent from {width} neurons: objective {found.best_value:.8g}, {len(found.best)} neurons"
            )

    def _within(self, share: float) -> float:
        """Return when a share of the time left will be over."""
        now = time.perf_counter()
        return self.until if self.until == math.inf else now + share * (self.until - now)

    def _starts(self, rng: np.random.Generator, n_starts: int) -> FloatArray:
        """Draw Gaussian directions, as long in one coordinate of the data as in another.

        There are few of them for large data.
        """
        objective = self.objective
        affordable = _START_ENTRIES // (objective.rows.size * objective.targets.shape[1])
        n_starts = max(_FEWEST_STARTS, min(n_starts, affordable))
        return rng.standard_normal((n_starts, objective.rows.shape[1])) / objective.column_sizes

    def _first_round(self, previous: Neurons | None) -> _Round:
        """Return the program over the patterns of descent and previous network, from the better one."""
        known = [self.objective.empty()]
        if self.descent is not None:
            known.append(_resolved(self.objective.layer, merged(self.objective, self.descent.best)))
        if previous is not None:
            known.append(_resolved(self.objective.layer, previous))
        weights = np.vstack([neurons.weights for neurons in known])
        if not len(weights):
            weights = np.ones((1, self.objective.rows.shape[1]))
        patterns = self.objective.layer.patterns(weights)
        program = self.programs.program(patterns)
        best = min(known, key=self.objective.value)
        amounts = np.zeros((len(best), len(best.intercept)))
        amounts[np.arange(len(best)), best.outputs] = best.signs
        blocks = blocks_from_weights(program, best.weights, amounts)
        return _Round(patterns, program, (blocks, best.intercept))

    def _rounds(self, task: _Round, rng: np.random.Generator) -> tuple[Status, str]:
        """Solve and price in turn; returns why that ended."""
        tol, goal = self.limits.tol, 0.5 * self.limits.tol
        accuracy, values = max(goal, _LOOSEST), [task.program.objective(*task.start)]
        for _ in range(_MAX_ROUNDS):
            left = self.until - time.perf_counter()
            if left <= 0:
                return Status.TIME_LIMIT, "The time limit was reached."
            result = self._solve(task, accuracy, left)
            if result.status not in (Status.CONVERGED, Status.INACCURATE):
                return result.status, result.message
            candidates = self._price(task, result, self._starts(rng, _STARTS))
            values.append(result.objective)
            stuck = result.status is Status.INACCURATE
            tight = accuracy <= goal or result.relative_gap <= goal or stuck
            if tight and self.violation <= goal:
                candidates = self._price(task, result, self._starts(rng, _MANY_STARTS))
                if self.violation <= goal:
                    return result.status, f"No neuron found that would lower the objective; {result.message}"
            slow = len(values) > _SLOW_ROUNDS and _fall(values, _SLOW_ROUNDS) < _SLOW_GAIN * tol
            if tight and slow:
                return self._stalled(result)
            settled = slow or self.violation <= goal
            accuracy = goal if settled else max(goal, min(_LOOSEST, _fall(values, 1)))
            task = self._with_candidates(task, result, candidates)
        return Status.ITERATION_LIMIT, f"{_MAX_ROUNDS} rounds were not enough."

    def _stalled(self, result: SolveResult) -> tuple[Status, str]:
        """Return how a search ends whose rounds bring little."""
        if self.violation <= self.limits.tol:
            return result.status, f"Neurons found lower the objective within tol only; {result.message}"
        return Status.INACCURATE, f"Rounds bring less than tol, with prices {self.violation:.1e} above alpha."

    def _solve(self, task: _Round, accuracy: float, seconds: float) -> SolveResult:
        limits, many = self.limits, self._has_many_constraints(task)
        capped = many and (limits.max_iter is None or limits.max_iter > _FEW_ITERATIONS)
        result = solve(
            task.program,
            solver=self._solver(task),
            tol=accuracy,
            max_iter=_FEW_ITERATIONS if capped else limits.max_iter,
            time_limit=None if seconds == math.inf else seconds,
            verbose=max(0, limits.verbose - 1),
            start=task.start,
        )
        self.accurate = result.relative_gap <= limits.tol or (result.converged and accuracy <= limits.tol)
        if self.accurate:
            result = replace(result, status=Status.CONVERGED)
        elif capped and result.status is Status.ITERATION_LIMIT:
            result = replace(result, status=Status.INACCURATE)
        self.n_iter += result.n_iter
        result = replace(result, n_iter=self.n_iter)
        self.answer, self.violation = (task, result), math.inf
        self.n_rounds += 1
        return result

    def _solver(self, task: _Round) -> str:
        """Return the solver of a round: where cones have many rows none that works with all of them."""
        names = automatic(task.program) if self.limits.solver == "auto" else []
        return names[0] if self._has_many_constraints(task) and len(names) > 1 else self.limits.solver

    def _has_many_constraints(self, task: _Round) -> bool:
        return len(self.objective.rows) * len(task.patterns) > _MANY_CONSTRAINTS

    def _measured(self, task: _Round, stopped: Status) -> tuple[_Round, SolveResult]:
        """Return the starting point for the answer."""
        left = None if self.until == math.inf else max(_TINY, self.until - time.perf_counter())
        return task, measure_point(
            task.program, *task.start, tol=self.limits.tol, stopped=stopped, time_limit=left
        )

    def _price(self, task: _Round, result: SolveResult, starts: FloatArray) -> Candidates:
        """Search all patterns for neurons whose price is above alpha."""
        signs, outputs, patterns = np.nonzero(result.blocks.any(axis=-1))
        weights = result.blocks[signs, outputs, patterns]
        near = Neurons(weights, np.where(signs == 0, 1.0, -1.0), outputs, result.intercept)
        found = best_candidates(
            self.objective,
            result.dual_point,
            starts,
            near,
            floor=self.alpha + 0.1 * self.limits.tol * self.unit,
            n_best=max(_CANDIDATES, len(near) // 2),
        )
        self.violation = max(0.0, found.largest - self.alpha) / self.unit
        if self.limits.verbose:
            print(
                f"round {self.n_rounds:3d}  objective {result.objective:.8g}  gap {result.relative_gap:.1e}  "
                f"{len(near)} neurons of {len(task.patterns)} patterns  "
                f"{len(found.prices)} candidates, violation {self.violation:.1e}"
            )
        return found

    def _with_candidates(self, task: _Round, result: SolveResult, candidates: Candidates) -> _Round:
        """Drop patterns that are not used, add those of the candidates, and start from the result."""
        entering = _resolved(self.objective.layer, candidates.neurons)
        patterns, start = self.programs.grown(task.program, result, entering.weights)
        return _Round(patterns, self.programs.program(patterns), start)


def _resolved(layer: HiddenLayer, neurons: Neurons) -> Neurons:
    """Drop neurons next to cells thinner than float64 resolves."""
    return neurons.take(layer.resolved(neurons.weights))


def _fall(values: list[float], n_rounds: int) -> float:
    """Relative fall of the objective over the last rounds."""
    return (values[-1 - n_rounds] - values[-1]) / max(abs(values[-1]), _TINY)


def _width(objective: Objective, wanted: int) -> int:
    """Return a number of neurons, at most that wanted, for which a Newton step is not too much work."""
    n, d = min(objective.n_samples, 2 * _SAMPLE), objective.rows.shape[1]
    n_outputs = int(objective.targets.shape[1])
    width = min(wanted, max(_FEWEST // n_outputs, _LAYER_ENTRIES // (len(objective.rows) * n_outputs)))
    while width > _FEWEST and n_outputs * n * width * d * min(n, width * d) > _STEP_OPERATIONS:
        width = int(0.8 * width)
    return int(width * n_outputs)


def _neurons(network: Network) -> Neurons:
    """Return the neurons of a network, one for each output that each of them feeds."""
    network = network.balanced()
    fed, outputs = np.nonzero(network.output_weights)
    amounts = network.output_weights[fed, outputs]
    weights = np.abs(amounts)[:, None] * network_weights(network)[fed]
    return Neurons(weights, np.sign(amounts), outputs, network.output_biases.copy())
