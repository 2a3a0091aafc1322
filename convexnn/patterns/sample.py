"""Distinct patterns at random."""

import operator
import warnings
from contextlib import closing, suppress
from copy import deepcopy

import numpy as np
from numpy.typing import ArrayLike

from convexnn._random import as_generator
from convexnn._typing import FloatArray, IntArray, RandomState, WordArray
from convexnn.exceptions import PatternCountWarning
from convexnn.patterns._bits import interleaved, match_rows, unique_rows
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.enumerate import all_cells
from convexnn.patterns.pattern_set import PatternSet
from convexnn.patterns.stream import found
from convexnn.patterns.witnesses import ResolutionError, ScaledData, check_data, into_interior

__all__ = ["sample_patterns"]

METHODS = ("gaussian", "geometric")
_LEAST_BATCH, _LARGEST_BATCH = 64, 4096  # gates drawn at a time
_DRAWS_FOR_ONE = 20  # a batch with less than one new pattern in so many draws ends plain sampling
_MOST_LISTED_CELLS = 200_000  # to fill up a sample from a list of all: it takes a second or two
_MOST_LISTED_BITS = 4_000_000_000  # and half a GB
_CELLS_AT_A_TIME = 8192  # where the list is long
_CIRCLES_AT_A_TIME = 64
_BARREN_DRAWS = 20  # of great circles, in a row without a new cell


def sample_patterns(
    X: ArrayLike,
    n_patterns: int,
    *,
    method: str = "gaussian",
    symmetric: bool = False,
    random_state: RandomState = None,
) -> PatternSet:
    r"""Sample distinct activation patterns :math:`1[X g \ge 0]`.

    Plain sampling hits thin cells rarely. Once it stalls, the remaining patterns come from a list of all
    cells in random order if that is short, else from the cells that random great circles through known
    witnesses cross.

    Parameters
    ----------
    X : array_like of float, shape (n, d)
        Data, with a column of ones where hidden units have a bias.
    n_patterns : int
        How many distinct patterns, at least 1.
    method : {"gaussian", "geometric"}, default="gaussian"
        How gates are drawn. "gaussian": :math:`g \sim N(0, I)` in the coordinates of X; the gates depend on
        `random_state` and d only. "geometric": g orthogonal to r - 1 randomly chosen rows (r the rank
        of X), then moved into one of the cells around it.
    symmetric : bool, default=False
        Whether every gate g is followed by -g.
    random_state : int, RandomState, Generator or None, default=None
        The same value gives the same patterns.

    Returns
    -------
    PatternSet
        `n_patterns` distinct patterns in order of sampling, or all that exist, or that float64 can tell
        apart, if those are fewer.

    Warns
    -----
    PatternCountWarning
        If they are fewer than `n_patterns`.

    Raises
    ------
    ValueError
        If X is not a finite two-dimensional array, `n_patterns` is below 1 or the method is unknown.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, section 2 (gaussian gates);
    Pilanci, "From complexity to clarity", arXiv:2309.16512 (gates orthogonal to data rows).
    """
    return sample_and_tell(X, n_patterns, method=method, symmetric=symmetric, random_state=random_state)[0]


def sample_and_tell(
    X: ArrayLike,
    n_patterns: int,
    *,
    method: str = "gaussian",
    symmetric: bool = False,
    random_state: RandomState = None,
) -> tuple[PatternSet, bool]:
    """Sample as `sample_patterns` does; also whether more than all patterns that exist were asked for."""
    n_patterns = operator.index(n_patterns)
    if n_patterns < 1:
        raise ValueError(f"n_patterns must be at least 1. Got {n_patterns} instead.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. Got {method!r} instead.")
    data = ScaledData.of(check_data(np.asarray(X, dtype=np.float64)))
    sampler = _Sampler(data, n_patterns, symmetric, as_generator(random_state))
    sampler.draw(Arrangement.of(data) if method == "geometric" else None)
    complete = sampler.missing > 0 and sampler.fill()
    if sampler.missing:
        count = len(sampler.bits)
        which = "exist" if complete else "were found that float64 can tell apart"
        warnings.warn(
            f"Only {count} distinct activation patterns of X {which}, {n_patterns} were asked for; all of "
            "them are returned.",
            PatternCountWarning,
            stacklevel=3,
        )
    return PatternSet(sampler.bits, data.unscaled(sampler.scaled, sampler.powers), data.n_samples), complete


class _Sampler:
    """Distinct cells found so far, with scaled witnesses, and the ways to find more."""

    def __init__(self, data: ScaledData, n_patterns: int, symmetric: bool, rng: np.random.Generator) -> None:
        self.data, self.n_patterns, self.symmetric, self.rng = data, n_patterns, symmetric, rng
        self.bits: WordArray = np.empty((0, data.zero_bits.shape[1]), dtype=np.uint64)
        self.scaled: FloatArray = np.empty((0, data.n_features))
        self.powers: IntArray = np.empty(0, dtype=np.intp)

    @property
    def missing(self) -> int:
        """How many patterns are still wanted."""
        return self.n_patterns - len(self.bits)

    def add(self, scaled: FloatArray, bits: WordArray, powers: IntArray | None = None) -> int:
        """Add the new ones among the given cells, in order, up to the number wanted; return how many."""
        if powers is None:
            powers = np.zeros(len(bits), dtype=np.intp)
        if self.symmetric:
            bits = interleaved(bits, self.data.opposite(bits))
            scaled, powers = interleaved(scaled, -scaled), np.repeat(powers, 2)
        known = len(self.bits)
        bits = np.concatenate([self.bits, bits])
        kept = unique_rows(bits)[: self.n_patterns]
        self.bits = bits[kept]
        self.scaled = np.concatenate([self.scaled, scaled])[kept]
        self.powers = np.concatenate([self.powers, powers])[kept]
        return len(kept) - known

    def draw(self, arrangement: Arrangement | None) -> None:
        """Sample gates until there are enough or a batch brings little; geometric with an arrangement."""
        # A stream of its own: the gates are then the plain draws that `random_state` gives.
        sideways = np.random.default_rng(deepcopy(self.rng).integers(2**63))
        fruitful = True
        while self.missing and fruitful:
            size = min(max(self.missing, _LEAST_BATCH), _LARGEST_BATCH)
            if arrangement is None:
                scaled, powers = self.data.scaled(self.rng.standard_normal((size, self.data.n_features)))
            else:
                scaled, powers = _geometric_gates(arrangement, size, self.rng), np.zeros(size, dtype=np.intp)
            inside, bits, resolved = into_interior(self.data, scaled, sideways.standard_normal(scaled.shape))
            # Cells that float64 cannot tell apart are better than none.
            used = resolved if resolved.any() or len(self.bits) else ~resolved
            fruitful = self.add(inside[used], bits[used], powers[used]) * _DRAWS_FOR_ONE >= size

    def fill(self) -> bool:
        """Find the missing cells; return whether all cells were found and they are too few."""
        arrangement = Arrangement.of(self.data)
        bound = arrangement.most_cells
        few = bound <= max(_MOST_LISTED_CELLS, 4 * self.n_patterns)
        # Where the full list cannot be verified, single cells still can.
        if few and bound * self.data.n_samples <= _MOST_LISTED_BITS:
            with suppress(ResolutionError):
                self._fill_from_all(arrangement)
                return self.missing > 0
        self._walk_circles()
        with suppress(ResolutionError):
            self._fill_in_search_order(arrangement)
            return self.missing > 0
        return False

    def _fill_from_all(self, arrangement: Arrangement) -> None:
        """Add the cells of the full list in random order."""
        bits, generators = all_cells(self.data, arrangement)
        bits, generators = bits[:: 1 + self.symmetric], generators[:: 1 + self.symmetric]
        new = self.rng.permutation(np.flatnonzero(match_rows(self.bits, bits) < 0))
        scaled, powers = self.data.scaled(generators[new])
        self.add(scaled, bits[new], powers)

    def _fill_in_search_order(self, arrangement: Arrangement) -> None:
        """Add cells as the exhaustive search finds them, until there are enough or none is left."""
        size = _CELLS_AT_A_TIME + 4 * arrangement.n_hyperplanes
        with closing(found(self.data, arrangement, size)) as batches:
            for bits, generators in batches:
                scaled, powers = self.data.scaled(generators)
                self.add(scaled, bits, powers)
                if not self.missing:
                    return

    def _walk_circles(self) -> None:
        """Add the cells crossed by great circles through known witnesses, until circles bring none."""
        barren = 0
        while self.missing and barren < _BARREN_DRAWS:
            # A circle crosses at most 2n cells, many of them known.
            n_circles = min(max(self.missing // (4 * self.data.n_samples), 1), _CIRCLES_AT_A_TIME)
            starts = self.scaled[self.rng.integers(len(self.scaled), size=n_circles)]
            directions = self.rng.standard_normal(starts.shape)
            points = np.concatenate(
                [_circle(self.data, *pair) for pair in zip(starts, directions, strict=True)]
            )
            bits, certain = self.data.signs(points)
            order = self.rng.permutation(np.flatnonzero(certain))
            barren = 0 if self.add(points[order], bits[order]) else barren + 1


def _circle(data: ScaledData, start: FloatArray, direction: FloatArray) -> FloatArray:
    """Return a point in each cell that the great circle through two scaled weights crosses."""
    start, direction = start / np.linalg.norm(start), direction / np.linalg.norm(direction)
    rows = data.rows[data.tolerance >= 0]
    crossings = np.sort(np.arctan2(-(rows @ start), rows @ direction) % np.pi)
    middles = (crossings + np.append(crossings[1:], crossings[0] + np.pi)) / 2
    half = np.cos(middles)[:, None] * start + np.sin(middles)[:, None] * direction
    return np.concatenate([half, -half])


def _geometric_gates(arrangement: Arrangement, size: int, rng: np.random.Generator) -> FloatArray:
    """Return scaled gates in the row space, each orthogonal to r - 1 random distinct hyperplane normals."""
    m, rank = arrangement.n_hyperplanes, arrangement.rank
    if rank == 0:
        return rng.standard_normal((size, arrangement.basis.shape[0]))
    chosen = np.array([rng.choice(m, rank - 1, replace=False) for _ in range(size)], dtype=np.intp)
    signs = rng.choice([-1.0, 1.0], size=size)
    normals = arrangement.rows[chosen.reshape(size, rank - 1)]
    # The last column of a complete QR factor is orthogonal to the normals even if they are dependent.
    frames = np.linalg.qr(np.swapaxes(normals, 1, 2), mode="complete")[0]
    gates: FloatArray = (signs[:, None] * frames[:, :, -1]) @ arrangement.basis.T
    return gates
