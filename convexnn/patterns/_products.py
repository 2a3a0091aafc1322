"""Products with packed patterns; the dense halves of the work are left to BLAS."""

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import FloatArray, FloatMatrix, IntArray, WordArray

__all__ = ["apply_patterns", "pool_matrix", "pool_outputs", "spread_dual"]

_ONE = np.uint64(1)


@kernel
def apply_patterns(bits: WordArray, owners: IntArray, on: float, off: float, values: FloatArray) -> None:
    """Multiply each row of values by the slopes of its owner's pattern, in place.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns.
    owners : ndarray of intp, shape (B,)
        Pattern of each row.
    on, off : float
        Slopes where the pattern is on and off.
    values : ndarray of float64, shape (B, n)
    """
    for j in range(values.shape[0]):
        for w in range(bits.shape[1]):
            word = bits[owners[j], w]
            low = 64 * w
            for b in range(min(64, values.shape[1] - low)):
                values[j, low + b] *= on if (word >> np.uint64(b)) & _ONE else off


@kernel
def pool_outputs(
    bits: WordArray,
    owners: IntArray,
    on: float,
    off: float,
    first: int,
    positions: int,
    values: FloatArray,
    pooled: FloatArray,
) -> None:
    """Multiply values by slopes and add up each sample's rows.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n K / 64))
        Packed patterns of all rows, K of them for each sample.
    owners : ndarray of intp, shape (B,)
    on, off : float
    first : int
        The row that the first column of values belongs to, a multiple of K.
    positions : int
        K.
    values : ndarray of float64, shape (B, rows)
    pooled : ndarray of float64, shape (B, n)
        Receives the sums of the samples whose rows these are.
    """
    for j in range(values.shape[0]):
        words, sample = bits[owners[j]], first // positions
        for low in range(0, values.shape[1], positions):
            total = 0.0
            for c in range(low, low + positions):
                row = first + c
                bit = (words[row >> 6] >> np.uint64(row & 63)) & _ONE
                total += (on if bit else off) * values[j, c]
            pooled[j, sample] = total
            sample += 1


@kernel
def spread_dual(
    bits: WordArray,
    owners: IntArray,
    on: float,
    off: float,
    first: int,
    positions: int,
    dual: FloatArray,
    outputs: IntArray,
    values: FloatArray,
) -> None:
    """Slopes times the dual of each row's sample, the adjoint of `pool_outputs`.

    Parameters
    ----------
    bits, owners, on, off, first, positions
        As in `pool_outputs`.
    dual : ndarray of float64, shape (q, n)
    outputs : ndarray of intp, shape (B,)
        Row of `dual` for each owner.
    values : ndarray of float64, shape (B, rows)
        Receives the result.
    """
    for j in range(values.shape[0]):
        words, sample = bits[owners[j]], first // positions
        for low in range(0, values.shape[1], positions):
            pull = dual[outputs[j], sample]
            for c in range(low, low + positions):
                row = first + c
                bit = (words[row >> 6] >> np.uint64(row & 63)) & _ONE
                values[j, c] = (on if bit else off) * pull
            sample += 1


@kernel
def pool_matrix(
    bits: WordArray,
    owners: IntArray,
    on: float,
    off: float,
    positions: int,
    X: FloatMatrix,
    matrices: FloatArray,
) -> None:
    """Form ``sum_k (on D_k + off (I - D_k)) X_k`` of each owner, over the K rows of each sample.

    Parameters
    ----------
    bits, owners, on, off, positions
        As in `pool_outputs`.
    X : ndarray of shape (n K, d)
    matrices : ndarray of float64, shape (B, n, d)
        Receives the result.
    """
    for j in range(matrices.shape[0]):
        words = bits[owners[j]]
        for i in range(matrices.shape[1]):
            for c in range(X.shape[1]):
                matrices[j, i, c] = 0.0
            for row in range(i * positions, (i + 1) * positions):
                slope = on if (words[row >> 6] >> np.uint64(row & 63)) & _ONE else off
                if slope != 0.0:
                    for c in range(X.shape[1]):
                        matrices[j, i, c] += slope * X[row, c]
