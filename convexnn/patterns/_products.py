"""Products with packed patterns; the dense halves of the work are left to BLAS."""

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import FloatArray, IntArray, WordArray

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
