"""Where the cells of an arrangement are written: the rows of the data behind each hyperplane."""

import math
from typing import NamedTuple, TypeAlias

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import FloatArray, IntArray, WordArray
from convexnn.patterns._bits import pack_bits
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.witnesses import ScaledData

_LARGEST_EXPONENT = 1000  # of two in a factor of a weight of unit order

# What kernels take instead of the class of the same fields, to which their cache on disk would refer.
TargetArrays: TypeAlias = tuple[
    FloatArray,
    FloatArray,
    FloatArray,
    IntArray,
    FloatArray,
    IntArray,
    IntArray,
    WordArray,
    WordArray,
    FloatArray,
]


class Target(NamedTuple):
    """Data as the kernels of the search read them.

    Nothing found rests on `owners` and `agreement`: they only make it fast, since each pattern is compared
    with the signs of the products of all rows.

    Parameters
    ----------
    rows : ndarray of float64, shape (3 * ceil(d / 3), n)
        Scaled data, transposed, and rows of zeros, since products are summed by threes.
    tolerance : ndarray of float64, shape (n,)
        Bound on the rounding error of a product with a unit vector; -1 for zero rows.
    basis : ndarray of float64, shape (d, r)
        ``basis @ w`` are the scaled weights with coordinates w.
    owners : ndarray of intp, shape (n,)
        Hyperplane of each row; m for zero rows.
    agreement : ndarray of float64, shape (n,)
        Sign of each row relative to the normal of its hyperplane.
    starts, members : ndarray of intp, shapes (m + 2,) and (n,)
        Rows of hyperplane h are ``members[starts[h]:starts[h + 1]]``.
    fixed, every : ndarray of uint64, shape (ceil(n / 64),)
        Bits of the zero rows and of all rows.
    units : ndarray of float64, shape (2, d)
        The product of both rows takes scaled weights to those of the user.
    """

    rows: FloatArray
    tolerance: FloatArray
    basis: FloatArray
    owners: IntArray
    agreement: FloatArray
    starts: IntArray
    members: IntArray
    fixed: WordArray
    every: WordArray
    units: FloatArray

    @classmethod
    def of(cls, data: ScaledData, arrangement: Arrangement) -> "Target":
        """Find the hyperplane next to each row."""
        from scipy.spatial import KDTree

        m = arrangement.n_hyperplanes
        used = np.flatnonzero(data.tolerance >= 0)
        owners, agreement = np.full(data.n_samples, m, dtype=np.intp), np.ones(data.n_samples)
        if used.size:
            normals = data.rows[used] @ arrangement.basis
            normals /= np.maximum(np.linalg.norm(normals, axis=1), np.finfo(np.float64).tiny)[:, None]
            tree = KDTree(arrangement.rows)
            (along, first), (against, second) = tree.query(normals), tree.query(-normals)
            owners[used] = np.where(along <= against, first, second)
            agreement[used] = np.where(along <= against, 1.0, -1.0)
        # Two factors, because one alone might be beyond the largest number; weights have any positive scale.
        exponents = data.exponents - min(0, int(data.exponents.min()) + _LARGEST_EXPONENT)
        half = exponents // 2
        return cls(
            np.ascontiguousarray(np.pad(data.rows, ((0, 0), (0, -data.n_features % 3))).T),
            data.tolerance,
            arrangement.basis,
            owners,
            agreement,
            np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=m + 1))]).astype(np.intp),
            np.argsort(owners, kind="stable").astype(np.intp),
            data.zero_bits[0],
            pack_bits(np.ones((1, data.n_samples), dtype=np.bool_))[0],
            np.ldexp(1.0, np.array([-half, half - exponents])),
        )


@kernel
def adopt(
    target: TargetArrays,
    point: FloatArray,
    weight: FloatArray,
    bits: WordArray,
    generators: FloatArray,
    count: int,
) -> bool:
    """Write the cell of a point and its opposite at position `count`; return whether its signs are certain.

    Parameters
    ----------
    target
    point : ndarray of float64, shape (k,)
        Its coordinates.
    weight : ndarray of float64, shape (d,)
        Filled: the scaled weight.
    bits, generators, count
        Output, and how many rows of it are in use.
    """
    rows, tolerance, basis, _, _, _, _, fixed, every, units = target
    square, clear = 0.0, 0
    for c in range(weight.shape[0]):
        total = 0.0
        for i in range(point.shape[0]):
            total += basis[c, i] * point[i]
        weight[c] = total
        square += total * total
    norm = math.sqrt(square)
    for w in range(fixed.shape[0]):
        bits[count, w] = fixed[w]
    for i in range(rows.shape[1]):
        value = 0.0
        for c in range(weight.shape[0]):
            value += weight[c] * rows[c, i]
        clear += abs(value) > norm * tolerance[i]
        bits[count, i >> 6] |= np.uint64(value > 0.0) << np.uint64(i & 63)
    for w in range(fixed.shape[0]):
        bits[count + 1, w] = (~bits[count, w] & every[w]) | fixed[w]
    for c in range(weight.shape[0]):
        value = weight[c] * units[0, c] * units[1, c]
        generators[count, c] = value
        generators[count + 1, c] = -value
    return bool(clear == rows.shape[1])
