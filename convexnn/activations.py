"""Activations that are positively homogeneous and linear on each side of zero.

Every activation here is ``phi(t) = on * t`` for ``t >= 0`` and ``phi(t) = off * t`` for ``t < 0``. On the
cone of weights with activation pattern ``D_i`` the layer ``phi(X u)`` is therefore the linear map
``(on * D_i + off * (I - D_i)) X u``, which is all that the convex programs need to know.
"""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray

__all__ = ["ACTIVATIONS", "LINEAR", "Activation", "get_activation", "leaky_relu"]


# Slopes ``(on, off)`` of the names that leave no choice: exports write the name and not the slopes.
_SLOPES = {"relu": (1.0, 0.0), "gated_relu": (1.0, 0.0), "absolute_value": (1.0, -1.0), "linear": (1.0, 1.0)}


@dataclass(frozen=True)
class Activation:
    """A positively 1-homogeneous, piecewise linear activation.

    ``phi(t) = on * t`` if ``t >= 0`` else ``off * t``. A gated activation takes the side from a fixed
    gate ``g`` instead of the weight itself: ``phi(x; u, g) = on * (u.x)`` if ``g.x >= 0`` else
    ``off * (u.x)``.

    Parameters
    ----------
    name : str
        The name users choose it by.
    on, off : float
        Slopes on the two sides of zero.
    gated : bool
        Whether the side is decided by a fixed gate.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, sections 2 and 3; Mishkin,
    Sahiner and Pilanci, "Fast convex optimization for two-layer ReLU networks", ICML 2022 (gated ReLU).
    """

    name: str
    on: float = 1.0
    off: float = 0.0
    gated: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a known name with other slopes than it stands for."""
        wanted = _SLOPES.get(self.name)
        if wanted is not None and wanted != (self.on, self.off):
            raise ValueError(
                f"The activation {self.name!r} has the slopes {wanted}. Got {(self.on, self.off)}; "
                "choose another name, or leaky_relu(slope)."
            )

    def __call__(self, preactivation: FloatArray, gate: FloatArray | None = None) -> FloatArray:
        """Apply the activation elementwise.

        Parameters
        ----------
        preactivation : ndarray
            ``u.x`` for each sample and neuron.
        gate : ndarray of the same shape, optional
            ``g.x``; required when the activation is gated, ignored otherwise.

        Returns
        -------
        ndarray of the same shape
        """
        if self.gated and gate is None:
            raise ValueError(f"The activation {self.name!r} needs gates; got none.")
        side = gate if self.gated and gate is not None else preactivation
        if not self.gated and (self.on, self.off) == (1.0, 0.0):
            return np.maximum(preactivation, 0.0)
        if self.on == self.off:
            return self.on * preactivation
        return np.where(side >= 0, self.on, self.off) * preactivation


def leaky_relu(slope: float = 0.01) -> Activation:
    """Leaky ReLU with the given slope for negative inputs; raises ValueError unless ``0 <= slope < 1``."""
    if not 0 <= slope < 1:
        raise ValueError(f"The slope of a leaky ReLU must lie in [0, 1). Got {slope!r} instead.")
    return Activation("leaky_relu", off=float(slope))


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("relu"),
    "leaky_relu": leaky_relu(),
    "absolute_value": Activation("absolute_value", off=-1.0),
    "gated_relu": Activation("gated_relu", gated=True),
}

LINEAR = Activation("linear", off=1.0)
"""The identity: of linear convolutional networks only, since a dense one is a linear model."""


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation of that name, or `activation` itself if it is one already.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the known ones.
    """
    if isinstance(activation, Activation):
        return activation
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"Unknown activation {activation!r}. Choose one of {sorted(ACTIVATIONS)} "
            "or pass an Activation, for example leaky_relu(0.2)."
        )
    return ACTIVATIONS[activation]
