"""Conversion between two-layer networks and PyTorch modules; torch is imported on use."""

import sys
from typing import TYPE_CHECKING, Any, Literal

from convexnn.networks._torch_layers import (
    activation_layer,
    as_array,
    biases_of,
    filled,
    import_torch,
    read_activation,
)

if TYPE_CHECKING:
    from convexnn.networks.network import TwoLayerNetwork

__all__ = ["is_torch_module", "read_torch", "to_torch"]


def is_torch_module(thing: Any) -> bool:
    """Whether this is a ``torch.nn.Module``; torch is not imported, as whoever made a module has done so."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def to_torch(network: "TwoLayerNetwork", dtype: Any = None) -> Any:
    """Return a ``torch.nn.Sequential``; see :meth:`TwoLayerNetwork.to_torch`."""
    torch = import_torch()
    dtype = torch.float64 if dtype is None else dtype
    network, activation = activation_layer(torch.nn, network)
    first, last = (
        filled(torch.nn.Linear(*weights.shape, dtype=dtype), weights.T, biases)
        for weights, biases in zip(network.coefs, network.intercepts, strict=True)
    )
    return torch.nn.Sequential(first, activation, last)


def read_torch(module: Any, hidden_bias: Literal["penalized", "free"]) -> dict[str, Any]:
    """Return the constructor arguments of :class:`TwoLayerNetwork` that reproduce `module`.

    Raises
    ------
    ValueError
        If `module` is not ``Sequential(Linear, ReLU or LeakyReLU, Linear)``.
    MissingExtraError
        If torch is not installed.
    """
    nn = import_torch().nn
    layers = list(module) if isinstance(module, nn.Sequential) else []
    wanted = (nn.Linear, nn.ReLU | nn.LeakyReLU, nn.Linear)
    if len(layers) != 3 or not all(map(isinstance, layers, wanted)):
        found = ", ".join(type(layer).__name__ for layer in layers) or type(module).__name__
        raise ValueError(
            f"Wanted torch.nn.Sequential(Linear, ReLU or LeakyReLU, Linear). Got {found} instead; "
            "wrap the layers of other modules in a Sequential."
        )
    first, middle, last = layers
    return {
        "hidden_weights": as_array(first.weight).T,
        "hidden_biases": biases_of(first),
        "output_weights": as_array(last.weight).T,
        "output_biases": biases_of(last),
        "activation": read_activation(nn, middle),
        "hidden_bias": "none" if first.bias is None else hidden_bias,
    }
