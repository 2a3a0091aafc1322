"""The value type of this package: a list of activation patterns, each with an interior witness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._random import as_generator
from convexnn._typing import BoolArray, FloatArray, IntArray, RandomState, WordArray
from convexnn.patterns._bits import Scalar, match_rows, n_words, pack_bits, unique_rows, unpack_bits
from convexnn.patterns.witnesses import ScaledData, check_data, into_interior

__all__ = ["PatternSet"]

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False, repr=False)
class PatternSet:
    r"""Activation patterns of a data matrix, packed, with a witness inside the cell of each.

    Pattern i is :math:`D_i = \mathrm{diag}(1[X g_i \ge 0])` with a generator :math:`g_i` in the interior of a
    full-dimensional cell: :math:`x_r \cdot g_i \ne 0` for every non-zero row of X. The bit of a zero row
    is one. Instances are immutable, hashable and picklable; equality is that of the contents.

    Parameters
    ----------
    bits : ndarray of uint64, shape (P, ceil(n_samples / 64))
        Sample r is bit ``r % 64`` of word ``r // 64``; unused high bits must be zero.
    generators : ndarray of float64, shape (P, n_features)
        Interior witnesses, at any positive scale: ``X @ g > 0`` where the bit is
        one and the row of X is not zero.
    n_samples : int
        Number of rows of X.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit together or unused bits are set.

    See Also
    --------
    enumerate_patterns : All patterns.
    sample_patterns : Some patterns, at random.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation (6).
    """

    bits: WordArray
    generators: FloatArray
    n_samples: int

    def __post_init__(self) -> None:
        """Validate and freeze."""
        n_samples = int(self.n_samples)
        bits, generators = np.asarray(self.bits), np.asarray(self.generators)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1. Got {n_samples} instead.")
        if bits.dtype != np.uint64 or bits.ndim != 2 or bits.shape[1] != n_words(n_samples):
            raise ValueError(
                f"bits must be uint64 of shape (P, {n_words(n_samples)}) for {n_samples} samples. "
                f"Got {bits.dtype} of shape {bits.shape} instead; use pack_bits on a boolean array."
            )
        if generators.dtype != np.float64 or generators.ndim != 2 or len(generators) != len(bits):
            raise ValueError(
                f"generators must be float64 of shape ({len(bits)}, n_features), one row per row of bits. "
                f"Got {generators.dtype} of shape {generators.shape} instead."
            )
        if not np.isfinite(generators).all():
            raise ValueError("generators must be finite. Got NaN or infinite entries instead.")
        spare = 64 * bits.shape[1] - n_samples
        if spare and len(bits) and (bits[:, -1] >> np.uint64(64 - spare)).any():
            raise ValueError(f"Bits beyond sample {n_samples - 1} must be zero. Got some set instead.")
        object.__setattr__(self, "n_samples", n_samples)
        object.__setattr__(self, "bits", _frozen(bits))
        object.__setattr__(self, "generators", _frozen(generators))

    @classmethod
    def from_weights(cls, X: ArrayLike, weights: ArrayLike, *, random_state: RandomState = 0) -> "PatternSet":
        """Return the distinct patterns of the cells that given weights lie in, or next to.

        A weight on a hyperplane ``x_i.u = 0``, or within rounding of one, belongs to the closures of several
        cells. One of them is chosen by a random direction and its witness is a point inside it. Where cells
        are thinner than float64 resolves, the signs at such a point are right up to rounding.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
            Data, with a column of ones where hidden units have a bias.
        weights : array_like of float, shape (P, d)
            Hidden weights at any scale, none zero.
        random_state : int, RandomState, Generator or None, default=0
            Chooses among the cells next to a weight on a hyperplane.

        Returns
        -------
        PatternSet
            Distinct patterns in order of first appearance; weights off all hyperplanes stay generators.

        Raises
        ------
        ValueError
            If X or the weights are not finite, do not fit together, or a weight is zero.
        """
        X = check_data(np.asarray(X, dtype=np.float64))
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 2 or weights.shape[1] != X.shape[1]:
            raise ValueError(
                f"weights must have shape (P, {X.shape[1]}), one row per neuron, columns as X. "
                f"Got shape {weights.shape} instead."
            )
        if not np.isfinite(weights).all():
            raise ValueError("weights must be finite. Got NaN or infinite entries instead.")
        if not weights.any(axis=1).all():
            raise ValueError(
                "Every row of weights must be non-zero: the zero weight lies next to all cells. "
                "Drop neurons with zero weights first."
            )
        data = ScaledData.of(X)
        scaled, powers = data.scaled(weights)
        directions = as_generator(random_state).standard_normal(weights.shape)
        inside, bits, _ = into_interior(data, scaled, directions)
        kept = unique_rows(bits)
        return cls(bits[kept], data.unscaled(inside[kept], powers[kept]), data.n_samples)

    def __len__(self) -> int:
        """Return the number of patterns."""
        return len(self.bits)

    @property
    def n_features(self) -> int:
        """Number of columns of X."""
        return int(self.generators.shape[1])

    def to_dense(self) -> BoolArray:
        """Return the patterns as a boolean array of shape (P, n_samples)."""
        return unpack_bits(self.bits, self.n_samples)

    def take(self, indices: ArrayLike | slice) -> "PatternSet":
        """Return the patterns at the given positions (integers, a boolean mask or a slice), in that order."""
        where = indices if isinstance(indices, slice) else _as_index(indices)
        return PatternSet(self.bits[where], self.generators[where], self.n_samples)

    def union(self, other: "PatternSet") -> "PatternSet":
        """Return the distinct patterns of both sets in order of first appearance.

        Raises
        ------
        ValueError
            If the sets differ in `n_samples` or `n_features`.
        """
        mine, theirs = (self.n_samples, self.n_features), (other.n_samples, other.n_features)
        if mine != theirs:
            raise ValueError(
                f"Only patterns of the same data can be united. Got (n_samples, n_features) = {theirs}, "
                f"wanted {mine}."
            )
        bits = np.concatenate([self.bits, other.bits])
        generators = np.concatenate([self.generators, other.generators])
        kept = unique_rows(bits)
        return PatternSet(bits[kept], generators[kept], self.n_samples)

    def positions(self, bits: NDArray[np.uint64]) -> IntArray:
        """Return where given patterns are in this set.

        Parameters
        ----------
        bits : ndarray of uint64, shape (Q, ceil(n_samples / 64))

        Returns
        -------
        ndarray of int, shape (Q,)
            First position of each row of `bits`, -1 where it is not in the set.
        """
        bits = np.asarray(bits)
        if bits.dtype != np.uint64 or bits.ndim != 2 or bits.shape[1] != self.bits.shape[1]:
            raise ValueError(
                f"bits must be uint64 of shape (Q, {self.bits.shape[1]}). Got {bits.dtype} of shape "
                f"{bits.shape} instead."
            )
        return match_rows(self.bits, bits)

    def holds_on(self, X: FloatArray) -> bool:
        """Whether the bits are the signs of the products of rows of X and generators, up to rounding."""
        products, dense = self.generators @ X.T, self.to_dense()
        rounding = 4 * _EPS * (X.shape[1] + 1) * (np.abs(self.generators) @ np.abs(X).T)
        return not np.where(dense, products < -rounding, products > rounding).any()

    def restricted_to(self, sample_indices: ArrayLike) -> "PatternSet":
        """Return the patterns as seen on other rows: ``X[sample_indices]``.

        The result has one pattern per pattern of this set, with the same generators; patterns that differ on
        left-out samples only become equal and are **not** merged, so positions keep their meaning.

        Parameters
        ----------
        sample_indices : array_like of int or bool
            A subset, reordering or repetition of the samples.
        """
        dense = self.to_dense()[:, _as_index(sample_indices)]
        return PatternSet(pack_bits(dense), self.generators, dense.shape[1])

    def __eq__(self, other: object) -> bool:
        """Whether samples, bits and generators are the same."""
        if not isinstance(other, PatternSet):
            return NotImplemented
        return (
            self.n_samples == other.n_samples
            and np.array_equal(self.bits, other.bits)
            and np.array_equal(self.generators, other.generators)
        )

    def __hash__(self) -> int:
        """Hash of the contents."""
        # Without the generators, in which 0.0 and -0.0 are equal but differ as bytes.
        return hash((self.n_samples, self.generators.shape, self.bits.tobytes()))

    def __reduce__(self) -> tuple[Callable[..., "PatternSet"], tuple[Any, ...]]:
        """Pickle and copy through the constructor, because unpickled arrays are writeable."""
        return PatternSet, (self.bits, self.generators, self.n_samples)

    def __repr__(self) -> str:
        """One line: how many patterns of what data."""
        return f"PatternSet({len(self)} patterns, n_samples={self.n_samples}, n_features={self.n_features})"


def _frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return a C-contiguous array that cannot be written to, a copy unless it already is one."""
    if array.flags.writeable or not array.flags.owndata or not array.flags.c_contiguous:
        array = np.array(array, order="C", copy=True)
        array.flags.writeable = False
    return array


def _as_index(indices: ArrayLike) -> IntArray:
    """Return integers for indices or a boolean mask; an empty list is a list of integers."""
    index = np.atleast_1d(np.asarray(indices))
    if index.dtype == np.bool_:
        return np.flatnonzero(index)
    return index.astype(np.intp, casting="same_kind") if index.size else index.astype(np.intp)
