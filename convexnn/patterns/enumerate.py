"""All patterns of a data matrix."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from math import comb

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, WordArray
from convexnn.exceptions import PatternBudgetError
from convexnn.patterns._bits import interleaved, n_words, unique_rows
from convexnn.patterns._cells import half_cells
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.count import count_patterns
from convexnn.patterns.pattern_set import PatternSet
from convexnn.patterns.witnesses import ResolutionError, ScaledData, check_data

__all__ = ["enumerate_patterns"]

_CHUNK = 20_000  # sequences of rows per task
_EPS = float(np.finfo(np.float64).eps)


def enumerate_patterns(X: ArrayLike, *, max_patterns: int = 2_000_000) -> PatternSet:
    r"""List all activation patterns, one per full-dimensional cell of :math:`\{u : x_i \cdot u = 0\}`.

    Exact for any input: zero rows are left out (their bit is one), parallel rows merged, rank deficiency
    removed, and vertices in which more hyperplanes meet than the dimension are resolved. The cells that meet
    a generic hyperplane are those of the arrangement restricted to it, one rank lower; those that avoid it
    are found from the vertices at which a height is extreme, without linear programs.

    Parameters
    ----------
    X : array_like of float, shape (n, d)
        Data, with a column of ones where hidden units have a bias.
    max_patterns : int, default=2_000_000
        Budget, compared with the bound `count_patterns` of the distinct hyperplanes and the rank.

    Returns
    -------
    PatternSet
        In a deterministic order; each pattern is followed by the one of the negated generator.

    Raises
    ------
    PatternBudgetError
        If more than `max_patterns` may exist. The text gives the bound and the memory they would take.
    ValueError
        If X is not a finite two-dimensional array.
    RuntimeError
        If rows are so nearly dependent that float64 cannot resolve the cells.

    Notes
    -----
    Every listed generator is verified against X: its signs are certain in floating point and all patterns
    differ. Time is that of :math:`n \binom{n}{r-1}` multiplications; threads share it.

    References
    ----------
    Cover, "Geometrical and statistical properties of systems of linear inequalities with applications in
    pattern recognition", IEEE Trans. Electronic Computers 14 (1965); Pilanci and Ergen, "Neural networks are
    convex regularizers", ICML 2020, section 2.
    """
    data = ScaledData.of(check_data(np.asarray(X, dtype=np.float64)))
    arrangement = Arrangement.of(data)
    check_budget(data, arrangement, max_patterns)
    return PatternSet(*all_cells(data, arrangement), data.n_samples)


def check_budget(data: ScaledData, arrangement: Arrangement, max_patterns: int) -> None:
    """Raise PatternBudgetError if more than `max_patterns` cells may exist."""
    bound = count_patterns(max(1, arrangement.n_hyperplanes), arrangement.rank)
    if bound <= max_patterns:
        return
    size = float(bound * 8 * (n_words(data.n_samples) + data.n_features))
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    raise PatternBudgetError(
        f"Up to {_short(bound)} activation patterns exist for {arrangement.n_hyperplanes} distinct "
        f"hyperplanes of rank {arrangement.rank}; they would take {size:.3g} {unit}. At most "
        f"max_patterns={max_patterns} were allowed. Sample patterns instead (sample_patterns), use fewer "
        "columns, or raise max_patterns."
    )


def all_cells(data: ScaledData, arrangement: Arrangement) -> tuple[WordArray, FloatArray]:
    """Return packed signs and user-scale witnesses of all cells, verified; opposite cells are neighbours."""
    if arrangement.rank == 0:
        return data.zero_bits, np.ones((1, data.n_features))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda task: list(_half_cells(arrangement, *task)), _tasks(arrangement))
        points = [batch @ arrangement.basis[:, : batch.shape[1]].T for batches in found for batch in batches]
    return verified(data, np.concatenate(points))


def some_cells(arrangement: Arrangement) -> Iterator[FloatArray]:
    """Yield scaled witnesses of distinct half-cells, in batches, as the search finds them."""
    for k in range(1, arrangement.rank + 1):
        for points in _half_cells(arrangement, k, 1, max(2, arrangement.n_hyperplanes)):
            yield points @ arrangement.basis[:, :k].T


def verified(data: ScaledData, scaled: FloatArray) -> tuple[WordArray, FloatArray]:
    """Return packed signs and user-scale generators of half-cells and of their negatives.

    Raises
    ------
    ResolutionError
        If the sign of a row at a witness is within rounding, or two cells are the same.
    """
    bits, certain = data.signs(scaled)
    both = interleaved(bits, data.opposite(bits))
    n_repeated = len(both) - len(unique_rows(both))
    if not certain.all() or n_repeated:
        raise ResolutionError(
            f"The list of cells could not be verified: {np.count_nonzero(~certain)} of {len(bits)} witnesses "
            f"are within rounding of a hyperplane and {n_repeated} cells were found twice. Rows of X are too "
            "nearly dependent for float64. Centre and rescale the columns, or round X to fewer digits."
        )
    generators = data.unscaled(scaled, np.zeros(len(scaled), dtype=np.intp))
    return both, interleaved(generators, -generators)


def _tasks(arrangement: Arrangement) -> Iterator[tuple[int, int, int]]:
    """Yield (slice dimension, first, last) such that each holds about `_CHUNK` sequences of rows."""
    m = arrangement.n_hyperplanes
    for k in range(1, arrangement.rank + 1):
        if k == 1:
            yield 1, 1, m
            continue
        totals = accumulate(comb(m - 1 - first, k - 2) for first in range(1, m))
        start, done = 1, 0
        for first, total in enumerate(totals, start=1):
            if total - done >= _CHUNK or first == m - 1:
                yield k, start, first + 1
                start, done = first + 1, total


def _half_cells(arrangement: Arrangement, k: int, start: int, stop: int) -> Iterator[FloatArray]:
    """Yield the coordinates of the half-cells of one task.

    The slice of dimension k is the span of the first k axes; its cells off the span of the first k-1 axes
    are the ones on the positive side of the last.
    """
    rows = arrangement.rows[:, :k]
    rows = np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1)[:, None])
    return half_cells(rows, np.eye(k)[-1], start, stop, error=(arrangement.rank + 4) * _EPS)


def _short(number: int) -> str:
    """Return a count in full up to 15 digits, else in powers of ten."""
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"
