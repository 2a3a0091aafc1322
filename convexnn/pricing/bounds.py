"""What pricing asks and what it answers: the gain of a neuron, and bounds of the largest one."""

from dataclasses import dataclass, field

import numpy as np

from convexnn._typing import BoolArray, FloatArray

__all__ = ["SupportBounds", "gain", "has_free_bias"]


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


def gain(X: FloatArray, t: FloatArray, linear: FloatArray | None, U: FloatArray) -> FloatArray:
    """Return ``h(u) = g0 . u + sum_i t_i max(x_i . u, 0)`` at the columns of `U`.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    t : ndarray of shape (n,)
    linear : ndarray of shape (d,), optional
        ``g0``.
    U : ndarray of shape (d, m)

    Returns
    -------
    ndarray of shape (m,)
    """
    value: FloatArray = t @ np.maximum(X @ U, 0.0)
    return value if linear is None else value + linear @ U


def has_free_bias(X: FloatArray, penalized: BoolArray | None) -> bool:
    """Whether the last coordinate is a bias that is not penalised.

    Raises
    ------
    ValueError
        If anything else than a last column of ones is not penalised.
    """
    if penalized is None or penalized.all():
        return False
    if not penalized[:-1].all() or not (X[:, -1] == 1).all():
        raise ValueError("Only the last coordinate may be unpenalised, and its column must hold ones.")
    return True
