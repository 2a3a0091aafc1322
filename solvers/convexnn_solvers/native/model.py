"""Second-order models of a smooth loss around given outputs."""

from copy import copy

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.curvature import Curvature
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.threads import sum_of_parts

__all__ = ["LossModel"]

# Rows of a block, on average, up to which products of long vectors are faster than curvatures of all pairs of
# blocks: by 3 with 2 rows.
_FEW_ROWS = 4


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
    curvature : Curvature
        ``S S'``.
    root : ndarray of shape (n, K)
        The diagonal ``t`` in ``S = diag(t) (I - l l')``, all of it where a sample's outputs do not interact.
    """

    def __init__(self, program: ConvexProgram, outputs: FloatArray, with_slack: bool = True) -> None:
        loss, targets, weight = program.loss, program.targets, program.sample_weight
        self.gradient = loss.gradient(outputs, targets, weight)
        self.slack: FloatArray | None = None
        if loss.has_slack and with_slack:
            unit = np.full((len(weight), 1), 1.0 / loss.smoothness)
            self.slack = loss.shrink_slack(targets - outputs, targets, unit)
            self.curvature = Curvature((loss.smoothness * weight)[:, None] * np.ones_like(outputs))
        else:
            self.curvature = Curvature(*loss.curvature(outputs, targets, weight))
        self.root, self._lean = self.curvature.root()

    @property
    def coupled(self) -> bool:
        """Whether a sample's outputs interact; otherwise ``S`` is diagonal."""
        return self._lean is not None

    def weigh(self, outputs: FloatArray) -> FloatArray:
        """``S' outputs``, (n, K) -> (n, K)."""
        return self._without_lean(self.root * outputs)

    def spread(self, dual: FloatArray) -> FloatArray:
        """``S dual``, (n, K) -> (n, K)."""
        return self.root * self._without_lean(dual)

    def _without_lean(self, values: FloatArray) -> FloatArray:
        """``(I - l l') values``."""
        if self._lean is None:
            return values
        return np.asarray(values - self._lean * (self._lean * values).sum(axis=1, keepdims=True))

    def _weighed(self, feeds: FloatArray, outputs: slice) -> FloatArray:
        """Return some outputs of each sample's ``S' g`` for directions (b, K), (outputs, b, n)."""
        root = np.ascontiguousarray(self.root.T)
        weighed: FloatArray = feeds.T[outputs, :, None] * root[outputs, None, :]
        if self._lean is not None:
            lean = np.ascontiguousarray(self._lean.T)
            weighed -= lean[outputs, None, :] * (feeds @ (root * lean))
        return weighed

    def scaled(self, size: FloatArray) -> "LossModel":
        """Return the model with ``S`` divided by a diagonal, (n, K); for outputs that do not interact."""
        model = copy(self)
        model.curvature = Curvature(self.curvature.diagonal / size**2)
        model.root, _ = model.curvature.root()
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
        n_outputs = feeds.shape[1]
        members = [np.flatnonzero(feeds[:, k]) for k in range(n_outputs)]
        if sum(own.size for own in members) > len(rows):
            return self._gram_of_shared(rows, feeds)
        # Each feeds one output: blocks of the matrix for each pair of them.
        matrix = np.zeros((len(rows), len(rows)))
        for k, first in enumerate(members):
            left = rows[first] * feeds[first, k, None]
            for m, second in enumerate(members[: k + 1]):
                curvature = self.curvature.between(k, m)
                if curvature is not None:
                    block = (left * curvature) @ (rows[second] * feeds[second, m, None]).T
                    matrix[np.ix_(first, second)], matrix[np.ix_(second, first)] = block, block.T
        return matrix

    def _gram_of_shared(self, rows: FloatArray, feeds: FloatArray) -> FloatArray:
        """Return the same where coordinates of one block feed in the same direction."""
        ends = np.append(np.flatnonzero((np.diff(feeds, axis=0) != 0).any(axis=1)) + 1, len(rows))
        each, owners = feeds[ends - 1], np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        if len(rows) <= _FEW_ROWS * len(ends):

            def products(outputs: slice) -> FloatArray:
                matrix = np.zeros((len(rows), len(rows)))
                for weighed in self._weighed(each, outputs):
                    changes = weighed[owners]
                    changes *= rows
                    matrix += changes @ changes.T
                return matrix

            return sum_of_parts(products, feeds.shape[1], 2.0 * feeds.shape[1] * rows.size * len(rows))
        # Blocks of the matrix for each pair, at a cost that does not depend on the number of outputs.
        weighed, matrix = self._weighed(each, slice(None)), np.empty((len(rows), len(rows)))
        for j, (low, high) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            curvature = np.einsum("kn,kbn->bn", weighed[:, j], weighed[:, : j + 1])
            right = curvature[owners[:high]]
            right *= rows[:high]
            matrix[low:high, :high] = rows[low:high] @ right.T
            matrix[:low, low:high] = matrix[low:high, :low].T
        return matrix
