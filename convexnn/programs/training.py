"""A training problem: samples, the networks allowed, and the convex program of both."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils import check_random_state

from convexnn._typing import RandomState
from convexnn.networks import Network
from convexnn.patterns import PatternSet
from convexnn.programs.pattern_choice import PatternChoice, choose_patterns
from convexnn.programs.reconstruct import network_from_blocks, network_weights
from convexnn.programs.restricted import RestrictedPrograms
from convexnn.programs.training_data import NetworkKind, TrainingData, encode_classes
from convexnn_solvers import ConvexProgram, SolveResult

__all__ = ["NetworkKind", "TrainingData", "TrainingProblem", "as_seed", "encode_classes", "training_problem"]


@dataclass(frozen=True, eq=False)
class TrainingProblem:
    """Samples with the convex program of the networks that may be trained on them.

    Attributes
    ----------
    data : TrainingData
    kind : NetworkKind
    program : ConvexProgram
        Over the distinct samples of positive weight.
    choice : PatternChoice
        The program's patterns and whether they are all that exist.
    """

    data: TrainingData
    kind: NetworkKind
    program: ConvexProgram
    choice: PatternChoice

    def at(self, alpha: float) -> ConvexProgram:
        """Return the program at another strength of regularisation, on the same design."""
        return replace(self.program, alpha=float(alpha))

    def network(self, result: SolveResult) -> Network:
        """Return the network of a solution of the program."""
        return network_from_blocks(
            self.program,
            result.blocks,
            result.intercept,
            hidden_bias=self.kind.hidden_bias,
            classes=self.data.classes,
            patches=self.kind.patches,
            pooling=self.kind.pooling,
        )

    def objective(self, network: Network, alpha: float) -> float:
        """Return ``F`` of a network on all samples, recomputed from its weights."""
        data = self.data
        return network.objective(data.X, data.targets, alpha=alpha, loss=data.loss, sample_weight=data.weight)

    @property
    def patterns(self) -> PatternSet:
        """The patterns of the program, on all samples as the hidden layer sees them."""
        return self.kind.layer(self.data.X).patterns(self.choice.patterns.generators)

    @property
    def gap_scope(self) -> str:
        """What the program's bound bounds: "global" or "patterns"."""
        certified = self.choice.complete and self.program.n_outputs == 1 and not self.kind.activation.gated
        return "global" if certified else "patterns"


def training_problem(
    data: TrainingData,
    kind: NetworkKind,
    *,
    alpha: float,
    random_state: RandomState,
    previous: Network | None = None,
) -> TrainingProblem | None:
    """Build the program over the patterns of a list, where the option `patterns` is one or can be made one.

    Parameters
    ----------
    data : TrainingData
    kind : NetworkKind
    alpha : float
    random_state : int, RandomState, Generator or None
        For sampled patterns.
    previous : TwoLayerNetwork or ConvNetwork, optional
        A network whose patterns join the chosen ones, so that it is a point of the program.

    Returns
    -------
    TrainingProblem or None
        None where "auto" or "exact" means more patterns than can be listed cheaply, so that they have to be
        searched for; with gated units or ``alpha = 0`` they cannot, and a list is used at any size.

    Raises
    ------
    PatternBudgetError
        With all patterns asked for, if they have to be listed and are too many.
    ValueError
        If a given PatternSet belongs to other data, or data or modes do not fit.
    """
    programs = RestrictedPrograms.of(data, kind, alpha)
    choice = choose_patterns(
        kind.patterns,
        programs.layer,
        lambda: kind.layer(data.X),
        blocks_per_pattern=data.targets.shape[1] * (1 if kind.activation.gated else 2),
        random_state=check_random_state(_legacy(random_state)),
        searchable=alpha > 0 and not kind.activation.gated,
    )
    if choice is None:
        return None
    if previous is not None and not choice.complete:
        own = programs.patterns(network_weights(previous))
        choice = replace(choice, patterns=choice.patterns.union(own))
    return TrainingProblem(data, kind, programs.program(choice.patterns), choice)


def as_seed(random_state: RandomState) -> int:
    """Return one integer for all that is to be drawn, so that order and processes do not matter."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _legacy(random_state: RandomState) -> int | np.random.RandomState | None:
    """Scikit-learn takes no numpy Generator; draw a seed from one."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return random_state
