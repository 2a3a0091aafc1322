"""Cones over vectors of which one coordinate, the bias, has no norm: good coordinates, support functions."""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IntArray
from convexnn.cones._remembering import tightened
from convexnn.cones.projector import ConeProjector
from convexnn.patterns import PatternSet, unpack_bits

__all__ = ["FreeCoordinateSupport", "NormalizedRows"]

_EPS = float(np.finfo(np.float64).eps)
# Of the free coordinate in projections, slopes counting once: what is left of it is of the order 1e-10.
_FREE_WEIGHT = 1e5


@dataclass(frozen=True, eq=False)
class NormalizedRows:
    """Rows in coordinates of their own location and scale, which the free coordinate allows.

    A neuron ``w.x + b`` with a free bias is ``w'.x' + b'`` in the rows ``x' = (x - m) / unit`` with
    ``w' = unit w`` and ``b' = b + m.w``, and its norm is that of ``w'`` over the unit.

    Attributes
    ----------
    rows : ndarray of float64, shape (n, d)
        ``X @ change``: the penalised columns orthogonal to the free one and of order one, which has the
        mean square one.
    change, inverse : ndarray of shape (d, d)
        ``weights = change @ normalized weights``, a multiple of the identity in the penalised coordinates.
    unit : float
    """

    rows: FloatArray
    change: FloatArray
    inverse: FloatArray
    unit: float

    @classmethod
    def of(cls, X: FloatMatrix, penalized: BoolArray) -> "NormalizedRows":
        """Normalise the data ``X`` of shape (n, d) of which all columns but one are `penalized`."""
        (free,) = np.flatnonzero(~penalized)
        rows = np.asarray(X, dtype=np.float64)
        column = rows[:, free].copy()
        slopes = np.where(penalized, column @ rows / (column @ column), 0.0)
        size = float(np.linalg.norm(column)) / np.sqrt(len(column))
        rows = rows - np.outer(column, slopes)
        # A constant column leaves nothing but rounding, which no unit shall enlarge.
        rows[np.abs(rows) <= len(X) * _EPS * np.abs(X)] = 0.0
        n_entries = max(1, len(rows) * (len(penalized) - 1))
        unit = float(np.linalg.norm(rows[:, penalized])) / np.sqrt(n_entries)
        unit = unit if unit > 0 else 1.0
        rows /= unit
        rows[:, free] = column / size
        change, inverse = (
            np.diag(np.where(penalized, 1.0 / unit, 0.0)),
            np.diag(np.where(penalized, unit, 0.0)),
        )
        change[free], inverse[free] = -slopes / unit, size * slopes
        change[free, free], inverse[free, free] = 1.0 / size, size
        return cls(rows, change, inverse, unit)


class FreeCoordinateSupport:
    """Upper bounds of ``max {g.u : u in C_i, |u_penalised| <= 1}``.

    They are ``min {|(g + R' lam)_penalised| : lam >= 0, (g + R' lam)_free = 0}``: a projection in which the
    free coordinate has a large weight, after which one more row cancels what is left of it.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Normalised, see `NormalizedRows`, so that the weight is large at any offset and scale of the data.
    patterns : PatternSet
    penalized : ndarray of bool, shape (d,)
        Which coordinates enter the norm, all but one.
    """

    def __init__(self, rows: FloatArray, patterns: PatternSet, penalized: BoolArray) -> None:
        (self._free,) = np.flatnonzero(~penalized)
        self._patterns, self._penalized = patterns, penalized
        self._column = rows[:, self._free]
        self._weights = np.where(penalized, 1.0, _FREE_WEIGHT)
        scaled = rows * self._weights
        lengths = np.linalg.norm(scaled, axis=1)
        self._projector = ConeProjector(scaled, patterns.bits, lengths, np.ones_like(penalized))
        self._unit_rows = rows / lengths[:, None]
        # Least slope at which a row of each cone takes from the free coordinate, and at which one adds to it.
        steepness = np.linalg.norm(rows[:, penalized], axis=1) / np.abs(self._column)
        adds = patterns.to_dense() == (self._column > 0)
        self._taking = np.where(adds, np.inf, steepness).min(axis=1)
        self._adding = np.where(adds, steepness, np.inf).min(axis=1)

    def support(self, vectors: FloatArray, threshold: float, n_largest: int | None) -> FloatArray:
        """Bounds for vectors on the cones of their slots; see `Projector.support`.

        The multipliers of a slot's last projection prove a bound for its next vector, which settles most.
        """
        owners = np.arange(len(vectors)) % len(self._patterns)
        shifts = self._projector.remember(len(vectors)).shifts[: len(vectors)]

        def tighten(slots: IntArray, _: float) -> FloatArray:
            scaled = vectors[slots] * self._weights
            rows, multipliers = self._projector.multipliers(slots, scaled, len(vectors))
            signs = np.where(unpack_bits(self._patterns.bits[owners[slots]], len(self._column)), 1.0, -1.0)
            signed = np.take_along_axis(signs, rows, axis=1) * multipliers
            shifts[slots] = np.einsum("br,brc->bc", signed, self._unit_rows[rows])
            return self._proved(vectors[slots], shifts[slots], owners[slots])

        # No multipliers at all prove the length of the slope, if the free coordinate is left with nothing.
        nothing = self._proved(vectors, np.zeros_like(shifts), owners)
        bounds = np.minimum(nothing, self._proved(vectors, shifts, owners))
        return tightened(bounds, tighten, threshold, n_largest)

    def _proved(self, vectors: FloatArray, shifts: FloatArray, owners: IntArray) -> FloatArray:
        """Bounds proved by the multipliers that add `shifts` to vectors."""
        before, gained = vectors[:, self._free], shifts[:, self._free]
        left = before + gained
        steepness = np.where(left > 0, self._taking[owners], self._adding[owners])
        extra = np.abs(left) * np.where(np.isfinite(steepness), steepness, 0.0)
        # Where all rows push the same way the pattern is constant: all multipliers are shortened together,
        # and what is left is the rounding of a sum of zero.
        share = np.divide(-before, gained, out=np.ones_like(gained), where=gained != 0)
        share = np.where(np.isfinite(steepness), 1.0, np.clip(share, 0.0, 1.0))
        moved = vectors + share[:, None] * shifts
        bounds: FloatArray = np.linalg.norm(moved[:, self._penalized], axis=1) + extra
        return bounds
