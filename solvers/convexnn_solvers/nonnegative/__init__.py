"""Least squares over non-negative weights: program, solvers, exact finish and measured result."""
