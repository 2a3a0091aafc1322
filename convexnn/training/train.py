"""`train`: from a problem to a fit, by the method that its kind of network and its options ask for."""

from convexnn.activations import ACTIVATIONS
from convexnn.exceptions import PatternBudgetError
from convexnn.networks import Network
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.enumerate import check_budget
from convexnn.patterns.witnesses import ScaledData
from convexnn.problem import NetworkKind, Problem
from convexnn.programs.pattern_choice import choose_patterns
from convexnn.training.closed import train_linear
from convexnn.training.fit import Fit
from convexnn.training.listed import ListedProgram
from convexnn.training.listed_pairs import ListedPairs
from convexnn.training.local_search import adapt
from convexnn.training.options import TrainingOptions
from convexnn.training.proved_search import prove
from convexnn.training.weighted.search import train_weighted
from convexnn_solvers.clock import Clock

__all__ = ["check_exact", "check_kind", "train"]

# Cells up to which branch and bound is begun without a limit of time: more where the rank is small, as it
# looks at few cones there. Of these sizes all of hundreds of generated problems ended within minutes.
_SMALL_RANK, _MOST_CELLS, _MOST_CELLS_OF_SMALL_RANK = 5, 10**10, 10**13


def train(problem: Problem, options: TrainingOptions, clock: Clock, previous: Network | None = None) -> Fit:
    """Train one network.

    Parameters
    ----------
    problem : Problem
    options : TrainingOptions
        `patterns` decides, where the kind of network has patterns: all are listed where they are few; where
        they are many "exact" generates columns with exact pricing, "auto" adapts patterns; numbers and
        PatternSets are lists.
    clock : Clock
        Of the whole fit.
    previous : TwoLayerNetwork or ConvNetwork, optional
        A network of the same kind that the result shall not be worse than.

    Returns
    -------
    Fit

    Raises
    ------
    PatternBudgetError
        With "exact", if the patterns are too many to begin without a limit of time, or have to be listed
        and are too many for that.
    ValueError
        If a given PatternSet belongs to other data, or ``alpha = 0`` is not supported.
    """
    options.check()
    if problem.kind.pooling == "weighted":
        if problem.alpha == 0:
            raise ValueError(
                "pooling='weighted' needs regularisation: without it filters of any size fit alike. "
                "Got alpha=0; give a positive alpha."
            )
        linear = problem.kind.activation.name == "linear"
        return (train_linear if linear else train_weighted)(problem, options, clock, previous)
    choice = choose_patterns(options.patterns, problem, options.random_state)
    if choice is not None:
        listed = ListedPairs if problem.shared else ListedProgram
        return listed(problem, choice, previous).fit(problem.alpha, options, clock)
    if options.patterns == "auto":
        return adapt(problem, options, clock, previous)
    check_exact(problem, clock)
    return prove(problem, options, clock, previous)


def check_exact(problem: Problem, clock: Clock) -> None:
    """Raise PatternBudgetError for an exact search that may well never end and has no limit of time."""
    if clock.limited:
        return
    try:
        scaled = ScaledData.of(problem.layer.rows)
        arrangement = Arrangement.of(scaled)
        small = arrangement.rank <= _SMALL_RANK
        check_budget(scaled, arrangement, _MOST_CELLS_OF_SMALL_RANK if small else _MOST_CELLS)
    except PatternBudgetError as error:
        raise PatternBudgetError(
            "patterns='exact' searches among all activation patterns of the distinct training samples. "
            f"{error} Try patterns='auto', a number of patterns to sample, fewer columns or samples, or a "
            "time_limit: the bound reached by then is valid."
        ) from error


def check_kind(kind: NetworkKind) -> None:
    """Raise ValueError for options of a convolutional network that do not fit one another.

    Parameters
    ----------
    kind : NetworkKind
        With the geometry of its patches.
    """
    name = kind.activation.name
    if kind.activation.gated:
        raise ValueError(
            f"Filters need an activation without gates. Got {name!r}; choose 'relu', 'leaky_relu', "
            "'absolute_value' or 'linear'."
        )
    if kind.pooling == "max" and kind.activation != ACTIVATIONS["relu"]:
        raise ValueError(
            f"pooling='max' is for activation='relu'. Got {name!r}; choose another pooling or that."
        )
    if kind.pooling in ("max", "weighted") and name != "linear" and kind.hidden_bias == "free":
        raise ValueError(
            f"hidden_bias='free' is not supported with pooling={kind.pooling!r}; "
            "choose 'penalized' or 'none'."
        )
    if name == "linear" and kind.pooling != "weighted":
        raise ValueError(
            "activation='linear' is for pooling='weighted': with other poolings the network is linear in one "
            f"sum of the patches. Got pooling={kind.pooling!r}."
        )
