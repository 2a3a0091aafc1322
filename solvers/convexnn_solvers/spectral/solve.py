"""`solve_spectral`: programs with a nuclear norm, judged as all others are."""

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.record import Record, measure_starts, run_backends
from convexnn_solvers.result import SolveResult
from convexnn_solvers.spectral.backend import Spectral
from convexnn_solvers.spectral.program import SpectralProgram
from convexnn_solvers.threads import single_blas_thread

__all__ = ["solve_spectral"]


def solve_spectral(
    program: SpectralProgram,
    *,
    tol: float = 1e-4,
    max_iter: int | None = None,
    time_limit: float | Clock | None = None,
    verbose: int = 0,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> SolveResult:
    """Solve a program with a nuclear norm and measure the answer from the data, as `solve` does.

    Parameters
    ----------
    program : SpectralProgram
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

    Returns
    -------
    SolveResult
        ``program.matrix(result.blocks)`` is the matrix of shape (K m, h).

    Raises
    ------
    UnsupportedProgramError
        If the solver does not take this loss or norm.
    ValueError
        If an option has a value without a meaning.
    """
    clock = Clock.of(time_limit)
    began = clock.elapsed
    options = SolveOptions(tol, max_iter, clock, verbose)
    backend = Spectral()
    backend.check(program, options)
    record = Record(tol, backend.name)
    with single_blas_thread():
        measure_starts(program, record, start, clock)
        if not record.converged:
            run_backends(program, [backend], options, record, working_set=False)
    result = record.result(clock.elapsed - began)
    if verbose:
        print(f"{result!r} in {result.time:.2f} s")
    return result
