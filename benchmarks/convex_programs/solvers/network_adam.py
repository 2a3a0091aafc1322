"""Adam on the network."""

from typing import ClassVar

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Minimises over all networks of 100 neurons, so below the sampled program's optimum."""

    name = "network_adam"
    method = "network"
    parameters: ClassVar = {"optimizer": ["adam"]}
    programs = ("relu",)
    largest = float("inf")
