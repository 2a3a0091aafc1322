"""Solvers for group-norm regularised programs with polyhedral cones, and the measuring of their answers.

``solve(program, solver=...)`` takes a `ConvexProgram` to any installed solver and returns a `SolveResult`
whose objective, feasibility, lower bound and status are recomputed from the program's data.
"""

from convexnn_solvers.backends.base import Backend, Candidate
from convexnn_solvers.exceptions import (
    BackendError,
    SolverError,
    SolverNotFoundError,
    SolverNotInstalledError,
    UnsupportedProgramError,
)
from convexnn_solvers.program import ConvexProgram, Design, Loss
from convexnn_solvers.registry import available_solvers
from convexnn_solvers.result import SolveResult, Status
from convexnn_solvers.solve import solve
from convexnn_solvers.spectral import SpectralProgram, solve_spectral

__all__ = [
    "Backend",
    "BackendError",
    "Candidate",
    "ConvexProgram",
    "Design",
    "Loss",
    "SolveResult",
    "SolverError",
    "SolverNotFoundError",
    "SolverNotInstalledError",
    "SpectralProgram",
    "Status",
    "UnsupportedProgramError",
    "available_solvers",
    "solve",
    "solve_spectral",
]
