"""A training problem: samples, the networks allowed, and the convex program of both."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from convexnn._typing import FloatArray, HiddenBias, IntArray, RandomState
from convexnn.activations import Activation
from convexnn.losses import Loss, encode_targets
from convexnn.networks import TwoLayerNetwork
from convexnn.patterns import PatternSet
from convexnn.programs.pattern_choice import PatternChoice, choose_patterns
from convexnn.programs.reconstruct import network_from_blocks, network_weights
from convexnn.programs.samples import merge_samples
from convexnn.programs.two_layer import augment, two_layer_program
from convexnn_solvers import ConvexProgram, SolveResult

__all__ = ["NetworkKind", "TrainingData", "TrainingProblem", "encode_classes", "training_problem"]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Validated samples.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    targets : ndarray of shape (n_samples, K)
        Encoded.
    weight : ndarray of shape (n_samples,)
        Non-negative, not all zero.
    loss : Loss
    classes : tuple or None
        Labels of a classifier, sorted.
    """

    X: FloatArray
    targets: FloatArray
    weight: FloatArray
    loss: Loss
    classes: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class NetworkKind:
    """Which networks are trained; fields as the parameters of `convexnn.ConvexMLPRegressor`."""

    activation: Activation
    patterns: str | int | PatternSet
    hidden_bias: HiddenBias
    fit_intercept: bool


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

    def network(self, result: SolveResult) -> TwoLayerNetwork:
        """Return the network of a solution of the program."""
        return network_from_blocks(
            self.program,
            result.blocks,
            result.intercept,
            hidden_bias=self.kind.hidden_bias,
            classes=self.data.classes,
        )

    def objective(self, network: TwoLayerNetwork, alpha: float) -> float:
        """Return ``F`` of a network on all samples, recomputed from its weights."""
        data = self.data
        return network.objective(data.X, data.targets, alpha=alpha, loss=data.loss, sample_weight=data.weight)

    @property
    def patterns(self) -> PatternSet:
        """The patterns of the program, on all samples as the hidden layer sees them."""
        data = augment(self.data.X, self.kind.hidden_bias)
        return PatternSet.from_weights(data, self.choice.patterns.generators)

    @property
    def gap_scope(self) -> str:
        """What the program's bound bounds: "global" or "patterns"."""
        certified = self.choice.complete and self.program.n_outputs == 1 and not self.kind.activation.gated
        return "global" if certified else "patterns"


def encode_classes(loss: Loss, indices: IntArray, n_classes: int) -> FloatArray:
    """Encode class indices, shape (n,), as targets: one output for two classes, else one for each."""
    if n_classes == 2:
        return encode_targets(loss, 2 * indices - 1, 1)
    return encode_targets(loss, indices, n_classes)


def training_problem(
    data: TrainingData,
    kind: NetworkKind,
    *,
    alpha: float,
    random_state: RandomState,
    previous: TwoLayerNetwork | None = None,
) -> TrainingProblem:
    """Choose the patterns and build the program.

    Parameters
    ----------
    data : TrainingData
    kind : NetworkKind
    alpha : float
    random_state : int, RandomState, Generator or None
        For sampled patterns.
    previous : TwoLayerNetwork, optional
        A network whose patterns join the chosen ones, so that it is a point of the program.

    Returns
    -------
    TrainingProblem

    Raises
    ------
    PatternBudgetError
        With all patterns asked for, if they are too many.
    ValueError
        If a given PatternSet belongs to other data, or data or modes do not fit.
    """
    seen = augment(data.X, kind.hidden_bias)
    samples = merge_samples(data.X, data.targets, data.weight)
    distinct = augment(samples.X, kind.hidden_bias)
    choice = choose_patterns(
        kind.patterns,
        distinct,
        seen,
        blocks_per_pattern=data.targets.shape[1] * (1 if kind.activation.gated else 2),
        random_state=check_random_state(_legacy(random_state)),
    )
    if previous is not None and not choice.complete:
        own = PatternSet.from_weights(distinct, network_weights(previous))
        choice = replace(choice, patterns=choice.patterns.union(own))
    program = two_layer_program(
        samples.X,
        samples.targets,
        choice.patterns,
        alpha=alpha,
        loss=data.loss,
        activation=kind.activation,
        hidden_bias=kind.hidden_bias,
        fit_intercept=kind.fit_intercept,
        sample_weight=samples.weight,
    )
    return TrainingProblem(data, kind, program, choice)


def _legacy(random_state: RandomState) -> int | np.random.RandomState | None:
    """Scikit-learn takes no numpy Generator; draw a seed from one."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    return random_state
