"""The design of a max-pooled layer: the patches that selections take, on the cones where they do."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from convexnn._typing import FloatArray, FloatMatrix, IntArray, WordArray
from convexnn.activations import ACTIVATIONS
from convexnn.cones import SelectionProjector
from convexnn.designs.masked_design import MaskedDesign
from convexnn.patterns import PatternSet
from convexnn.patterns.selection import chosen_patches, selection_bits

__all__ = ["MaxDesign"]


class MaxDesign(MaskedDesign):
    """Design operator of one max-pooled layer of ReLU units: patches and selections.

    Weights of block ``i`` live on the cone where every sample takes the patch that selection ``i`` says, or
    none. There the layer ``max_k max(X_k u, 0)`` is ``A_i u`` with the patches taken as rows of ``A_i``, zero
    for none. All weights are in the norm.

    Parameters
    ----------
    X : ndarray of shape (n K, d), float64 or float32
        Patches as the hidden units see them, the column of ones included if there is a hidden bias; K for
        each sample, one sample after another.
    patterns : PatternSet
        Selections of the rows of `X`, see `convexnn.patterns.selection`.
    positions : int
        K.

    Raises
    ------
    ValueError
        If the patterns are not of this many rows and features, the rows do not fit the positions, or a
        pattern takes several patches of a sample.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures", ICLR 2021 (max pooling).
    """

    def __init__(self, X: FloatMatrix, patterns: PatternSet, positions: int) -> None:
        super().__init__(X, patterns, ACTIVATIONS["relu"], np.ones(X.shape[1], dtype=np.bool_), positions)
        self._chosen = chosen_patches(patterns, positions)

    @cached_property
    def _projector(self) -> SelectionProjector:
        """Projections on the cones, with their memory."""
        return SelectionProjector(self.X, self._chosen)

    def _inside(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """``r.v / |r|`` for each vector and row of its cone; negative outside the cone."""
        return self._projector.inside(vectors, owners)

    def _rounding(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Bounds of the errors of `_inside`."""
        return self._projector.rounding(vectors, owners)

    def _own_bits(self, vectors: FloatArray) -> WordArray:
        """Packed selection of each vector, of those next to it any one."""
        return selection_bits(np.asarray(self.X, dtype=np.float64), self.positions, vectors)

    def restrict(self, indices: IntArray | Sequence[int]) -> "MaxDesign":
        """Return the design of the same data with a subset of the selections."""
        return MaxDesign(self.X, self.patterns.take(np.asarray(indices, dtype=np.intp)), self.positions)
