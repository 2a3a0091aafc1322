"""Convex programs of two-layer networks: problem and patterns in, program out; solution in, neurons out."""

from convexnn.programs.reconstruct import (
    blocks_from_network,
    blocks_from_neurons,
    network_from_blocks,
    neurons_from_blocks,
)
from convexnn.programs.two_layer import program_over, two_layer_program

__all__ = [
    "blocks_from_network",
    "blocks_from_neurons",
    "network_from_blocks",
    "neurons_from_blocks",
    "program_over",
    "two_layer_program",
]
