"""All patterns of a data matrix, a batch at a time."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from math import comb

import numba
import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, WordArray
from convexnn.patterns._search import HalfCells
from convexnn.patterns._target import Target
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.pattern_set import PatternSet
from convexnn.patterns.witnesses import ResolutionError, ScaledData, check_data

__all__ = ["iterate_patterns"]

BATCH = 100_000  # patterns
_SEQUENCES_OF_A_TASK = 20_000  # of rows; some hundredths of a second
_EPS = float(np.finfo(np.float64).eps)


def iterate_patterns(X: ArrayLike, *, batch: int = BATCH) -> Iterator[PatternSet]:
    r"""Go through all activation patterns without holding them at once.

    They are those of `enumerate_patterns`, with the same guarantees, in another order, also deterministic.

    Parameters
    ----------
    X : array_like of float, shape (n, d)
        Data, with a column of ones where hidden units have a bias.
    batch : int, default=100_000
        Most patterns in a batch, raised to ``4 n`` where it is less. One batch more than there are threads
        exists at a time, beside the one given out.

    Yields
    ------
    PatternSet
        Patterns with their interior witnesses, each pattern once in all batches together and followed by its
        opposite.

    Raises
    ------
    ValueError
        If X is not a finite two-dimensional array or `batch` is not positive.
    ResolutionError
        If rows are so nearly dependent that float64 cannot resolve the cells.

    See Also
    --------
    enumerate_patterns : The same as one list.
    count_patterns : A bound on how many there are.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1. Got {batch} instead.")
    data = ScaledData.of(check_data(np.asarray(X, dtype=np.float64)))
    return _batches(data, Arrangement.of(data), batch)


def _batches(data: ScaledData, arrangement: Arrangement, batch: int) -> Iterator[PatternSet]:
    """Yield the patterns."""
    if arrangement.rank == 0:
        yield PatternSet(data.zero_bits, np.ones((1, data.n_features)), data.n_samples)
        return
    size = max(batch, 4 * arrangement.n_hyperplanes)
    for bits, generators in found(data, arrangement, size):
        yield PatternSet(bits, generators, data.n_samples)


def found(
    data: ScaledData, arrangement: Arrangement, size: int
) -> Generator[tuple[WordArray, FloatArray], None, None]:
    """Yield packed signs and user-scale witnesses of all cells, opposite ones neighbours, `size` at most."""
    target = Target.of(data, arrangement)
    searches = (search_of(target, arrangement, task) for task in tasks(arrangement, size // 4))

    def continued(search: HalfCells) -> tuple[HalfCells, WordArray, FloatArray]:
        bits, generators = new_rows(data, size)
        shrink(bits, generators, search.fill(bits, generators))
        if not search.proved:
            raise ResolutionError(
                "The list of cells could not be verified: whether some were found twice is within rounding. "
                "Perturb X slightly, or list all patterns at once, which compares them."
            )
        return search, bits, generators

    n_threads = numba.get_num_threads()
    with ThreadPoolExecutor(n_threads) as pool:
        running = deque(pool.submit(continued, search) for search in islice(searches, n_threads + 1))
        try:
            while running:
                search, bits, generators = running.popleft().result()
                following = next(searches, None) if search.finished else search
                if following is not None:
                    running.append(pool.submit(continued, following))
                if len(bits):
                    yield bits, generators
        finally:
            pool.shutdown(cancel_futures=True)


def new_rows(data: ScaledData, size: int) -> tuple[WordArray, FloatArray]:
    """Return room for patterns and witnesses."""
    return np.empty((size, data.zero_bits.shape[1]), dtype=np.uint64), np.empty((size, data.n_features))


def shrink(bits: WordArray, generators: FloatArray, count: int) -> None:
    """Give back all rows but the first `count`, in place, and make the arrays read-only."""
    for array in (bits, generators):
        array.resize((count, array.shape[1]), refcheck=False)
        array.flags.writeable = False


def search_of(target: Target, arrangement: Arrangement, task: tuple[int, int, int, int]) -> HalfCells:
    """Start the search of one task.

    The slice of dimension k is the span of the first k axes; its cells off the span of the first k-1 axes
    are the ones on the positive side of the last.
    """
    k, start, stop, _ = task
    rows = arrangement.rows[:, :k]
    rows = np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1)[:, None])
    return HalfCells(target, rows, start, stop, error=(arrangement.rank + 4) * _EPS)


def tasks(arrangement: Arrangement, chunk: int = _SEQUENCES_OF_A_TASK) -> Iterator[tuple[int, int, int, int]]:
    """Yield (slice dimension, first, last, sequences of rows), about `chunk` of the latter each."""
    m = arrangement.n_hyperplanes
    if arrangement.rank:
        yield 1, 1, 1, 1
    for k in range(2, arrangement.rank + 1):
        totals = accumulate(comb(m - 1 - first, k - 2) for first in range(1, m))
        start, done = 1, 0
        for first, total in enumerate(totals, start=1):
            if total - done >= chunk or first == m - 1:
                yield k, start, first + 1, total - done
                start, done = first + 1, total
