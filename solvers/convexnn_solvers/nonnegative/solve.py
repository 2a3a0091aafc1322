"""`solve_nonnegative`: any solver of non-negative least squares, one way of judging the answer."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend
from convexnn_solvers.nonnegative.program import NonnegativeProgram
from convexnn_solvers.nonnegative.record import Record
from convexnn_solvers.nonnegative.result import NonnegativeResult
from convexnn_solvers.nonnegative.unit import augmented, unit_problem
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.registry import get_backend

__all__ = ["solve_nonnegative", "solve_nonnegative_path"]


def solve_nonnegative(
    program: NonnegativeProgram,
    *,
    solver: str = "auto",
    tol: float = 1e-8,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    start: FloatArray | None = None,
    **native: Any,
) -> NonnegativeResult:
    """Find non-negative weights of least squared error and measure them from the data.

    Every solver works on the program that `NonnegativeProgram.reduced` returns, with columns of norm one.
    From its point active-set steps lead to the exact optimum over a support. Residuals of the
    Karush-Kuhn-Tucker conditions are then computed from the program itself: the status is
    `Status.CONVERGED` if they are at most `tol`, whatever the solver said. Uniform weights, `start`, and
    zero weights or the best single column are measured first, and the best weights seen are returned.

    Parameters
    ----------
    program : NonnegativeProgram
    solver : str
        A name of ``available_solvers("nonnegative")``, ``"cvxpy:NAME"``, or ``"auto"``: ``"nnls"``, and
        Clarabel where that stops early.
    tol : float
        Wanted optimality residual, see `NonnegativeResult`.
    max_iter : int, optional
        Iteration limit of solver and active-set steps together; their own by default.
    time_limit : float, optional
        Seconds. ``"nnls"`` takes none, so that ``"auto"`` is Clarabel then.
    verbose : int
        1 prints progress, 2 also a solver's own log.
    start : ndarray of shape (m,), optional
        Non-negative weights that the result shall not be worse than; divided by their sum if that is
        constrained.
    **native
        Settings under the solver's own names; with ``"auto"`` those of Clarabel.

    Returns
    -------
    NonnegativeResult

    Raises
    ------
    SolverNotFoundError, SolverNotInstalledError
        See `get_backend`.
    UnsupportedProgramError
        If the solver is for other programs or does not take an option.
    ValueError
        If an option has a value without a meaning, or float64 cannot hold the objective.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn_solvers import NonnegativeProgram, solve_nonnegative
    >>> program = NonnegativeProgram(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([2.0, 1.0]))
    >>> solve_nonnegative(program).weights
    array([1.5, 0. ])
    """
    options = SolveOptions(tol, max_iter, Clock.of(time_limit), verbose, native)
    return _solve(program, _backends(solver, options), options, start)


def solve_nonnegative_path(
    programs: Iterable[NonnegativeProgram],
    *,
    solver: str = "auto",
    tol: float = 1e-8,
    max_iter: int | None = None,
    time_limit: float | None = None,
    verbose: int = 0,
    **native: Any,
) -> list[NonnegativeResult]:
    """Solve programs one after another, each from the weights of the one before.

    One backend object serves them all, so that OSQP sets up and orders its factorisation once. Give
    programs that `NonnegativeProgram.reduced` returns, or that differ in ridge only and are small: the data
    of each program are read again for it.

    Parameters
    ----------
    programs : iterable of NonnegativeProgram
        Where one has more columns than the one before, the first of them are taken to be the same columns;
        where it has fewer, so are all of them.
    solver, tol, max_iter, time_limit, verbose
        As in `solve_nonnegative`; limits are for each program.
    **native
        Settings under the solver's own names.

    Returns
    -------
    list of NonnegativeResult
        One for each program, in their order.

    Raises
    ------
    SolverNotFoundError, SolverNotInstalledError, UnsupportedProgramError, ValueError
        As `solve_nonnegative`.
    """
    options = SolveOptions(tol, max_iter, Clock.of(time_limit), verbose, native)
    backends = _backends(solver, options)
    return list(_path(list(programs), backends, options))


def _path(
    programs: list[NonnegativeProgram], backends: list[NonnegativeBackend], options: SolveOptions
) -> Iterator[NonnegativeResult]:
    if programs:
        largest = max(programs, key=lambda program: program.n_weights)
        for backend in backends:
            backend.reserve(unit_problem(*augmented(largest), largest.sum_to_one))
    start: FloatArray | None = None
    for program in programs:
        if start is not None:
            shared = start[: program.n_weights]
            start = np.append(shared, np.zeros(program.n_weights - shared.size))
            start = start if start.any() else None
        result = _solve(program, backends, options, start)
        start = result.weights
        yield result


def _backends(solver: str, options: SolveOptions) -> list[NonnegativeBackend]:
    names = [solver]
    if solver == "auto":
        names = ["nnls", "clarabel"] if options.time_limit is None and not options.native else ["clarabel"]
    backends = [get_backend(name, "nonnegative") for name in names]
    for backend in backends:
        backend.check(options)
    return backends


def _solve(
    program: NonnegativeProgram,
    backends: list[NonnegativeBackend],
    options: SolveOptions,
    start: FloatArray | None,
) -> NonnegativeResult:
    record = Record(program, options, backends[0].label, _feasible(program, start))
    record.run(backends)
    result = record.result()
    if options.verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def _feasible(program: NonnegativeProgram, start: FloatArray | None) -> FloatArray | None:
    """Return the start with the sum that the program asks for."""
    if start is None:
        return None
    start = np.asarray(start, dtype=np.float64)
    if start.shape != (program.n_weights,):
        raise ValueError(f"start must have shape ({program.n_weights},); got {start.shape}.")
    if not (np.isfinite(start).all() and (start >= 0).all()):
        raise ValueError("start must be finite and non-negative; got another number.")
    if not program.sum_to_one:
        return start
    total = start.sum()
    if total == 0:
        raise ValueError("start must have a positive sum with sum_to_one; got zeros.")
    normalised: FloatArray = start / total
    return normalised
