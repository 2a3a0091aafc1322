"""Two-layer networks as values: predictions, objective, pruning, splitting and conversions."""

from convexnn.networks.network import TwoLayerNetwork

__all__ = ["TwoLayerNetwork"]
