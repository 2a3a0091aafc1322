"""Products with packed patterns; the dense halves of the work are left to BLAS."""

import numpy as np

from convexnn._jit import kernel, reordering_kernel
from convexnn._typing import FloatArray, FloatMatrix, IntArray, WordArray

__all__ = ["apply_patterns", "pool_matrix", "pool_outputs", "spread_dual"]

_ONE = np.uint64(1)

# Loops over entries run from zero over a view: only then does the compiler drop the check for negative
# indices, which would keep it from using wide registers.


@kernel
def apply_patterns(
    bits: WordArray, owners: IntArray, on: float, off: float, values: FloatArray, first: int = 0
) -> None:
    """Multiply each row of values by the slopes of its owner's pattern, in place.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns.
    owners : ndarray of intp, shape (B,)
        Pattern of each row.
    on, off : float
        Slopes where the pattern is on and off.
    values : ndarray of float64, shape (B, columns)
    first : int, default=0
        The bit that the first column of values belongs to.
    """
    for j in range(values.shape[0]):
        column = 0
        while column < values.shape[1]:
            bit = first + column
            width = min(64 - (bit & 63), values.shape[1] - column)
            word = bits[owners[j], bit >> 6] >> np.uint64(bit & 63)
            part = values[j, column : column + width]
            for b in range(width):
                part[b] *= on if (word >> np.uint64(b)) & _ONE else off
            column += width


@reordering_kernel
def pool_outputs(values: FloatArray, positions: int, first: int, pooled: FloatArray) -> None:
    """Add up the values of each sample's rows.

    Parameters
    ----------
    values : ndarray of float64, shape (B, S K)
        Of the K rows of each of S samples, one sample after another.
    positions : int
        K.
    first : int
        The first of these samples.
    pooled : ndarray of float64, shape (B, n)
        Receives the sums in the columns ``first .. first + S``.
    """
    for j in range(values.shape[0]):
        for i in range(values.shape[1] // positions):
            part = values[j, i * positions : (i + 1) * positions]
            total = 0.0
            for k in range(positions):
                total += part[k]
            pooled[j, first + i] = total


@kernel
def spread_dual(
    bits: WordArray,
    owners: IntArray,
    on: float,
    off: float,
    first: int,
    dual: FloatArray,
    outputs: IntArray,
    values: FloatArray,
) -> None:
    """Slopes of each owner's pattern times a row of the dual.

    Parameters
    ----------
    bits, owners, on, off, first
        As in `apply_patterns`.
    dual : ndarray of float64, shape (q, columns)
    outputs : ndarray of intp, shape (B,)
        Row of `dual` for each owner.
    values : ndarray of float64, shape (B, columns)
        Receives the result.
    """
    for j in range(values.shape[0]):
        column = 0
        while column < values.shape[1]:
            bit = first + column
            width = min(64 - (bit & 63), values.shape[1] - column)
            word = bits[owners[j], bit >> 6] >> np.uint64(bit & 63)
            part = values[j, column : column + width]
            pull = dual[outputs[j], column : column + width]
            for b in range(width):
                part[b] = pull[b] * (on if (word >> np.uint64(b)) & _ONE else off)
            column += width


def pool_matrix(
    bits: WordArray,
    owners: IntArray,
    on: float,
    off: float,
    positions: int,
    X: FloatMatrix,
    matrices: FloatArray,
    first: int = 0,
) -> None:
    """Form ``sum_k (on D_k + off (I - D_k)) X_k`` of each owner, over the K rows of each sample.

    Parameters
    ----------
    bits, owners, on, off, first
        As in `apply_patterns`; `first` is that of the first row of X.
    positions : int
        K.
    X : ndarray of shape (S K, d)
        Rows of S samples.
    matrices : ndarray of float64, shape (S, B, d)
        Receives the result.
    """
    slopes = np.ones((len(owners), len(X)))
    apply_patterns(bits, owners, on, off, slopes, first)
    patches = X.astype(np.float64, copy=False).reshape(-1, positions, X.shape[1])
    np.matmul(slopes.reshape(len(owners), -1, positions).transpose(1, 0, 2), patches, out=matrices)
