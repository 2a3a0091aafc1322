"""skglm of Bertrand et al."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Group lasso on explicit features, which has no cones."""

    name = "skglm"
    method = "skglm_"
    programs = ("gated",)
