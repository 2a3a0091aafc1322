"""Measuring a point without any solver."""

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import SolveResult
from convexnn_solvers.solve import solve

__all__ = ["measure_point"]


def measure_point(program: ConvexProgram, blocks: FloatArray, intercept: FloatArray) -> SolveResult:
    """Return a point as a result, measured from the data and not improved."""
    return solve(program, tol=1e300, start=(blocks, intercept))
