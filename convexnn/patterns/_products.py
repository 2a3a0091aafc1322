"""Masked sums and products that read packed patterns; the dense halves of the work are left to BLAS."""

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import FloatArray, IntArray, WordArray

_ONE = np.uint64(1)


@kernel
def masked_sum(bits: WordArray, values: FloatArray) -> FloatArray:
    r"""Sum over patterns where the pattern is on: :math:`f_r = \sum_i D_{i,rr} Z_{ir}`.

    With ``values = U @ X.T`` this is the forward map :math:`\sum_i D_i X u_i`.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns.
    values : ndarray of float64, shape (P, n)
        One row per pattern.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    n_patterns, n_samples = values.shape
    total = np.zeros(n_samples)
    for i in range(n_patterns):
        for w in range(bits.shape[1]):
            word = bits[i, w]
            low = 64 * w
            for b in range(min(64, n_samples - low)):
                total[low + b] += values[i, low + b] if (word >> np.uint64(b)) & _ONE else 0.0
    return total


@kernel
def mask_vector(bits: WordArray, theta: FloatArray) -> FloatArray:
    r"""Copy a vector once per pattern, zero where the pattern is off: :math:`T_{ir} = D_{i,rr} \theta_r`.

    ``mask_vector(bits, theta) @ X`` is the adjoint map: its rows are :math:`X^T D_i \theta`.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n / 64))
        Packed patterns.
    theta : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape (P, n)
    """
    n_patterns, n_samples = bits.shape[0], theta.shape[0]
    masked = np.empty((n_patterns, n_samples))
    for i in range(n_patterns):
        for w in range(bits.shape[1]):
            word = bits[i, w]
            low = 64 * w
            for b in range(min(64, n_samples - low)):
                masked[i, low + b] = theta[low + b] if (word >> np.uint64(b)) & _ONE else 0.0
    return masked


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
