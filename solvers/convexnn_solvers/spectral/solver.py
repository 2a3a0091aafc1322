"""Accelerated proximal gradients find the rank, Newton steps on the factors the accuracy.

Both work on the program without its intercept, which is eliminated: at each point it is the best one, and
the gradient is that of the loss there. Newton steps that miss a direction end where the gradient's norm is
above ``alpha``; the next proximal steps then add the direction.

References
----------
Toh and Yun, "An accelerated proximal gradient algorithm for nuclear norm regularized linear least squares
problems", Pacific Journal of Optimization 6, 2010; O'Donoghue and Candes, "Adaptive restart for accelerated
gradient schemes", Foundations of Computational Mathematics 15, 2015.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Candidate
from convexnn_solvers.dual import into_domain, prices, scaled_bound
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status, relative_gap
from convexnn_solvers.spectral.factored import FactoredModel, Factors, balanced
from convexnn_solvers.spectral.program import SpectralProgram

__all__ = ["SpectralSolver"]

# Proximal steps in the first round, how they grow from round to round, and the most of them in one.
_FIRST_STEPS, _MORE_STEPS, _MOST_STEPS = 20, 2, 2000
_MAX_NEWTON_STEPS = 30
_MAX_PRODUCTS = 2000
# Relative residuals of Newton systems: a share of the gap, within bounds.
_SHARE, _ACCURATE, _INACCURATE = 1e-2, 1e-12, 1e-3
# A Newton step that promises less than this share of the gap shows that a direction is missing.
_LITTLE = 1e-3
_SUFFICIENT = 1e-4
_SHORTEST = 1e-8
_ROUNDING = 1e-15
_MAX_STALLED = 4
_RELAXED = 0.5


@dataclass(frozen=True, eq=False)
class _Point:
    """A matrix with its outputs before the intercept, the best intercept, and the objective."""

    matrix: FloatArray
    raw: FloatArray
    intercept: FloatArray
    objective: float


class _StoppedError(Exception):
    """A limit was reached in the middle of a step."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class SpectralSolver:
    """State of one solve; `run` does the work.

    Parameters
    ----------
    program : SpectralProgram
        With a smooth loss.
    options : SolveOptions
    """

    def __init__(self, program: SpectralProgram, options: SolveOptions) -> None:
        self.program, self.options = program, options
        self.n_proximal = self.n_newton = 0
        self.bound, self.dual = -np.inf, np.zeros(program.targets.shape)

    def run(self, start: tuple[FloatArray, FloatArray]) -> Candidate:
        """Improve `start` until the gap is small enough or a limit is reached."""
        self.point = self._at(self.program.matrix(start[0]))
        stopped, message = Status.CONVERGED, ""
        try:
            stopped = self._rounds()
            self._tidy()
        except _StoppedError as error:
            stopped = error.status
        except KeyboardInterrupt:
            stopped, message = Status.INTERRUPTED, "interrupted from the keyboard; "
        message += f"{self.n_proximal} proximal and {self.n_newton} Newton steps"
        blocks = self.point.matrix.reshape(self.program.block_shape)
        n_iter = self.n_proximal + self.n_newton
        return Candidate(blocks, self.point.intercept, self.dual, stopped, n_iter, message)

    def _fit(self, raw: FloatArray) -> tuple[FloatArray, float, FloatArray]:
        """Return the best intercept of raw outputs, the loss and its gradient there."""
        program = self.program
        loss, data = program.loss, (program.targets, program.sample_weight)
        intercept = np.zeros(program.n_outputs)
        if program.fit_intercept:
            intercept = loss.optimal_intercept(raw, *data)
        outputs = raw + intercept
        return intercept, loss.value(outputs, *data), loss.gradient(outputs, *data)

    def _at(self, matrix: FloatArray, norm: float | None = None) -> _Point:
        """Return the point of a matrix, of that nuclear norm if given."""
        program = self.program
        blocks = matrix.reshape(program.block_shape)
        raw = program.design.forward(blocks[0])
        intercept, fit, _ = self._fit(raw)
        norm = float(program.block_norms(blocks).sum()) if norm is None else norm
        return _Point(matrix, raw, intercept, fit + program.alpha * norm)

    def _slope(self, dual: FloatArray) -> FloatArray:
        return self.program.design.adjoint(dual).reshape(self.program.matrix_shape)

    def _check(self) -> None:
        """Raise if a limit is used up."""
        left = self.options.after(self.n_proximal + self.n_newton)
        if isinstance(left, Status):
            raise _StoppedError(left)

    def _gap(self) -> float:
        """Return the relative gap, after a look at whether the bound can be improved."""
        program = self.program
        theta = into_domain(program, -self._fit(self.point.raw)[2])
        theta, bound = scaled_bound(program, theta, float(prices(program, theta).max()))
        if bound > self.bound:
            self.dual, self.bound = theta, bound
        return relative_gap(self.point.objective, self.bound)

    def _done(self, gap: float) -> bool:
        return gap <= self.options.tol or self.point.objective - self.bound <= 1e-14 * abs(self.bound)

    def _rounds(self) -> Status:
        self.curvature = self._first_curvature()
        gap, n_steps, stalled = self._gap(), _FIRST_STEPS, 0
        while not self._done(gap):
            before = self.point.objective
            self._accelerate(n_steps)
            after = self._newton(self._gap())
            if self.options.verbose:
                print(
                    f"{self.n_proximal:6d} proximal and {self.n_newton} Newton steps  "
                    f"objective {self.point.objective:.8g}  relative gap {after:.2e}"
                )
            progress = after < 0.9 * gap or before - self.point.objective > _LITTLE * gap * abs(before)
            stalled = 0 if progress else stalled + 1
            if stalled > _MAX_STALLED:
                return Status.INACCURATE
            gap, n_steps = min(gap, after), min(_MORE_STEPS * n_steps, _MOST_STEPS)
        return Status.CONVERGED

    def _first_curvature(self) -> float:
        """Return the curvature along the gradient, where backtracking starts from."""
        slope = self._slope(self._fit(self.point.raw)[2])
        square = float((slope**2).sum())
        if square == 0.0:
            return 1.0
        change = self.program.design.forward(slope.reshape(self.program.block_shape)[0])
        weighted = float((self.program.sample_weight[:, None] * change**2).sum())
        return max(self.program.loss.smoothness * weighted / square, float(np.finfo(np.float64).tiny))

    def _accelerate(self, n_steps: int) -> None:
        """Take accelerated proximal steps from the best point, with restarts, and keep the best."""
        before = now = self.point
        momentum = 1.0
        self.curvature *= _RELAXED
        for _ in range(n_steps):
            self._check()
            self.n_proximal += 1
            following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
            share = (momentum - 1.0) / following
            ahead = now.matrix + share * (now.matrix - before.matrix)
            new = self._proximal_step(ahead, now.raw + share * (now.raw - before.raw))
            if new.objective < self.point.objective:
                self.point = new
            # Once the momentum points uphill it starts anew.
            uphill = float(((ahead - new.matrix) * (new.matrix - now.matrix)).sum()) > 0
            before, now, momentum = (new, new, 1.0) if uphill else (now, new, following)

    def _proximal_step(self, matrix: FloatArray, raw: FloatArray) -> _Point:
        """Step from a matrix with these raw outputs, as long as the curvature allows."""
        _, fit, gradient = self._fit(raw)
        slope = self._slope(gradient)
        while True:
            self._check()
            shrunk, norm = _shrunk(matrix - slope / self.curvature, self.program.alpha / self.curvature)
            new = self._at(shrunk, norm)
            move = shrunk - matrix
            promised = float((slope * move).sum()) + 0.5 * self.curvature * float((move**2).sum())
            rounding = _ROUNDING * (abs(fit) + abs(new.objective))
            if new.objective - self.program.alpha * norm <= fit + promised + rounding:
                return new
            self.curvature *= 2.0

    def _tidy(self) -> None:
        """Take a proximal step, which sets small singular values to zero, unless the objective rises."""
        tidy = self._proximal_step(self.point.matrix, self.point.raw)
        if tidy.objective <= self.point.objective * (1.0 + self.options.slack):
            self.point = tidy

    def _newton(self, gap: float) -> float:
        """Take Newton steps on the factors of the best point while they help; return the gap."""
        for _ in range(_MAX_NEWTON_STEPS):
            if self._done(gap) or not self.point.matrix.any():
                break
            before = self.point
            model = FactoredModel(self.program, balanced(before.matrix, before.intercept))
            accuracy = min(max(_SHARE * gap, _ACCURATE), _INACCURATE)
            step, slope = model.newton_step(accuracy, _MAX_PRODUCTS, self._check)
            self.n_newton += 1
            new = self._searched(model.at, step, slope)
            if new is None:
                break
            self.point = new
            after = self._gap()
            missing = -slope < _LITTLE * gap * abs(new.objective) and after > 0.5 * gap
            gap = min(gap, after)
            if missing:
                break
        return gap

    def _searched(self, at: Factors, step: Factors, slope: float) -> _Point | None:
        """Return the first of ever shorter steps that lowers the objective, if there is one."""
        rounding = _ROUNDING * abs(self.point.objective)
        length = 1.0
        while length > _SHORTEST:
            moved = at.moved(step, length)
            new = self._at(moved.left @ moved.right.T)
            if new.objective <= self.point.objective + _SUFFICIENT * length * slope + rounding:
                return new
            length *= 0.5
        return None


def _shrunk(matrix: FloatArray, shrinkage: float) -> tuple[FloatArray, float]:
    """Return ``argmin_Z 1/2 |Z - matrix|^2 + shrinkage |Z|_*`` and its nuclear norm."""
    U, s, Vt = linalg.svd(matrix, full_matrices=False)
    s = np.maximum(s - shrinkage, 0.0)
    rank = int((s > 0).sum())
    return (U[:, :rank] * s[:rank]) @ Vt[:rank], float(s.sum())
