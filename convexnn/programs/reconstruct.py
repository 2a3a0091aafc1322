"""Blocks to network and back: ``(u, a) = (v / sqrt|v|, +-sqrt|v|)``."""

from collections.abc import Hashable
from typing import cast

import numpy as np

from convexnn._typing import FloatArray, HiddenBias
from convexnn.networks import ConvNetwork, Network, Pooling, TwoLayerNetwork
from convexnn.patches import PatchGeometry
from convexnn.programs.masked_design import MaskedDesign
from convexnn_solvers import ConvexProgram

__all__ = ["blocks_from_network", "blocks_from_weights", "network_from_blocks", "network_weights"]


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
    """Map a feasible point of the convex program to the network with the same outputs and objective.

    A block ``v`` of output ``k`` becomes the neuron ``u = v / sqrt|v|`` with output weight ``+-sqrt|v|``
    on output ``k``, ``|.|`` over the penalised coordinates. Blocks are kept or dropped by their norm. A
    block with a free bias and zero slope is a constant and joins the output intercept.

    Parameters
    ----------
    program : ConvexProgram
        Over a `MaskedDesign`.
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

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, theorem 1.
    """
    design = cast(MaskedDesign, program.design)
    phi = design.activation
    norms = program.block_norms(blocks)
    signs = np.array([1.0, -1.0])[: program.n_signs]
    intercept = intercept.copy()
    if hidden_bias == "free":
        bias = np.where(norms == 0, blocks[..., -1], 0.0)
        intercept += design.positions * np.einsum("s,skp->k", signs, phi(bias))

    sign, output, pattern = np.nonzero(norms > 0)
    scale = np.sqrt(norms[sign, output, pattern])
    hidden = (blocks[sign, output, pattern] / scale[:, None]).T
    output_weights = np.zeros((scale.size, program.n_outputs))
    output_weights[np.arange(scale.size), output] = signs[sign] * scale
    has_bias = hidden_bias != "none"
    slopes = hidden[:-1] if has_bias else hidden
    biases = hidden[-1] if has_bias else np.zeros(scale.size)
    if patches is not None:
        return ConvNetwork(
            geometry=patches,
            hidden_weights=slopes,
            hidden_biases=biases,
            output_weights=output_weights,
            output_biases=intercept,
            pooling=pooling,
            activation=phi,
            hidden_bias=hidden_bias,
            classes=classes,
        )
    gates = None
    if phi.gated:
        gates = design.patterns.generators[pattern].T
        if not has_bias:
            gates = np.vstack([gates, np.zeros(scale.size)])
    return TwoLayerNetwork(
        hidden_weights=slopes,
        hidden_biases=biases,
        output_weights=output_weights,
        output_biases=intercept,
        activation=phi,
        hidden_bias=hidden_bias,
        gates=gates,
        classes=classes,
    )


def blocks_from_network(program: ConvexProgram, network: Network) -> tuple[FloatArray, FloatArray]:
    """Map a network to a point of the convex program with the same outputs; the inverse of the above.

    Each neuron is put into the cone of a listed pattern whose closure contains it; neurons of the same
    sign, output and pattern merge, which cannot raise the objective. A neuron with several output weights
    becomes one block for each output, for which the program pays ``|u| |a|_1`` instead of ``|u| |a|_2``.

    Parameters
    ----------
    program : ConvexProgram
        Of the same activation and hidden bias.
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
    deciding = None
    if isinstance(network, TwoLayerNetwork) and network.gates is not None:
        deciding = network.gates.T[:, : design.n_features]
        if network.gates[design.n_features :].any():
            raise ValueError(
                "The network's gates have a bias, but the program's data have no column of ones. "
                "Build the program with hidden_bias='penalized'."
            )
    blocks = blocks_from_weights(program, hidden, network.output_weights, deciding=deciding)
    return blocks, network.output_biases.copy()


def blocks_from_weights(
    program: ConvexProgram,
    hidden: FloatArray,
    output_weights: FloatArray,
    *,
    deciding: FloatArray | None = None,
) -> FloatArray:
    """Blocks of neurons; see `blocks_from_network`.

    Parameters
    ----------
    program : ConvexProgram
    hidden : ndarray of shape (m, d)
    output_weights : ndarray of shape (m, K)
    deciding : ndarray of shape (m, d), optional
        Vectors whose patterns count, the gates of gated neurons; `hidden` unless given.

    Returns
    -------
    ndarray of shape (S, K, P, d)
    """
    design = cast(MaskedDesign, program.design)
    patterns = design.owners(hidden if deciding is None else deciding)
    missing = int((patterns < 0).sum())
    if missing:
        raise ValueError(
            f"{missing} of {len(patterns)} neurons have patterns that the program does not list. "
            "Build it on the union with PatternSet.from_weights(X, weights)."
        )
    blocks = program.zeros()
    for k in range(program.n_outputs):
        weights = output_weights[:, k, None]
        parts = [np.maximum(weights, 0), np.maximum(-weights, 0)] if program.n_signs == 2 else [weights]
        for sign, amount in enumerate(parts):
            np.add.at(blocks[sign, k], patterns, amount * hidden)
    return blocks


def network_weights(network: Network) -> FloatArray:
    """Weights of the hidden units, shape (m, d), in the coordinates of the rows that they see."""
    rows = network.hidden_weights.T
    if network.hidden_bias == "none":
        return np.ascontiguousarray(rows)
    return np.hstack([rows, network.hidden_biases[:, None]])
