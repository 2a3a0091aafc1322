"""SCS, an operator-splitting solver, on the direct conic form."""

from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.conic.assemble import assemble
from convexnn_solvers.conic.effort import reserving, setup_seconds
from convexnn_solvers.conic.form import condition
from convexnn_solvers.exceptions import BackendError, UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status

__all__ = ["Scs"]

# Its limit does not count the set-up, which took up to half as long again as that of interior points.
_SETUP = 1.5


class Scs(Backend):
    """O'Donoghue, "Operator splitting for a homogeneous embedding of the LCP", 2021."""

    name: ClassVar[str] = "scs"
    modules: ClassVar[tuple[str, ...]] = ("scs",)

    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve; see `Backend.run`. The start is not used."""
        import scs

        reserved = reserving(program, options, start, blind=_SETUP * setup_seconds(program))
        if isinstance(reserved, Candidate):
            return reserved
        conic = assemble(program)
        form, scaling = condition(conic.form)
        data = {
            "P": sparse.csc_matrix(sparse.triu(form.quadratic, format="csc")),
            "A": sparse.csc_matrix(form.matrix),
            "b": form.rhs,
            "c": form.linear,
        }
        cone = {
            "z": form.n_zero,
            "l": form.n_nonneg,
            "q": [int(size) for size in form.second_order],
            "ep": form.n_exponential,
        }
        settings = _settings(reserved)
        try:
            solution = scs.SCS(data, cone, verbose=options.verbose > 1, **settings).solve()
        except TypeError as error:
            raise UnsupportedProgramError(f"SCS refused an option: {error}. Given: {settings}.") from error
        except ValueError as error:
            raise BackendError(f"SCS refused the program: {error}") from error
        info = solution["info"]
        x, z = np.asarray(solution["x"]), np.asarray(solution["y"])
        message = f"SCS: {info['status']}"
        if not (np.isfinite(x).all() and np.isfinite(z).all()):
            raise BackendError(f"{message}, and no usable point.")
        stopped = Status.CONVERGED if info["status"] == "solved" else Status.FAILED
        if "inaccurate" in info["status"]:
            stopped = Status.TIME_LIMIT if "time" in info["status"] else Status.ITERATION_LIMIT
        blocks, intercept, theta = conic.decode(scaling.primal(x), scaling.dual(z))
        return Candidate(blocks, intercept, theta, stopped, int(info["iter"]), message)


def _settings(options: SolveOptions) -> dict[str, Any]:
    """Tolerances of residuals well below the wanted gap, and limits."""
    accuracy = max(0.03 * options.tol, 1e-12)
    settings: dict[str, Any] = {"eps_abs": accuracy, "eps_rel": accuracy}
    settings["max_iters"] = options.max_iter or 100_000
    if options.time_limit is not None:
        settings["time_limit_secs"] = options.time_limit
    return settings | dict(options.native)
