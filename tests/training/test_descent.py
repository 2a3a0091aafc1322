"""Newton descents: objective, merging, monotone descent, models in both spaces, and what they reach."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from convexnn._typing import FloatArray
from convexnn.layers import HiddenLayer
from convexnn.networks import TwoLayerNetwork
from convexnn.problem import NetworkKind, Neurons, Problem, TrainingData, augment
from convexnn.training.descent.first_network import random_neurons
from convexnn.training.descent.merging import clustered, merged
from convexnn.training.descent.model import RoundedModel
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.trust_region import Descent
from convexnn.training.descent.weights import Weights
from convexnn_solvers.clock import Clock
from program_cases import LAYERS, LOSSES

SMOOTH = [name for name, loss in LOSSES.items() if loss.is_smooth]
NON_GATED = [name for name, layer in LAYERS.items() if not layer.gated]


def draw_objective(
    seed: int,
    *,
    loss: str = "squared_error",
    activation: str = "relu",
    hidden_bias: str = "penalized",
    n: int = 30,
    alpha: float = 0.5,
) -> Objective:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, 2)), np.ones(n)])
    chosen = LOSSES[loss]
    if loss == "softmax":
        targets = np.eye(3)[rng.integers(0, 3, n)]
    elif chosen.task == "classification":
        targets = rng.choice([-1.0, 1.0], size=(n, 1))
    else:
        targets = rng.normal(size=(n, 2))
    penalized = np.array([True, True, hidden_bias != "free"])
    weight = rng.uniform(0.2, 2.0, n)
    layer = HiddenLayer(X, 1, LAYERS[activation], penalized)
    return Objective(layer, targets, weight, chosen, alpha, True)


def as_network(objective: Objective, neurons: Neurons) -> TwoLayerNetwork:
    scale = np.sqrt(objective.norms(neurons.weights))
    amounts = neurons.directions * scale[:, None]
    hidden = (neurons.weights / scale[:, None]).T
    mode = "penalized" if objective.penalized.all() else "free"
    return TwoLayerNetwork(hidden[:-1], hidden[-1], amounts, neurons.intercept, objective.activation, mode)


def value_by_network(objective: Objective, neurons: Neurons) -> float:
    return as_network(objective, neurons).objective(
        objective.rows[:, :-1],
        objective.targets,
        alpha=objective.alpha,
        loss=objective.loss,
        sample_weight=objective.weight,
    )


@pytest.mark.parametrize("activation", NON_GATED)
@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_value_is_that_of_the_network(loss: str, activation: str, hidden_bias: str) -> None:
    objective = draw_objective(0, loss=loss, activation=activation, hidden_bias=hidden_bias)
    neurons = random_neurons(objective, 7, np.random.default_rng(1))
    assert objective.value(neurons) == pytest.approx(value_by_network(objective, neurons), rel=1e-12)


@pytest.mark.parametrize("activation", NON_GATED)
@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_descent_is_never_worse_than_its_start(loss: str, activation: str, hidden_bias: str) -> None:
    objective = draw_objective(2, loss=loss, activation=activation, hidden_bias=hidden_bias)
    neurons = random_neurons(objective, 12, np.random.default_rng(3))
    descent = Descent(objective, neurons)
    best = descent.run(30, 1e-4, Clock())
    assert objective.value(best) == pytest.approx(descent.best_value, rel=1e-12)
    assert descent.best_value <= objective.value(neurons)
    assert objective.value(best) < objective.value(objective.empty())


def draw_model(objective: Objective, n_neurons: int, seed: int, width: float) -> RoundedModel:
    neurons = random_neurons(objective, n_neurons, np.random.default_rng(seed))
    at = Weights.of(objective, neurons)
    return RoundedModel(objective, at, objective.products(at.hidden), width)


def by_differences(model: RoundedModel, step: float) -> tuple[FloatArray, FloatArray]:
    """Gradient and diagonal of the Hessian of what `moved` returns."""
    n = len(model.gradient)
    ahead, behind = (
        np.array([model.moved(sign * step * row)[2] for row in np.eye(n)]) for sign in (1.0, -1.0)
    )
    return (ahead - behind) / (2 * step), (ahead - 2 * model.value + behind) / step**2


def freed(objective: Objective, shared: bool) -> Objective:
    return replace(objective, shared=shared)


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
@pytest.mark.parametrize("shared", [True, False])
def test_slopes_of_the_model_are_those_of_the_rounded_objective(
    loss: str, hidden_bias: str, shared: bool
) -> None:
    objective = draw_objective(4, loss=loss, activation="leaky_relu", hidden_bias=hidden_bias)
    model = draw_model(freed(objective, shared), 5, 5, 0.3)
    slopes, _ = by_differences(model, 1e-6)
    fed = model.at.like(slopes)
    output = fed.output if model.at.fed is None else fed.output * model.at.fed
    wanted = Weights(fed.hidden, output, fed.intercept).flat()
    np.testing.assert_allclose(model.gradient, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "log_loss"])
@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_products_are_those_of_the_hessian_where_no_kink_is_near(
    loss: str, positions: int, shared: bool
) -> None:
    """Not rounded off at all the objective is quadratic in each layer, and its model is the exact one."""
    objective = freed(draw_objective(9, loss=loss, activation="leaky_relu", hidden_bias="free"), shared)
    if positions > 1:
        rows = np.random.default_rng(10).normal(size=(positions * objective.n_samples, 3))
        layer = HiddenLayer(rows, positions, LAYERS["leaky_relu"], np.ones(3, bool))
        objective = replace(objective, layer=layer)
    model = draw_model(objective, 4, 11, 0.0)
    rng = np.random.default_rng(12)
    step = model.at.like(rng.normal(size=model.gradient.size))
    output = step.output if model.at.fed is None else step.output * model.at.fed
    flat = Weights(step.hidden, output, step.intercept).flat()
    gradients = []
    for sign in (1.0, -1.0):
        after, products, _ = model.moved(sign * 1e-6 * flat)
        gradients.append(RoundedModel(objective, after, products, 0.0).gradient)
    wanted = (gradients[0] - gradients[1]) / 2e-6
    np.testing.assert_allclose(model.product(flat), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("loss", ["squared_error", "softmax"])
def test_products_in_single_precision_are_those_in_double(loss: str, scale: float) -> None:
    objective = freed(draw_objective(20, loss=loss, activation="relu", hidden_bias="free"), True)
    at = Weights.of(objective, random_neurons(objective, 6, np.random.default_rng(21)))
    at = replace(at, hidden=scale * at.hidden, output=at.output / scale)
    products = objective.products(at.hidden)
    single, double, chosen = (
        RoundedModel(objective, at, products, 0.1, precision=precision)
        for precision in (np.float32, np.float64, None)
    )
    flat = np.random.default_rng(22).normal(size=double.gradient.size) * at.flat()
    wanted = double.product(flat)
    np.testing.assert_allclose(single.product(flat), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_array_equal(chosen.product(flat), single.product(flat))
    np.testing.assert_array_equal(single.gradient, double.gradient)


@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_products_that_single_precision_cannot_hold_are_in_double(size: float) -> None:
    objective = draw_objective(23, loss="squared_error", hidden_bias="penalized")
    objective = replace(objective, targets=size * objective.targets, alpha=size * objective.alpha)
    at = Weights.of(objective, random_neurons(objective, 6, np.random.default_rng(24)))
    model, double = (
        RoundedModel(objective, at, objective.products(at.hidden), 0.1, precision=precision)
        for precision in (None, np.float64)
    )
    flat = np.random.default_rng(25).normal(size=double.gradient.size) * at.flat()
    np.testing.assert_array_equal(model.product(flat), double.product(flat))
    best = Descent(objective, at.neurons()).run(60, 1e-6, Clock())
    ordinary = replace(objective, targets=objective.targets / size, alpha=objective.alpha / size)
    start = at.neurons()
    start = replace(start, weights=start.weights / size, intercept=start.intercept / size)
    same = Descent(ordinary, start).run(60, 1e-6, Clock())
    assert objective.value(best) == pytest.approx(size**2 * ordinary.value(same), rel=1e-2)


@pytest.mark.parametrize("shared", [True, False])
def test_the_diagonal_bounds_that_of_the_model(shared: bool) -> None:
    model = draw_model(freed(draw_objective(13, loss="softmax"), shared), 6, 14, 0.2)
    units = np.eye(len(model.gradient))
    exact = np.array([unit @ model.product(unit) for unit in units])
    fed = np.ones(len(units), dtype=bool)
    if model.at.fed is not None:
        everything = Weights(np.ones_like(model.at.hidden), model.at.fed, np.ones(3)).flat()
        fed = everything > 0
    np.testing.assert_allclose(model.diagonal[fed], exact[fed], rtol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_neurons_feed_what_they_may(shared: bool) -> None:
    objective = freed(draw_objective(15, loss="softmax", n=40), shared)
    start = random_neurons(objective, 12, np.random.default_rng(16))
    best = Descent(objective, start).run(60, 1e-4, Clock())
    several = (np.abs(best.directions) > 0).sum(axis=1) > 1
    assert len(best)
    assert several.any() if shared else not several.any()
    np.testing.assert_allclose(np.linalg.norm(best.directions, axis=1), 1.0, rtol=1e-12)


def test_shared_outputs_end_below_separate_ones() -> None:
    """Networks whose neurons feed one output each are among those whose neurons may feed all."""
    values = []
    for shared in (True, False):
        objective = freed(draw_objective(17, loss="softmax", n=60, alpha=0.3), shared)
        start = random_neurons(objective, 60, np.random.default_rng(18))
        values.append(objective.value(Descent(objective, start).run(200, 1e-5, Clock())))
    assert values[0] < values[1]


@given(seed=st.integers(0, 2**32 - 1), activation=st.sampled_from(NON_GATED))
@settings(max_examples=25)
def test_merging_never_raises_the_objective(seed: int, activation: str) -> None:
    objective = draw_objective(seed, activation=activation, n=6)
    neurons = random_neurons(objective, 40, np.random.default_rng(seed))
    fewer = merged(objective, neurons)
    np.testing.assert_allclose(
        objective.layer_outputs(fewer), objective.layer_outputs(neurons), rtol=1e-9, atol=1e-12
    )
    assert objective.penalty(fewer) <= objective.penalty(neurons) * (1 + 1e-12)
    assert len(fewer) < len(neurons)


def test_descent_without_kinks_reaches_the_group_norm_optimum() -> None:
    """All rows on one side of one neuron: ``1/2 |x u - y|^2 + alpha |u|`` has a formula."""
    x = np.linspace(1.0, 2.0, 20)
    layer = HiddenLayer(x[:, None], 1, LAYERS["relu"], np.array([True]))
    objective = Objective(layer, 3.0 * x[:, None], np.ones(20), LOSSES["squared_error"], 2.0, False)
    start = Neurons(np.array([[0.5]]), np.ones((1, 1)), np.zeros(1))
    best = Descent(objective, start).run(100, 1e-10, Clock())
    assert best.weights[0, 0] == pytest.approx(3.0 - 2.0 / float(x @ x), rel=1e-6)


@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_turned_rows_leave_random_directions_alone(hidden_bias: Literal["penalized", "free", "none"]) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 12)) * 10.0 ** rng.integers(-2, 3, 12)
    X[:, :7], X[:, 7] = 0.0, 5.0
    data = TrainingData(X, rng.normal(size=(6, 1)), np.ones(6), LOSSES["squared_error"])
    problem = Problem.of(data, NetworkKind(LAYERS["relu"], hidden_bias, True), 0.1)
    straight = replace(problem.frame, basis=None)
    layer = problem.kind.layer(straight.rows(augment(problem.samples.X, hidden_bias)))
    assert problem.frame.basis is not None
    answers, distances = [], []
    for way in (problem, replace(problem, frame=straight, layer=layer)):
        objective = Objective.of(way)
        drawn = objective.random_directions(50, np.random.default_rng(1))
        answers.append(objective.rows @ drawn.T)
        distances.append(pdist(objective.standardised(drawn)))
        lengths = np.linalg.norm(objective.standardised(drawn), axis=1)
        neurons = Neurons.separate(drawn, np.ones(50), np.zeros(50, dtype=np.intp), np.zeros(1))
        moved = objective.beside(neurons, np.full(50, 0.25), np.random.default_rng(2))
        moves = np.linalg.norm(objective.standardised(moved.weights - drawn), axis=1)
        np.testing.assert_allclose(moves, 0.25 * lengths, rtol=1e-7)
    np.testing.assert_allclose(*answers, rtol=1e-7, atol=1e-9)
    # What is orthogonal to all rows is gone, which no distance that means something can grow by.
    assert (distances[0] <= distances[1] * (1 + 1e-9)).all()


@given(seed=st.integers(0, 2**32 - 1), shared=st.booleans(), bias=st.sampled_from(["penalized", "free"]))
def test_neurons_that_are_alike_become_one(seed: int, shared: bool, bias: str) -> None:
    """Parts of a neuron add up to it; what else changes may cost no more than it says."""
    objective = replace(draw_objective(seed, hidden_bias=bias), shared=shared)
    rng = np.random.default_rng(seed)
    neurons = random_neurons(objective, 6, rng)
    parts, owners = rng.uniform(0.1, 1.0, (6, 3)), np.repeat(np.arange(6), 3)
    parts /= parts.sum(axis=1, keepdims=True)
    split = neurons.take(owners).with_weights(parts.ravel()[:, None] * neurons.weights[owners])
    fewer = clustered(objective, split)
    assert len(fewer) <= 6
    assert objective.value(fewer) <= objective.value(split) * (1 + 3.01e-4)
    np.testing.assert_allclose(np.linalg.norm(fewer.directions, axis=1), 1.0, rtol=1e-12)
    if not shared:
        assert ((fewer.directions != 0).sum(axis=1) == 1).all()
