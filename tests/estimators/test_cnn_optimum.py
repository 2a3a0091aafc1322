"""Optima of convolutional networks: fits against their programs, restated over all patterns in CVXPY."""

from dataclasses import dataclass

import numpy as np
import pytest

from conv_restatement import (
    Array,
    frequency_optimum,
    generic_patterns,
    grid_optimum,
    loop_objective,
    loop_patches,
    nuclear_optimum,
    pattern_optimum,
)
from convexnn import ConvexCNNClassifier, ConvexCNNRegressor
from pattern_oracles import brute_force_patterns

REGRESSION = ["squared_error", "huber", "absolute_error"]
CLASSIFICATION = ["log_loss", "hinge", "squared_hinge"]
MODES = [("penalized", True), ("none", True), ("free", True), ("penalized", False), ("none", False)]

# Image, kernel, stride and padding with three positions of two weights each.
SIGNAL, STRIDED = ((4, 1), (2,), (1,), "valid"), ((6, 1), (2,), (2,), "valid")
IMAGE, CHANNELS = ((2, 3, 1), (2, 1), (1, 1), "valid"), ((3, 2), (1,), (1,), "valid")
CIRCULAR, ZERO = ((3, 1), (2,), (1,), "circular"), ((3, 1), (2,), (1,), "zero")
GEOMETRIES = [SIGNAL, STRIDED, IMAGE, CHANNELS, CIRCULAR, ZERO]
WHOLE = [
    ((3, 1), (3,), (1,), "circular"),
    ((4, 1), (4,), (1,), "circular"),
    ((3, 2), (3,), (1,), "circular"),
    ((2, 3, 1), (2, 3), (1, 1), "circular"),
    ((2, 2, 2), (2, 2), (1, 1), "circular"),
]
FEW = range(2)
MANY = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20)]
SEEDS = [*FEW, *MANY]


@dataclass(frozen=True)
class Case:
    """Data and options; targets are encoded, (n, 1) or, one for each position, (n, K)."""

    X: Array
    y: Array
    weight: Array
    geometry: tuple
    hidden_bias: str
    fit_intercept: bool
    loss: str
    alpha: float

    @property
    def patches(self):
        _, kernel, stride, padding = self.geometry
        return loop_patches(self.X, kernel, stride, padding, bias=self.hidden_bias != "none")

    @property
    def program(self):
        return {"alpha": self.alpha, "loss": self.loss, "weight": self.weight}

    @property
    def modes(self):
        return {"hidden_bias": self.hidden_bias, "fit_intercept": self.fit_intercept}

    def fit(self, **options):
        _, kernel, stride, padding = self.geometry
        shared = {"kernel_size": kernel, "stride": stride, "padding": padding, "patterns": "exact"}
        shared |= self.modes | {"alpha": self.alpha, "loss": self.loss, "tol": 1e-8, "random_state": 0}
        estimator = ConvexCNNClassifier if self.loss in CLASSIFICATION else ConvexCNNRegressor
        y = np.where(self.y > 0, "yes", "no") if self.loss in CLASSIFICATION else self.y
        y = y[:, 0] if y.shape[1] == 1 else y
        return estimator(**shared | options).fit(self.X, y, sample_weight=self.weight)

    def check(self, model, optimum):
        """The certified optimum, reached by the network that was found."""
        assert model.gap_scope_ == "global"
        assert model.objective_ == pytest.approx(optimum, rel=1e-6, abs=1e-8)
        assert model.dual_objective_ <= optimum + 1e-7
        by_hand = loop_objective(model.network_, self.patches, self.y, **self.program)
        assert model.objective_ == pytest.approx(by_hand, rel=1e-7)


def draw(seed, *, n=4, geometries=GEOMETRIES, modes=MODES, losses=None, per_position=False):
    rng = np.random.default_rng(seed)
    geometry = geometries[seed % len(geometries)]
    hidden_bias, fit_intercept = modes[seed % len(modes)]
    loss = ["squared_error", *REGRESSION, *CLASSIFICATION][int(rng.integers(7))] if losses is None else losses
    if hidden_bias != "none":
        # Rows with a padding zero in common lie in a plane; the restated patterns allow two of them.
        n = min(n, 2 if geometry is ZERO else 3)
    X = rng.normal(size=(n, *geometry[0]))
    y = rng.normal(size=(n, 3 if per_position else 1))
    if loss in CLASSIFICATION:
        y = np.sign(y)
        y[0], y[-1] = 1.0, -1.0
    weight = rng.uniform(0.5, 2.0, n) if rng.random() < 0.5 else np.ones(n)
    return Case(X, y, weight, geometry, hidden_bias, fit_intercept, loss, float(rng.choice([0.03, 0.1, 0.4])))


@pytest.mark.parametrize("bias", [False, True])
def test_restated_patterns_are_all(bias, seed):
    case = draw(seed, n=2)
    rows = loop_patches(case.X, *case.geometry[1:], bias=bias).reshape(-1, 2 + bias)
    found = generic_patterns(rows)
    assert {tuple(bits) for bits in found.tolist()} == brute_force_patterns(rows)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@pytest.mark.parametrize("seed", SEEDS)
def test_average_pooling(seed, activation):
    case = draw(seed)
    options = {"pooling": "average", "activation": activation}
    optimum = pattern_optimum(case.patches, case.y, **options, **case.modes, **case.program)
    case.check(case.fit(**options), optimum)


@pytest.mark.parametrize("seed", SEEDS)
def test_max_pooling(seed):
    case = draw(seed, modes=[mode for mode in MODES if mode[0] != "free"])
    options = {"pooling": "max", "activation": "relu"}
    optimum = pattern_optimum(case.patches, case.y, **options, **case.modes, **case.program)
    case.check(case.fit(**options), optimum)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_pooling(seed, activation):
    case = draw(seed, per_position=True)
    options = {"pooling": None, "activation": activation}
    optimum = pattern_optimum(case.patches, case.y, **options, **case.modes, **case.program)
    case.check(case.fit(**options), optimum)


@pytest.mark.parametrize("seed", SEEDS)
def test_linear_filters(seed):
    case = draw(seed, modes=[mode for mode in MODES if mode[0] != "free"])
    optimum = nuclear_optimum(case.patches, case.y, fit_intercept=case.fit_intercept, **case.program)
    case.check(case.fit(activation="linear"), optimum)


@pytest.mark.parametrize(("loss", "seed"), [("hinge", 3), ("absolute_error", 83), ("hinge", 102)])
def test_linear_filters_that_fit_almost_without_loss(loss, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 5))
    X, y = rng.normal(size=(n, 3, 1)), np.sign(rng.normal(size=n))
    y[0], y[-1] = 1.0, -1.0
    case = Case(X, y[:, None], rng.uniform(0.5, 2, n), ZERO, "penalized", seed % 2 == 1, loss, 0.03)
    optimum = nuclear_optimum(case.patches, case.y, fit_intercept=case.fit_intercept, **case.program)
    case.check(case.fit(activation="linear"), optimum)


@pytest.mark.parametrize("seed", SEEDS)
def test_circular_linear_filters_as_large_as_the_image(seed):
    case = draw(seed, n=5, geometries=WHOLE, modes=[("none", True), ("none", False), ("penalized", True)])
    optimum = frequency_optimum(case.X, case.y, fit_intercept=case.fit_intercept, **case.program)
    patches = loop_patches(case.X, *case.geometry[1:], bias=False)
    nuclear = nuclear_optimum(patches, case.y, fit_intercept=case.fit_intercept, **case.program)
    assert optimum == pytest.approx(nuclear, rel=1e-6, abs=1e-8)
    case.check(case.fit(activation="linear"), optimum)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_pooling(seed, activation):
    case = draw(seed, modes=[("none", True), ("none", False)])
    check_weighted(case, activation)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
def test_weighted_pooling_where_no_filter_pays(loss):
    # The constant of the larger class is best; for the hinge loss its dual point is not unique.
    X = np.random.default_rng(0).normal(size=(4, *CIRCULAR[0]))
    y = np.array([[1.0], [-1.0], [-1.0], [-1.0]])
    case = Case(X, y, np.ones(4), CIRCULAR, "none", True, loss, 4.0)
    check_weighted(case, "absolute_value")


def check_weighted(case, activation):
    angles = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    grid = grid_optimum(
        case.patches,
        case.y,
        np.column_stack([np.cos(angles), np.sin(angles)]),
        activation=activation,
        fit_intercept=case.fit_intercept,
        **case.program,
    )
    model = case.fit(pooling="weighted", activation=activation, tol=1e-6)
    assert model.gap_scope_ == "global"
    assert 0 <= model.dual_gap_ <= 1e-6 * model.objective_
    assert model.dual_objective_ <= grid + 1e-7
    assert model.objective_ <= grid + 1e-6
    by_hand = loop_objective(model.network_, case.patches, case.y, **case.program)
    assert model.objective_ == pytest.approx(by_hand, rel=1e-7)
