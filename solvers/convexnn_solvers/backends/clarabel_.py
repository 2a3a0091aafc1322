"""Clarabel, an interior-point solver with quadratic cost, on the direct conic form."""

import math
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.conic.assemble import assemble
from convexnn_solvers.conic.effort import reserving, setup_seconds, step_seconds
from convexnn_solvers.conic.form import ConicForm, condition
from convexnn_solvers.conic.model import QuadraticModel
from convexnn_solvers.conic.newton import proximal_newton
from convexnn_solvers.exceptions import BackendError, UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram, Loss
from convexnn_solvers.result import Status

__all__ = ["Clarabel"]

_STOPPED = {
    "Solved": Status.CONVERGED,
    "AlmostSolved": Status.INACCURATE,
    "MaxIterations": Status.ITERATION_LIMIT,
    "MaxTime": Status.TIME_LIMIT,
}


class Clarabel(Backend):
    """Goulart and Chen, "Clarabel: an interior-point solver for conic programs", 2024."""

    name: ClassVar[str] = "clarabel"
    modules: ClassVar[tuple[str, ...]] = ("clarabel",)
    wanted: ClassVar[str] = "losses that are smooth or have an epigraph in cones"

    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve as one conic program, or by proximal Newton what has no cones or exponential ones."""
        if math.isfinite(program.loss.smoothness) and not _has_easy_cones(program):
            return proximal_newton(program, options, _solve, start)
        return _solve(program, None, options, start)

    def takes(self, loss: Loss) -> bool:
        """Whether the loss has cones or is smooth."""
        return loss.has_epigraph or math.isfinite(loss.smoothness)


def _has_easy_cones(program: ConvexProgram) -> bool:
    """Whether the loss has cones that interior points can be relied on, which exponential ones are not."""
    if not program.loss.has_epigraph:
        return False
    return program.loss.epigraph(program.targets, program.sample_weight).exponential is None


def _solve(
    program: ConvexProgram,
    model: QuadraticModel | None,
    options: SolveOptions,
    start: tuple[FloatArray, FloatArray] | None,
) -> Candidate:
    import clarabel

    reserved = reserving(program, options, start, blind=step_seconds(program), before=setup_seconds(program))
    if isinstance(reserved, Candidate):
        return reserved
    conic = assemble(program, model)
    form, scaling = condition(conic.form)
    solver = clarabel.DefaultSolver(
        sparse.triu(form.quadratic, format="csc"),
        form.linear,
        form.matrix,
        form.rhs,
        _cones(clarabel, form),
        _settings(clarabel, reserved),
    )
    solution = solver.solve()
    status = str(solution.status)
    x, z = np.asarray(solution.x), np.asarray(solution.z)
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        raise BackendError(f"Clarabel ended with status {status} and no usable point.")
    blocks, intercept, theta = conic.decode(scaling.primal(x), scaling.dual(z))
    return Candidate(
        blocks,
        intercept,
        theta,
        _STOPPED.get(status, Status.FAILED),
        int(solution.iterations),
        f"Clarabel: {status}",
    )


def _cones(clarabel: Any, form: ConicForm) -> list[Any]:
    cones = [clarabel.ZeroConeT(form.n_zero)]
    if form.n_nonneg:
        cones.append(clarabel.NonnegativeConeT(form.n_nonneg))
    cones += [clarabel.SecondOrderConeT(int(size)) for size in form.second_order]
    cones += [clarabel.ExponentialConeT() for _ in range(form.n_exponential)]
    return cones


def _settings(clarabel: Any, options: SolveOptions) -> Any:
    """Clarabel's defaults but for the factorisation, tightened where `tol` asks for more than they give."""
    settings = clarabel.DefaultSettings()
    settings.verbose = options.verbose > 1
    # Clarabel's own choice is sometimes a supernodal factorisation that takes several times as long here.
    settings.direct_solve_method = "qdldl"
    accuracy = min(1e-8, 0.01 * options.tol)
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = max(accuracy, 1e-13)
    if options.max_iter is not None:
        settings.max_iter = options.max_iter
    if options.time_limit is not None:
        settings.time_limit = options.time_limit
    for key, value in options.native.items():
        if not hasattr(settings, key):
            raise UnsupportedProgramError(f"Clarabel has no setting {key!r}.")
        setattr(settings, key, value)
    return settings
