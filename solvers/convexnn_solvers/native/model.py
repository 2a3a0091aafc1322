"""Second-order models of a smooth loss around given outputs."""

from copy import copy

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.program import ConvexProgram

__all__ = ["LossModel"]


class LossModel:
    """``L(f + e) ~ L(f) + <g, e> + 1/2 |S' e|^2`` with ``S S'`` the loss's curvature, sample by sample.

    A loss with slack is ``min_e Q(f + e) + psi(e)`` with a quadratic ``Q``; it is ``Q`` that is modelled,
    around the best slack, and exactly so. The slack is then a variable of its own.

    Parameters
    ----------
    program : ConvexProgram
    outputs : ndarray of shape (n, K)
        ``f``.
    with_slack : bool
        Whether slack is a variable; otherwise the loss itself is modelled.

    Attributes
    ----------
    gradient : ndarray of shape (n, K)
        ``g``.
    slack : ndarray of shape (n, K) or None
        The best slack at the outputs, for a loss that has one.
    coupled : bool
        Whether a sample's outputs interact; otherwise ``S`` is diagonal.
    root : ndarray of shape (n, K, K), or (n, K) if not coupled
        ``S``.
    """

    def __init__(self, program: ConvexProgram, outputs: FloatArray, with_slack: bool = True) -> None:
        loss, targets, weight = program.loss, program.targets, program.sample_weight
        self.gradient = loss.gradient(outputs, targets, weight)
        self.slack: FloatArray | None = None
        self.coupled = False
        if loss.has_slack and with_slack:
            unit = np.full((len(weight), 1), 1.0 / loss.smoothness)
            self.slack = loss.shrink_slack(targets - outputs, targets, unit)
            self.root = np.sqrt(loss.smoothness * weight)[:, None] * np.ones_like(outputs)
            return
        curvature = loss.curvature(outputs, targets, weight)
        self.coupled = bool((curvature * (1.0 - np.eye(curvature.shape[1]))).any())
        if self.coupled:
            values, vectors = np.linalg.eigh(curvature)
            self.root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        else:
            self.root = np.sqrt(np.maximum(np.einsum("nkk->nk", curvature), 0.0))

    def weigh(self, outputs: FloatArray) -> FloatArray:
        """``S' outputs``, (n, K) -> (n, K)."""
        weighed = np.einsum("nkj,nk->nj", self.root, outputs) if self.coupled else self.root * outputs
        return np.asarray(weighed)

    def spread(self, dual: FloatArray) -> FloatArray:
        """``S dual``, (n, K) -> (n, K)."""
        spread = np.einsum("nkj,nj->nk", self.root, dual) if self.coupled else self.root * dual
        return np.asarray(spread)

    def _weighed(self, feeds: FloatArray) -> FloatArray:
        """``S' g`` of each sample for directions (b, K), (n, b, K)."""
        if not self.coupled:
            return np.asarray(self.root[:, None, :] * feeds)
        return np.asarray(np.matmul(feeds, self.root))

    def scaled(self, size: FloatArray) -> "LossModel":
        """Return the model with ``S`` divided by a diagonal, (n, K); for outputs that do not interact."""
        model = copy(self)
        model.root = self.root / size
        return model

    def gram(self, rows: FloatArray, feeds: FloatArray) -> FloatArray:
        """Return the curvature in coordinates that change the outputs by ``rows[q] g_q'`` each.

        Parameters
        ----------
        rows : ndarray of shape (q, n)
        feeds : ndarray of shape (q, K)
            Directions ``g``.

        Returns
        -------
        ndarray of shape (q, q)
        """
        n_outputs, matrix = feeds.shape[1], np.zeros((len(rows), len(rows)))
        members = [np.flatnonzero(feeds[:, k]) for k in range(n_outputs)]
        if sum(own.size for own in members) > len(rows):
            # Coordinates of one block feed in the same direction: blocks of the matrix for each of these, at
            # a cost that does not depend on the number of outputs.
            ends = np.append(np.flatnonzero((np.diff(feeds, axis=0) != 0).any(axis=1)) + 1, len(rows))
            weighed = self._weighed(feeds[ends - 1])
            parts = [slice(low, high) for low, high in zip([0, *ends[:-1]], ends, strict=True)]
            right = np.empty_like(rows)
            for j, part in enumerate(parts):
                curvature = np.einsum("nj,nbj->bn", weighed[:, j], weighed[:, : j + 1])
                for k in range(j + 1):
                    np.multiply(rows[parts[k]], curvature[k], out=right[parts[k]])
                matrix[part, : part.stop] = rows[part] @ right[: part.stop].T
                matrix[: part.start, part] = matrix[part, : part.start].T
            return matrix
        # Each feeds one output: blocks of the matrix for each pair of them.
        for k, first in enumerate(members):
            left = rows[first] * feeds[first, k, None]
            for m, second in enumerate(members[: k + 1] if self.coupled else []):
                curvature = np.einsum("nj,nj->n", self.root[:, k], self.root[:, m])
                block = (left * curvature) @ (rows[second] * feeds[second, m, None]).T
                matrix[np.ix_(first, second)], matrix[np.ix_(second, first)] = block, block.T
            if not self.coupled:
                matrix[np.ix_(first, first)] = (left * self.root[:, k] ** 2) @ left.T
        return matrix
