"""Column generation: finding the patterns that the optimum needs."""

from convexnn.columns.training import (
    SolverSettings,
    Trained,
    TrainedNetwork,
    check_exact,
    solve_problem,
    train,
)

__all__ = ["SolverSettings", "Trained", "TrainedNetwork", "check_exact", "solve_problem", "train"]
