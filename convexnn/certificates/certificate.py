"""What `convexnn.certify` returns."""

import math
from dataclasses import dataclass

from convexnn._typing import FloatArray
from convexnn.networks import Network

__all__ = ["Certificate", "Witness"]


@dataclass(frozen=True, eq=False, repr=False)
class Witness:
    """A neuron whose addition lowers the objective, which proves that a network is not optimal.

    Attributes
    ----------
    weights : ndarray of shape (d,)
        ``u`` of the neuron.
    bias : float
        ``b`` of the neuron.
    output_weights : ndarray of shape (K,)
        ``a`` of the neuron.
    objective : float
        ``F`` of `network`, recomputed from its weights.
    network : TwoLayerNetwork or ConvNetwork
        The network with the neuron added.
    """

    weights: FloatArray
    bias: float
    output_weights: FloatArray
    objective: float
    network: Network

    def __repr__(self) -> str:
        """Return the figures that matter in one line."""
        return f"Witness(objective={self.objective:.8g}, n_neurons={self.network.n_neurons})"


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """Bounds of the training objective of a network and of every other one, of any width.

    Attributes
    ----------
    objective : float
        ``F`` of the network, recomputed from its weights.
    lower_bound : float
        No network of the same kind, of any width, has a smaller ``F``; rounding errors are accounted for.
    scope : {"global"}
        What the bound is about: all networks, not those with certain activation patterns.
    alpha : float
        Strength of regularisation of ``F``.
    method : str
        What bounded the largest gain of a neuron, and where the dual point came from.
    complete : bool
        Whether no search was cut short by a time limit. The bound holds in any case.
    largest_gain : float
        Upper bound of ``max |theta . phi(X~ u)|`` over ``|u| <= 1`` at the dual point, at most `alpha`.
    dual_point : ndarray of shape (n_samples, n_outputs)
        ``theta``, feasible for the dual: ``lower_bound`` is its dual value, rounded down.
    witness : Witness or None
        A neuron that improves the network, the best one found, or None if none was found.
    message : str
        What limits the certificate, and what is special about alpha; empty where nothing is.
    """

    objective: float
    lower_bound: float
    alpha: float
    method: str
    complete: bool
    largest_gain: float
    dual_point: FloatArray
    witness: Witness | None = None
    message: str = ""
    scope: str = "global"

    @property
    def gap(self) -> float:
        """``objective - lower_bound``, at least what training could still gain; never below 0."""
        return max(0.0, self.objective - self.lower_bound)

    @property
    def relative_gap(self) -> float:
        """``gap / |objective|``; 0 where the gap is 0."""
        if self.gap == 0:
            return 0.0
        return self.gap / abs(self.objective) if self.objective != 0 else math.inf

    def is_optimal(self, tol: float = 1e-6) -> bool:
        """Whether the relative gap is at most `tol`, which proves the network optimal to that accuracy.

        Parameters
        ----------
        tol : float, default=1e-6

        Returns
        -------
        bool
            False says nothing unless there is a `witness`: the bound may be loose.
        """
        return self.relative_gap <= tol

    def __repr__(self) -> str:
        """Say in one line what was proved."""
        proved = (
            f"F = {self.objective:.8g} at alpha = {self.alpha:.6g}; the optimum over all networks, of any "
            f"width, is at least {self.lower_bound:.8g}: relative gap {self.relative_gap:.2g}"
        )
        improved = ""
        if self.witness is not None:
            improved = f"; not optimal: one more neuron gives {self.witness.objective:.8g}"
        return f"Certificate({proved}{improved}; proved by {self.method})"
