"""Small programs of every kind, with their data, so that they can be built and restated alike."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convexnn._typing import FloatArray, HiddenBias
from convexnn.activations import ACTIVATIONS, Activation, leaky_relu
from convexnn.losses import AbsoluteError, Hinge, Huber, LogLoss, Loss, Softmax, SquaredError, SquaredHinge
from convexnn.patterns import PatternSet, enumerate_patterns
from convexnn.problem import augment
from convexnn.programs import two_layer_program
from convexnn_solvers import ConvexProgram

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        SquaredError(),
        Huber(0.6),
        AbsoluteError(),
        LogLoss(),
        Hinge(),
        SquaredHinge(),
        Softmax(),
    )
}
LAYERS: dict[str, Activation] = {**ACTIVATIONS, "leaky_relu": leaky_relu(0.3)}
BIASES: list[tuple[HiddenBias, bool]] = [
    ("penalized", True),
    ("penalized", False),
    ("free", True),
    ("none", True),
    ("none", False),
]


@dataclass(frozen=True, eq=False)
class Case:
    """Data of one program; `y` is encoded, `patterns` are of the augmented data."""

    X: FloatArray
    y: FloatArray
    patterns: PatternSet
    alpha: float
    loss: Loss
    activation: Activation
    hidden_bias: HiddenBias
    fit_intercept: bool
    sample_weight: FloatArray

    def program(self) -> ConvexProgram:
        """As the package builds it."""
        return two_layer_program(
            self.X,
            self.y,
            self.patterns,
            alpha=self.alpha,
            loss=self.loss,
            activation=self.activation,
            hidden_bias=self.hidden_bias,
            fit_intercept=self.fit_intercept,
            sample_weight=self.sample_weight,
        )

    def optimum(self, solvers: tuple[str, ...] = ("CLARABEL", "ECOS")) -> float:
        """Optimum of the restatement; needs CVXPY."""
        from restatement import restated_optimum

        return restated_optimum(
            self.X,
            self.y,
            self.patterns.to_dense(),
            alpha=self.alpha,
            loss=self.loss.name,
            delta=getattr(self.loss, "delta", 1.0),
            slopes=(self.activation.on, self.activation.off),
            gated=self.activation.gated,
            hidden_bias=self.hidden_bias,
            fit_intercept=self.fit_intercept,
            sample_weight=self.sample_weight,
            solvers=solvers,
        )

    def but(self, **changes: Any) -> "Case":
        """Return the case with some fields changed."""
        return replace(self, **changes)


def degenerate_rows(X: FloatArray, rng: np.random.Generator, kinds: list[str]) -> FloatArray:
    """Spoil `X` in the given ways; every way keeps its shape."""
    X = X.copy()
    n, d = X.shape
    for kind in kinds:
        i, j = rng.integers(n, size=2)
        if kind == "zero":
            X[i] = 0.0
        elif kind == "duplicate":
            X[i] = X[j]
        elif kind == "opposite":
            X[i] = -X[j]
        elif kind == "collinear":
            X[i] = 2.5 * X[j]
        elif kind == "constant":
            X[:, rng.integers(d)] = 1.0
        elif kind == "rank":
            X[:, -1] = X[:, 0]
        else:
            raise ValueError(f"Unknown degeneracy {kind!r}.")
    return X


DEGENERACIES = ["zero", "duplicate", "opposite", "collinear", "constant", "rank"]


def draw_targets(loss: Loss, rng: np.random.Generator, n: int, n_outputs: int) -> FloatArray:
    """Encoded targets with every class present where there are enough samples."""
    if loss.task == "regression":
        return rng.normal(size=(n, n_outputs))
    if loss.name == "softmax":
        return np.asarray(np.eye(n_outputs)[rng.permutation(np.arange(n) % n_outputs)])
    signs = np.where(np.arange(n)[:, None] % 2 == 0, 1.0, -1.0).repeat(n_outputs, axis=1)
    return np.asarray(rng.permuted(signs, axis=0))


def some_patterns(
    X: FloatArray, hidden_bias: HiddenBias, rng: np.random.Generator, n_patterns: int
) -> PatternSet:
    """At most `n_patterns` of the patterns of the augmented data, chosen at random."""
    every = enumerate_patterns(augment(X, hidden_bias))
    return every.take(rng.permutation(len(every))[:n_patterns])


def draw_case(
    seed: int,
    *,
    loss: str = "squared_error",
    activation: str = "relu",
    hidden_bias: HiddenBias = "penalized",
    fit_intercept: bool = True,
    n: int = 8,
    d: int = 2,
    n_outputs: int | None = None,
    n_patterns: int = 6,
    alpha: float | None = None,
    weighted: bool = True,
    kinds: list[str] | None = None,
) -> Case:
    """Draw a program; `alpha` defaults to a value at which some but not all blocks are zero."""
    rng = np.random.default_rng(seed)
    chosen = LOSSES[loss]
    n_outputs = n_outputs or (3 if loss == "softmax" else 1)
    X = degenerate_rows(rng.normal(size=(n, d)), rng, kinds or [])
    weight = rng.uniform(0.2, 2.0, n) if weighted else np.ones(n)
    if weighted and n > 3:
        weight[rng.integers(n)] = 0.0
    return Case(
        X,
        draw_targets(chosen, rng, n, n_outputs),
        some_patterns(X, hidden_bias, rng, n_patterns),
        0.05 * n if alpha is None else alpha,
        chosen,
        LAYERS[activation],
        hidden_bias,
        fit_intercept,
        weight,
    )


def random_point(program: ConvexProgram, rng: np.random.Generator, scale: float = 1.0) -> FloatArray:
    """Blocks that need not lie in their cones, some of them zero."""
    blocks = scale * rng.normal(size=program.block_shape)
    blocks[rng.uniform(size=program.block_shape[:3]) < 0.3] = 0.0
    return blocks
