"""What pricing answers: bounds of the largest gain of a neuron."""

from dataclasses import dataclass, field

import numpy as np

from convexnn._typing import FloatArray

__all__ = ["SupportBounds"]


@dataclass(frozen=True, eq=False)
class SupportBounds:
    r"""Two-sided bounds of ``H = max {|h(u)| : |u| <= 1}``, ``h(u) = g0 . u + sum_i t_i max(x_i . u, 0)``.

    Attributes
    ----------
    lower : float
        ``|h(weights)|``, as evaluated.
    upper : float
        Never below H: rounding is accounted for.
    weights : ndarray of shape (d,)
        Where `lower` is attained; its penalised part has norm 1 (or all is zero where none was found).
    sign : float
        Sign of ``h(weights)``.
    n_nodes : int
        Cells or boxes that were looked at.
    complete : bool
        Whether the search ended by itself and not at a limit.
    others : ndarray of shape (m, d)
        Other weights of large value that the search met, if it looks for several.
    """

    lower: float
    upper: float
    weights: FloatArray
    sign: float
    n_nodes: int
    complete: bool
    others: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
