"""Conversion between networks and PyTorch modules; torch is imported on use."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from convexnn._typing import FloatArray
from convexnn.activations import ACTIVATIONS, leaky_relu
from convexnn.exceptions import MissingExtraError
from convexnn.networks.neurons import as_relu, split

if TYPE_CHECKING:
    from convexnn.networks.network import TwoLayerNetwork

__all__ = ["read_torch", "to_torch"]


def _import_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "torch", "Conversion to and from PyTorch") from error
    return torch


def to_torch(network: "TwoLayerNetwork", dtype: Any = None) -> Any:
    """Return a ``torch.nn.Sequential``; see :meth:`TwoLayerNetwork.to_torch`."""
    torch = _import_torch()
    dtype = torch.float64 if dtype is None else dtype
    phi = network.activation
    if not phi.gated and phi.on == 1 and 0 < phi.off < 1:
        # Linear layers of width zero warn, hence at least one neuron, zero if need be.
        network = split(network, max(1, network.n_neurons))
        activation = torch.nn.LeakyReLU(phi.off)
    else:
        network = as_relu(network, "PyTorch")
        activation = torch.nn.ReLU()
    layers = [
        _linear(torch, weights, biases, dtype)
        for weights, biases in zip(network.coefs, network.intercepts, strict=True)
    ]
    return torch.nn.Sequential(layers[0], activation, layers[1])


def _linear(torch: Any, weights: FloatArray, biases: FloatArray, dtype: Any) -> Any:
    layer = torch.nn.Linear(*weights.shape, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights.T))
        layer.bias.copy_(torch.tensor(biases))
    return layer


def read_torch(module: Any, hidden_bias: Literal["penalized", "free"]) -> dict[str, Any]:
    """Return the constructor arguments of :class:`TwoLayerNetwork` that reproduce `module`.

    Raises
    ------
    ValueError
        If `module` is not ``Sequential(Linear, ReLU or LeakyReLU, Linear)``.
    MissingExtraError
        If torch is not installed.
    """
    nn = _import_torch().nn
    layers = list(module) if isinstance(module, nn.Sequential) else []
    wanted = (nn.Linear, nn.ReLU | nn.LeakyReLU, nn.Linear)
    if len(layers) != 3 or not all(map(isinstance, layers, wanted)):
        found = ", ".join(type(layer).__name__ for layer in layers) or type(module).__name__
        raise ValueError(
            f"Wanted torch.nn.Sequential(Linear, ReLU or LeakyReLU, Linear). Got {found} instead; "
            "wrap the layers of other modules in a Sequential."
        )
    first, middle, last = layers
    is_leaky = isinstance(middle, nn.LeakyReLU)
    return {
        "hidden_weights": _array(first.weight).T,
        "hidden_biases": _biases(first),
        "output_weights": _array(last.weight).T,
        "output_biases": _biases(last),
        "activation": leaky_relu(middle.negative_slope) if is_leaky else ACTIVATIONS["relu"],
        "hidden_bias": "none" if first.bias is None else hidden_bias,
    }


def _array(tensor: Any) -> FloatArray:
    return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def _biases(layer: Any) -> FloatArray:
    return np.zeros(layer.out_features) if layer.bias is None else _array(layer.bias)
