"""CRONOS of Feng, Frangella and Pilanci."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """ADMM with preconditioned conjugate gradients."""

    name = "cronos"
    method = "cronos_"
    parameters = {"rho": [0.1, 1.0, 10.0]}
    programs = ("relu",)
