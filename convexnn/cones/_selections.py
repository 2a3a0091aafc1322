"""The rows of the cones of selections: differences of patches, formed where they are needed.

Where a sample takes patch ``m``, row ``m`` of it is ``x_m`` and row ``l`` is ``x_m - x_l``; where it takes
none they are ``-x_l``. A cone is where all its rows have products of at least zero.
"""

import numpy as np

from convexnn._jit import reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix, IndexArray, IntArray

__all__ = ["products_inside", "selection_rows"]


@reordering_kernel
def selection_rows(patches: FloatMatrix, chosen: IndexArray, rows: FloatArray, inverse: FloatArray) -> None:
    """Form all rows of one selection.

    Parameters
    ----------
    patches : ndarray of shape (n K, d), float64 or float32
    chosen : ndarray of int32, shape (n,)
        The patch that each sample takes, -1 for none.
    rows : ndarray of float64, shape (n K, d)
        Receives the rows.
    inverse : ndarray of shape (n K,)
        Receives one over their lengths, 0 for zero rows.
    """
    d, positions = patches.shape[1], patches.shape[0] // chosen.shape[0]
    for i in range(chosen.shape[0]):
        low = i * positions
        taken = low + chosen[i]
        for r in range(low, low + positions):
            square = 0.0
            for c in range(d):
                value = np.float64(patches[r, c])
                if chosen[i] < 0:
                    value = -value
                elif r != taken:
                    value = np.float64(patches[taken, c]) - value
                rows[r, c] = value
                square += value * value
            inverse[r] = 1.0 / np.sqrt(square) if square > 0.0 else 0.0


@reordering_kernel
def products_inside(
    patches: FloatMatrix,
    chosen: IndexArray,
    owners: IntArray,
    vectors: FloatArray,
    absolute: bool,
    products: FloatArray,
) -> None:
    """Products of vectors with the unit rows of their owners; zero for zero rows.

    Parameters
    ----------
    patches : ndarray of shape (n K, d), float64 or float32
    chosen : ndarray of int32, shape (P, n)
    owners : ndarray of intp, shape (B,)
    vectors : ndarray of shape (B, d)
    absolute : bool
        Whether to add up the absolute values of the products' terms instead.
    products : ndarray of shape (B, n K)
        Receives the products.
    """
    rows, inverse = np.empty((patches.shape[0], patches.shape[1])), np.empty(patches.shape[0])
    for b in range(owners.shape[0]):
        selection_rows(patches, chosen[owners[b]], rows, inverse)
        for r in range(rows.shape[0]):
            total = 0.0
            for c in range(rows.shape[1]):
                term = rows[r, c] * vectors[b, c]
                total += abs(term) if absolute else term
            products[b, r] = total * inverse[r]
