r"""Training of convolutional networks with weighted pooling, by convex programs, descent and pricing in turn.

A neuron of filter u and amounts a in R^K adds ``sum_k phi(x_ik . u) a_k``. Over listed filters of norm one
training is a group lasso in the amounts, a convex program. Its dual point theta bounds the optimum over
**all** filters from below as soon as it is scaled to ``max_{|u| <= 1} |(theta . phi(X_k u))_k| <= alpha``,
and where that fails the maximisers are filters worth adding. Filters in use slide to better places by
descent, so that few rounds are needed.

References
----------
Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, section 4; Denoyelle, Duval, Peyre
and Soubies, "The sliding Frank-Wolfe algorithm and its application to super-resolution microscopy", Inverse
Problems 36, 2019.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from convexnn._random import as_generator
from convexnn._typing import FloatArray, RandomState
from convexnn.activations import Activation
from convexnn.columns.weighted_ascent import Priced, searched
from convexnn.columns.weighted_bounds import branched, relaxed
from convexnn.columns.weighted_descent import is_better, slide
from convexnn.columns.weighted_network import WeightedNeurons, WeightedProblem
from convexnn.losses import Loss
from convexnn_solvers import ConvexProgram, SolveResult, Status, solve
from convexnn_solvers.dual import into_domain, scaled_bound
from convexnn_solvers.threads import single_blas_thread

__all__ = ["FEW_WEIGHTS", "WeightedFit", "weighted_training"]

# Neurons of the first network, more for each further output, and the share of the spread that they fit;
# new filters of one round for each output; how far from filters in use others are looked for.
_RANDOM, _MORE, _SHARE, _NEW, _NEAR = 24, 6, 0.1, 30, 0.1
# Filters that are remembered where the loss has kinks.
_MOST_KEPT = 100
_STARTS, _MANY_STARTS = 40, 120
# Widths of rounded kinks: of the first descent, and of those from filters that have settled.
_WIDE, _SETTLED = (0.3, 0.1, 0.03, 0.01, 1e-3), (0.01, 1e-3)
# Shares of the tolerance: of the group lasso, and of rounds too small to be worth more.
_MASTER, _SLOW_GAIN, _NO_GAIN = 0.1, 0.1, 4.0
_LOOSEST = 1e-3
_MAX_ROUNDS, _SLOW_ROUNDS, _MOST_STALLS = 60, 4, 2
# Branch and bound: filters of so few weights, seconds without a limit of time; share of one for the search.
FEW_WEIGHTS, _SECONDS, _SEARCHING = 6, 30.0, 0.6
_BRANCH, _PROMISING, _ROOM = 0.05, 0.8, 0.9
_LEAST_TOL, _TIGHTER, _LEAST_PRICE, _ANY_GAP = 1e-10, 0.1, 0.01, 1e300
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class WeightedFit:
    """A network with weighted pooling and what is known of it.

    Attributes
    ----------
    hidden_weights : ndarray of shape (m, d)
        Filters, balanced: each as long as its output weights.
    output_weights : ndarray of shape (m, K, q)
        Each neuron feeds one output.
    intercept : ndarray of shape (q,)
    result : SolveResult
        Of the group lasso over the last filters of norm one, blocks (1, q, P, K). Its objective is F of the
        weights, its dual point and value hold for **all** filters; the status says how their gap is.
    violation : float
        ``H / alpha - 1``, at least 0, with H the largest gain that a search found at the last dual point, or
        branch and bound proved if it ended.
    scope : {"global", "patterns"}
        "global" with one output; else the bound is over networks whose neurons feed one output each.
    n_rounds : int
        Group lassos solved.
    n_nodes : int
        Cones that branch and bound looked at.
    """

    hidden_weights: FloatArray
    output_weights: FloatArray
    intercept: FloatArray
    result: SolveResult
    violation: float
    scope: Literal["global", "patterns"]
    n_rounds: int
    n_nodes: int


def weighted_training(
    patches: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    loss: Loss,
    *,
    alpha: float,
    activation: Activation,
    fit_intercept: bool = True,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    random_state: RandomState = None,
    start: tuple[FloatArray, FloatArray, FloatArray] | None = None,
) -> WeightedFit:
    """Minimise ``L(f) + alpha / 2 * sum_j (|u_j|^2 + |a_j|^2)`` over filters, output weights and intercept.

    Where filters have at most 6 weights branch and bound bounds the optimum, for at most half a minute unless
    a limit of time is given; elsewhere a relaxation does, whose gap does not close.

    Parameters
    ----------
    patches : ndarray of shape (n, K, d), float64
        Patch k of sample i, with a last coordinate of one where there is a hidden bias.
    targets : ndarray of shape (n, q), float64
        Encoded.
    weight : ndarray of shape (n,), float64
        Of the samples, non-negative; the loss is a weighted sum.
    loss : Loss
    alpha : float
        Positive.
    activation : Activation
        Not gated.
    fit_intercept : bool
    solver : str
        For the group lassos, see `convexnn_solvers.solve`.
    tol : float
        Wanted relative gap.
    max_iter : int, optional
        Iterations of each group lasso.
    time_limit : float, optional
        Seconds; the best network so far is returned, with a bound that is valid.
    verbose : int
    random_state : int, RandomState, Generator or None
        Of the first filters and of the starts of searches.
    start : tuple of ndarrays (m, d), (m, K, q) and (q,), optional
        Filters, output weights and intercept of a network that the answer shall not be worse than (with one
        neuron for each output that a neuron of it feeds).

    Returns
    -------
    WeightedFit

    Raises
    ------
    ValueError
        If shapes disagree, alpha is not positive or the activation is gated.
    """
    patches = np.ascontiguousarray(patches, dtype=np.float64)
    problem = WeightedProblem(patches, targets, weight, loss, alpha, activation, fit_intercept)
    search = _Search(problem, solver, tol, max_iter, time_limit, verbose)
    previous = None if start is None else WeightedNeurons.of(*start)
    with single_blas_thread():
        return search.run(as_generator(random_state), previous)


class _Search:
    """State of one run; `neurons` is the best network so far, `value` its objective."""

    def __init__(
        self,
        problem: WeightedProblem,
        solver: str,
        tol: float,
        max_iter: int | None,
        time_limit: float | None,
        verbose: int,
    ) -> None:
        self._problem, self._solver, self._tol = problem, solver, tol
        self._max_iter, self._verbose = max_iter, verbose
        self._began = time.perf_counter()
        seconds = math.inf if time_limit is None else time_limit
        self._deadline, self._searching = self._began + seconds, self._began + _SEARCHING * seconds
        self._branching = _SECONDS if time_limit is None else math.inf
        self._neurons = problem.empty()
        self._value = problem.value(self._neurons)
        self._bound, self._dual = -math.inf, np.zeros(problem.targets.shape)
        self._violation, self._n_nodes, self._n_rounds, self._n_iter = math.inf, 0, 0, 0
        self._theta = np.zeros(problem.targets.shape)

    def run(self, rng: np.random.Generator, previous: WeightedNeurons | None) -> WeightedFit:
        """Solve, slide and price; until the gap is closed or a limit is reached."""
        try:
            self._begin(rng, previous)
            stopped, message = self._rounds(rng)
        except KeyboardInterrupt:
            stopped, message = Status.INTERRUPTED, "Interrupted from the keyboard."
        return self._fit(stopped, message)

    @property
    def _few_weights(self) -> bool:
        return int(self._problem.patches.shape[2]) <= FEW_WEIGHTS

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
            self._solve(found.directions, _LOOSEST)
            self._slide(_SETTLED)
        elif found.largest > problem.alpha:
            spread = float(np.abs(gradient).sum() / (problem.sample_weight.sum() * gradient.shape[1]))
            first = self._random_network(rng, found.directions, spread)
            self._keep(slide(problem, first, _WIDE, until=self._searching))
            self._slide(_SETTLED)

    def _random_network(
        self, rng: np.random.Generator, directions: FloatArray, spread: float
    ) -> WeightedNeurons:
        """Return neurons of given and of random filters, with random amounts and outputs below `spread`."""
        empty, n_outputs = self._problem.empty(), self._problem.targets.shape[1]
        directions = np.vstack([directions, self._random(rng, _RANDOM + _MORE * (n_outputs - 1))])
        amounts = rng.standard_normal((len(directions), self._problem.patches.shape[1]))
        fed = np.arange(len(directions)) % n_outputs
        raw = WeightedNeurons(directions, amounts, fed, empty.intercept)
        size = float(np.abs(self._problem.layer_outputs(raw) - empty.intercept).mean())
        scaled: FloatArray = amounts * (_SHARE * spread / max(size, _TINY))
        return replace(raw, amounts=scaled).balanced()

    def _random(self, rng: np.random.Generator, n_directions: int) -> FloatArray:
        """Draw Gaussian filters, as long in one coordinate of the patches as in another."""
        scale = np.sqrt(np.mean(self._problem.rows**2, axis=0))
        drawn = rng.standard_normal((n_directions, len(scale))) / np.where(scale > 0, scale, 1.0)
        directions: FloatArray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return directions

    def _solve(self, new: FloatArray, tol: float) -> tuple[ConvexProgram, SolveResult]:
        """Solve the group lasso over the filters in use and new ones; keep what it uses."""
        problem, n_used = self._problem, len(self._neurons)
        if not n_used and not len(new):
            new = np.eye(problem.patches.shape[2])[:1]
        directions = np.vstack([self._neurons.directions(), new])
        program = problem.program(directions)
        left = self._deadline - time.perf_counter()
        result = solve(
            program,
            solver=self._solver,
            tol=max(tol, _LEAST_TOL),
            max_iter=self._max_iter,
            time_limit=None if left == math.inf else max(1e-9, left),
            verbose=max(0, self._verbose - 1),
            start=problem.point(program, self._neurons),
        )
        self._n_rounds += 1
        self._n_iter += result.n_iter
        self._theta = result.dual_point
        self._keep(problem.neurons(directions, result))
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return program, result

    def _slide(self, widths: tuple[float, ...]) -> None:
        self._keep(slide(self._problem, self._neurons, widths, until=self._searching))

    def _keep(self, neurons: WeightedNeurons) -> None:
        """Take a network for the best one unless it is worse."""
        value = self._problem.value(neurons)
        if is_better(value, neurons, self._value, self._neurons):
            self._neurons, self._value = neurons, value

    def _rounds(self, rng: np.random.Generator) -> tuple[Status, str]:
        """Return why the rounds ended."""
        accuracy, values, stalls = _MASTER * self._tol, [self._value], 0
        kept = np.empty((0, self._problem.patches.shape[2]))
        for _ in range(_MAX_ROUNDS):
            program, result = self._solve(kept, accuracy)
            if result.status is Status.FAILED:
                return result.status, result.message
            values.append(self._value)
            found = self._searched(program, result, rng)
            new, late = found.directions, time.perf_counter() > self._searching
            slow = self._slow(values)
            if late or slow or self._promising(program, result, found.largest):
                proved = self._prove(program, result, found.largest, late or slow)
                if not self._closed:
                    stalls += slow
                    stopped = self._stopped(stalls, proved)
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
            self._slide(_SETTLED)
            if not math.isfinite(self._problem.loss.smoothness):
                # At kinks of the loss filters that are not used still say which dual point is right.
                kept = np.vstack([kept, new])[-_MOST_KEPT:]
        return Status.ITERATION_LIMIT, f"{_MAX_ROUNDS} rounds were not enough."

    def _stopped(self, stalls: int, proved: Priced) -> tuple[Status, str] | None:
        """Return why a search ends whose gap a bound has not closed, if it does."""
        if time.perf_counter() > self._searching:
            return Status.TIME_LIMIT, "The time limit was reached."
        if not (proved.complete or len(proved.directions)):
            return Status.INACCURATE, "No more filters were found that gain; the bound leaves a gap."
        if stalls > _MOST_STALLS:
            return Status.INACCURATE, "Rounds bring less than tol."
        return None

    def _slow(self, values: list[float]) -> bool:
        """Whether the last rounds together brought little."""
        if len(values) <= _SLOW_ROUNDS:
            return False
        # Where branch and bound can close the gap the last digits are worth the time.
        gain = _SLOW_GAIN if self._few_weights else _NO_GAIN
        return values[-1 - _SLOW_ROUNDS] - values[-1] <= gain * self._tol * abs(values[-1])

    def _searched(self, program: ConvexProgram, result: SolveResult, rng: np.random.Generator) -> Priced:
        """Search all filters for gains above alpha, thoroughly before a claim that there are none."""
        found = self._search(result.dual_point, rng, _STARTS)
        if self._promising(program, result, found.largest):
            found = self._search(result.dual_point, rng, _MANY_STARTS)
        self._violation = max(0.0, found.largest / self._problem.alpha - 1.0)
        return found

    def _search(self, theta: FloatArray, rng: np.random.Generator, n_starts: int) -> Priced:
        used = self._neurons.directions()
        # With many outputs fewer starts for each of them.
        n_starts //= math.ceil(math.sqrt(theta.shape[1]))
        near = used + _NEAR * rng.standard_normal(used.shape) / math.sqrt(used.shape[1])
        return searched(
            self._problem,
            theta,
            self._problem.alpha * (1 + _LEAST_PRICE * self._tol),
            self._random(rng, n_starts // 2),
            used,
            near / np.linalg.norm(near, axis=1, keepdims=True),
            self._neurons.outputs,
            n_starts=n_starts // 2,
            seed=self._n_rounds,
            at_most=_NEW,
            until=self._searching,
        )

    def _promising(self, program: ConvexProgram, result: SolveResult, largest: float) -> bool:
        """Whether the gap would be small enough if no gain were larger."""
        _, value = scaled_bound(program, result.dual_point, largest)
        return self._value - value <= _PROMISING * self._tol * abs(self._value)

    def _prove(self, program: ConvexProgram, result: SolveResult, known: float, last: bool) -> Priced:
        """Bound all gains at a dual point and so the optimum; return filters that gain too much."""
        problem, theta = self._problem, result.dual_point
        priced = Priced(math.inf, np.empty((0, problem.patches.shape[2])))
        if self._few_weights and self._branching > 0:
            began = time.perf_counter()
            threshold = self._sufficient(program, theta, known)
            priced = branched(
                problem,
                theta,
                threshold,
                tol=_BRANCH * self._tol,
                stop_above=math.inf if last else threshold,
                until=min(self._deadline, began + self._branching),
            )
            self._branching -= time.perf_counter() - began
            self._n_nodes += priced.n_nodes
        largest = priced.largest
        if not priced.complete and not len(priced.directions):
            largest = min(largest, relaxed(problem, theta, until=self._deadline))
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
        if self._verbose:
            print(
                f"round {self._n_rounds:3d}  objective {self._value:.8g}  bound {self._bound:.8g}  "
                f"{len(self._neurons)} neurons, {n_new} more filters, "
                f"violation {self._violation:.1e}, {time.perf_counter() - self._began:.1f} s"
            )

    def _fit(self, stopped: Status, message: str) -> WeightedFit:
        """Measure the best network once more, from its weights."""
        problem = self._problem
        directions = self._neurons.directions()
        if not len(directions):
            directions = np.eye(problem.patches.shape[2])[:1]
        program = problem.program(directions)
        result = solve(
            program, solver=self._solver, tol=_ANY_GAP, start=problem.point(program, self._neurons)
        )
        neurons = problem.neurons(directions, result)
        if self._bound == -math.inf:
            largest = relaxed(problem, self._theta, until=-math.inf)
            self._dual, self._bound = scaled_bound(program, self._theta, largest)
        result = replace(
            result,
            objective=problem.value(neurons),
            dual_point=self._dual,
            dual_objective=self._bound,
            status=Status.CONVERGED if self._closed else stopped,
            n_iter=max(self._n_iter, self._n_rounds),
            time=time.perf_counter() - self._began,
            message=f"{self._n_rounds} programs, {self._n_nodes} cones; {message}",
        )
        scope: Literal["global", "patterns"] = "global" if problem.targets.shape[1] == 1 else "patterns"
        return WeightedFit(
            neurons.weights,
            neurons.output_weights(),
            neurons.intercept,
            result,
            self._violation,
            scope,
            self._n_rounds,
            self._n_nodes,
        )
