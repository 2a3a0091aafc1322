"""Clarabel on this package's conic form."""

from typing import ClassVar

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """The whole program at once, without working sets."""

    name = "clarabel_direct"
    method = "convexnn_"
    parameters: ClassVar = {"solver": ["clarabel"]}
