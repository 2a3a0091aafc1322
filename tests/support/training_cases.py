"""Training without estimators, as tests call it."""

from typing import Any

from convexnn.networks import Network
from convexnn.problem import NetworkKind, Problem, TrainingData
from convexnn.training import Fit, TrainingOptions
from convexnn.training.local_search import adapt
from convexnn.training.proved_search import prove

__all__ = ["adapted", "proved"]


def adapted(
    data: TrainingData, kind: NetworkKind, *, alpha: float, previous: Network | None = None, **options: Any
) -> Fit:
    """Train on adaptive patterns."""
    chosen = TrainingOptions(**options)
    return adapt(Problem.of(data, kind, alpha), chosen, chosen.clock(), previous)


def proved(
    data: TrainingData, kind: NetworkKind, *, alpha: float, previous: Network | None = None, **options: Any
) -> Fit:
    """Train to the optimum over all patterns by column generation."""
    chosen = TrainingOptions(**options)
    return prove(Problem.of(data, kind, alpha), chosen, chosen.clock(), previous)
