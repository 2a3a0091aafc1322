"""Networks with one hidden layer as values: predictions, objective, pruning, splitting and conversions."""

from convexnn.networks.conv_network import ConvNetwork, Pooling
from convexnn.networks.network import TwoLayerNetwork

__all__ = ["ConvNetwork", "Pooling", "TwoLayerNetwork"]
