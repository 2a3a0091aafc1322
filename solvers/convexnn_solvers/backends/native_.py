"""The native solver as a backend."""

import math

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.native.solver import NativeSolver
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram, Loss

__all__ = ["Native"]


class Native(Backend):
    """Proximal Newton method over working sets for smooth losses; iterates stay inside the cones."""

    name = "native"
    wanted = "smooth losses"
    chooses_blocks = True
    shares_work = True

    def check(self, program: ConvexProgram, options: SolveOptions) -> None:
        """Raise `UnsupportedProgramError` for what needs a cone solver."""
        if not self.takes(program.loss):
            raise UnsupportedProgramError(
                f"The native solver needs a smooth loss; got {program.loss.name!r}. "
                "Use solver='clarabel' or another cone solver, or 'auto'."
            )
        if program.alpha == 0:
            raise UnsupportedProgramError(
                "The native solver needs alpha > 0; got 0. Use solver='clarabel' or 'auto'."
            )
        if options.native:
            raise UnsupportedProgramError(
                f"The native solver has no settings of its own; got {sorted(options.native)}."
            )

    def takes(self, loss: Loss) -> bool:
        """Whether the loss is smooth."""
        return math.isfinite(loss.smoothness)

    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve the program; see `convexnn_solvers.native.solver`."""
        if start is None:
            start = (program.zeros(), np.zeros(program.n_outputs))
        return NativeSolver(program, options).run(start)
