"""The native solver of this package."""

from typing import ClassVar

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Proximal Newton steps over working sets, see ``convexnn_solvers.native``."""

    name = "native"
    method = "convexnn_"
    parameters: ClassVar = {"solver": ["native"]}
    largest = float("inf")
