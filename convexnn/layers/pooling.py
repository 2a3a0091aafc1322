"""Which layer a way of pooling makes."""

from convexnn._typing import BoolArray, FloatArray
from convexnn.activations import Activation
from convexnn.layers.grouped import MaxLayer
from convexnn.layers.summed import HiddenLayer
from convexnn.layers.weighted import WeightedLayer

__all__ = ["POOLINGS", "hidden_layer"]

POOLINGS: dict[str | None, type[HiddenLayer]] = {
    "average": HiddenLayer,
    "max": MaxLayer,
    "weighted": WeightedLayer,
    # Without pooling there is a target for each row, so that rows are samples of their own.
    None: HiddenLayer,
}


def hidden_layer(
    rows: FloatArray, positions: int, activation: Activation, penalized: BoolArray, pooling: str | None
) -> HiddenLayer:
    """Return the layer of a way of pooling.

    Parameters
    ----------
    rows : ndarray of shape (n K, d)
        As the neurons see them, one sample after another.
    positions : int
        K.
    activation : Activation
    penalized : ndarray of bool, shape (d,)
    pooling : {"average", "max", "weighted"} or None

    Returns
    -------
    HiddenLayer

    Raises
    ------
    ValueError
        If the pooling is another one.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {list(POOLINGS)}. Got {pooling!r} instead.")
    return POOLINGS[pooling](rows, positions, activation, penalized)
