"""Second-order models of a smooth loss around given outputs."""

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.program import ConvexProgram

__all__ = ["LossModel"]


class LossModel:
    """``L(f + e) ~ L(f) + <g, e> + 1/2 |S' e|^2`` with ``S S'`` the loss's curvature, sample by sample.

    Parameters
    ----------
    program : ConvexProgram
    outputs : ndarray of shape (n, K)
        ``f``.
    beyond : ndarray of shape (n, K), optional
        Outputs that a step went to in vain. Where outputs do not interact the curvature is the larger of
        both places, so that the model sees a curvature that sets in behind a kink.

    Attributes
    ----------
    gradient : ndarray of shape (n, K)
        ``g``.
    coupled : bool
        Whether a sample's outputs interact; otherwise ``S`` is diagonal.
    root : ndarray of shape (n, K, K), or (n, K) if not coupled
        ``S``.
    """

    def __init__(self, program: ConvexProgram, outputs: FloatArray, beyond: FloatArray | None = None) -> None:
        loss, targets, weight = program.loss, program.targets, program.sample_weight
        self.gradient = loss.gradient(outputs, targets, weight)
        curvature = loss.curvature(outputs, targets, weight)
        diagonal = np.einsum("nkk->nk", curvature)
        off_diagonal = curvature * (1.0 - np.eye(curvature.shape[1]))
        self.coupled = bool(off_diagonal.any())
        if self.coupled:
            values, vectors = np.linalg.eigh(curvature)
            self.root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        else:
            if beyond is not None:
                there = np.einsum("nkk->nk", loss.curvature(beyond, targets, weight))
                diagonal = np.maximum(diagonal, there)
            self.root = np.sqrt(np.maximum(diagonal, 0.0))

    def weigh(self, outputs: FloatArray) -> FloatArray:
        """``S' outputs``, (n, K) -> (n, K)."""
        weighed = np.einsum("nkj,nk->nj", self.root, outputs) if self.coupled else self.root * outputs
        return np.asarray(weighed)

    def spread(self, dual: FloatArray) -> FloatArray:
        """``S dual``, (n, K) -> (n, K)."""
        spread = np.einsum("nkj,nj->nk", self.root, dual) if self.coupled else self.root * dual
        return np.asarray(spread)
