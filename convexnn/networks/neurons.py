"""Rewriting networks neuron by neuron: select, balance, merge, split, express by ReLU."""

import operator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from convexnn._typing import FloatArray, IntArray
from convexnn.activations import ACTIVATIONS

if TYPE_CHECKING:
    from convexnn.networks._base import BaseNetwork

__all__ = ["as_relu", "balance", "layer_norms", "merge_collinear", "penalties", "select", "split"]

N = TypeVar("N", bound="BaseNetwork")


def select(
    network: N,
    indices: IntArray,
    hidden_scale: FloatArray | None = None,
    output_scale: FloatArray | None = None,
) -> N:
    """Return the network made of the neurons `indices` (repetition allowed), each layer rescaled.

    Parameters
    ----------
    network : TwoLayerNetwork or ConvNetwork
    indices : ndarray of shape (m,), intp
    hidden_scale, output_scale : ndarray of shape (m,), optional
        Factors of ``(u_j, b_j)`` and of ``a_j``; ones unless given.

    Returns
    -------
    network of the same class
        With m neurons and the same output biases.
    """
    hidden = np.ones(len(indices)) if hidden_scale is None else hidden_scale
    output = np.ones(len(indices)) if output_scale is None else output_scale
    # Output weights have one or two axes behind the neurons'.
    factors = output.reshape(-1, *(1,) * (network.output_weights.ndim - 1))
    return replace(
        network,
        hidden_weights=network.hidden_weights[:, indices] * hidden,
        hidden_biases=network.hidden_biases[indices] * hidden,
        output_weights=network.output_weights[indices] * factors,
        **({} if network.gates is None else {"gates": network.gates[:, indices]}),
    )


def _row_norms(rows: FloatArray) -> FloatArray:
    """Euclidean norms of rows without overflow or underflow of the squares."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    scaled = rows / np.where(largest > 0, largest, 1.0)[:, None]
    return np.asarray(largest * np.sqrt(np.sum(scaled**2, axis=1)))


def layer_norms(network: "BaseNetwork") -> tuple[FloatArray, FloatArray]:
    """Return the norms of ``u_j`` (with the bias when it is penalised) and of ``a_j``."""
    rows = network.hidden_weights.T
    if network.hidden_bias == "penalized":
        rows = np.column_stack([rows, network.hidden_biases])
    return _row_norms(rows), _row_norms(network.output_rows)


def penalties(network: "BaseNetwork") -> FloatArray:
    """Return each neuron's share ``1/2 (|u_j|^2 + [b_j^2] + |a_j|^2)`` of the regulariser."""
    inner, outer = layer_norms(network)
    return 0.5 * (inner**2 + outer**2)


def balance(network: N) -> N:
    """Return the same function with ``|u_j| = |a_j|``; see :meth:`BaseNetwork.balanced`.

    By the inequality of arithmetic and geometric means, ``|u_j|^2 + |a_j|^2 >= 2 |u_j| |a_j|``, with
    equality at the result.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020 (rescaling of neurons).
    """
    inner, outer = layer_norms(network)
    flat = (inner == 0) & (outer > 0)
    if not network.activation.gated:
        # Neurons with zero slope have the same output on any sample.
        constant = select(network, np.flatnonzero(flat)).outputs(np.zeros((1, network.n_features)))
        network = replace(network, output_biases=constant.reshape(-1, network.n_outputs)[0])
    unscaled = flat & network.activation.gated & (network.hidden_biases != 0)
    kept = np.flatnonzero(((inner > 0) & (outer > 0)) | unscaled)
    scale = np.ones(len(kept))
    moved = ~unscaled[kept]
    scale[moved] = np.sqrt(outer[kept][moved]) / np.sqrt(inner[kept][moved])
    return select(network, kept, scale, 1.0 / scale)


def merge_collinear(network: N) -> N:
    """Return the same function with neurons of positively proportional ``(u_j, b_j)`` made one.

    Output weights add up, and norms obey the triangle inequality, so that F of the balanced result is not
    larger. Proportional means equal to 13 digits in each entry after scaling by the largest one; gates,
    where there are any, must be equal.

    Parameters
    ----------
    network : TwoLayerNetwork or ConvNetwork
        Balanced.

    Returns
    -------
    network of the same class
        Balanced.
    """
    if network.n_neurons < 2:
        return network
    rows = np.column_stack([network.hidden_weights.T, network.hidden_biases])
    size = np.abs(rows).max(axis=1)
    mantissa, exponent = np.frexp(rows / size[:, None])
    keys = [np.round(mantissa, 13), exponent.astype(np.float64)]
    if network.gates is not None:
        keys.append(network.gates.T)
    _, first, group = np.unique(np.hstack(keys), axis=0, return_index=True, return_inverse=True)
    if len(first) == network.n_neurons:
        return network
    group = group.ravel()
    rescaled = select(network, np.arange(network.n_neurons), output_scale=size / size[first][group])
    merged = np.zeros((len(first), *network.output_weights.shape[1:]))
    np.add.at(merged, group, rescaled.output_weights)
    order = np.argsort(first)
    chosen = select(network, first[order])
    return balance(replace(chosen, output_weights=merged[order]))


def split(network: N, m: int) -> N:
    """Return the same function and objective with `m` neurons; see :meth:`BaseNetwork.split`."""
    m = operator.index(m)
    n_neurons = network.n_neurons
    if m < n_neurons:
        raise ValueError(
            f"Cannot split {n_neurons} neurons into {m}: m must be at least {n_neurons}. "
            "Use prune(X) to obtain fewer neurons."
        )
    if n_neurons == 0:
        return replace(
            network,
            hidden_weights=np.zeros((len(network.hidden_weights), m)),
            hidden_biases=np.zeros(m),
            output_weights=np.zeros((m, *network.output_weights.shape[1:])),
            **({} if network.gates is None else {"gates": np.zeros((len(network.gates), m))}),
        )
    copies: NDArray[np.intp] = np.full(n_neurons, m // n_neurons, dtype=np.intp)
    copies[: m % n_neurons] += 1
    indices = np.repeat(np.arange(n_neurons), copies)
    scale = np.sqrt(1.0 / copies[indices])
    return select(network, indices, scale, scale)


def as_relu(network: N, target: str) -> N:
    """Return the same function with ReLU neurons, by ``phi(t) = on relu(t) - off relu(-t)``.

    The objective is another one: weights are not balanced and neurons may double.

    Parameters
    ----------
    network : TwoLayerNetwork or ConvNetwork
    target : str
        What the result is for, named in the error.

    Returns
    -------
    network of the same class
        With at least one neuron, zero if need be.

    Raises
    ------
    ValueError
        If the activation is gated.
    """
    phi = network.activation
    if phi.gated:
        raise ValueError(
            f"A network with the gated activation {phi.name!r} has no equivalent in {target}: its gates are "
            "not functions of its weights. Fit with activation='relu' instead."
        )
    sides = [(sign, slope) for sign, slope in ((1.0, phi.on), (-1.0, -phi.off)) if slope != 0]
    relu = replace(
        network,
        hidden_weights=np.hstack([sign * network.hidden_weights for sign, _ in sides]),
        hidden_biases=np.hstack([sign * network.hidden_biases for sign, _ in sides]),
        output_weights=np.concatenate([slope * network.output_weights for _, slope in sides]),
        activation=ACTIVATIONS["relu"],
    )
    return relu if relu.n_neurons else split(relu, 1)
