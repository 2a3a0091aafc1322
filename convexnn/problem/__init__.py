"""What is trained or certified: data, kind of networks, strength; checked, merged, conditioned once."""

from convexnn.problem.data import TrainingData, check_sample_weight, encode_classes
from convexnn.problem.kind import NetworkKind, augment, check_bias, penalized_weights
from convexnn.problem.neurons import Neurons
from convexnn.problem.problem import Problem, assemble_network, network_weights
from convexnn.problem.samples import Samples, merge_samples

__all__ = [
    "NetworkKind",
    "Neurons",
    "Problem",
    "Samples",
    "TrainingData",
    "assemble_network",
    "augment",
    "check_bias",
    "check_sample_weight",
    "encode_classes",
    "merge_samples",
    "network_weights",
    "penalized_weights",
]
