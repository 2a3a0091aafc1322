"""The solver of programs with a nuclear norm as a backend."""

from typing import cast

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.spectral.envelope import KINKED_LOSSES
from convexnn_solvers.spectral.multipliers import MultiplierMethod
from convexnn_solvers.spectral.program import SpectralProgram
from convexnn_solvers.spectral.solver import SpectralSolver

__all__ = ["Spectral"]


class Spectral(Backend):
    """Proximal gradients and Newton steps for smooth losses, the method of multipliers around for others."""

    name = "spectral"
    losses = frozenset({"squared_error", "log_loss", "softmax", "huber", "squared_hinge"}) | KINKED_LOSSES
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
        if program.loss.name in KINKED_LOSSES:
            return MultiplierMethod(program, options).run(start)
        return SpectralSolver(program, options).run(start)
