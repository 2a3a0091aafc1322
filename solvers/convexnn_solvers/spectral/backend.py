"""The solver of programs with a nuclear norm as a backend."""

import math
from typing import cast

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram, Loss
from convexnn_solvers.spectral.multipliers import MultiplierMethod
from convexnn_solvers.spectral.program import SpectralProgram
from convexnn_solvers.spectral.solver import SpectralSolver

__all__ = ["Spectral"]


class Spectral(Backend):
    """Proximal gradients and Newton steps for smooth losses, the method of multipliers around for others."""

    name = "spectral"
    wanted = "losses that are smooth or have their only kink at the target"
    chooses_blocks = True
    shares_work = True

    def check(self, program: ConvexProgram, options: SolveOptions) -> None:
        """Raise `UnsupportedProgramError` for other norms than the nuclear one."""
        super().check(program, options)
        if not isinstance(program, SpectralProgram):
            raise UnsupportedProgramError(
                f"The solver {self.name!r} is for nuclear norms only. Use solver='auto'."
            )
        if options.native:
            raise UnsupportedProgramError(
                f"The solver {self.name!r} has no settings of its own; got {sorted(options.native)}."
            )

    def takes(self, loss: Loss) -> bool:
        """Whether the loss is smooth, or a kink at the target is all that it has."""
        return math.isfinite(loss.smoothness) or loss.kink_at_target

    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve the program; see `convexnn_solvers.spectral`."""
        program = cast(SpectralProgram, program)
        if start is None:
            start = (program.zeros(), np.zeros(program.n_outputs))
        if math.isfinite(program.loss.smoothness):
            return SpectralSolver(program, options).run(start)
        return MultiplierMethod(program, options).run(start)
