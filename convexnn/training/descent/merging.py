"""Fewer neurons with about the same outputs."""

import numpy as np

from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective

__all__ = ["clustered", "merged"]

# Cosines of the angles within which neurons count as one: of their weights, measured by answers, and of the
# directions in which they feed the outputs; the coarsest that raises the objective by no more than this.
_SAME_COSINES, _MOST_RISE = (0.95, 0.97, 0.99, 0.999), 3e-4
_TINY = float(np.finfo(np.float64).tiny)


def merged(objective: Objective, neurons: Neurons) -> Neurons:
    """Add up neurons of one pattern that feed in the same direction, which cannot raise the objective."""
    if not len(neurons):
        return neurons
    bits = objective.layer.bits(neurons.weights)
    kinds = (neurons.directions + 0.0).view(np.uint64)
    _, first, inverse = np.unique(np.hstack([bits, kinds]), axis=0, return_index=True, return_inverse=True)
    weights = np.zeros((len(first), neurons.weights.shape[1]))
    np.add.at(weights, inverse.ravel(), neurons.weights)
    return neurons.take(first).with_weights(weights)


def clustered(objective: Objective, neurons: Neurons) -> Neurons:
    """Add up neurons that are alike; what differs is lost, so that a descent should follow.

    A descent leaves neurons close beside one another that further steps would bring together slowly.
    """
    if not len(neurons):
        return neurons
    answers = objective.standardised(neurons.weights)
    answers /= np.maximum(np.linalg.norm(answers, axis=1, keepdims=True), _TINY)
    feeds = neurons.directions
    likeness = np.minimum(answers @ answers.T, feeds @ feeds.T)
    most = (1 + _MOST_RISE) * objective.value(neurons)
    for cosine in _SAME_COSINES:
        fewer = _added_up(neurons, _alike(likeness > cosine, objective.norms(neurons.weights)))
        if objective.value(fewer) <= most:
            return fewer
    return neurons


def _alike(likeness: BoolArray, sizes: FloatArray) -> list[IntArray]:
    """Group neurons, the largest first with all that are like it and not in a group yet."""
    left, groups = np.ones(len(sizes), dtype=np.bool_), []
    for j in np.argsort(-sizes, kind="stable").tolist():
        if left[j]:
            alike = left & likeness[j]
            alike[j] = True
            left &= ~alike
            alike[j] = False
            # The largest one leads.
            groups.append(np.append(j, np.flatnonzero(alike)))
    return groups


def _added_up(neurons: Neurons, groups: list[IntArray]) -> Neurons:
    """Return for each group the neuron whose rank-one matrix is closest to the sum of the group's."""
    leaders = np.array([group[0] for group in groups])
    weights, feeds = neurons.weights[leaders], neurons.directions[leaders]
    for j, group in enumerate(groups):
        if len(group) > 1:
            matrix = neurons.weights[group].T @ neurons.directions[group]
            # In a unit in which squares of tiny weights are not zero.
            scaled = matrix / np.abs(matrix).max()
            feed = scaled.T @ (scaled @ feeds[j])
            feeds[j] = feed / np.linalg.norm(feed)
            weights[j] = matrix @ feeds[j]
    return Neurons(weights, feeds, neurons.intercept)
