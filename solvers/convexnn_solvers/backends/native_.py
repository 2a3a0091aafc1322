"""The native solver as a backend."""

import math
from dataclasses import replace

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
        """Solve the program in coordinates that suit its data; see `convexnn_solvers.native.solver`."""
        blocks, intercept = start if start is not None else (program.zeros(), np.zeros(program.n_outputs))
        own = program.design.normalized()
        if own is None:
            return NativeSolver(program, options).run((blocks, intercept))
        normalized = replace(program, design=own.design, alpha=program.alpha / own.unit)
        found = NativeSolver(normalized, options).run((_changed(blocks, own.inverse), intercept))
        return replace(found, blocks=_changed(found.blocks, own.change))


def _changed(blocks: FloatArray, change: FloatArray) -> FloatArray:
    """Blocks in other coordinates; those that are zero, most of them, stay so."""
    changed = np.zeros_like(blocks)
    used = blocks.any(axis=-1)
    changed[used] = blocks[used] @ change.T
    return changed
