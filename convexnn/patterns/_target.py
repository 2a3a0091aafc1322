"""Where the cells of an arrangement are written: the rows of the data behind each hyperplane."""

from typing import NamedTuple, TypeAlias

import numpy as np

from convexnn._jit import kernel, reordering_kernel
from convexnn._typing import FloatArray, IntArray, WordArray
from convexnn.patterns._bits import pack_bits
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.witnesses import ScaledData

_ONE = np.uint64(1)
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
    rows : ndarray of float64, shape (d, n)
        Scaled data, transposed.
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
        # Two factors, because one alone might be beyond the largest number.
        half = data.exponents // 2
        return cls(
            np.ascontiguousarray(data.rows.T),
            data.tolerance,
            arrangement.basis,
            owners,
            agreement,
            np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=m + 1))]).astype(np.intp),
            np.argsort(owners, kind="stable").astype(np.intp),
            data.zero_bits[0],
            pack_bits(np.ones((1, data.n_samples), dtype=np.bool_))[0],
            np.ldexp(1.0, np.array([-half, half - data.exponents])),
        )


# Kernels called for each cell take arrays: a tuple costs a count of references for each array in it.


@kernel
def set_sides(
    owners: IntArray,
    agreement: FloatArray,
    side_of: FloatArray,
    fixed: WordArray,
    sides: FloatArray,
    words: WordArray,
) -> None:
    """Give the rows the signs that their hyperplanes have in `side_of`, shape (m + 1,), dense and packed."""
    for w in range(words.shape[0]):
        words[w] = fixed[w]
    for i in range(sides.shape[0]):
        sides[i] = side_of[owners[i]] * agreement[i]
        words[i >> 6] |= np.uint64(sides[i] > 0.0) << np.uint64(i & 63)


@kernel
def cross(starts: IntArray, members: IntArray, hyperplane: int, sides: FloatArray, words: WordArray) -> None:
    """Change the sides of the rows of a hyperplane."""
    for position in range(starts[hyperplane], starts[hyperplane + 1]):
        i = members[position]
        sides[i] = -sides[i]
        words[i >> 6] ^= _ONE << np.uint64(i & 63)


@reordering_kernel
def _multiply(rows: FloatArray, weights: FloatArray, j: int, values: FloatArray) -> float:
    """Write the products of all rows with weight j; return its norm."""
    d, n = rows.shape
    first = (d - 1) % 3 + 1
    x, y, z = weights[j, 0], weights[j, min(1, d - 1)], weights[j, min(2, d - 1)]
    if first == 1:
        for i in range(n):
            values[i] = x * rows[0, i]
    elif first == 2:
        for i in range(n):
            values[i] = x * rows[0, i] + y * rows[1, i]
    else:
        for i in range(n):
            values[i] = x * rows[0, i] + y * rows[1, i] + z * rows[2, i]
    for c in range(first, d, 3):
        x, y, z = weights[j, c], weights[j, c + 1], weights[j, c + 2]
        for i in range(n):
            values[i] += x * rows[c, i] + y * rows[c + 1, i] + z * rows[c + 2, i]
    square = 0.0
    for c in range(d):
        square += weights[j, c] * weights[j, c]
    return float(np.sqrt(square))


@kernel
def confirmed(
    rows: FloatArray,
    tolerance: FloatArray,
    sides: FloatArray,
    weights: FloatArray,
    j: int,
    values: FloatArray,
) -> bool:
    """Whether the products of weight j with all non-zero rows have the given signs, beyond rounding."""
    norm = _multiply(rows, weights, j, values)
    wrong = 0
    for i in range(values.shape[0]):
        wrong += sides[i] * values[i] <= norm * tolerance[i]
    return wrong == 0


@kernel
def adopt(
    rows: FloatArray,
    tolerance: FloatArray,
    fixed: WordArray,
    weights: FloatArray,
    j: int,
    values: FloatArray,
    words: WordArray,
) -> bool:
    """Pack the signs of the products with weight j; return whether all are beyond rounding."""
    norm = _multiply(rows, weights, j, values)
    for w in range(words.shape[0]):
        words[w] = fixed[w]
    close = 0
    for i in range(values.shape[0]):
        close += abs(values[i]) <= norm * tolerance[i]
        words[i >> 6] |= np.uint64(values[i] > 0.0) << np.uint64(i & 63)
    return close == 0


@kernel
def write(
    words: WordArray,
    every: WordArray,
    fixed: WordArray,
    weights: FloatArray,
    j: int,
    units: FloatArray,
    bits: WordArray,
    generators: FloatArray,
    count: int,
) -> int:
    """Write a cell with weight j and its opposite at position `count`; return the next position."""
    for w in range(words.shape[0]):
        bits[count, w] = words[w]
        bits[count + 1, w] = (~words[w] & every[w]) | fixed[w]
    for c in range(weights.shape[1]):
        value = weights[j, c] * units[0, c] * units[1, c]
        generators[count, c] = value
        generators[count + 1, c] = -value
    return count + 2
