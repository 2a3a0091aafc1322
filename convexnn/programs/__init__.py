"""Convex programs of two-layer networks: data and patterns in, program out; solution in, network out."""

from convexnn.programs.masked_design import MaskedDesign
from convexnn.programs.reconstruct import (
    blocks_from_network,
    blocks_from_weights,
    network_from_blocks,
    network_weights,
)
from convexnn.programs.two_layer import augment, check_bias, layer_program, two_layer_program

__all__ = [
    "MaskedDesign",
    "augment",
    "blocks_from_network",
    "blocks_from_weights",
    "check_bias",
    "layer_program",
    "network_from_blocks",
    "network_weights",
    "two_layer_program",
]
