"""Programs with a nuclear norm through CVXPY, as semidefinite programs."""

from typing import ClassVar, cast

import numpy as np

from convexnn_solvers.backends.cvxpy_ import Cvxpy, Model, loss_cost
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.spectral.program import SpectralProgram

__all__ = ["SpectralCvxpy"]

# Solvers without a cone of semidefinite matrices.
_WITHOUT_MATRICES = ("ECOS", "OSQP")


class SpectralCvxpy(Cvxpy):
    """The norm as half the trace of a semidefinite matrix, which CVXPY writes out.

    Fazel, Hindi and Boyd, "A rank minimization heuristic with application to minimum order system
    approximation", ACC 2001.
    """

    chooses_blocks: ClassVar[bool] = True

    def check_limits(self, options: SolveOptions) -> None:
        """Also check that the solver has semidefinite cones."""
        super().check_limits(options)
        if self.solver_name in _WITHOUT_MATRICES:
            raise UnsupportedProgramError(
                f"{self.solver_name} has no semidefinite cones, which a nuclear norm needs. "
                "Use solver='cvxpy:CLARABEL', 'cvxpy:SCS' or 'auto'."
            )

    def model(self, program: ConvexProgram) -> Model:
        """State a program: one matrix for each output."""
        import cvxpy as cp

        program = cast(SpectralProgram, program)
        n, m, h = program.design.matrices.shape
        features = program.design.matrices.reshape(n, m * h)
        blocks = [cp.Variable((m, h)) for _ in range(program.n_outputs)]
        intercept = cp.Variable(program.n_outputs) if program.fit_intercept else None
        value = cp.vstack([features @ cp.vec(matrix, order="C") for matrix in blocks]).T
        if intercept is not None:
            value = value + np.ones((n, 1)) @ cp.reshape(intercept, (1, program.n_outputs), order="C")
        outputs = cp.Variable(program.targets.shape)
        link = outputs == value
        cost, constraints = loss_cost(cp, outputs, program)
        cost = cost + program.alpha * cp.normNuc(cp.vstack(blocks))
        return Model(cp.Problem(cp.Minimize(cost), [link, *constraints]), blocks, intercept, link)
