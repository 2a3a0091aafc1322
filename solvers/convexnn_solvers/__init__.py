"""Solvers for convex programs of networks and their ensembles, and the measuring of their answers.

``solve(program, solver=...)`` takes a `ConvexProgram` to any installed solver and returns a `SolveResult`
whose objective, feasibility, lower bound and status are recomputed from the program's data.
``solve_nonnegative`` does so for a `NonnegativeProgram`, least squares over non-negative weights.
"""

from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.clock import Clock
from convexnn_solvers.exceptions import (
    BackendError,
    SolverError,
    SolverNotFoundError,
    SolverNotInstalledError,
    UnsupportedProgramError,
)
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend, NonnegativeCandidate
from convexnn_solvers.nonnegative.program import NonnegativeProgram
from convexnn_solvers.nonnegative.result import NonnegativeResult
from convexnn_solvers.nonnegative.solve import solve_nonnegative, solve_nonnegative_path
from convexnn_solvers.program import ConvexProgram, Design, Loss
from convexnn_solvers.registry import available_solvers
from convexnn_solvers.result import SolveResult, Status
from convexnn_solvers.solve import measure_point, solve
from convexnn_solvers.spectral import SpectralProgram, solve_spectral

__all__ = [
    "Backend",
    "BackendError",
    "Candidate",
    "Clock",
    "ConvexProgram",
    "Design",
    "Loss",
    "NonnegativeBackend",
    "NonnegativeCandidate",
    "NonnegativeProgram",
    "NonnegativeResult",
    "SolveResult",
    "SolverError",
    "SolverNotFoundError",
    "SolverNotInstalledError",
    "SpectralProgram",
    "Status",
    "UnsupportedProgramError",
    "available_solvers",
    "measure_point",
    "solve",
    "solve_nonnegative",
    "solve_nonnegative_path",
    "solve_spectral",
]
