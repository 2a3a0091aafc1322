"""A plain column generation with cone rows added as they are violated."""

from benchmark_utils.bridge import BridgedSolver


class Solver(BridgedSolver):
    """Clarabel solves the masters; a baseline of this benchmark."""

    name = "column_generation_lazy_rows"
    method = "column_generation"
