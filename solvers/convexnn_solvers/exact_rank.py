"""The rank of a matrix of floats, taken as the exact numbers that they are."""

import numpy as np
from numpy.typing import NDArray

from convexnn_solvers._typing import FloatArray

__all__ = ["rank_modulo_prime"]

# The largest prime below 2^31, so that products of two residues fit into 64 bits.
_PRIME = 2**31 - 1
_MANTISSA_BITS = 53


def rank_modulo_prime(matrix: FloatArray) -> int:
    """Return the rank of a matrix modulo a prime, by Gaussian elimination on residues.

    It is never above the rank in exact arithmetic, and below it only if the prime happens to divide the
    minors of that size: about once in ``2**31`` matrices.

    Parameters
    ----------
    matrix : ndarray of shape (n, m)
        Finite; scaling a column by a power of two changes nothing.
    """
    residues = _residues(matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)
    rank = 0
    for column in range(residues.shape[1]):
        (candidates,) = np.nonzero(residues[rank:, column])
        if candidates.size == 0:
            continue
        pivot = rank + int(candidates[0])
        residues[[rank, pivot]] = residues[[pivot, rank]]
        row = residues[rank] * pow(int(residues[rank, column]), -1, _PRIME) % _PRIME
        residues[rank + 1 :] -= residues[rank + 1 :, column, None] * row % _PRIME
        residues[rank + 1 :] %= _PRIME
        rank += 1
        if rank == len(residues):
            break
    return rank


def _residues(matrix: FloatArray) -> NDArray[np.int64]:
    """Return the numbers modulo the prime, each column times a power of two."""
    mantissas, exponents = np.frexp(matrix)
    whole = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64) % _PRIME
    powers = np.array([pow(2, int(e), _PRIME) for e in np.unique(exponents)], dtype=np.int64)
    return whole * powers[np.searchsorted(np.unique(exponents), exponents)] % _PRIME
