"""Layers of PyTorch modules, read and written; torch is imported on use."""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from convexnn._typing import FloatArray
from convexnn.activations import ACTIVATIONS, LINEAR, Activation, leaky_relu
from convexnn.exceptions import import_extra
from convexnn.networks.neurons import as_relu, split

if TYPE_CHECKING:
    from convexnn.networks._base import BaseNetwork

__all__ = ["activation_layer", "as_array", "biases_of", "filled", "import_torch", "read_activation"]

N = TypeVar("N", bound="BaseNetwork")


def import_torch() -> Any:
    """Return the module torch; raise MissingExtraError where it is not installed."""
    return import_extra("torch", "torch", "Conversion to and from PyTorch")


def activation_layer(nn: Any, network: N) -> tuple[N, Any]:
    """Return the same function with an activation that PyTorch has, and that as a module."""
    phi = network.activation
    if not phi.gated and phi.on == 1 and 0 < phi.off <= 1:
        # Linear layers of width zero warn, hence at least one neuron, zero if need be.
        network = split(network, max(1, network.n_neurons))
        return network, nn.Identity() if phi == LINEAR else nn.LeakyReLU(phi.off)
    return as_relu(network, "PyTorch"), nn.ReLU()


def read_activation(nn: Any, layer: Any) -> Activation:
    """Return the activation of a ReLU or LeakyReLU module, linear for None."""
    if layer is None:
        return LINEAR
    return leaky_relu(layer.negative_slope) if isinstance(layer, nn.LeakyReLU) else ACTIVATIONS["relu"]


def filled(layer: Any, weight: FloatArray, bias: FloatArray) -> Any:
    """Return the layer with copies of these parameters, in the layer's own layout."""
    torch = import_torch()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def as_array(tensor: Any) -> FloatArray:
    """Return a float64 array of a tensor, wherever that is."""
    return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def biases_of(layer: Any) -> FloatArray:
    """Return the biases of a linear or convolutional layer, zeros where it has none."""
    return np.zeros(len(layer.weight)) if layer.bias is None else as_array(layer.bias)
