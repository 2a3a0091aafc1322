"""Clarabel on this package's conic form."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """The whole program at once, without working sets."""

    name = "clarabel_direct"
    method = "convexnn_"
    parameters = {"solver": ["clarabel"]}
