"""Which patterns a fit uses, from the `patterns` option."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from convexnn._typing import RandomState
from convexnn.exceptions import PatternBudgetError, PatternCountWarning
from convexnn.patterns import PatternSet
from convexnn.patterns.witnesses import ResolutionError
from convexnn.problem import Neurons, Problem

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

    def joined(self, problem: Problem, neurons: Neurons | None) -> Self:
        """Return these and the patterns of a network's neurons, (m, d), unless all are there already."""
        if neurons is None or not len(neurons) or self.complete:
            return self
        return replace(self, patterns=self.patterns.union(problem.layer.patterns(neurons.cells)))


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
    option: str | int | PatternSet, problem: Problem, random_state: RandomState
) -> PatternChoice | None:
    """Resolve the `patterns` option to a list.

    Parameters
    ----------
    option : "auto", "exact", int or PatternSet
    problem : Problem
    random_state : int, RandomState, Generator or None
        Used for sampling only.

    Returns
    -------
    PatternChoice or None
        None where "auto" or "exact" means more patterns than can be listed cheaply, or float64 cannot tell
        which there are, so that they have to be searched for; with gated units or ``alpha = 0`` they cannot,
        and a list is used at any size.

    Raises
    ------
    PatternBudgetError
        With "exact" and not `searchable`, if the program would be too large for a cone solver.
    ResolutionError
        With "exact" and not `searchable`, if float64 cannot tell which patterns exist.
    ValueError
        If a PatternSet belongs to other data.
    """
    layer, gated = problem.layer, problem.kind.activation.gated
    if isinstance(option, PatternSet):
        return PatternChoice(problem.given_patterns(option), complete=False)
    if not isinstance(option, str):
        return PatternChoice(*layer.some_patterns(int(option), random_state))
    searchable = problem.alpha > 0 and not gated
    entries_per_pattern = (1 if gated else 2) * problem.n_outputs * layer.rows.size
    listed_to_solve = option == "exact" and not searchable
    budget = _EXACT_ENTRIES if listed_to_solve else _AUTO_ENTRIES
    limit = min(_MOST_PATTERNS, max(1, budget // entries_per_pattern))
    # On a pattern neurons may feed shared outputs in any direction, so that no list of patterns is a program.
    if searchable and (problem.shared or layer.has_more_patterns_than(limit)):
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
