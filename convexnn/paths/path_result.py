"""What a path returns: for each strength the solution, its network and how far from optimal it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.networks import TwoLayerNetwork
from convexnn.patterns import PatternSet
from convexnn.training import Fit
from convexnn_solvers import SolveResult, Status

__all__ = ["PathResult"]


@dataclass(frozen=True, eq=False, repr=False)
class PathResult:
    """Solutions of one training problem for descending strengths of regularisation.

    A path that ran out of time or was interrupted is shorter than asked for: its last point is the best
    found for that strength until then, and the strengths that were not reached are in `alphas_left`.

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,)
        Descending.
    results : tuple of SolveResult
        One for each strength, with objective, lower bound and gap.
    networks : tuple of TwoLayerNetwork
        One for each strength.
    patterns : PatternSet
        The patterns of the program, on the training data as the hidden layer sees it; the union over
        the points where each has its own.
    gap_scope : {"patterns", "global"}
        What the lower bounds bound, see `convexnn.ConvexMLPRegressor`.
    alphas_left : ndarray
        Strengths that were asked for and not reached, descending; mostly empty.
    """

    alphas: FloatArray
    results: tuple[SolveResult, ...]
    networks: tuple[TwoLayerNetwork, ...]
    patterns: PatternSet
    gap_scope: str
    alphas_left: FloatArray

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        for name in ("alphas", "alphas_left"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def of(cls, points: Sequence[Fit], alphas: FloatArray) -> "PathResult":
        """Collect points that were reached, of all strengths asked for."""
        patterns = points[0].patterns
        for point in points[1:]:
            if point.patterns is not points[0].patterns:
                patterns = patterns.union(point.patterns)
        scopes = {point.scope for point in points}
        return cls(
            alphas=alphas[: len(points)],
            results=tuple(point.result for point in points),
            networks=tuple(cast(TwoLayerNetwork, point.network) for point in points),
            patterns=points[0].problem.on_all_samples(patterns),
            gap_scope="global" if scopes == {"global"} else "patterns",
            alphas_left=alphas[len(points) :],
        )

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.results)

    @property
    def objectives(self) -> FloatArray:
        """``F`` at each point, shape (n_alphas,)."""
        return np.array([result.objective for result in self.results])

    @property
    def dual_objectives(self) -> FloatArray:
        """Lower bound of ``F`` for each strength, shape (n_alphas,)."""
        return np.array([result.dual_objective for result in self.results])

    @property
    def relative_gaps(self) -> FloatArray:
        """``(objective - dual_objective) / objective`` at each point, shape (n_alphas,)."""
        return np.array([result.relative_gap for result in self.results])

    @property
    def n_neurons(self) -> IntArray:
        """Number of hidden neurons at each point, shape (n_alphas,)."""
        return np.array([network.n_neurons for network in self.networks], dtype=np.intp)

    @property
    def statuses(self) -> tuple[Status, ...]:
        """Why each solve ended."""
        return tuple(result.status for result in self.results)

    @property
    def converged(self) -> bool:
        """Whether every strength asked for was reached with a gap within the tolerance."""
        return self.alphas_left.size == 0 and all(result.converged for result in self.results)

    def __repr__(self) -> str:
        """One line: how many points, from where to where, how good."""
        reached = sum(result.converged for result in self.results)
        left = f", {self.alphas_left.size} not reached" if self.alphas_left.size else ""
        return (
            f"PathResult({len(self)} alphas from {self.alphas[0]:.4g} to {self.alphas[-1]:.4g}, "
            f"{reached} converged{left}, largest relative gap {self.relative_gaps.max():.2g})"
        )


def above_tolerance(results: Sequence[SolveResult], alphas: FloatArray, tol: float) -> str:
    """Say how many points of a path are above the tolerance, and which is the worst; empty if none is."""
    above = [k for k, result in enumerate(results) if not result.converged]
    if not above:
        return ""
    worst = max(above, key=lambda k: results[k].relative_gap)
    status = results[worst].status
    return (
        f"{len(above)} of {len(results)} points of the path have a relative duality gap above tol={tol:.2g}. "
        f"The largest is {results[worst].relative_gap:.2g}, at alpha={alphas[worst]:.4g} ({status.name}). "
        f"{status.value}"
    )
