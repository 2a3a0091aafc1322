"""SCS through CVXPY."""

from typing import ClassVar

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """The program restated in CVXPY."""

    name = "cvxpy_scs"
    method = "cvxpy_"
    parameters: ClassVar = {"solver": ["SCS"]}
