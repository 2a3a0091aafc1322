"""Programs with the nuclear norm of a matrix of weights, and their solver."""

from convexnn_solvers.spectral.factored import balanced
from convexnn_solvers.spectral.program import MatrixDesign, SpectralProgram, operator_norm
from convexnn_solvers.spectral.solve import solve_spectral

__all__ = ["MatrixDesign", "SpectralProgram", "balanced", "operator_norm", "solve_spectral"]
