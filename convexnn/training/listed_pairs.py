r"""Training over a list of patterns where outputs are shared: pairs of a pattern and a direction.

On a pattern i the neurons of a network are a matrix ``Z_i = sum_j z_j g_j'`` of sums over its pairs. Without
cones the least ``sum_j |z_j|`` of a matrix is its nuclear norm, and the program is

.. math:: \min_{Z, c} L(\sum_i A_i Z_i + c) + \alpha \sum_i |Z_i|_* ,

whose dual asks for operator norms ``|A_i' \Theta|`` of at most ``alpha``. So pairs are generated from the
singular vectors of these matrices. With cones ``z_j`` lies in the cone of its pattern: pairs that pay are
found by ascent, and the bound is that of the program over the pairs found. There are two bounds of what any
pair can pay, the operator norm and one that takes every output by itself; where one of these closes the gap,
the optimum over all pairs is proved.

References
----------
Sahiner, Ergen, Pauly and Pilanci, "Vector-output ReLU neural network problems are copositive programs",
ICLR 2021 (the nuclear norm over patterns); Mishkin, Sahiner and Pilanci, "Fast convex optimization for
two-layer ReLU networks", ICML 2022 (gated networks).
"""

import math
from dataclasses import replace

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.losses import without_kinks
from convexnn.losses.kinks import RoundedKink
from convexnn.networks import Network
from convexnn.problem import Neurons, Problem
from convexnn.programs import neurons_from_blocks
from convexnn.programs.pattern_choice import PatternChoice
from convexnn.programs.restricted import RestrictedProgram
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.trust_region import Descent
from convexnn.training.engine import ColumnGeneration, Policy, Step
from convexnn.training.fit import Fit
from convexnn.training.options import TrainingOptions
from convexnn.training.sliding import dual_guess, with_sizes
from convexnn_solvers import SolveResult, Status
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import scaled_bound

__all__ = ["ListedPairs"]

# Shares of the tolerance: of the programs' gaps, and of prices above alpha that are let pass.
_PROGRAM_SHARE, _PRICE_SHARE = 0.25, 0.5
# Relative gap of programs while rounds still bring much.
_LOOSEST_GAP = 1e-2
# Pairs that enter at once, and alternations of an ascent.
_MOST_ENTERING, _ALTERNATIONS = 60, 12
# Newton steps of a descent with gates, and the relative gain of one that ends it.
_MAX_STEPS, _DESCENT_TOL = 100, 1e-10
# How much less kinks of the loss are rounded off from round to round.
_SHARPER = 0.4
# So many rounds in a row must bring more than so many times the tolerance, together.
_SLOW_ROUNDS, _SLOW_GAIN = 6, 1.0
# Of a block's weights: a penalised part that is rounding.
_NEGLIGIBLE = 1e-9
_TINY = float(np.finfo(np.float64).tiny)


class ListedPairs:
    """The pairs of a problem over listed patterns, for any strength of regularisation.

    Parameters
    ----------
    problem : Problem
        With shared outputs.
    choice : PatternChoice
        Patterns and whether they are all that exist.
    previous : TwoLayerNetwork or ConvNetwork, optional
        A network whose patterns join the listed ones, and from which `fit` starts unless told otherwise.
    """

    def __init__(self, problem: Problem, choice: PatternChoice, previous: Network | None = None) -> None:
        self._start = None if previous is None else problem.neurons(previous)
        self.problem, self.choice = problem, choice.joined(problem, self._start)

    def largest_price(self) -> float:
        """Return the largest price of a pair at constant outputs: of cones the largest that ascents find."""
        return _PairSearch(self.problem.at(1.0), self.choice, 1.0).priced_without_neurons()

    def fit(self, alpha: float, options: TrainingOptions, clock: Clock, before: Fit | None = None) -> Fit:
        """Train at a strength, starting from an earlier fit where there is one."""
        problem = self.problem.at(alpha)
        start = self._start if before is None else problem.neurons(before.network)
        search = _PairSearch(problem, self.choice, options.tol)
        empty = search.objective.empty()
        known = [empty] if start is None else [empty, start]
        first = search.first_program(min(known, key=search.objective.value))
        fit = ColumnGeneration(problem, options, search, clock).run(first, clock)
        return replace(fit, patterns=self.choice.patterns)


class _PairSearch(Policy):
    """Policy: singular vectors and ascents from them, pattern by pattern."""

    most_constraints = math.inf

    def __init__(self, problem: Problem, choice: PatternChoice, tol: float) -> None:
        self._problem, self._patterns = problem, choice.patterns
        self._design = problem.layer.design(choice.patterns)
        self._alpha, self._tol = problem.alpha_in_frame, tol
        self.complete, self._listed_all, self.violation = False, choice.complete, math.inf
        self.first_accuracy = max(_PROGRAM_SHARE * tol, _LOOSEST_GAP)
        self._accuracy = self.first_accuracy
        self._bound, self._dual = -math.inf, np.zeros(problem.targets.shape)
        self.objective = Objective.of(problem)
        self._reached: list[float] = []
        self._entering, self._prices, self._rounding = self.objective.empty(), np.zeros(0), 1.0

    def prepare(self, restricted: RestrictedProgram, clock: Clock) -> RestrictedProgram:
        """Descend on both layers where gates fix the patterns: the program's directions then fit.

        With gates the objective is smooth in the weights of both layers but for kinks of the loss, so that
        Newton steps on all pairs and those that enter converge fast. Kinks are rounded off less and less;
        gradients of such a loss are dual points whose prices all end near alpha, unlike those of a program.
        """
        objective = self.objective
        if self._design.constrained or not (objective.loss.is_smooth or objective.loss.kink_at_target):
            return restricted
        rounded = without_kinks(objective.loss, objective.targets, objective.weight)
        if isinstance(rounded, RoundedKink):
            rounded = rounded.sharpened(self._rounding)
            self._rounding *= _SHARPER
        objective = replace(objective, loss=rounded)
        own = neurons_from_blocks(restricted.program, *restricted.start)
        paying = self._prices > self._alpha
        if paying.any():
            outputs, entering = objective.layer_outputs(own), self._entering.take(paying)
            own = own.joined(with_sizes(objective, outputs, entering, self._prices[paying]))
        descent = Descent(objective, own, settled=True)
        descent.width = 0.0
        best = descent.run(_MAX_STEPS, _DESCENT_TOL, clock)
        if not self.objective.loss.is_smooth:
            self._bounded_at(restricted, dual_guess(objective, objective.layer_outputs(best)), best)
        return RestrictedProgram.from_neurons(self._problem, [best, self._entering], best)

    def _bounded_at(self, restricted: RestrictedProgram, theta: FloatArray, own: Neurons) -> Neurons:
        """Price all pairs at a dual point, keep its bound if it is the best; returns the pairs that pay."""
        entering, upper = self._paying(theta, own, self._alpha * (1 + 0.1 * self._tol))
        dual, bound = scaled_bound(restricted.program, theta, upper)
        if bound > self._bound:
            self._bound, self._dual = bound, dual
        return entering

    def _paying_first(self) -> Neurons:
        """Return the pairs that pay most at constant outputs."""
        empty = self.objective.empty()
        theta = dual_guess(self.objective, self.objective.layer_outputs(empty))
        return self._paying(theta, empty, 0.0)[0]

    def priced_without_neurons(self) -> float:
        """Return the largest price of a pair there."""
        self._paying_first()
        return float(self._prices.max(initial=0.0))

    def first_program(self, best: Neurons) -> RestrictedProgram:
        """Return the program over a network's pairs and those that pay most at constant outputs."""
        return RestrictedProgram.from_neurons(self._problem, [best, self._paying_first()], best)

    def step(self, generation: ColumnGeneration) -> Step:
        """Price all pairs; where none pays more than the tolerance, or rounds bring little, that is all."""
        result, values = generation.result, generation.values
        theta, own = result.dual_point, generation.restricted.neurons(result)
        entering = self._bounded_at(generation.restricted, theta, own)
        finest = _PROGRAM_SHARE * self._tol
        tight = self._accuracy <= finest or result.status is Status.INACCURATE
        closed = result.objective - self._bound <= self._tol * abs(result.objective)
        found_all = tight and self.violation <= _PRICE_SHARE * self._tol
        if closed or found_all:
            return Step(entering, self._accuracy, result.status, f"No pair pays more; {result.message}")
        # Where gates are fixed the bound is of the problem itself: gaps that still close are worth rounds.
        self._reached.append(result.objective - (0.0 if self._design.constrained else self._bound))
        fall = self._reached[max(0, len(self._reached) - 1 - _SLOW_ROUNDS)] - self._reached[-1]
        least = _SLOW_GAIN * self._tol * abs(result.objective)
        slow = len(self._reached) > _SLOW_ROUNDS and fall < least
        if tight and slow:
            return Step(entering, self._accuracy, Status.INACCURATE, "Rounds bring less than tol.")
        gain = (values[-2] - values[-1]) / max(abs(values[-1]), _TINY)
        self._accuracy = finest if gain < self._tol else max(finest, min(_LOOSEST_GAP, 0.1 * gain))
        return Step(entering, self._accuracy)

    def conclude(self, generation: ColumnGeneration, status: Status) -> SolveResult:
        """Return the last result, with a bound over all pairs if that closes the gap or has to be tight."""
        result = generation.result
        if self._bound == -math.inf and status is not Status.INTERRUPTED:
            _, upper = self._paying(result.dual_point, self.objective.empty(), math.inf)
            self._dual, self._bound = scaled_bound(generation.restricted.program, result.dual_point, upper)
        if self._bound == -math.inf:
            return result
        closed = result.objective - self._bound <= self._tol * abs(result.objective)
        self.complete = closed and self._listed_all
        if closed or not self._design.constrained:
            return replace(result, dual_point=self._dual, dual_objective=self._bound)
        return result

    def _paying(self, theta: FloatArray, own: Neurons, floor: float) -> tuple[Neurons, float]:
        """Return pairs whose prices are above a floor, and a bound of all prices."""
        slopes = np.ascontiguousarray(self._design.adjoint(theta).transpose(1, 2, 0))  # (P, d, K)
        left, sizes, right = np.linalg.svd(slopes, full_matrices=False)
        if not self._design.constrained:
            prices, patterns = sizes.ravel(), np.repeat(np.arange(len(slopes)), sizes.shape[1])
            weights = left.transpose(0, 2, 1).reshape(-1, slopes.shape[1])
            feeds = right.reshape(-1, slopes.shape[2])
            upper = float(sizes.max(initial=0.0)) * (1 + 1e-13)
        else:
            upper = self._bounded(theta, sizes[:, 0])
            weights, feeds, patterns, prices = self._ascents(slopes, right)
        self.violation = max(0.0, float(prices.max(initial=0.0)) / self._alpha - 1.0)
        best = np.argsort(-prices, kind="stable")[:_MOST_ENTERING]
        best = best[prices[best] > floor]
        cells = self._patterns.generators[patterns[best]]
        self._prices = prices[best]
        self._entering = Neurons(weights[best], feeds[best], own.intercept, cells)
        return self._entering, upper

    def _bounded(self, theta: FloatArray, operator_norms: FloatArray) -> float:
        """Bound what a pair of each pattern can pay, by operator norms and by every output on its own."""
        slopes = self._design.adjoint(theta)
        each = self._design.support(np.stack([slopes, -slopes]), 0.0).max(axis=0)
        uppers = np.sqrt((each**2).sum(axis=0))
        if self._design.penalized.all():
            uppers = np.minimum(uppers, operator_norms)
        return float(uppers.max(initial=0.0)) * (1 + 1e-13)

    def _ascents(
        self, slopes: FloatArray, right: FloatArray
    ) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
        """Alternate between the best weights in a cone and the best direction, from several directions."""
        n_patterns, _, n_outputs = slopes.shape
        coordinates = np.broadcast_to(np.eye(n_outputs), (n_patterns, n_outputs, n_outputs))
        first = np.concatenate([right, -right, coordinates, -coordinates], axis=1)
        feeds = first.transpose(1, 0, 2)  # (M, P, K)
        penalized, slots = self._design.penalized, np.arange(feeds.shape[0] * n_patterns)
        for _ in range(_ALTERNATIONS):
            pulls = np.einsum("pdk,mpk->mpd", slopes, feeds)
            weights = self._design.shrink(slots, pulls.reshape(len(slots), -1), 0.0, len(slots))
            weights = weights.reshape(pulls.shape)
            norms = np.linalg.norm(weights[..., penalized], axis=-1)
            # A bias without a norm and next to no slope is a constant, which the intercept is for.
            norms = np.where(norms > _NEGLIGIBLE * np.linalg.norm(weights, axis=-1), norms, np.inf)
            weights = weights / norms[..., None]
            gains = np.einsum("pdk,mpd->mpk", slopes, weights)
            prices = np.linalg.norm(gains, axis=-1)
            feeds = np.where(prices[..., None] > 0, gains / np.maximum(prices, _TINY)[..., None], feeds)
        best = prices.argmax(axis=0)
        every = np.arange(n_patterns)
        return weights[best, every], feeds[best, every], every, prices[best, every]
