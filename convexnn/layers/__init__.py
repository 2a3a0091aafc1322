"""What a hidden unit is: its rows of a sample, patterns, responses, gains and design."""

from convexnn.layers.grouped import GroupedLayer, MaxLayer
from convexnn.layers.pooling import hidden_layer
from convexnn.layers.summed import HiddenLayer
from convexnn.layers.weighted import WeightedLayer

__all__ = ["GroupedLayer", "HiddenLayer", "MaxLayer", "WeightedLayer", "hidden_layer"]
