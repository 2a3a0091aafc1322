"""Networks with one hidden layer as values: predictions, objective, pruning, splitting and conversions."""

from typing import TypeAlias

from convexnn.networks.conv_network import ConvNetwork, Pooling
from convexnn.networks.network import TwoLayerNetwork

__all__ = ["ConvNetwork", "Network", "Pooling", "TwoLayerNetwork"]

Network: TypeAlias = TwoLayerNetwork | ConvNetwork
