"""All patterns of a data matrix."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, WordArray
from convexnn.exceptions import PatternBudgetError
from convexnn.patterns._bits import n_words, unique_rows
from convexnn.patterns._target import Target
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.pattern_set import PatternSet
from convexnn.patterns.stream import new_rows, search_of, shrink, tasks
from convexnn.patterns.witnesses import ResolutionError, ScaledData, check_data

__all__ = ["enumerate_patterns"]

_Part = tuple[slice, list[tuple[WordArray, FloatArray]], bool]


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
    ResolutionError
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
    bound = arrangement.most_cells
    if bound <= max_patterns:
        return
    size = float(min(bound * 8 * (n_words(data.n_samples) + data.n_features), 10**300))
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
    target, chosen = Target.of(data, arrangement), list(tasks(arrangement))
    ends = np.cumsum([2 * task[-1] for task in chosen]).tolist()
    bits, generators = new_rows(data, ends[-1])

    def fill(task: tuple[int, int, int, int], end: int) -> _Part:
        search, first = search_of(target, arrangement, task), end - 2 * task[-1]
        own = slice(first, first + search.fill(bits[first:end], generators[first:end]))
        rest = []
        # Where more rows meet in a line than needed, a task may have more cells than sequences.
        while not search.finished:
            more = new_rows(data, max(end - first, 4 * arrangement.n_hyperplanes))
            shrink(*more, search.fill(*more))
            rest.append(more)
        return own, rest, search.proved

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        parts = list(pool.map(fill, chosen, ends))
    if any(own.stop != end or rest for (own, rest, _), end in zip(parts, ends, strict=True)):
        bits = np.concatenate(
            [piece for own, rest, _ in parts for piece in (bits[own], *(m[0] for m in rest))]
        )
        generators = np.concatenate(
            [piece for own, rest, _ in parts for piece in (generators[own], *(m[1] for m in rest))]
        )
    if not all(proved for *_, proved in parts):
        _check_distinct(bits)
    shrink(bits, generators, len(bits))
    return bits, generators


def _check_distinct(bits: WordArray) -> None:
    """Raise ResolutionError if a pattern is repeated."""
    n_repeated = len(bits) - len(unique_rows(bits))
    if n_repeated:
        raise ResolutionError(
            f"The list of cells could not be verified: {n_repeated} cells were found twice. Rows of X are "
            "too nearly dependent for float64. Centre and rescale the columns, or round X to fewer digits."
        )


def _short(number: int) -> str:
    """Return a count in full up to 15 digits, else in powers of ten."""
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"
