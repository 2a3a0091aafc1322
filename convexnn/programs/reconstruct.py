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

# How far from a listed direction, entry by entry, one may be to count as the same.
_SAME_DIRECTION = 1e-12


def neurons_from_blocks(program: ConvexProgram, blocks: FloatArray, intercept: FloatArray) -> Neurons:
    """Return the neurons of a feasible point of a program, one for each block whose **norm** is not zero.

    A block ``v`` that feeds the outputs in the direction ``g`` adds ``phi(x . v) g`` to them; ``g`` is a
    coordinate vector or minus one where outputs are separate. A block with a free bias and zero slope is a
    constant and joins the output intercept.

    Parameters
    ----------
    program : ConvexProgram
        Over a `MaskedDesign`.
    blocks : ndarray of shape (S, K, P, d), or (1, M, P, d) with directions
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
    flat, norms = blocks.reshape(-1, blocks.shape[-1]), program.block_norms(blocks).ravel()
    intercept = intercept.copy()
    if not design.penalized.all():
        constant = np.flatnonzero((norms == 0) & (flat[:, -1] != 0))
        values = design.positions * design.activation(flat[constant, -1])
        intercept += values @ program.feeds(constant)
    slots = np.flatnonzero(norms > 0)
    gates = design.patterns.generators[slots % design.n_blocks] if design.activation.gated else None
    return Neurons(flat[slots], program.feeds(slots), intercept, gates)


def blocks_from_neurons(program: ConvexProgram, neurons: Neurons) -> tuple[FloatArray, FloatArray]:
    """Return a point of a program with the outputs of given neurons; the inverse of the above.

    Each neuron is put into the cone of a listed pattern whose closure contains it; neurons of the same
    pattern and direction merge, which cannot raise the objective. Where outputs are separate a neuron that
    feeds several of them becomes one block for each, for which the program pays ``|u| |g|_1`` instead of
    ``|u|``.

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
        If a neuron's pattern, or its direction, is not among the program's.
    """
    design = cast(MaskedDesign, program.design)
    patterns = design.owners(neurons.cells)
    missing = int((patterns < 0).sum())
    if missing:
        raise ValueError(
            f"{missing} of {len(patterns)} neurons have patterns that the program does not list. "
            "Build it on the union with PatternSet.from_weights(X, weights)."
        )
    blocks = program.zeros()
    if program.directions is not None:
        alike = np.einsum("mjk,jk->mj", program.directions[:, patterns], neurons.directions)
        layers = alike.argmax(axis=0)
        found = program.directions[layers, patterns]
        if not np.allclose(found, neurons.directions, rtol=0.0, atol=_SAME_DIRECTION):
            raise ValueError(
                "A neuron feeds the outputs in a direction that the program does not list for its pattern. "
                "Build the program with that direction."
            )
        np.add.at(blocks[0], (layers, patterns), neurons.weights)
        return blocks, neurons.intercept.copy()
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
