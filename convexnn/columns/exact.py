"""The optimum over all patterns, by column generation with exact pricing.

The first patterns are adapted ones. The program over a few patterns is solved; its dual point is priced over
all patterns at once: first by ascent from many starts, which is quick, and where that finds nothing by branch
and bound, which either finds neurons that pay or proves that there are none. New patterns join, unused ones
leave, until the bound over all patterns closes the gap. The full program is never formed and its cells are
never listed.

References
----------
Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, theorem 1; Bach, "Breaking the curse
of dimensionality with convex neural networks", JMLR 18, 2017, section 3, for incremental learning.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from convexnn._typing import FloatArray
from convexnn.columns.adaptive import adapt
from convexnn.networks import Network
from convexnn.patterns import PatternSet
from convexnn.pricing.bounds import SupportBounds
from convexnn.programs import MaskedDesign
from convexnn.programs.pattern_choice import PatternChoice
from convexnn.programs.restricted import RestrictedPrograms
from convexnn.programs.training import NetworkKind, TrainingData, TrainingProblem
from convexnn_solvers import ConvexProgram, SolveResult, Status, solve
from convexnn_solvers.dual import into_domain, scaled_bound

__all__ = ["ExactFit", "exact_training"]

# Shares of the tolerance for the restricted programs and for the prices.
_MASTER, _PRICE = 0.25, 0.5
_TIGHTER = 0.1
# Of a limit of time the share that goes into adapting patterns, and the tolerance of that.
_ADAPTING, _ADAPTING_TOL = 0.3, 1e-4
# Of a limit of time the share after which what is left goes into the bound.
_SEARCHING = 0.6
_BRANCHING = 0.8
_LEAST_TOL = 1e-12
_MOST_NEW = 200


@dataclass(frozen=True, eq=False)
class ExactFit:
    """A solution of the program over all patterns.

    Attributes
    ----------
    problem : TrainingProblem
        With the patterns of the last restricted program.
    result : SolveResult
        Its solution. The dual point and its value hold for **all** patterns.
    violation : float
        ``H / alpha - 1`` for the largest known price H at the last dual point, at least 0.
    n_rounds : int
        Restricted programs solved.
    n_nodes : int
        Cones that branch and bound looked at.
    """

    problem: TrainingProblem
    result: SolveResult
    violation: float
    n_rounds: int
    n_nodes: int


def exact_training(
    data: TrainingData,
    kind: NetworkKind,
    *,
    alpha: float,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    previous: Network | None = None,
) -> ExactFit:
    """Train a network to the optimum over all patterns.

    Parameters
    ----------
    data : TrainingData
        With several outputs the optimum is over networks whose neurons feed one output each.
    kind : NetworkKind
        Its activation must not be gated; its `patterns` do not matter.
    alpha : float
        Positive.
    solver : str
        For the restricted programs, see `convexnn_solvers.solve`.
    tol : float
        Wanted relative gap over all patterns.
    max_iter : int, optional
        Iterations of each restricted solve.
    time_limit : float, optional
        Seconds. The best answer so far is returned, with a bound that is valid.
    verbose : int
    previous : TwoLayerNetwork, optional
        A network to start from.

    Returns
    -------
    ExactFit
    """
    programs = RestrictedPrograms.of(data, kind, alpha)
    return _Generation(programs, solver, tol, max_iter, time_limit, verbose).run(previous)


class _Generation:
    """State of one run."""

    def __init__(
        self,
        programs: RestrictedPrograms,
        solver: str,
        tol: float,
        max_iter: int | None,
        time_limit: float | None,
        verbose: int,
    ) -> None:
        self._programs, self._solver, self._tol = programs, solver, tol
        self._max_iter, self._verbose = max_iter, verbose
        self._began = time.perf_counter()
        seconds = math.inf if time_limit is None else time_limit
        self._deadline, self._last_price = self._began + seconds, self._began + _SEARCHING * seconds
        self._bound, self._dual = -math.inf, np.empty((0, 0))
        self._violation, self._n_nodes, self._n_rounds, self._n_iter = math.inf, 0, 0, 0

    def run(self, previous: Network | None) -> ExactFit:
        """Adapt patterns; then solve, price, grow, until the gap is closed or a limit is reached."""
        programs = self._programs
        adapted = adapt(
            programs.data,
            programs.kind,
            alpha=programs.alpha,
            solver=self._solver,
            tol=max(self._tol, _ADAPTING_TOL),
            max_iter=self._max_iter,
            time_limit=self._left(_ADAPTING),
            verbose=max(0, self._verbose - 1),
            random_state=0,
            previous=previous,
        )
        result, program = self._best = adapted.result, adapted.problem.program
        self._n_iter = result.n_iter
        try:
            if adapted.stopped is Status.INTERRUPTED:
                raise KeyboardInterrupt
            patterns, start = programs.grown(program, result, np.empty((0, programs.layer.n_weights)))
            program = programs.program(patterns)
            result = self._solved(program, start, self._tol * _MASTER)
            result, program, stopped = self._rounds(program, result)
        except KeyboardInterrupt:
            stopped = Status.INTERRUPTED
            result, program = self._best
        return self._fit(program, result, stopped)

    def _solved(
        self, program: ConvexProgram, start: tuple[FloatArray, FloatArray] | None, tol: float
    ) -> SolveResult:
        until = self._last_price
        left = None if until == math.inf else max(1e-9, until - time.perf_counter())
        result = solve(
            program,
            solver=self._solver,
            tol=tol,
            max_iter=self._max_iter,
            time_limit=left,
            verbose=max(0, self._verbose - 1),
            start=start,
        )
        self._n_rounds += 1
        self._n_iter += result.n_iter
        self._best = result, program
        return result

    def _rounds(
        self, program: ConvexProgram, result: SolveResult
    ) -> tuple[SolveResult, ConvexProgram, Status]:
        alpha, tol = self._programs.alpha, self._tol
        while True:
            if time.perf_counter() > self._last_price:
                self._priced(program, result, alpha * (1 + _PRICE * tol), math.inf)
                closed = result.objective - self._bound <= self._tol * abs(result.objective)
                return result, program, Status.CONVERGED if closed else Status.TIME_LIMIT
            found = self._ascents(result.dual_point, _weights(result), alpha * (1 + _PRICE * tol))
            larger, start = self._programs.grown(program, result, found)
            if not self._gained(larger, result):
                threshold = alpha * (1 + _PRICE * tol)
                found = self._priced(program, result, threshold, threshold)
                larger, start = self._programs.grown(program, result, found)
            self._report(result, len(larger))
            if result.objective - self._bound <= self._tol * abs(result.objective):
                return result, program, Status.CONVERGED
            if result.status in (Status.INTERRUPTED, Status.FAILED):
                return result, program, result.status
            if not self._gained(larger, result):
                # The prices say that the program has all it needs, so that its own gap is too large.
                tol *= _TIGHTER
                if tol < _LEAST_TOL:
                    return result, program, Status.INACCURATE
            program = self._programs.program(larger)
            result = self._solved(program, start, max(_MASTER * tol, _LEAST_TOL))

    def _gained(self, larger: PatternSet, result: SolveResult) -> bool:
        return len(larger) > max(1, int(result.blocks.any(axis=(0, 1, 3)).sum()))

    def _ascents(self, theta: FloatArray, near: FloatArray, threshold: float) -> FloatArray:
        """Return hidden weights, (m, d), of local maxima of the price above a threshold."""
        found = []
        for k in range(theta.shape[1]):
            weights, values = self._programs.layer.maxima(theta[:, k], near, seed=self._n_rounds)
            above = np.flatnonzero(np.abs(values) > threshold)[:_MOST_NEW]
            found.append(weights[above])
        return np.vstack(found)

    def _priced(
        self, program: ConvexProgram, result: SolveResult, threshold: float, stop_above: float
    ) -> FloatArray:
        """Price over all patterns: improve the bound, and return neurons that pay.

        Where branch and bound runs out of time the semidefinite relaxation may bound better.
        """
        theta, layer = result.dual_point, self._programs.layer
        largest, found = 0.0, [np.empty((0, layer.n_weights))]
        for k in range(theta.shape[1]):
            bounds = layer.bounds(
                theta[:, k],
                threshold=threshold,
                tol=0.1 * _PRICE * self._tol,
                stop_above=stop_above,
                time_limit=self._left(_BRANCHING),
            )
            self._n_nodes += bounds.n_nodes
            upper = bounds.upper
            if not bounds.complete and stop_above == math.inf:
                upper = min(upper, layer.relaxed(theta[:, k], self._left(1.0)))
            largest = max(largest, upper)
            if bounds.lower > threshold:
                found.append(self._neighbours(bounds, theta[:, k], threshold))
        dual, value = scaled_bound(program, theta, largest)
        self._violation = max(0.0, largest / self._programs.alpha - 1.0)
        if value > self._bound:
            self._bound, self._dual = value, dual
        return np.vstack(found)

    def _left(self, share: float) -> float | None:
        """Return a share of the seconds left."""
        if self._deadline == math.inf:
            return None
        return share * max(0.0, self._deadline - time.perf_counter())

    def _neighbours(self, bounds: SupportBounds, theta: FloatArray, threshold: float) -> FloatArray:
        """Return the neurons that pay and what ascents from near them find."""
        rng = np.random.default_rng(self._n_rounds)
        near = bounds.weights + 0.1 * np.linalg.norm(bounds.weights) * rng.standard_normal(
            (20, len(bounds.weights))
        )
        near = np.vstack([near, bounds.others])
        weights, values = self._programs.layer.maxima(theta, near, n_starts=4)
        above = np.flatnonzero(np.abs(values) > threshold)[:_MOST_NEW]
        return np.vstack([bounds.others, weights[above]])

    def _report(self, result: SolveResult, n_patterns: int) -> None:
        if self._verbose:
            print(
                f"round {self._n_rounds:3d}  objective {result.objective:.8g}  bound {self._bound:.8g}  "
                f"{n_patterns} patterns, {self._n_nodes} cones, {time.perf_counter() - self._began:.1f} s"
            )

    def _fit(self, program: ConvexProgram, result: SolveResult, stopped: Status) -> ExactFit:
        programs = self._programs
        bound, dual = self._bound, self._dual
        if bound == -math.inf:
            dual = np.zeros(programs.samples.targets.shape)
            dual, bound = scaled_bound(program, into_domain(program, dual), 0.0)
        result = replace(
            result,
            dual_point=dual,
            dual_objective=bound,
            status=stopped,
            n_iter=self._n_iter,
            time=time.perf_counter() - self._began,
            message=f"{self._n_rounds} programs, {self._n_nodes} cones; {result.message}",
        )
        choice = PatternChoice(cast(MaskedDesign, program.design).patterns, complete=False)
        problem = TrainingProblem(programs.data, programs.kind, program, choice)
        return ExactFit(problem, result, self._violation, self._n_rounds, self._n_nodes)


def _weights(result: SolveResult) -> FloatArray:
    """Non-zero blocks as hidden weights, (m, d)."""
    flat = result.blocks.reshape(-1, result.blocks.shape[-1])
    return flat[flat.any(axis=1)]
