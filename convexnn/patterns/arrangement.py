"""Reduction of data to an essential arrangement of distinct hyperplanes."""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.patterns.witnesses import ScaledData

PARALLEL = 1e-12
_EPS = float(np.finfo(np.float64).eps)


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

    @classmethod
    def of(cls, data: ScaledData) -> "Arrangement":
        """Drop zero rows, merge parallel ones and pass to the row space.

        The hyperplanes are ordered by a generic projection, so that the result does not change when rows
        of X are permuted, repeated or negated.
        """
        rows = data.rows[data.tolerance >= 0]
        n_features = rows.shape[1]
        unit = rows / np.sqrt(np.square(rows).sum(axis=1))[:, None]
        rng = np.random.default_rng(n_features)
        # Sums along rows, unlike a product by BLAS, do not depend on where a row stands.
        heights = (unit * rng.standard_normal(n_features)).sum(axis=1)
        unit = np.where(heights[:, None] < 0, -unit, unit)
        order = np.argsort(np.abs(heights), kind="stable")
        unit = unit[order]
        unit = unit[_distinct(unit, np.abs(heights)[order])]
        basis = _row_space(unit)
        rank = basis.shape[1]
        if rank:
            basis = basis @ np.linalg.qr(rng.standard_normal((rank, rank)))[0]
        return cls(np.ascontiguousarray(unit @ basis), basis)


def _distinct(unit: FloatArray, heights: FloatArray) -> IntArray:
    """Return the first row of each class of equal rows; equal rows have equal heights, which increase."""
    window = PARALLEL * 4 * max(1.0, float(np.max(heights, initial=1.0)))
    new = np.ones(len(unit), dtype=np.bool_)
    lone = np.diff(heights, prepend=-np.inf) > window
    for i in np.flatnonzero(~lone):
        j = i - 1
        while j >= 0 and heights[i] - heights[j] <= window:
            if new[j] and np.abs(unit[i] - unit[j]).max() <= PARALLEL:
                new[i] = False
                break
            j -= 1
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
