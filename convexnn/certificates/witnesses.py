"""Neurons whose addition improves a network."""

import numpy as np
from scipy.optimize import minimize_scalar

from convexnn._typing import FloatArray
from convexnn.certificates.certificate import Witness
from convexnn.networks import Network
from convexnn.problem import Problem, network_weights
from convexnn_solvers.clock import Clock

__all__ = ["find_witness"]

# Neurons of the largest gains whose best amounts are looked for, and starts of the ascents that find them:
# the largest gain is that of the best neuron but for a few percent, so that a handful is enough.
_MOST_TRIED = 12
_N_STARTS = 48
# Of a limit of time, the share of the ascents.
_ASCENDING_SHARE = 0.7
_EPS = float(np.finfo(np.float64).eps)


def find_witness(
    problem: Problem, network: Network, neurons: FloatArray, objective: float, clock: Clock
) -> Witness | None:
    """Return the best addition of one neuron that was found, or None if none lowers the objective.

    A neuron ``(u, a)`` of unit norms, added with weight e, changes ``F`` by
    ``L(f + e phi(X~ u) a) - L(f) + alpha e``, which is convex in e; it falls at first if the gain of u at the
    gradient exceeds alpha.

    Parameters
    ----------
    problem : Problem
    network : TwoLayerNetwork or ConvNetwork
    neurons : ndarray of shape (m, d)
        Weights to try, in the coordinates of the layer's rows; local ascents add more.
    objective : float
        ``F`` of the network.
    clock : Clock
        When it is over the best neuron so far is returned.

    Returns
    -------
    Witness or None
        Its objective is recomputed from the weights and below `objective`, in exact arithmetic too.
    """
    data, layer = problem.data, problem.original_layer
    outputs = network.outputs(data.X).reshape(data.targets.shape)
    least = objective - _objective_error(problem, network, objective)
    theta = -problem.loss.gradient(outputs, data.targets, data.weight)
    candidates = np.vstack([neurons, _local_neurons(problem, theta, clock.share(_ASCENDING_SHARE))])
    norms = np.linalg.norm(candidates[:, layer.penalized], axis=1)
    candidates = candidates[norms > 0] / norms[norms > 0, None]
    responses = layer.responses(candidates)
    gains = np.einsum("nq,nrm->mrq", theta, responses, optimize=True)
    size = np.linalg.norm(gains, axis=(1, 2))
    order = np.argsort(-size)[:_MOST_TRIED]
    best: Witness | None = None
    for j in order[size[order] > problem.alpha]:
        if best is not None and clock.expired:
            break
        direction = gains[j] / size[j]
        amount = _best_amount(problem, outputs, responses[:, :, j] @ direction)
        found = _with_neuron(problem, network, candidates[j], direction, amount)
        most = found.objective + _objective_error(problem, found.network, found.objective)
        if most < least and (best is None or found.objective < best.objective):
            best = found
    return best


def _objective_error(problem: Problem, network: Network, objective: float) -> float:
    """Bound how far F, as computed, is from that of the weights in exact arithmetic.

    Outputs are off by at most some units of rounding of the sizes of their terms. A loss changes by no more
    than that times its steepest slope on the way, which a convex function has at one of the ends.
    """
    data, layer, phi, loss = problem.data, problem.original_layer, problem.kind.activation, problem.loss
    rows, outputs = np.abs(layer.rows), network.outputs(data.X).reshape(data.targets.shape)
    hidden = network_weights(network)
    m, d = hidden.shape
    # Sizes that do not depend on the units of the features.
    units = np.maximum(rows.max(axis=0), np.finfo(np.float64).tiny)
    reach = np.linalg.norm(rows / units, axis=1).reshape(len(outputs), -1).sum(axis=1)
    amounts = np.abs(network.output_weights)
    amounts = amounts.sum(axis=tuple(range(1, amounts.ndim)))
    total = max(abs(phi.on), abs(phi.off)) * float(np.linalg.norm(hidden * units, axis=1) @ amounts)
    others = np.abs(outputs) + np.abs(network.output_biases) + np.abs(data.targets)
    error = 2 * _EPS * (d + m + layer.positions + 16) * (reach[:, None] * total + others)
    ends = (outputs - error, outputs + error)
    slopes = [np.abs(loss.gradient(end, data.targets, data.weight)) for end in ends]
    steepest: FloatArray = np.maximum(*slopes)
    if loss.shift_invariant:  # not one function for each output
        steepest = data.weight[:, None]
    summing = 2 * _EPS * (outputs.size + m * d + network.output_weights.size + 16) * abs(objective)
    changing = float(np.sum(steepest * error)) * (1 + 1e-9)
    return changing + float(summing)


def _local_neurons(problem: Problem, theta: FloatArray, clock: Clock) -> FloatArray:
    """Return weights, (m, d), with the largest gains that were found for one output each at theta, (n, K)."""
    layer, free = problem.original_layer, problem.kind.hidden_bias == "free"
    found = []
    for k, column in enumerate(theta.T):
        # Kinks are the only biases that count where sums vanish; elsewhere they are still good ones.
        t = column - column.mean() if free else column
        time_limit = clock.share(1 / (theta.shape[1] - k)).time_limit
        none = np.empty((0, layer.n_weights))
        weights, _ = layer.maxima(t, none, n_starts=_N_STARTS, time_limit=time_limit)
        distinct = np.unique(np.round(weights, 9), axis=0, return_index=True)[1]
        found.append(weights[np.sort(distinct)[:_N_STARTS]])
    return np.vstack(found)


def _best_amount(problem: Problem, outputs: FloatArray, change: FloatArray) -> float:
    """Minimise the convex ``e -> L(outputs + e change) + alpha e`` over ``e > 0``."""
    data = problem.data

    def value(amount: float) -> float:
        moved = outputs + amount * change
        return problem.loss.value(moved, data.targets, data.weight) + problem.alpha * amount

    spread = float(np.abs(outputs).max(initial=0.0) + np.abs(data.targets).max(initial=0.0))
    end = 1e-9 * spread / max(float(np.abs(change).max(initial=0.0)), 1e-300)
    for _ in range(100):
        if value(2 * end) >= value(end):
            break
        end *= 2
    found = minimize_scalar(value, bounds=(0.0, 2 * end), method="bounded", options={"xatol": 1e-9 * end})
    return float(found.x)


def _with_neuron(
    problem: Problem,
    network: Network,
    unit: FloatArray,
    direction: FloatArray,
    amount: float,
) -> Witness:
    """Add the neuron of this size, its norms balanced, and recompute the objective."""
    root = np.sqrt(amount)
    weights = root * (unit if problem.kind.hidden_bias == "none" else unit[:-1])
    bias = 0.0 if problem.kind.hidden_bias == "none" else float(root * unit[-1])
    output_weights = root * (direction if network.output_weights.ndim == 3 else direction[0])
    larger = network.with_neuron(weights, bias, output_weights)
    return Witness(weights, bias, output_weights, problem.objective(larger), larger)
