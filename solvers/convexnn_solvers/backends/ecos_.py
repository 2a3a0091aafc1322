"""ECOS, an interior-point solver with linear cost, on the direct conic form."""

from typing import ClassVar

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.conic.assemble import assemble
from convexnn_solvers.conic.form import ConicForm, condition, without_quadratic
from convexnn_solvers.exceptions import BackendError, UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status

__all__ = ["Ecos"]

_STOPPED = {0: Status.CONVERGED, 10: Status.INACCURATE, -1: Status.ITERATION_LIMIT}


class Ecos(Backend):
    """Domahidi, Chu and Boyd, "ECOS: an SOCP solver for embedded systems", ECC 2013."""

    name: ClassVar[str] = "ecos"
    modules: ClassVar[tuple[str, ...]] = ("ecos",)
    limits_time: ClassVar[bool] = False

    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve; see `Backend.run`. The start is not used."""
        del start
        import ecos

        conic = assemble(program)
        n_variables = conic.form.linear.size
        form, scaling = condition(conic.form)
        form = without_quadratic(form, scaling.cost * conic.quadratic_size)
        order = _exponential_order(form)
        matrix = form.matrix.tocsr()
        split = form.n_zero
        accuracy = max(min(1e-8, 0.01 * options.tol), 1e-13)
        settings = {"abstol": accuracy, "reltol": accuracy, "feastol": accuracy, "max_iters": 200}
        if options.max_iter is not None:
            settings["max_iters"] = options.max_iter
        settings |= options.native
        try:
            solution = ecos.solve(
                form.linear,
                sparse.csc_matrix(matrix[split:][order]),
                form.rhs[split:][order],
                {"l": form.n_nonneg, "q": [int(q) for q in form.second_order], "e": form.n_exponential},
                sparse.csc_matrix(matrix[:split]),
                form.rhs[:split],
                verbose=options.verbose > 1,
                **settings,
            )
        except TypeError as error:
            raise UnsupportedProgramError(f"ECOS refused an option: {error}. Given: {settings}.") from error
        except (ValueError, ArithmeticError) as error:
            raise BackendError(f"ECOS refused the program: {error}") from error
        code = int(solution["info"]["exitFlag"])
        message = f"ECOS: {solution['info']['infostring']}"
        x, z = np.asarray(solution["x"]), np.asarray(solution["y"])
        if not (np.isfinite(x).all() and np.isfinite(z).all()):
            raise BackendError(f"{message}, and no usable point.")
        # Only the equalities' multipliers are needed; they come first.
        dual = scaling.dual(np.concatenate([z, np.zeros(form.rhs.size - split)]))
        blocks, intercept, theta = conic.decode(scaling.primal(x)[:n_variables], dual)
        stopped = _STOPPED.get(code, Status.FAILED)
        return Candidate(blocks, intercept, theta, stopped, int(solution["info"]["iter"]), message)


def _exponential_order(form: ConicForm) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Permutation of the inequality rows: ECOS writes an exponential cone as ``(x, z, y)``."""
    order = np.arange(form.rhs.size - form.n_zero)
    start = order.size - 3 * form.n_exponential
    order[start:] = order[start:].reshape(-1, 3)[:, [0, 2, 1]].ravel()
    return order
