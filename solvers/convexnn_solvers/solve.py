"""`solve`: one entry point, one way of judging the answer."""

import time
from contextlib import nullcontext
from typing import Any

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.record import Record, measure_starts, run_backends
from convexnn_solvers.registry import automatic, get_backend
from convexnn_solvers.result import SolveResult
from convexnn_solvers.threads import single_blas_thread

__all__ = ["solve"]


def solve(
    program: ConvexProgram,
    *,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    start: tuple[FloatArray, FloatArray] | None = None,
    working_set: bool = True,
    **native: Any,
) -> SolveResult:
    """Solve a convex program and measure the answer from the data.

    The zero point and `start` are measured first: if one of them is within `tol` no solver runs. The
    result is the best feasible point seen, with the best lower bound seen; its status follows from those
    two figures, never from the solver's word. It is `Status.CONVERGED` if the gap is at most ``tol`` times
    the objective, or at most 1e-13 times the objective at zero or what rounding its intercept makes of
    it, which float64 does not resolve. With
    ``alpha = 0`` the optimum may be zero, of which nothing is a fraction; the gap may then be ``tol**2``
    times the objective at zero.

    Parameters
    ----------
    program : ConvexProgram
    solver : str
        A name of `available_solvers`, ``"cvxpy:NAME"``, or ``"auto"``: the native solver for smooth
        losses and positive ``alpha``, and Clarabel for the rest and where the native one gets stuck.
    tol : float
        Wanted relative duality gap.
    max_iter : int, optional
        Iteration limit of the solver; its own by default.
    time_limit : float, optional
        Seconds for the solver.
    verbose : int
        1 prints progress, 2 also a cone solver's own log.
    start : tuple of arrays (S, K, P, d) and (K,), optional
        A point that the result shall not be worse than.
    working_set : bool
        Whether programs of more than 32 blocks are solved over growing subsets of them. Answer and gap are
        of the whole program either way; False hands it to the solver at once.
    **native
        Settings under the solver's own names.

    Returns
    -------
    SolveResult

    Raises
    ------
    SolverNotFoundError, SolverNotInstalledError
        See `get_backend`.
    UnsupportedProgramError
        If the solver does not take this loss or an option.
    ValueError
        If an option has a value without a meaning, or ``alpha = 0`` with a loss whose minimum need not
        be attained (log_loss, softmax).
    """
    began = time.perf_counter()
    options = SolveOptions(tol, max_iter, time_limit, verbose, native)
    if program.norm != "group":
        raise UnsupportedProgramError(
            f"solve takes programs with a norm for each block. Got a {program.norm} norm; use solve_spectral."
        )
    names = automatic(program) if solver == "auto" else [solver]
    backends = [get_backend(name) for name in names]
    backends[0].check(program, options)
    if program.alpha == 0 and program.loss.name in {"log_loss", "softmax"}:
        raise ValueError(
            "alpha=0 with the logistic loss has no minimum when the classes can be separated. "
            "Got alpha=0; give a positive alpha."
        )
    record = Record(tol, names[0])
    with single_blas_thread() if backends[0].shares_work else nullcontext():
        measure_starts(program, record, start)
        if not record.converged:
            run_backends(program, backends, options, record, working_set)
    result = record.result(time.perf_counter() - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result
