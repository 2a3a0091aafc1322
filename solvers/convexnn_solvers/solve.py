"""`solve` and `measure_point`: one entry point, one way of judging the answer."""

from contextlib import nullcontext
from typing import Any

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.measure import measure
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.record import Record, measure_starts, run_backends
from convexnn_solvers.registry import automatic, get_backend
from convexnn_solvers.result import SolveResult, Status
from convexnn_solvers.threads import single_blas_thread

__all__ = ["measure_point", "solve"]


def solve(
    program: ConvexProgram,
    *,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | Clock | None = None,
    verbose: int = 0,
    start: tuple[FloatArray, FloatArray] | None = None,
    working_set: bool = True,
    **native: Any,
) -> SolveResult:
    """Solve a convex program and measure the answer from the data.

    `start` is measured first, and the zero point unless that is worse: if one of them is within `tol` no
    solver runs. The result is the best feasible point seen, with the best lower bound seen; its status
    follows from those two figures, never from the solver's word. It is `Status.CONVERGED` if the gap is at
    most ``tol`` times the objective, or if the objective is zero up to the rounding of its terms, of which
    nothing is a fraction.

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
    time_limit : float or Clock, optional
        Seconds for everything, measuring included, or a clock that runs already. Where it stops, the point
        is the best one so far and its bound valid, but weaker where there was no time to price all blocks.
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
        be attained, as that of the logistic ones.
    """
    clock = Clock.of(time_limit)
    began = clock.elapsed
    options = SolveOptions(tol, max_iter, clock, verbose, native)
    if program.norm != "group":
        raise UnsupportedProgramError(
            f"solve takes programs with a norm for each block. Got a {program.norm} norm; use solve_spectral."
        )
    names = automatic(program) if solver == "auto" else [solver]
    backends = [get_backend(name) for name in names]
    backends[0].check(program, options)
    if program.alpha == 0 and not program.loss.attains_minimum:
        raise ValueError(
            "alpha=0 with the logistic loss has no minimum when the classes can be separated. "
            "Got alpha=0; give a positive alpha."
        )
    if program.alpha == 0 and program.directions is not None:
        raise ValueError(
            "With alpha=0 blocks with directions have nothing over blocks that feed one output each. "
            "Leave the directions out."
        )
    record = Record(tol, names[0])
    with single_blas_thread() if backends[0].shares_work else nullcontext():
        measure_starts(program, record, start, clock)
        if not record.converged:
            run_backends(program, backends, options, record, working_set)
    result = record.result(clock.elapsed - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def measure_point(
    program: ConvexProgram,
    blocks: FloatArray,
    intercept: FloatArray,
    *,
    tol: float = 1e-4,
    stopped: Status = Status.INACCURATE,
    time_limit: float | Clock | None = None,
) -> SolveResult:
    """Measure a point from the data, as `solve` measures those of solvers, without running any.

    Parameters
    ----------
    program : ConvexProgram
    blocks : ndarray of shape (S, K, P, d)
        Blocks outside their cones are projected on them.
    intercept : ndarray of shape (K,)
        Replaced by the best one where that is better; ignored if the program has none.
    tol : float
        Relative duality gap at which the point counts as `Status.CONVERGED`.
    stopped : Status
        What ended the work on the point: its status if it is not that good.
    time_limit : float or Clock, optional
        As in `solve`.

    Returns
    -------
    SolveResult
        Its solver is ``"none"``, its bound follows from the gradient at the point.

    Raises
    ------
    BackendError
        If the point is not finite.
    ValueError
        If `tol` or the limit is not positive.
    """
    clock = Clock.of(time_limit)
    began = clock.elapsed
    options = SolveOptions(tol, clock=clock)
    record = Record(options.tol, "none")
    record.begin(measure(program, blocks, intercept, clock=clock), clock.elapsed - began)
    record.stopped, record.message = stopped, "The point was measured; no solver ran."
    return record.result(clock.elapsed - began)
