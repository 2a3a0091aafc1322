"""adelie of Yang and Hastie."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Group lasso on its convex_relu matrix, with linear constraints for relu."""

    name = "adelie"
    method = "adelie_"
