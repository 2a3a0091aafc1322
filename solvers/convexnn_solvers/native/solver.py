"""Proximal Newton steps over a working set of blocks, with exact pricing of all blocks in between.

Each round models the loss to second order at the current point, takes a proximal step on that model over
the working set, prices every block of the program at the new point's gradient (which gives the exact gap),
and adds the blocks that violate the dual most. Points are feasible throughout: blocks come out of a
proximal map of their cones, and mixtures of feasible points are feasible. Step lengths grow as the working
set settles, so that the last rounds converge superlinearly.

References
----------
Rockafellar, "Monotone operators and the proximal point algorithm", SIAM Journal on Control and Optimization
14, 1976; Li, Sun and Toh, SIAM Journal on Optimization 28, 2018.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from convexnn_solvers._typing import BoolArray, FloatArray, IntArray
from convexnn_solvers.backends.base import Candidate
from convexnn_solvers.dual import into_domain, prices, scaled_bound
from convexnn_solvers.native.blocks import BlockList, OutOfTimeError
from convexnn_solvers.native.finish import Faces
from convexnn_solvers.native.model import LossModel
from convexnn_solvers.native.newton import newton_direction
from convexnn_solvers.native.subproblem import Evaluation, Subproblem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status, relative_gap

__all__ = ["NativeSolver"]

# Working sets: blocks at first, blocks added at least, the share of alpha below which zero blocks leave.
_FIRST_BLOCKS = 64
_LEAST_ADDED = 32
_INACTIVE = 0.9
_VIOLATED = 1 + 1e-12
# Newton steps: the gap of a proximal step against its gain, how many keep its length from growing.
_LOOSE = 0.02
_MAX_NEWTON_STEPS = 20
_MANY_NEWTON_STEPS = 12
_FINISHING_STEPS = 3
# Lengths of proximal steps in units of one over the curvature along a block, and how they change.
_FIRST_STEP = 50.0
_LONGEST_STEP = 1e12
_GROWTH = 5.0
_CAUTIOUS_GROWTH = 1.5
_RETREAT = 10.0
_NEARLY_FEASIBLE = 1.5
_NEARLY_OPTIMAL = 1.02
# Weights on faces, for each output of a sample and in all, beyond which Newton steps on them cost too much.
_MOST_ON_FACES, _FEW_ON_FACES = 1.5, 300
# Up to so many one takes as long as a step or two by conjugate gradients; more are for the last digits only.
_QUICK_ON_FACES = 2000
# Line searches: sufficient decrease, a slope that is flat enough, and evaluations.
_SUFFICIENT = 1e-4
_FLAT = 0.5
_MAX_TRIALS = 12
_ROUNDING = 1e-14
# Rounds that bring little of the gap before the solver gives up.
_LITTLE = 1e-3
_MAX_STALLED = 10


@dataclass(frozen=True, eq=False)
class _Point:
    """A feasible point on the working set."""

    weights: FloatArray
    intercept: FloatArray
    outputs: FloatArray
    objective: float


class NativeSolver:
    """State of one solve; `run` does the work.

    Parameters
    ----------
    program : ConvexProgram
        With a smooth loss and ``alpha > 0``.
    options : SolveOptions
    """

    def __init__(self, program: ConvexProgram, options: SolveOptions) -> None:
        self.program, self.options = program, options
        self.n_newton = self.n_rounds = 0
        self.rounding = False
        self.bound, self.dual = -np.inf, np.zeros((program.design.n_samples, program.n_outputs))

    def run(self, start: tuple[FloatArray, FloatArray]) -> Candidate:
        """Improve `start` until the gap is small enough or a limit is reached."""
        blocks, intercept = start
        used = np.flatnonzero(blocks.any(axis=-1))
        self.blocks = BlockList(self.program, used)
        self.point = self._at(self.blocks.gather(blocks), intercept)
        stopped, message = Status.CONVERGED, ""
        try:
            stopped = self._rounds()
        except OutOfTimeError:
            stopped = Status.TIME_LIMIT
        except KeyboardInterrupt:
            stopped, message = Status.INTERRUPTED, "interrupted from the keyboard; "
        message += f"{self.n_rounds} rounds, {len(self.blocks.slots)} blocks in the working set"
        return Candidate(
            self.blocks.scatter(self.point.weights),
            self.point.intercept,
            self.dual,
            stopped,
            self.n_newton,
            message,
        )

    def _at(self, weights: FloatArray, intercept: FloatArray, outputs: FloatArray | None = None) -> _Point:
        if outputs is None:
            outputs = self.blocks.forward(weights) + intercept
        fit = self.program.loss.value(outputs, self.program.targets, self.program.sample_weight)
        objective = fit + self.program.alpha * float(self.blocks.norms(weights).sum())
        return _Point(weights, intercept, outputs, objective)

    def _rounds(self) -> Status:
        self._price()
        if not len(self.blocks.slots):
            # No block violates the dual, so that only rounding is left of the gap.
            return Status.INACCURATE
        self.curvature = self._curvature()
        self.step_length, self.longest_step = _FIRST_STEP / self.curvature, _LONGEST_STEP / self.curvature
        stalled, best_gap = 0, np.inf
        while not self._close_enough():
            limit = self._limit()
            if limit is not None:
                return limit
            before = self.point.objective
            self._step()
            self._price()
            self.n_rounds += 1
            gap = self.point.objective - self.bound
            fallen = before - self.point.objective > _LITTLE * gap
            stalled = 0 if fallen or gap < 0.9 * best_gap else stalled + 1
            if stalled and self.rounding:
                self.step_length /= _RETREAT
            best_gap = min(gap, best_gap)
            if stalled > _MAX_STALLED:
                return Status.INACCURATE
        return Status.CONVERGED

    def _limit(self) -> Status | None:
        """Return the status of a limit that is used up."""
        left = self.options.after(self.n_newton)
        return left if isinstance(left, Status) else None

    def _close_enough(self) -> bool:
        gap = relative_gap(self.point.objective, self.bound)
        return gap <= self.options.tol or self.point.objective - self.bound <= 1e-14 * abs(self.bound)

    def _price(self) -> None:
        """Price all blocks at the current gradient: bound, gap, and the next working set."""
        program, point = self.program, self.point
        used = np.asarray(point.weights.any(axis=1))
        n_added = max(_LEAST_ADDED, int(used.sum())) if used.any() else _FIRST_BLOCKS
        theta = -program.loss.gradient(point.outputs, program.targets, program.sample_weight)
        theta = into_domain(program, theta)
        price = prices(program, theta, len(used) + n_added, self.options.clock).ravel()
        self.excess = float(price.max(initial=0.0)) / program.alpha
        dual, bound = scaled_bound(program, theta, self.excess * program.alpha)
        if bound > self.bound:
            self.dual, self.bound = dual, bound
        if self.options.verbose:
            gap = relative_gap(point.objective, self.bound)
            print(
                f"round {self.n_rounds:3d}  objective {point.objective:.8g}  relative gap {gap:.2e}  "
                f"{int(used.sum())} of {len(used)} blocks, {self.n_newton} Newton steps"
            )
        kept = used | (price[self.blocks.slots] > _INACTIVE * program.alpha)
        outside = np.setdiff1d(np.flatnonzero(price > _VIOLATED * program.alpha), self.blocks.slots)
        entering = outside[np.argsort(-price[outside], kind="stable")[:n_added]]
        self._list(kept, entering)

    def _list(self, kept: BoolArray, entering: IntArray) -> None:
        """Change the working set."""
        point, d = self.point, self.program.design.n_features
        self.blocks = BlockList(self.program, np.concatenate([self.blocks.slots[kept], entering]))
        weights = np.concatenate([point.weights[kept], np.zeros((len(entering), d))])
        self.point = _Point(weights, point.intercept, point.outputs, point.objective)

    def _curvature(self) -> float:
        """Estimate the largest curvature of the loss along one block, by the power method."""
        model = LossModel(self.program, self.point.outputs)
        first = BlockList(self.program, self.blocks.slots[-1:])
        direction = np.ones((1, self.program.design.n_features))
        size = 0.0
        for _ in range(10):
            direction = first.adjoint(model.spread(model.weigh(first.forward(direction))))
            size = float(np.linalg.norm(direction))
            if size == 0.0:
                return 1.0
            direction /= size
        return size

    def _step(self) -> None:
        """Take one proximal step and choose the length of the next."""
        before = self.point
        step = Subproblem(
            self.blocks,
            LossModel(self.program, before.outputs),
            before.weights,
            before.intercept,
            before.outputs,
            self.step_length,
            self.step_length * self.curvature,
        )
        n_before, self.rounding = self.n_newton, False
        full = self._minimise(step)
        self.point, share = self._mixed(before, self._at(full.weights, full.intercept, full.outputs))
        n_steps = self.n_newton - n_before
        settled = self.rounding or self.excess < _NEARLY_OPTIMAL
        if share == 1.0 and settled and self._has_small_faces():
            self._finish(_FINISHING_STEPS if self.rounding else 1)
        if share < 0.1 or n_steps >= _MAX_NEWTON_STEPS:
            self.step_length /= _GROWTH
        elif share == 1.0 and n_steps <= _MANY_NEWTON_STEPS and not self.rounding:
            feasible = self.excess < _NEARLY_FEASIBLE or self.n_rounds > 5
            growth = _GROWTH if feasible else _CAUTIOUS_GROWTH
            self.step_length = min(self.step_length * growth, self.longest_step)

    def _has_small_faces(self) -> bool:
        """Whether Newton systems on the faces cost no more than those of the proximal steps.

        Cones leave faces of few dimensions; without cones every block has all of its weights.
        """
        n_weights = int(self.point.weights.any(axis=1).sum()) * self.program.design.n_features
        return self.program.design.constrained or n_weights <= self.point.outputs.size

    def _finish(self, n_steps: int) -> None:
        """Take Newton steps on the faces of the last proximal points, unless they raise the objective."""
        faces = Faces(self.blocks, self.point.weights, self.options.clock)
        most = max(_FEW_ON_FACES, _MOST_ON_FACES * self.point.outputs.size)
        if faces.n_weights > (most if self.rounding else min(most, _QUICK_ON_FACES)):
            return
        for _ in range(n_steps):
            if self._limit() is not None:
                return
            before = self.point
            model = LossModel(self.program, before.outputs, with_slack=False)
            self.n_newton += 1
            after = self._at(*faces.newton_step(model, before.weights, before.intercept))
            if not after.objective <= before.objective + _ROUNDING * abs(before.objective):
                return
            self.point = after

    def _minimise(self, step: Subproblem) -> Evaluation:
        """Minimise the step's dual function until its gap is small against the decrease it brings."""
        at = step.evaluate(np.zeros_like(step.outputs))
        for _ in range(_MAX_NEWTON_STEPS):
            if self._accurate(at):
                break
            limit = self._limit()
            if limit is Status.TIME_LIMIT:
                raise OutOfTimeError
            if limit is not None:
                break
            direction = newton_direction(step, at, self.options.clock)
            new = _line_search(step, at, direction)
            self.n_newton += 1
            decrement = -float((at.gradient * direction).sum())
            stuck = decrement <= _ROUNDING * abs(at.value) and _norm(new.gradient) > 0.5 * _norm(at.gradient)
            at = new
            if stuck:
                self.rounding = True
                break
        return at

    def _accurate(self, at: Evaluation) -> bool:
        residual = _norm(at.gradient)
        moved = _norm(at.moved)
        floor = 1e-2 * self.options.tol * np.sqrt(2 * abs(self.point.objective))
        if residual > max(_LOOSE * moved, floor):
            return False
        trial = self._at(at.weights, at.intercept, at.outputs)
        return bool(0.5 * residual**2 <= max(_LOOSE * (self.point.objective - trial.objective), floor**2))

    def _mixed(self, before: _Point, full: _Point) -> tuple[_Point, float]:
        """Return the best point between two, and the share of the second in it."""
        if full.objective <= before.objective + _ROUNDING * abs(before.objective):
            return full, 1.0

        def objective(share: float) -> float:
            return self._between(before, full, share).objective

        search = minimize_scalar(objective, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-6})
        best = self._between(before, full, float(search.x))
        return (best, float(search.x)) if best.objective < before.objective else (before, 0.0)

    def _between(self, before: _Point, full: _Point, share: float) -> _Point:
        return self._at(
            (1 - share) * before.weights + share * full.weights,
            (1 - share) * before.intercept + share * full.intercept,
            (1 - share) * before.outputs + share * full.outputs,
        )


def _norm(array: FloatArray) -> float:
    return float(np.linalg.norm(array))


def _line_search(step: Subproblem, at: Evaluation, direction: FloatArray) -> Evaluation:
    """Find a length at which the dual function has fallen enough and its slope has flattened.

    Newton directions end behind kinks. A length that stops short of the kink would give the same direction
    again, so that between one that is too long and one where the slope is still steep the search goes on.
    """
    slope = float((at.gradient * direction).sum())
    rounding = _ROUNDING * abs(at.value)
    low, low_slope, best = 0.0, slope, at
    high, length = np.inf, 1.0
    for _ in range(_MAX_TRIALS):
        trial = step.evaluate(at.dual + length * direction)
        trial_slope = float((trial.gradient * direction).sum())
        if trial.value > at.value + _SUFFICIENT * length * slope + rounding:
            high = length
            root = low - low_slope * (high - low) / max(trial_slope - low_slope, -low_slope)
            length = min(max(root, low + 0.1 * (high - low)), high - 0.3 * (high - low))
            continue
        low, low_slope, best = length, trial_slope, trial
        if high == np.inf or trial_slope >= _FLAT * slope:
            return trial
        length = 0.5 * (low + high)
    # The design remembers the faces of the last evaluation, which must be that of the point returned.
    return step.evaluate(best.dual)
