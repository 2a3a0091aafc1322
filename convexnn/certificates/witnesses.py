"""Neurons whose addition improves a network."""

import numpy as np
from scipy.optimize import minimize_scalar

from convexnn._typing import FloatArray
from convexnn.certificates.certificate import Witness
from convexnn.certificates.problem import CertificationProblem
from convexnn.losses import Softmax
from convexnn.networks import Network

__all__ = ["find_witness", "gains", "local_neurons"]

_MOST_TRIED = 12
_N_STARTS = 48
_EPS = float(np.finfo(np.float64).eps)


def find_witness(
    problem: CertificationProblem, network: Network, neurons: FloatArray, objective: float
) -> Witness | None:
    """Return the best addition of one neuron that was found, or None if none lowers the objective.

    A neuron ``(u, a)`` of unit norms, added with weight e, changes ``F`` by
    ``L(f + e phi(X~ u) a) - L(f) + alpha e``, which is convex in e; it falls at first if the gain of u at the
    gradient exceeds alpha.

    Parameters
    ----------
    problem : CertificationProblem
    network : TwoLayerNetwork or ConvNetwork
    neurons : ndarray of shape (m, d)
        Weights to try, in the coordinates of the layer's rows; local ascents add more.
    objective : float
        ``F`` of the network.

    Returns
    -------
    Witness or None
        Its objective is recomputed from the weights and below `objective`, in exact arithmetic too.
    """
    outputs = network.outputs(problem.X)
    least = objective - _objective_error(problem, network, objective)
    theta = -problem.loss.gradient(outputs, problem.targets, problem.sample_weight)
    candidates = np.vstack([neurons, local_neurons(problem, theta)])
    norms = np.linalg.norm(candidates[:, problem.penalized], axis=1)
    candidates = candidates[norms > 0] / norms[norms > 0, None]
    responses = problem.layer.responses(candidates)
    gains = np.einsum("nq,nrm->mrq", theta, responses, optimize=True)
    size = np.linalg.norm(gains, axis=(1, 2))
    order = np.argsort(-size)[:_MOST_TRIED]
    best: Witness | None = None
    for j in order[size[order] > problem.alpha]:
        direction = gains[j] / size[j]
        amount = _best_amount(problem, outputs, responses[:, :, j] @ direction)
        found = _with_neuron(problem, network, candidates[j], direction, amount)
        most = found.objective + _objective_error(problem, found.network, found.objective)
        if most < least and (best is None or found.objective < best.objective):
            best = found
    return best


def _objective_error(problem: CertificationProblem, network: Network, objective: float) -> float:
    """Bound how far F, as computed, is from that of the weights in exact arithmetic.

    Outputs are off by at most some units of rounding of the sizes of their terms. A loss changes by no more
    than that times its steepest slope on the way, which a convex function has at one of the ends.
    """
    layer, phi, loss = problem.layer, problem.activation, problem.loss
    rows, outputs = np.abs(layer.rows), network.outputs(problem.X)
    hidden = network.hidden_weights.T
    if problem.hidden_bias != "none":
        hidden = np.hstack([hidden, network.hidden_biases[:, None]])
    m, d = hidden.shape
    # Sizes that do not depend on the units of the features.
    units = np.maximum(rows.max(axis=0), np.finfo(np.float64).tiny)
    reach = np.linalg.norm(rows / units, axis=1).reshape(len(outputs), -1).sum(axis=1)
    amounts = np.abs(network.output_weights)
    amounts = amounts.sum(axis=tuple(range(1, amounts.ndim)))
    total = max(abs(phi.on), abs(phi.off)) * float(np.linalg.norm(hidden * units, axis=1) @ amounts)
    others = np.abs(outputs) + np.abs(network.output_biases) + np.abs(problem.targets)
    error = 2 * _EPS * (d + m + layer.positions + 16) * (reach[:, None] * total + others)
    ends = (outputs - error, outputs + error)
    slopes = [np.abs(loss.gradient(end, problem.targets, problem.sample_weight)) for end in ends]
    steepest: FloatArray = np.maximum(*slopes)
    if isinstance(loss, Softmax):  # not one function for each output
        steepest = problem.sample_weight[:, None]
    summing = 2 * _EPS * (outputs.size + m * d + network.output_weights.size + 16) * abs(objective)
    changing = float(np.sum(steepest * error)) * (1 + 1e-9)
    return changing + float(summing)


def gains(problem: CertificationProblem, theta: FloatArray, neurons: FloatArray) -> FloatArray:
    """Return ``|theta_k . layer(u)| / |u|`` for each neuron and output.

    Parameters
    ----------
    problem : CertificationProblem
    theta : ndarray of shape (n, K)
    neurons : ndarray of shape (m, d)
        In the coordinates of the layer's rows.

    Returns
    -------
    ndarray of shape (m, K)
        Zero for neurons of norm zero.
    """
    norms = np.linalg.norm(neurons[:, problem.penalized], axis=1)
    found = np.einsum("nq,nrm->mrq", theta, problem.layer.responses(neurons), optimize=True)
    size = np.linalg.norm(found, axis=1)
    return np.asarray(np.divide(size, norms[:, None], out=np.zeros_like(size), where=norms[:, None] > 0))


def local_neurons(problem: CertificationProblem, theta: FloatArray) -> FloatArray:
    """Return weights with locally largest gains for one output each.

    Parameters
    ----------
    problem : CertificationProblem
    theta : ndarray of shape (n, K)
        With the sign of ``-gradient``.

    Returns
    -------
    ndarray of shape (m, d)
        Distinct, in the coordinates of the layer's rows.
    """
    layer, free = problem.layer, problem.hidden_bias == "free"
    found = []
    for column in theta.T:
        # Kinks are the only biases that count where sums vanish; elsewhere they are still good ones.
        t = column - column.mean() if free else column
        weights, _ = layer.maxima(t, np.empty((0, layer.n_weights)), n_starts=_N_STARTS)
        distinct = np.unique(np.round(weights, 9), axis=0, return_index=True)[1]
        found.append(weights[np.sort(distinct)])
    return np.vstack(found)


def _best_amount(problem: CertificationProblem, outputs: FloatArray, change: FloatArray) -> float:
    """Minimise the convex ``e -> L(outputs + e change) + alpha e`` over ``e > 0``."""

    def value(amount: float) -> float:
        return (
            problem.loss.value(outputs + amount * change, problem.targets, problem.sample_weight)
            + problem.alpha * amount
        )

    spread = float(np.abs(outputs).max(initial=0.0) + np.abs(problem.targets).max(initial=0.0))
    end = 1e-9 * spread / max(float(np.abs(change).max(initial=0.0)), 1e-300)
    for _ in range(100):
        if value(2 * end) >= value(end):
            break
        end *= 2
    found = minimize_scalar(value, bounds=(0.0, 2 * end), method="bounded", options={"xatol": 1e-9 * end})
    return float(found.x)


def _with_neuron(
    problem: CertificationProblem,
    network: Network,
    unit: FloatArray,
    direction: FloatArray,
    amount: float,
) -> Witness:
    """Add the neuron of this size, its norms balanced, and recompute the objective."""
    root = np.sqrt(amount)
    weights = root * (unit if problem.hidden_bias == "none" else unit[:-1])
    bias = 0.0 if problem.hidden_bias == "none" else float(root * unit[-1])
    output_weights = root * (direction if network.output_weights.ndim == 3 else direction[0])
    larger = network.with_neuron(weights, bias, output_weights)
    objective = larger.objective(
        problem.X,
        problem.targets,
        alpha=problem.alpha,
        loss=problem.loss,
        sample_weight=problem.sample_weight,
    )
    return Witness(weights, bias, output_weights, objective, larger)
