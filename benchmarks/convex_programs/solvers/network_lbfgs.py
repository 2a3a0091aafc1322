"""L-BFGS of torch on the network."""

from typing import ClassVar

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Minimises over all networks of 100 neurons, so below the sampled program's optimum."""

    name = "network_lbfgs"
    method = "network"
    parameters: ClassVar = {"optimizer": ["lbfgs"]}
    programs = ("relu",)
    largest = float("inf")
