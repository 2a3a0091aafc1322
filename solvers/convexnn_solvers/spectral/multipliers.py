"""Losses with kinks: a sequence of programs with their smooth envelopes, moved by the multipliers.

With ``f = A(Z) + c`` as a constraint, the augmented Lagrangian's minimum over ``f`` is an envelope of the
loss at ``A(Z) + c``; its gradient at the minimum over ``Z`` and ``c`` is the next multiplier, which is a
dual point. This is the proximal point method on the dual: any ``rho`` converges, and a larger one faster.

References
----------
Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm in convex programming",
Mathematics of Operations Research 1, 1976.
"""

from dataclasses import replace

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Candidate
from convexnn_solvers.dual import dual_bound
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.result import Status, relative_gap
from convexnn_solvers.spectral.envelope import Envelope
from convexnn_solvers.spectral.program import SpectralProgram
from convexnn_solvers.spectral.solver import SpectralSolver

__all__ = ["MultiplierMethod"]

_MAX_PROGRAMS = 60
# rho grows where a program brings the gap down by less than this factor.
_GROWTH, _WORTHWHILE = 3.0, 0.3
# Gaps of the programs: first, least, and as a share of the gap of the whole.
_FIRST_TOL, _LEAST_TOL, _TIGHTER = 1e-3, 1e-12, 0.1
_TINY = 1e-100


class MultiplierMethod:
    """State of one solve; `run` does the work.

    Parameters
    ----------
    program : SpectralProgram
        With a loss whose only kink is at the target.
    options : SolveOptions
    """

    def __init__(self, program: SpectralProgram, options: SolveOptions) -> None:
        self.program, self.options = program, options
        self.n_iter = self.n_programs = 0
        self.bound, self.dual = -np.inf, np.zeros(program.targets.shape)

    def run(self, start: tuple[FloatArray, FloatArray]) -> Candidate:
        """Improve `start` until the gap is small enough or a limit is reached."""
        self.best, self.objective = start, self.program.objective(*start)
        try:
            stopped, message = self._programs(start)
        except KeyboardInterrupt:
            stopped, message = Status.INTERRUPTED, "interrupted from the keyboard"
        message = f"{self.n_programs} programs with smooth losses, the last one: {message}"
        return Candidate(*self.best, self.dual, stopped, self.n_iter, message)

    def _programs(self, point: tuple[FloatArray, FloatArray]) -> tuple[Status, str]:
        """Solve one program after another; return why that ended and the solver's last word."""
        program, message = self.program, "none"
        rho, tol, gap = self._first_rho(), _FIRST_TOL, np.inf
        multipliers = np.zeros_like(program.targets)
        while self.n_programs < _MAX_PROGRAMS:
            left = self.options.after(self.n_iter)
            if isinstance(left, Status):
                return left, message
            envelope = Envelope(program.loss, rho, multipliers)
            smooth = SpectralSolver(replace(program, loss=envelope), replace(left, tol=tol, verbose=0))
            found = smooth.run(point)
            self.n_programs, self.n_iter = self.n_programs + 1, self.n_iter + found.n_iter
            point, message = (found.blocks, found.intercept), found.message
            outputs = program.outputs(*point)
            multipliers = envelope.gradient(outputs, program.targets, program.sample_weight)
            before, gap = gap, self._gap(point, multipliers)
            if self.options.verbose:
                print(
                    f"{self.n_programs:4d} programs  objective {self.objective:.8g}  relative gap {gap:.2e}"
                )
            if gap <= 0.5 * self.options.tol:
                return Status.CONVERGED, message
            if found.stopped not in (Status.CONVERGED, Status.INACCURATE):
                return found.stopped, message
            rho *= _GROWTH if gap > _WORTHWHILE * before else 1.0
            tol = max(min(tol, _TIGHTER * gap), _LEAST_TOL)
        return Status.INACCURATE, message

    def _gap(self, point: tuple[FloatArray, FloatArray], multipliers: FloatArray) -> float:
        """Keep the point and the bound of the multipliers if they are the best; return the relative gap."""
        dual, bound = dual_bound(self.program, -multipliers)
        if bound > self.bound:
            self.dual, self.bound = dual, bound
        objective = self.program.objective(*point)
        if objective < self.objective:
            self.best, self.objective = point, objective
        return relative_gap(self.objective, self.bound)

    def _first_rho(self) -> float:
        """Return one over the mean loss of the best constant, which is the scale of the residuals."""
        program = self.program
        constant = np.zeros_like(program.targets)
        if program.fit_intercept:
            constant += program.loss.optimal_intercept(constant, program.targets, program.sample_weight)
        total = program.loss.value(constant, program.targets, program.sample_weight)
        weight = float(program.sample_weight.sum()) * program.n_outputs
        return weight / total if total > _TINY and weight > 0 else 1.0
