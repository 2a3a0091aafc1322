"""Programs with the nuclear norm of a matrix, as convex programs of a single block.

The block of each output is a matrix ``Z_k`` of shape ``(m, h)``, flattened; the norm is joint over outputs::

    minimise  L(f) + alpha * |[Z_1; ...; Z_K]|_*,      f[i, k] = <X_i, Z_k> + c[k]
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from scipy import linalg

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.program import ConvexProgram, Design

__all__ = ["MatrixDesign", "SpectralProgram", "operator_norm"]


def operator_norm(matrix: FloatArray) -> float:
    """Largest singular value of a matrix, 0 of an empty one."""
    return float(linalg.svdvals(matrix).max(initial=0.0)) if matrix.size else 0.0


class MatrixDesign(Design, Protocol):
    """One block without cones, whose weights are a matrix.

    `support` returns the operator norm of the gradients of all outputs, one matrix below the other, for
    every output.
    """

    @property
    def matrices(self) -> FloatArray:
        """``X_i``, shape ``(n, m, h)``; the block's weights are ``m`` rows of ``h`` numbers."""


@dataclass(frozen=True, eq=False)
class SpectralProgram(ConvexProgram):
    """Data of one program with a nuclear norm (see the module's formula).

    Points, bounds and gaps are measured as those of any `ConvexProgram`; `solve_spectral` solves it. Its
    dual asks for ``|sum_i [theta_i1 X_i; ...; theta_iK X_i]|_op <= alpha``.

    Parameters
    ----------
    design : MatrixDesign
    targets : ndarray of shape (n, K)
        Encoded targets, as the loss wants them.
    loss : Loss
    alpha : float
        Weight of the nuclear norm, ``> 0``.
    sample_weight : ndarray of shape (n,)
        Non-negative; the data term is ``sum_i sample_weight[i] * loss_i``.
    fit_intercept : bool
        Whether the unpenalised ``c`` exists.

    Raises
    ------
    ValueError
        If shapes disagree, `alpha` is not positive, or a weight is negative or not finite.

    References
    ----------
    Fazel, Hindi and Boyd, "A rank minimization heuristic with application to minimum order system
    approximation", ACC 2001 (the nuclear norm and its dual, the operator norm).
    """

    design: MatrixDesign

    norm: ClassVar[str] = "nuclear"

    def __post_init__(self) -> None:
        """Check shapes and signs."""
        super().__post_init__()
        if self.alpha == 0:
            raise ValueError("alpha must be positive with a nuclear norm; got 0. Give a small one.")

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Shape ``(K m, h)`` of the matrix whose nuclear norm is taken."""
        _, m, h = self.design.matrices.shape
        return (self.n_outputs * m, h)

    def matrix(self, blocks: FloatArray) -> FloatArray:
        """Blocks of all outputs one below the other: ``(1, K, 1, m h) -> (K m, h)``, a view."""
        return blocks.reshape(self.matrix_shape)

    def block_norms(self, blocks: FloatArray) -> FloatArray:
        """Nuclear norm of all blocks together, shape ``(1, 1, 1)``."""
        singular_values = linalg.svdvals(self.matrix(blocks)) if blocks.size else np.zeros(0)
        return np.full((1, 1, 1), singular_values.sum())
