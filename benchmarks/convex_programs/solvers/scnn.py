"""pyscnn of Mishkin, Sahiner and Pilanci."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Augmented Lagrangian for relu, R-FISTA for gated."""

    name = "scnn"
    method = "scnn_"
