"""`solve_spectral`: programs with a nuclear norm, judged as all others are."""

from contextlib import nullcontext
from typing import Any

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Backend
from convexnn_solvers.clock import Clock
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.record import Record, measure_starts, run_backends
from convexnn_solvers.registry import get_backend
from convexnn_solvers.result import SolveResult
from convexnn_solvers.spectral.backend import Spectral
from convexnn_solvers.spectral.cvxpy_ import SpectralCvxpy
from convexnn_solvers.spectral.program import SpectralProgram
from convexnn_solvers.threads import single_blas_thread

__all__ = ["solve_spectral"]


def solve_spectral(
    program: SpectralProgram,
    *,
    solver: str = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | Clock | None = None,
    verbose: int = 0,
    start: tuple[FloatArray, FloatArray] | None = None,
    **native: Any,
) -> SolveResult:
    """Solve a program with a nuclear norm and measure the answer from the data, as `solve` does.

    Parameters
    ----------
    program : SpectralProgram
    solver : str
        ``"auto"`` or ``"native"``: proximal gradients and Newton steps; ``"cvxpy"`` or ``"cvxpy:NAME"``: a
        semidefinite program for Clarabel or another solver that CVXPY has installed.
    tol : float
        Wanted relative duality gap.
    max_iter : int, optional
        Limit of proximal and Newton steps together.
    time_limit : float or Clock, optional
        Seconds, or a clock that runs already.
    verbose : int
        1 prints progress.
    start : tuple of arrays (1, K, 1, m h) and (K,), optional
        A point that the result shall not be worse than.
    **native
        Settings under the names of CVXPY's solver.

    Returns
    -------
    SolveResult
        ``program.matrix(result.blocks)`` is the matrix of shape (K m, h).

    Raises
    ------
    SolverNotFoundError, SolverNotInstalledError
        See `get_backend`.
    UnsupportedProgramError
        If the solver does not take this loss, norm or option.
    ValueError
        If an option has a value without a meaning.
    """
    clock = Clock.of(time_limit)
    began = clock.elapsed
    options = SolveOptions(tol, max_iter, clock, verbose, native)
    backend = _backend(solver)
    backend.check(program, options)
    record = Record(tol, backend.label)
    with single_blas_thread() if backend.shares_work else nullcontext():
        measure_starts(program, record, start, clock)
        if not record.converged:
            run_backends(program, [backend], options, record, working_set=False)
    result = record.result(clock.elapsed - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result


def _backend(solver: str) -> Backend:
    """Return the backend of a name that `solve` knows, if it has a form for matrices."""
    if solver in ("auto", "native"):
        return Spectral()
    known = get_backend(solver)
    if known.name == SpectralCvxpy.name:
        return SpectralCvxpy(known.variant)
    raise UnsupportedProgramError(
        f"The solver {solver!r} takes norms of blocks, not the nuclear norm of a matrix (linear filters with "
        "weighted pooling). Use solver='auto' or 'native', or 'cvxpy:CLARABEL' for the semidefinite program."
    )
