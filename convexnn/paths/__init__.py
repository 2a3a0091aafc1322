"""Regularisation paths: the program solved for a sequence of strengths, each start the last solution."""

from convexnn.paths.alpha_grid import alpha_grid, alpha_max
from convexnn.paths.convex_path import convex_path
from convexnn.paths.path_result import PathResult

__all__ = ["PathResult", "alpha_grid", "alpha_max", "convex_path"]
