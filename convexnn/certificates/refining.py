"""What looks for better dual points, passed in by the packages that can train.

Certificates stand beside programs and training and import neither: whatever these suggest is only a guess,
whose bound is proved here. So training makes itself known when it is imported.
"""

from collections.abc import Callable
from typing import Protocol

from convexnn._typing import FloatArray
from convexnn.certificates.bounds import Bound
from convexnn.networks import Network
from convexnn.problem import Problem
from convexnn_solvers.clock import Clock

__all__ = ["AskBound", "Refinement", "refinement", "register_refinement"]

AskBound = Callable[[FloatArray], Bound]
"""Proves the bound of a dual point of the problem's distinct samples, shape (n, K)."""


class Refinement(Protocol):
    """Trains better networks than a given one for the sake of their dual points."""

    def __call__(
        self,
        problem: Problem,
        network: Network,
        ask: AskBound,
        *,
        attained: float,
        tol: float,
        clock: Clock,
    ) -> str:
        """Train, and ask for bounds until the relative gap is within a tolerance.

        Parameters
        ----------
        problem : Problem
            Of positive alpha.
        network : TwoLayerNetwork or ConvNetwork
            To start from.
        ask : callable
            May be called several times; the best answer counts.
        attained : float
            The network's objective.
        tol : float
            Wanted relative gap between the least objective known and the best bound.
        clock : Clock
            Half of what it has left may go into training.

        Returns
        -------
        str
            Why no better dual point could be looked for; empty if one was.
        """


_REGISTERED: dict[str, Refinement] = {}


def register_refinement(refinement: Refinement) -> None:
    """Make a refinement the one of every later certificate."""
    _REGISTERED["used"] = refinement


def refinement() -> Refinement:
    """Return the registered refinement.

    Raises
    ------
    RuntimeError
        If no package that trains is imported.
    """
    if "used" not in _REGISTERED:
        raise RuntimeError(
            "refine=True trains a better network, and nothing that trains is imported. "
            "Import convexnn.training, or pass refine=False."
        )
    return _REGISTERED["used"]
