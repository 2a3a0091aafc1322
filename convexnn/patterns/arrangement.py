"""Reduction of data to an essential arrangement of distinct hyperplanes, and how many cells that can have."""

from dataclasses import dataclass
from math import comb

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.patterns.witnesses import ScaledData, power_of_two

__all__ = ["Arrangement", "count_patterns"]

_EPS = float(np.finfo(np.float64).eps)


def count_patterns(n: int, r: int) -> int:
    r"""Return the number of cells of n central hyperplanes in general position in r dimensions.

    .. math:: 2 \sum_{k=0}^{r-1} \binom{n-1}{k}

    An upper bound for any data with n distinct hyperplanes (rows up to a factor, zero rows left out) of rank
    r; fewer cells exist where more than k of them meet in a flat of codimension k.

    Parameters
    ----------
    n : int
        Number of hyperplanes, at least 1.
    r : int
        Rank. Zero stands for data of zero rows only, which have one pattern; above n it counts as n.

    Returns
    -------
    int
        Exact.

    Raises
    ------
    ValueError
        If ``n < 1`` or ``r < 0``.

    References
    ----------
    Cover, "Geometrical and statistical properties of systems of linear inequalities with applications in
    pattern recognition", IEEE Trans. Electronic Computers 14 (1965), theorem 1.
    """
    if n < 1 or r < 0:
        raise ValueError(f"count_patterns needs n >= 1 hyperplanes and a rank r >= 0. Got n={n}, r={r}.")
    if r == 0:
        return 1
    return 2 * sum(comb(n - 1, k) for k in range(min(n, r)))


@dataclass(frozen=True)
class Arrangement:
    """Distinct central hyperplanes that span the space of their coordinates.

    Parameters
    ----------
    rows : ndarray of float64, shape (m, r)
        Unit normals in randomly rotated coordinates of the row space; no two are parallel.
    basis : ndarray of float64, shape (d, r)
        ``basis @ w`` are the scaled weights with coordinates w.
    """

    rows: FloatArray
    basis: FloatArray

    @property
    def n_hyperplanes(self) -> int:
        """Number of distinct hyperplanes."""
        return int(self.rows.shape[0])

    @property
    def rank(self) -> int:
        """Dimension of the row space."""
        return int(self.rows.shape[1])

    @property
    def most_cells(self) -> int:
        """How many cells there are in general position, otherwise fewer."""
        return count_patterns(max(1, self.n_hyperplanes), self.rank)

    @classmethod
    def of(cls, data: ScaledData) -> "Arrangement":
        """Drop zero rows, merge parallel ones and pass to the row space.

        The hyperplanes are ordered by a generic projection, so that the result does not change when rows
        of X are permuted, repeated or negated.
        """
        rows, n_features = data.rows[data.tolerance >= 0], data.n_features
        unit = rows / np.sqrt(np.square(rows).sum(axis=1))[:, None]
        rng = np.random.default_rng(n_features)
        # Sums along rows, unlike a product by BLAS, do not depend on where a row stands.
        heights = (unit * rng.standard_normal(n_features)).sum(axis=1)
        order = np.argsort(np.abs(heights), kind="stable")
        signs = np.where(heights < 0, -1.0, 1.0)[order, None]
        kept = _distinct(signs * unit[order], np.abs(heights)[order])
        rows, change = _centred((signs * rows[order])[kept])
        rows /= np.linalg.norm(rows, axis=1)[:, None]
        basis = _row_space(rows)
        rank = basis.shape[1]
        if rank:
            basis = basis @ np.linalg.qr(rng.standard_normal((rank, rank)))[0]
        rows = rows @ basis
        return cls(rows / np.linalg.norm(rows, axis=1)[:, None], change @ basis)


def _centred(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Subtract multiples of the first row so as to clear all other columns of it, if that is exact.

    A column such as the ones of a bias, whose entries differ by powers of two and signs only, makes the
    factors exact and hence the differences accurate: features with large offsets lose nothing.

    Returns
    -------
    rows : ndarray of float64, shape (m, d)
        The changed rows ``rows @ change`` with columns of unit order.
    change : ndarray of float64, shape (d, d)
    """
    n_features = rows.shape[1]
    fractions = np.abs(np.frexp(rows)[0])
    alike = np.flatnonzero((fractions == fractions[:1]).all(axis=0) & (fractions[:1] != 0).all(axis=0))
    if not len(rows) or not len(alike):
        return rows, np.eye(n_features)
    column = alike[0]
    change = np.eye(n_features)
    change[column] = -rows[0] / rows[0, column]
    change[column, column] = 1.0
    centred = rows - rows[:, [column]] / rows[0, column] * rows[0]
    centred[:, column] = rows[:, column]
    exponents = power_of_two(np.abs(centred).max(axis=0))
    return np.ldexp(centred, -exponents), np.ldexp(change, -exponents)


def _distinct(unit: FloatArray, heights: FloatArray) -> IntArray:
    """Return the first row of each class of equal rows; equal rows have equal heights, which increase."""
    # Unit rows are off by (d + 4) eps at most, so that entries of parallel ones differ by twice that.
    parallel = 8 * _EPS * (unit.shape[1] + 4)
    window = parallel * 4 * max(1.0, float(np.max(heights, initial=1.0)))
    new = np.ones(len(unit), dtype=np.bool_)
    lone = np.diff(heights, prepend=-np.inf) > window
    seen: list[int] = []  # the distinct rows of the current run of nearly equal heights
    for i in np.flatnonzero(~lone).tolist():
        if lone[i - 1]:
            seen = [i - 1]
        near = [j for j in seen if heights[i] - heights[j] <= window]
        new[i] = all(np.abs(unit[i] - unit[j]).max() > parallel for j in near)
        seen = [*near, i] if new[i] else near
    return np.flatnonzero(new)


def _row_space(unit: FloatArray) -> FloatArray:
    """Return an orthonormal basis, shape (d, r); the identity where the rank is full."""
    n_rows, n_features = unit.shape
    if not n_rows:
        return np.zeros((n_features, 0))
    _, values, basis = np.linalg.svd(unit, full_matrices=False)
    rank = int(np.count_nonzero(values > max(unit.shape) * _EPS * values[0]))
    if rank == n_features:
        return np.eye(n_features)
    return np.ascontiguousarray(basis[:rank].T)
