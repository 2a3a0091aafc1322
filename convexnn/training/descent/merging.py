"""Fewer neurons with about the same outputs."""

import numpy as np

from convexnn._typing import WordArray
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective

__all__ = ["merged"]

# Cosine of the angle between directions of outputs within which neurons of one pattern are merged.
_SAME_DIRECTION = 0.999


def merged(objective: Objective, neurons: Neurons) -> Neurons:
    """Add up neurons of one pattern that feed in the same direction, which cannot raise the objective.

    Where outputs are shared directions count as the same up to a small angle; what is left of them is then
    lost, so that a descent should follow.
    """
    if not len(neurons):
        return neurons
    bits = objective.layer.bits(neurons.weights)
    if objective.shared:
        return _merged_by_angle(objective, neurons, bits)
    kinds = (neurons.directions + 0.0).view(np.uint64)
    _, first, inverse = np.unique(np.hstack([bits, kinds]), axis=0, return_index=True, return_inverse=True)
    weights = np.zeros((len(first), neurons.weights.shape[1]))
    np.add.at(weights, inverse.ravel(), neurons.weights)
    return neurons.take(first).with_weights(weights)


def _merged_by_angle(objective: Objective, neurons: Neurons, bits: WordArray) -> Neurons:
    """Add up neurons of one pattern whose directions are close to that of the largest of them."""
    _, cells = np.unique(bits, axis=0, return_inverse=True)
    cells, left = cells.ravel(), np.ones(len(neurons), dtype=np.bool_)
    weights, feeds = [], []
    for j in np.argsort(-objective.norms(neurons.weights), kind="stable").tolist():
        if not left[j]:
            continue
        alike = left & (cells == cells[j]) & (neurons.directions @ neurons.directions[j] > _SAME_DIRECTION)
        left &= ~alike
        matrix = neurons.weights[alike].T @ neurons.directions[alike]
        feed = matrix.T @ (matrix @ neurons.directions[j])
        feed /= np.linalg.norm(feed)
        # With positive shares the sum stays in the cone of the pattern.
        weights.append((neurons.directions[alike] @ feed) @ neurons.weights[alike])
        feeds.append(feed)
    return Neurons(np.array(weights), np.array(feeds), neurons.intercept)
