"""Any solver installed in CVXPY, through CVXPY's own modelling language."""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.conic.effort import reserving, setup_seconds, step_seconds
from convexnn_solvers.conic.epigraphs import Rows
from convexnn_solvers.exceptions import BackendError, UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status

__all__ = ["Cvxpy", "Model", "loss_cost"]

# The names under which solvers take a tolerance and limits; others keep their own defaults.
_TOLERANCES = {
    "CLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    "ECOS": ("abstol", "reltol", "feastol"),
    "SCS": ("eps_abs", "eps_rel"),
}
_ITERATIONS = {"CLARABEL": "max_iter", "ECOS": "max_iters", "SCS": "max_iters"}
_TIME_LIMITS = {"CLARABEL": "time_limit", "SCS": "time_limit_secs"}
# CVXPY's own set-up, of its model and of the solver's data, took up to twice as long as the solver's.
_MODELLING = 3.0

_STOPPED = {
    "optimal": Status.CONVERGED,
    "optimal_inaccurate": Status.INACCURATE,
    "user_limit": Status.ITERATION_LIMIT,
}


@dataclass(frozen=True, eq=False)
class Model:
    """A program in CVXPY.

    Attributes
    ----------
    problem : cvxpy.Problem
    blocks : list of cvxpy.Variable
        Their values one after another are the program's blocks.
    intercept : cvxpy.Variable or None
    link : cvxpy constraint
        ``f = A u + c``, whose multipliers are the dual point.
    """

    problem: Any
    blocks: list[Any]
    intercept: Any
    link: Any


class Cvxpy(Backend):
    """Diamond and Boyd, "CVXPY: a Python-embedded modeling language for convex optimization", JMLR 2016."""

    name: ClassVar[str] = "cvxpy"
    modules: ClassVar[tuple[str, ...]] = ("cvxpy",)

    @classmethod
    def takes_variant(cls) -> bool:
        """Return True: the variant is the name of CVXPY's solver, Clarabel if empty."""
        return True

    @property
    def solver_name(self) -> str:
        """CVXPY's name of the solver."""
        return self.variant.upper() or "CLARABEL"

    def check_limits(self, options: SolveOptions) -> None:
        """Also check that CVXPY has the solver, and how it is limited."""
        import cvxpy as cp

        super().check_limits(options)
        name = self.solver_name
        if name not in cp.installed_solvers():
            raise UnsupportedProgramError(
                f"CVXPY has no solver {name!r} here. Installed: {cp.installed_solvers()}."
            )
        if options.max_iter is not None and name not in _ITERATIONS:
            raise UnsupportedProgramError(
                f"max_iter cannot be passed to {name} through CVXPY. "
                "Give the solver's own option by its own name instead."
            )
        if options.clock.limited and name not in _TIME_LIMITS:
            raise UnsupportedProgramError(
                f"time_limit cannot be passed to {name} through CVXPY. "
                f"Use one of {sorted(_TIME_LIMITS)} or the solver's own option by its own name."
            )

    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve; see `Backend.run`. The start is not used."""
        seconds = _MODELLING * setup_seconds(program) + step_seconds(program)
        reserved = reserving(program, options, start, blind=seconds)
        if isinstance(reserved, Candidate):
            return reserved
        model = self.model(program)
        problem = model.problem
        message = self._solve(problem, reserved)
        point = np.stack([variable.value for variable in model.blocks]).reshape(program.block_shape)
        offset = np.zeros(program.n_outputs) if model.intercept is None else model.intercept.value
        theta = None if model.link.dual_value is None else np.asarray(model.link.dual_value)
        n_iter = problem.solver_stats.num_iters or 0
        stopped = _STOPPED.get(problem.status, Status.FAILED)
        return Candidate(point, np.asarray(offset), theta, stopped, int(n_iter), message)

    def _solve(self, problem: Any, options: SolveOptions) -> str:
        """Solve CVXPY's problem and return what it says."""
        import cvxpy as cp

        name = self.solver_name
        accuracy = max(min(1e-8, 0.01 * options.tol), 1e-13)
        settings: dict[str, Any] = dict.fromkeys(_TOLERANCES.get(name, ()), accuracy)
        if name == "SCS":
            settings["max_iters"] = 100_000
        if options.max_iter is not None:
            settings[_ITERATIONS[name]] = options.max_iter
        if options.time_limit is not None:
            settings[_TIME_LIMITS[name]] = options.time_limit
        settings |= options.native
        try:
            with warnings.catch_warnings():
                # CVXPY warns of inaccurate answers; here the measurement says what they are worth.
                warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
                problem.solve(solver=name, verbose=options.verbose > 1, **settings)
        except TypeError as error:
            raise UnsupportedProgramError(f"{name} refused an option: {error}. Given: {settings}.") from error
        except (cp.error.SolverError, cp.error.DCPError, ValueError, ArithmeticError) as error:
            raise BackendError(f"CVXPY with {name}: {error}") from error
        message = f"CVXPY with {name}: {problem.status}"
        if any(variable.value is None for variable in problem.variables()):
            raise BackendError(f"{message}, and no usable point.")
        return message

    def model(self, program: ConvexProgram) -> Model:
        """State a program: one variable for each sign, with a row for each block, output after output."""
        import cvxpy as cp

        n_signs, n_layers, n_patterns, d = program.block_shape
        n_outputs, features = program.n_outputs, program.design.features()
        blocks = [cp.Variable((n_layers * n_patterns, d)) for _ in range(n_signs)]
        intercept = cp.Variable(n_outputs) if program.fit_intercept else None
        difference = blocks[0] - blocks[1] if n_signs == 2 else blocks[0]
        outputs = cp.Variable(program.targets.shape)
        layers = [difference[m * n_patterns : (m + 1) * n_patterns] for m in range(n_layers)]
        if program.directions is None:
            columns = [features @ cp.vec(rows, order="C") for rows in layers]
        else:
            shares = np.repeat(program.directions[:, :, None], d, axis=2)
            columns = [
                sum(
                    features @ cp.vec(cp.multiply(share[:, :, k], rows), order="C")
                    for share, rows in zip(shares, layers, strict=True)
                )
                for k in range(n_outputs)
            ]
        value = cp.vstack(columns).T
        if intercept is not None:
            ones = np.ones((program.design.n_samples, 1))
            value = value + ones @ cp.reshape(intercept, (1, n_outputs), order="C")
        link = outputs == value
        cost, constraints = loss_cost(cp, outputs, program)
        if program.design.constrained:
            cones = program.design.cones()
            constraints += [
                cones @ cp.vec(variable[k * n_patterns : (k + 1) * n_patterns], order="C") >= 0
                for variable in blocks
                for k in range(n_layers)
            ]
        if program.alpha > 0:
            penalized = np.flatnonzero(program.design.penalized)
            norms = sum(cp.sum(cp.norm(variable[:, penalized], axis=1)) for variable in blocks)
            cost = cost + program.alpha * norms
        return Model(cp.Problem(cp.Minimize(cost), [link, *constraints]), blocks, intercept, link)


def loss_cost(cp: Any, outputs: Any, program: ConvexProgram) -> tuple[Any, list[Any]]:
    """Return the cost of the outputs and the constraints of the loss's auxiliary variables."""
    epigraph = program.loss.epigraph(program.targets, program.sample_weight)
    residual = cp.vec(outputs, order="F") - epigraph.shift
    cost = epigraph.linear @ residual
    roots = np.sqrt(epigraph.quadratic.diagonal())
    if roots.any():
        cost = cost + cp.sum_squares(cp.multiply(roots, residual)) / 2
    constraints: list[Any] = []
    if epigraph.extra_linear.size == 0:
        return cost, constraints
    extra = cp.Variable(epigraph.extra_linear.size)
    cost = cost + epigraph.extra_linear @ extra
    if epigraph.extra_quadratic.any():
        cost = cost + cp.sum_squares(cp.multiply(np.sqrt(epigraph.extra_quadratic), extra)) / 2

    def slack(rows: Rows) -> Any:
        return rows.rhs - rows.on_outputs @ residual - rows.on_extra @ extra

    if epigraph.nonneg is not None:
        constraints.append(slack(epigraph.nonneg) >= 0)
    if epigraph.exponential is not None:
        triple = slack(epigraph.exponential)
        constraints.append(cp.ExpCone(triple[::3], triple[1::3], triple[2::3]))
    return cost, constraints
