"""Support functions of cones over vectors of which one coordinate has no norm."""

import numpy as np

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IntArray
from convexnn.cones.projector import ConeProjector
from convexnn.patterns import PatternSet

__all__ = ["FreeCoordinateSupport"]

_CHUNK = 256
_EPS = float(np.finfo(np.float64).eps)
_FREE_WEIGHT = 1e5


class FreeCoordinateSupport:
    """Upper bounds of ``max {g.u : u in C_i, |u_penalised| <= 1}``.

    They are ``min {|(g + R' lam)_penalised| : lam >= 0, (g + R' lam)_free = 0}``: a projection in which the
    free coordinate has a large weight, after which one more row cancels what is left of it. The penalised
    columns are centred on the free one, which changes neither side, and brought to unit order, so that
    the weight is large at any offset and scale of the data.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        A centred copy in float64 is kept.
    patterns : PatternSet
    penalized : ndarray of bool, shape (d,)
        Which coordinates enter the norm, all but one.
    """

    def __init__(self, X: FloatMatrix, patterns: PatternSet, penalized: BoolArray) -> None:
        (self._free,) = np.flatnonzero(~penalized)
        self._patterns, self._penalized = patterns, penalized
        X = np.asarray(X, dtype=np.float64)
        self._column = X[:, self._free]
        self._slopes = np.where(penalized, self._column @ X / (self._column @ self._column), 0.0)
        centred = X - np.outer(self._column, self._slopes)
        centred[np.abs(centred) <= len(X) * _EPS * np.abs(X)] = 0.0
        unit = float(np.linalg.norm(centred[:, penalized])) / np.sqrt(centred.size)
        self._weights = np.where(penalized, 1.0 / unit if unit > 0 else 1.0, _FREE_WEIGHT)
        scaled = centred * self._weights
        lengths = np.linalg.norm(scaled, axis=1)
        self._centred, self._unit_rows = centred, centred / lengths[:, None]
        self._projector = ConeProjector(scaled, patterns.bits, lengths, np.ones_like(penalized))
        self._steepness = np.linalg.norm(centred[:, penalized], axis=1) / np.abs(self._column)

    def bounds(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Bounds for vectors on their owners' cones, shape (B,); see the class."""
        parts = range(0, len(vectors), _CHUNK)
        return np.concatenate(
            [np.empty(0)] + [self._chunk(vectors[i : i + _CHUNK], owners[i : i + _CHUNK]) for i in parts]
        )

    def _chunk(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        vectors = vectors - np.outer(vectors[:, self._free], self._slopes)
        _, rows, multipliers = self._projector.project(owners, vectors * self._weights)
        signs = np.where(self._patterns.take(owners).to_dense(), 1.0, -1.0)
        signed = np.take_along_axis(signs, rows.astype(np.intp), axis=1) * multipliers
        moved = vectors + np.einsum("br,brc->bc", signed, self._unit_rows[rows])

        before, after = vectors[:, self._free], moved[:, self._free]
        cancelling = signs * self._column * after[:, None] < 0
        steepness = np.where(cancelling, self._steepness, np.inf).min(axis=1)
        extra = np.abs(after) * np.where(np.isfinite(steepness), steepness, 0.0)
        # Where all rows push the same way the pattern is constant: all multipliers are shortened together,
        # and what is left is the rounding of a sum of zero.
        gained = after - before
        share = np.divide(-before, gained, out=np.ones_like(gained), where=gained != 0)
        share = np.where(np.isfinite(steepness), 1.0, np.clip(share, 0.0, 1.0))
        moved = vectors + share[:, None] * (moved - vectors)
        bounds: FloatArray = np.linalg.norm(moved[:, self._penalized], axis=1) + extra
        return bounds
