"""Selection patterns: which patch of each sample a max-pooled unit takes, if any.

A unit ``max_k max(x_k . u, 0)`` takes the patch with the largest product, or none where all products are
negative. Where these choices are the same for all samples it is linear. Cells of that kind are unions of
cells of the arrangement of all patches and all differences of patches of one sample. Equal patches are one
function of ``u``, for which the first stands; a zero patch is the function 0 and never taken.
"""

import numpy as np
from numpy.typing import ArrayLike

from convexnn._jit import kernel
from convexnn._random import as_generator
from convexnn._typing import BoolArray, FloatArray, IndexArray, RandomState, WordArray
from convexnn.patterns._bits import pack_bits, unique_rows
from convexnn.patterns.enumerate import enumerate_patterns
from convexnn.patterns.pattern_set import PatternSet
from convexnn.patterns.witnesses import check_data

__all__ = ["chosen_patches", "enumerate_selections", "selection_bits", "selection_patterns"]

_PRODUCTS = 1 << 21  # of weights and rows held at a time, 16 MB
_MOVES = 16  # of a weight, each of which leaves one of the hyperplanes it is on
_EPS = float(np.finfo(np.float64).eps)


def selection_patterns(
    rows: ArrayLike, positions: int, weights: ArrayLike, *, random_state: RandomState = 0
) -> PatternSet:
    """Return the distinct selections of the cells that given weights lie in, or next to.

    A weight for which two different patches of a sample tie, or a largest product is zero, lies next to
    several cells. One of them is chosen by a random direction and its witness is a point inside it. Where
    cells are thinner than float64 resolves, patches that tie up to rounding are equally good.

    Parameters
    ----------
    rows : array_like of float, shape (n K, d)
        Patches, K of them for each sample, one sample after another.
    positions : int
        K.
    weights : array_like of float, shape (P, d)
        Hidden weights at any scale, none zero.
    random_state : int, RandomState, Generator or None, default=0
        Chooses among the cells next to a weight.

    Returns
    -------
    PatternSet
        Of the n K rows, with the bit of the patch taken; samples of which none is taken have no bit. In order
        of first appearance; weights inside of cells stay generators.

    Raises
    ------
    ValueError
        If the rows are not finite or no multiple of `positions`, or the weights do not fit or are zero.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures", ICLR 2021 (max pooling).
    """
    data, weights = _checked(rows, positions), np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != data.shape[1]:
        raise ValueError(
            f"weights must have shape (P, {data.shape[1]}), one row per neuron, columns as the patches. "
            f"Got shape {weights.shape} instead."
        )
    if not np.isfinite(weights).all() or not weights.any(axis=1).all():
        raise ValueError(
            "Every row of weights must be finite and non-zero: the zero weight lies next to all cells. "
            "Drop neurons with zero weights first."
        )
    weights, chosen = _into_cells(data, positions, weights, as_generator(random_state))
    return _distinct(chosen, weights, positions)


def enumerate_selections(rows: ArrayLike, positions: int, *, max_patterns: int = 2_000_000) -> PatternSet:
    """List all selection patterns, through the arrangement of all patches and their differences.

    Parameters
    ----------
    rows : array_like of float, shape (n K, d)
        Patches, K of them for each sample, one sample after another.
    positions : int
        K.
    max_patterns : int, default=2_000_000
        Budget for the cells of that arrangement, of which there are many more than selections.

    Returns
    -------
    PatternSet
        In a deterministic order; see `selection_patterns`.

    Raises
    ------
    PatternBudgetError
        If the arrangement may have more than `max_patterns` cells.
    ValueError
        If the rows are not finite or no multiple of `positions`.
    ResolutionError
        If rows are so nearly dependent that float64 cannot resolve the cells.
    """
    data = _checked(rows, positions)
    patches = data.reshape(-1, positions, data.shape[1])
    first, second = np.triu_indices(positions, 1)
    differences = (patches[:, first] - patches[:, second]).reshape(-1, data.shape[1])
    cells = enumerate_patterns(np.concatenate([data, differences]), max_patterns=max_patterns)
    weights, chosen = _into_cells(data, positions, cells.generators, np.random.default_rng(0))
    return _distinct(chosen, weights, positions)


def chosen_patches(patterns: PatternSet, positions: int) -> IndexArray:
    """Return which patch each selection takes, shape (P, n), int32: 0 to K - 1, or -1 for none.

    Raises
    ------
    ValueError
        If the patterns are no selections: if the rows of a sample have more than one bit.
    """
    chosen = np.empty((len(patterns), patterns.n_samples // positions), dtype=np.int32)
    if not _read_choices(patterns.bits, positions, chosen):
        raise ValueError(
            f"A selection takes at most one of the {positions} patches of a sample. Got patterns with "
            "several bits for a sample; make them by selection_patterns."
        )
    return chosen


def selection_bits(rows: FloatArray, positions: int, weights: FloatArray) -> WordArray:
    """Return the selection of each weight, of several next to it any one.

    Parameters
    ----------
    rows : ndarray of float64, shape (n K, d)
    positions : int
        K.
    weights : ndarray of shape (m, d)

    Returns
    -------
    ndarray of uint64, shape (m, ceil(n K / 64))
        Packed as in a `PatternSet`; not distinct.
    """
    chosen, _ = _choices(rows, positions, weights)
    return _packed(chosen, positions)


def _checked(rows: ArrayLike, positions: int) -> FloatArray:
    """Return the rows as a float64 matrix, of whole samples."""
    data = check_data(np.asarray(rows, dtype=np.float64))
    if positions < 1 or len(data) % positions:
        raise ValueError(
            f"Every sample needs the same positive number of patches. Got {len(data)} rows for "
            f"positions={positions}."
        )
    return data


def _distinct(chosen: IndexArray, weights: FloatArray, positions: int) -> PatternSet:
    """Return the distinct selections, in order, with their witnesses."""
    bits = _packed(chosen, positions)
    kept = unique_rows(bits)
    return PatternSet(bits[kept], weights[kept], chosen.shape[1] * positions)


def _packed(chosen: IndexArray, positions: int) -> WordArray:
    """Choices (P, n) as packed bits of the rows."""
    n_rows = chosen.shape[1] * positions
    taken = [chosen[part, :, None] == np.arange(positions) for part in _chunks(len(chosen), n_rows)]
    return np.concatenate([pack_bits(some.reshape(-1, n_rows)) for some in taken])


def _chunks(n_weights: int, n_rows: int) -> list[slice]:
    """Parts of the weights whose products with all rows fit in memory; at least one, be it empty."""
    step = max(1, _PRODUCTS // n_rows)
    return [slice(low, low + step) for low in range(0, max(1, n_weights), step)]


def _into_cells(
    rows: FloatArray, positions: int, weights: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, IndexArray]:
    """Move weights that lie between cells into one next to them; they, and their choices (P, n).

    What ties after all moves ties up to rounding, and stays so.
    """
    chosen, certain = _choices(rows, positions, weights)
    pending = np.flatnonzero(~certain)
    if pending.size:
        weights = weights.copy()
    for _ in range(_MOVES):
        if not pending.size:
            break
        for p in pending:
            # Next to the weight, what was taken is ahead of all else or falls behind what tied with it only.
            ahead = _leads(rows, positions, chosen[p])
            weights[p] = PatternSet.from_weights(ahead, weights[[p]], random_state=rng).generators[0]
        chosen[pending], certain = _choices(rows, positions, weights[pending])
        pending = pending[~certain]
    return weights, chosen


def _leads(rows: FloatArray, positions: int, chosen: IndexArray) -> FloatArray:
    """Rows whose products say by how much the chosen patches are ahead of the others and of zero."""
    patches = rows.reshape(-1, positions, rows.shape[1])
    taken = np.where(chosen[:, None] >= 0, patches[np.arange(len(patches)), chosen], 0.0)
    return np.concatenate([(taken[:, None] - patches).reshape(rows.shape), taken])


def _choices(rows: FloatArray, positions: int, weights: FloatArray) -> tuple[IndexArray, BoolArray]:
    """Choices (P, n) of the weights, and for which weights they are beyond rounding."""
    chosen = np.empty((len(weights), len(rows) // positions), dtype=np.int32)
    certain = np.empty(len(weights), dtype=np.bool_)
    absolute = np.abs(rows).T
    for part in _chunks(len(weights), len(rows)):
        products, sizes = weights[part] @ rows.T, np.abs(weights[part]) @ absolute
        _choose(rows, positions, weights[part], products, sizes, chosen[part], certain[part])
    return chosen, certain


@kernel
def _compare(rows: FloatArray, ahead: int, behind: int, weight: FloatArray) -> tuple[float, float, bool]:
    """Product of a weight with the difference of two rows, -1 for zero; its size; whether they are equal."""
    lead, size, same = 0.0, 0.0, True
    for c in range(rows.shape[1]):
        difference = (rows[ahead, c] if ahead >= 0 else 0.0) - (rows[behind, c] if behind >= 0 else 0.0)
        lead += difference * weight[c]
        size += abs(difference * weight[c])
        same &= difference == 0.0
    return lead, size, same


@kernel
def _choose_one(
    rows: FloatArray, low: int, positions: int, weight: FloatArray, products: FloatArray, sizes: FloatArray
) -> tuple[int, bool]:
    """Row from `low` on with the largest product, -1 for zero, and whether it is clear of what differs."""
    accuracy = 2.0 * (rows.shape[1] + 1) * _EPS
    best, highest, size = -1, 0.0, 0.0
    for row in range(low, low + positions):
        if products[row] > highest:
            best, highest, size = row, products[row], sizes[row]
    other, n_compared, clear = -1, 0, True
    # All in turn, once more from where a better one is found.
    while n_compared <= positions:
        product, terms = (products[other], sizes[other]) if other >= 0 else (0.0, 0.0)
        if not highest - product > accuracy * (size + terms):
            lead, difference, same = _compare(rows, best, other, weight)
            if same:
                best = min(best, other)
            elif lead < -accuracy * difference:
                best, highest, size = other, product, terms
                n_compared, clear = 0, True
            elif not lead > accuracy * difference:
                clear = False
        other = low if other < 0 else other + 1
        if other == low + positions:
            other = -1
        n_compared += 1
    return best, clear


@kernel
def _choose(
    rows: FloatArray,
    positions: int,
    weights: FloatArray,
    products: FloatArray,
    sizes: FloatArray,
    chosen: IndexArray,
    certain: BoolArray,
) -> None:
    """Choices of weights, given their products (P, n K) and the sums of the absolute values of their terms.

    Products within rounding of each other are computed anew from the difference of their rows.
    """
    for p in range(weights.shape[0]):
        certain[p] = True
        for i in range(chosen.shape[1]):
            low = i * positions
            best, clear = _choose_one(rows, low, positions, weights[p], products[p], sizes[p])
            chosen[p, i] = best - low if best >= 0 else -1
            certain[p] &= clear


@kernel
def _read_choices(bits: WordArray, positions: int, chosen: IndexArray) -> bool:
    """Read the positions of set bits; False if a sample has several."""
    single = True
    for p in range(chosen.shape[0]):
        for i in range(chosen.shape[1]):
            chosen[p, i] = -1
            for k in range(positions):
                row = i * positions + k
                if (bits[p, row >> 6] >> np.uint64(row & 63)) & np.uint64(1):
                    single &= chosen[p, i] < 0
                    chosen[p, i] = k
    return single
