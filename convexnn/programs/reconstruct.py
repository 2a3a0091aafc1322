"""Blocks of a program to neurons of a network and back: ``(u, a) = (v / sqrt|v|, +-sqrt|v|)``."""

from collections.abc import Hashable
from typing import cast

import numpy as np

from convexnn._typing import FloatArray, HiddenBias
from convexnn.designs import MaskedDesign
from convexnn.networks import Network, Pooling, TwoLayerNetwork
from convexnn.patches import PatchGeometry
from convexnn.problem import NetworkKind, Neurons, network_weights
from convexnn.problem.problem import network_from_neurons
from convexnn_solvers import ConvexProgram

__all__ = ["blocks_from_network", "blocks_from_neurons", "network_from_blocks", "neurons_from_blocks"]


def neurons_from_blocks(program: ConvexProgram, blocks: FloatArray, intercept: FloatArray) -> Neurons:
    """Return the neurons of a feasible point of a program, one for each block whose **norm** is not zero.

    A block ``v`` of output ``k`` adds ``+-phi(x . v)`` to that output. A block with a free bias and zero
    slope is a constant and joins the output intercept.

    Parameters
    ----------
    program : ConvexProgram
        Over a `MaskedDesign`.
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)

    Returns
    -------
    Neurons
        In the coordinates of the program's rows.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, theorem 1.
    """
    design = cast(MaskedDesign, program.design)
    norms = program.block_norms(blocks)
    signs = np.array([1.0, -1.0])[: program.n_signs]
    intercept = intercept.copy()
    if not design.penalized.all():
        bias = np.where(norms == 0, blocks[..., -1], 0.0)
        intercept += design.positions * np.einsum("s,skp->k", signs, design.activation(bias))
    sign, output, pattern = np.nonzero(norms > 0)
    neurons = Neurons.separate(blocks[sign, output, pattern], signs[sign], output, intercept)
    if not design.activation.gated:
        return neurons
    gates = design.patterns.generators[pattern]
    return Neurons(neurons.weights, neurons.directions, intercept, gates)


def blocks_from_neurons(program: ConvexProgram, neurons: Neurons) -> tuple[FloatArray, FloatArray]:
    """Return a point of a program with the outputs of given neurons; the inverse of the above.

    Each neuron is put into the cone of a listed pattern whose closure contains it; neurons of the same
    sign, output and pattern merge, which cannot raise the objective. A neuron that feeds several outputs
    becomes one block for each, for which the program pays ``|u| |g|_1`` instead of ``|u|``.

    Parameters
    ----------
    program : ConvexProgram
    neurons : Neurons
        In the coordinates of the program's rows.

    Returns
    -------
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)

    Raises
    ------
    ValueError
        If a neuron's pattern is not among the program's.
    """
    design = cast(MaskedDesign, program.design)
    patterns = design.owners(neurons.weights if neurons.gates is None else neurons.gates)
    missing = int((patterns < 0).sum())
    if missing:
        raise ValueError(
            f"{missing} of {len(patterns)} neurons have patterns that the program does not list. "
            "Build it on the union with PatternSet.from_weights(X, weights)."
        )
    blocks = program.zeros()
    for k in range(program.n_outputs):
        amounts = neurons.directions[:, k, None]
        parts = [np.maximum(amounts, 0), np.maximum(-amounts, 0)] if program.n_signs == 2 else [amounts]
        for sign, amount in enumerate(parts):
            np.add.at(blocks[sign, k], patterns, amount * neurons.weights)
    return blocks, neurons.intercept.copy()


def network_from_blocks(
    program: ConvexProgram,
    blocks: FloatArray,
    intercept: FloatArray,
    *,
    hidden_bias: HiddenBias = "penalized",
    classes: tuple[Hashable, ...] | None = None,
    patches: PatchGeometry | None = None,
    pooling: Pooling = "average",
) -> Network:
    """Map a feasible point of a program to the network with the same outputs and objective.

    Parameters
    ----------
    program : ConvexProgram
        Over a `MaskedDesign`, on rows in the coordinates of the data.
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)
    hidden_bias : {"penalized", "free", "none"}
        What the last column of the program's rows is.
    classes : tuple, optional
        Class labels of a classifier.
    patches : PatchGeometry, optional
        Of the images, where the program's rows are their patches.
    pooling : {"average", "max"}
        Over these.

    Returns
    -------
    TwoLayerNetwork or ConvNetwork
    """
    activation = cast(MaskedDesign, program.design).activation
    kind = NetworkKind(activation, hidden_bias, program.fit_intercept, patches, pooling)
    return network_from_neurons(kind, neurons_from_blocks(program, blocks, intercept), classes)


def blocks_from_network(program: ConvexProgram, network: Network) -> tuple[FloatArray, FloatArray]:
    """Map a network to a point of a program with the same outputs; see `blocks_from_neurons`.

    Parameters
    ----------
    program : ConvexProgram
        Of the same activation and hidden bias, on rows in the coordinates of the data.
    network : TwoLayerNetwork or ConvNetwork

    Returns
    -------
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)

    Raises
    ------
    ValueError
        If the shapes differ or a neuron's pattern is not among the program's.
    """
    design = cast(MaskedDesign, program.design)
    hidden = network_weights(network)
    if network.n_outputs != program.n_outputs or hidden.shape[1] != design.n_features:
        raise ValueError(
            f"The network's hidden units have {hidden.shape[1]} weights and it has {network.n_outputs} "
            f"outputs, which does not fit a program with blocks of {design.n_features} weights and "
            f"{program.n_outputs} outputs."
        )
    gates = None
    if isinstance(network, TwoLayerNetwork) and network.gates is not None:
        gates = network.gates.T[:, : design.n_features]
        if network.gates[design.n_features :].any():
            raise ValueError(
                "The network's gates have a bias, but the program's data have no column of ones. "
                "Build the program with hidden_bias='penalized'."
            )
    return blocks_from_neurons(program, Neurons(hidden, network.output_weights, network.output_biases, gates))
