"""CRONOS of Feng, Frangella and Pilanci."""

from typing import ClassVar

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """ADMM with preconditioned conjugate gradients."""

    name = "cronos"
    method = "cronos_"
    parameters: ClassVar = {"rho": [0.1, 1.0, 10.0]}
    programs = ("relu",)
