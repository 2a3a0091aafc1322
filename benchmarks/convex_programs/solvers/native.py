"""This package's native solver."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Proximal Newton steps over working sets, see ``convexnn_solvers.native``."""

    name = "native"
    method = "convexnn_"
    parameters = {"solver": ["native"]}
    largest = float("inf")
