"""Signs that are certain in floating point, and interior points of the cells next to a given weight.

A computed ``x_i.u`` has the right sign, whatever the order of summation, where it exceeds a bound on its
rounding error. A witness is accepted only where this holds for every non-zero row; everything that lists
patterns goes through `ScaledData.signs`.
"""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.patterns._bits import pack_bits, pack_signs

_BLOCK_ENTRIES = 1 << 16  # of X U' held at a time, 512 kB: they should stay in cache
_ATTEMPTS = 16  # directions tried to leave a hyperplane; where four fail more rows are taken for it
_WIDENING = 16.0  # by how much more, in units of the rounding error
_LARGEST_EXPONENT = 1023  # of float64
_EPS = float(np.finfo(np.float64).eps)


class ResolutionError(RuntimeError):
    """Rows of X are so nearly dependent that float64 cannot tell which cells exist.

    A list of all cells raises it; single cells are found on any data.
    """


def check_data(X: FloatArray) -> FloatArray:
    """Return X as a two-dimensional finite C-contiguous float64 array.

    Raises
    ------
    ValueError
        If X is not two-dimensional, is empty or has NaN or infinite entries.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"X must be two-dimensional with at least one row and one column. Got shape {X.shape} instead. "
            "A single sample is X.reshape(1, -1), a single feature X.reshape(-1, 1)."
        )
    if not np.isfinite(X).all():
        raise ValueError("X must be finite. Got NaN or infinite entries; drop or impute those rows first.")
    return X


def power_of_two(values: FloatArray) -> IntArray:
    """Return exponents ``e`` with ``values * 2**-e`` in [1/2, 1), zero where the value is zero."""
    return np.frexp(values)[1].astype(np.intp)


def _exponents(values: FloatArray) -> IntArray:
    """Return the same, but less than all others where the value is zero."""
    return np.where(values == 0, np.iinfo(np.int32).min // 2, power_of_two(values))


@dataclass(frozen=True)
class ScaledData:
    """Data whose columns, then rows, are scaled to unit order by powers of two, hence without rounding.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, d)
        ``rows[i, j] = X[i, j] * 2**-(exponents[j] + e_i)``.
    exponents : ndarray of int, shape (d,)
        Column exponents; ``X u`` and ``rows (u * 2**exponents)`` have the same signs.
    tolerance : ndarray of float64, shape (n,)
        Bound on the rounding error of ``rows[i].u`` for ``|u| = 1``; -1 for zero rows.
    zero_bits : ndarray of uint64, shape (1, ceil(n / 64))
        The zero rows, whose bit is one in every pattern.
    """

    rows: FloatArray
    exponents: IntArray
    tolerance: FloatArray
    zero_bits: WordArray

    @classmethod
    def of(cls, X: FloatArray) -> "ScaledData":
        """Scale validated data."""
        exponents = power_of_two(np.abs(X).max(axis=0))
        powers = _exponents(X) - exponents
        used = np.asarray(X.any(axis=1))
        # Both scales at once: columns alone may take the entries of a row below the range of float64.
        rows = np.ldexp(X, -(exponents + np.where(used, powers.max(axis=1), 0)[:, None]))
        error = 4 * _EPS * (X.shape[1] + 1) * np.linalg.norm(rows, axis=1)
        return cls(rows, exponents, np.where(used, error, -1.0), pack_bits(~used[None, :]))

    @property
    def n_samples(self) -> int:
        """Number of rows of X."""
        return int(self.rows.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns of X."""
        return int(self.rows.shape[1])

    def scaled(self, weights: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return user weights as scaled weights of unit order, and the exponent taken out of each row."""
        # The fractions are scaled by the exponents of both factors at once: no intermediate can overflow.
        powers = _exponents(weights) + self.exponents
        largest = powers.max(axis=1)
        return np.ldexp(np.frexp(weights)[0], powers - largest[:, None]), largest

    def unscaled(self, scaled: FloatArray, powers: IntArray) -> FloatArray:
        """Undo `scaled`; where the weights would overflow, return smaller multiples of them."""
        exponents = _exponents(scaled) + powers[:, None] - self.exponents
        excess = np.maximum(exponents.max(axis=1) - _LARGEST_EXPONENT, 0)
        weights: FloatArray = np.ldexp(np.frexp(scaled)[0], exponents - excess[:, None])
        return weights

    def signs(self, scaled: FloatArray) -> tuple[WordArray, BoolArray]:
        """Return the packed signs of ``rows @ u`` for each row u, and which of them are certain.

        Parameters
        ----------
        scaled : ndarray of float64, shape (P, d)
            Scaled weights.

        Returns
        -------
        bits : ndarray of uint64, shape (P, ceil(n / 64))
        certain : ndarray of bool, shape (P,)
            Whether every non-zero row has a sign beyond rounding.
        """
        n_patterns = scaled.shape[0]
        bits = np.empty((n_patterns, self.zero_bits.shape[1]), dtype=np.uint64)
        certain = np.empty(n_patterns, dtype=np.bool_)
        norms = np.linalg.norm(scaled, axis=1)
        step = max(1, _BLOCK_ENTRIES // self.n_samples)
        for start in range(0, n_patterns, step):
            block = slice(start, start + step)
            values = np.ascontiguousarray(scaled[block] @ self.rows.T)
            pack_signs(values, self.tolerance, norms[block], bits[block], certain[block])
        bits |= self.zero_bits
        return bits, certain

    def opposite(self, bits: WordArray) -> WordArray:
        """Return the patterns of the negated weights: every bit flips but those of zero rows."""
        every = pack_bits(np.ones((1, self.n_samples), dtype=np.bool_))
        return (~bits & every) | self.zero_bits


def into_interior(
    data: ScaledData, scaled: FloatArray, directions: FloatArray
) -> tuple[FloatArray, WordArray, BoolArray]:
    """Move weights that lie on a hyperplane into a cell next to them; leave the others alone.

    A weight u is on the hyperplanes of ``J = {i : |x_i.u| within rounding of 0}``. For a direction p with
    ``x_i.p != 0`` the point ``u + t p`` lies inside one cell for all t between 0 and the nearest crossing
    outside J; t is half of that.

    Parameters
    ----------
    data : ScaledData
    scaled : ndarray of float64, shape (P, d)
        Scaled weights, none zero.
    directions : ndarray of float64, shape (P, d)
        Generic directions of unit order.

    Returns
    -------
    scaled : ndarray of float64, shape (P, d)
        Points whose signs are certain, each in a cell whose closure has the weight.
    bits : ndarray of uint64, shape (P, ceil(n / 64))
    resolved : ndarray of bool, shape (P,)
        Whether such a point was found. Where the cells are thinner than float64 resolves the point is one
        from which the weight differs by rounding, and rows that tie there have any sign. All signs, of a
        cell or not, describe a cone on which the layer is linear, so that what is trained or bounded over
        patterns stays right.
    """
    bits, resolved = data.signs(scaled)
    if resolved.all():
        return scaled, bits, resolved
    scaled = scaled.copy()
    pending = np.flatnonzero(~resolved)
    weights = scaled[pending]
    for attempt in range(_ATTEMPTS):
        # Rows just outside J leave too short a step: later, count them as on their hyperplane too.
        widening = _WIDENING ** (attempt // 4)
        if attempt:
            directions = np.random.default_rng(attempt).standard_normal(scaled.shape)
        points = zip(weights, directions[pending], strict=True)
        moved = np.array([_stepped(data, weight, direction, widening) for weight, direction in points])
        moved_bits, certain = data.signs(moved)
        done = certain if attempt else np.ones(len(pending), dtype=np.bool_)
        scaled[pending[done]], bits[pending[done]] = moved[done], moved_bits[done]
        resolved[pending] = certain
        pending, weights = pending[~certain], weights[~certain]
        if not len(pending):
            break
    return scaled, bits, resolved


def _stepped(data: ScaledData, weight: FloatArray, direction: FloatArray, widening: float) -> FloatArray:
    """Return ``weight + t * direction``, t half the distance to the nearest crossing off the weight."""
    size = float(np.linalg.norm(weight))
    values, slopes = data.rows @ weight, data.rows @ direction
    off = (data.tolerance >= 0) & (np.abs(values) > widening * size * data.tolerance)
    # The rate at which x_i.u shrinks relative to itself; its inverse is the crossing.
    rate = float(np.max(-slopes[off] / values[off], initial=0.5 / size))
    return weight + (0.5 / rate) * direction
