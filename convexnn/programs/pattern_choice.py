"""Which patterns a fit uses, from the `patterns` option."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convexnn.exceptions import PatternBudgetError, PatternCountWarning
from convexnn.patterns import PatternSet
from convexnn.patterns.witnesses import ResolutionError
from convexnn.pricing.hidden_layer import HiddenLayer

__all__ = ["PatternChoice", "check_patterns_option", "choose_patterns"]

# Entries of all blocks' data together, which the time to price all blocks follows.
_AUTO_ENTRIES = 4_000_000
_EXACT_ENTRIES = 500_000_000
_MOST_PATTERNS = 2_000_000
_AUTO_SAMPLED = 50


@dataclass(frozen=True, eq=False)
class PatternChoice:
    """Patterns of the program's data and whether they are all that exist."""

    patterns: PatternSet
    complete: bool


def check_patterns_option(option: Any) -> None:
    """Raise ValueError unless `option` is "auto", "exact", a positive number or a PatternSet."""
    valid = isinstance(option, PatternSet) or option in ("auto", "exact")
    if isinstance(option, int | np.integer) and not isinstance(option, bool):
        valid = int(option) >= 1
    if not valid:
        raise ValueError(
            "patterns must be 'auto', 'exact', a positive number of patterns to sample, or a PatternSet. "
            f"Got {option!r} instead."
        )


def choose_patterns(
    option: str | int | PatternSet,
    layer: HiddenLayer,
    original: Callable[[], HiddenLayer],
    *,
    blocks_per_pattern: int,
    random_state: np.random.RandomState,
    searchable: bool = False,
) -> PatternChoice | None:
    """Resolve the `patterns` option to a list.

    Parameters
    ----------
    option : "auto", "exact", int or PatternSet
    layer : HiddenLayer
        On the distinct samples.
    original : callable
        Makes the layer on all samples, the rows that a `PatternSet` must be of.
    blocks_per_pattern : int
        Blocks that the program has for each pattern.
    random_state : RandomState
        Used for sampling only.
    searchable : bool
        Whether the caller can do without a list.

    Returns
    -------
    PatternChoice or None
        None if `searchable` and with "auto" or "exact" more patterns exist than can be listed cheaply, or
        float64 cannot tell which do.

    Raises
    ------
    PatternBudgetError
        With "exact" and not `searchable`, if the program would be too large for a cone solver.
    ResolutionError
        With "exact" and not `searchable`, if float64 cannot tell which patterns exist.
    ValueError
        If a PatternSet belongs to other data.
    """
    entries_per_pattern = blocks_per_pattern * layer.rows.size
    if isinstance(option, PatternSet):
        return PatternChoice(_on_samples(option, layer, original()), complete=False)
    if not isinstance(option, str):
        return PatternChoice(*layer.some_patterns(int(option), random_state))
    listed_to_solve = option == "exact" and not searchable
    budget = _EXACT_ENTRIES if listed_to_solve else _AUTO_ENTRIES
    limit = min(_MOST_PATTERNS, max(1, budget // entries_per_pattern))
    if searchable and layer.has_more_patterns_than(limit):
        return None
    try:
        return PatternChoice(layer.all_patterns(limit), complete=True)
    except (PatternBudgetError, ResolutionError) as error:
        if searchable:
            return None
        if option == "exact":
            raise type(error)(
                f"patterns='exact' lists all activation patterns of the distinct training samples. {error} "
                "Try patterns='auto', a number of patterns to sample, fewer columns or samples."
            ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PatternCountWarning)
        return PatternChoice(*layer.some_patterns(min(_AUTO_SAMPLED, limit), random_state))


def _on_samples(patterns: PatternSet, layer: HiddenLayer, original: HiddenLayer) -> PatternSet:
    """Return the user's patterns on the distinct samples, after checking that they are of these data."""
    if (patterns.n_samples, patterns.n_features) != original.rows.shape:
        raise ValueError(
            f"The given patterns are of data of shape ({patterns.n_samples}, {patterns.n_features}), but "
            f"the hidden layer sees data of shape {original.rows.shape}. Compute them on the training data, "
            "with a column of ones appended unless hidden_bias='none'."
        )
    if not original.has(patterns):
        raise ValueError(
            "The given patterns disagree with the signs of their generators on the training data. "
            "Compute them on the same data, in the same order of samples."
        )
    return layer.patterns(patterns.generators)
