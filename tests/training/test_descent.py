"""Newton descents: objective, merging, monotone descent, models in both spaces, and what they reach."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from convexnn._typing import FloatArray
from convexnn.layers import GroupedLayer, HiddenLayer
from convexnn.networks import TwoLayerNetwork
from convexnn.problem import NetworkKind, Neurons, Problem, TrainingData, augment
from convexnn.training.descent import newton_models
from convexnn.training.descent.newton import Descent
from convexnn.training.descent.newton_models import DirectModel, IterativeModel, descent_model
from convexnn.training.descent.objective import Objective, merged, random_neurons
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
    assert objective.value(best) == descent.best_value <= objective.value(neurons)
    assert objective.value(best) < objective.value(objective.empty())


def gradient_by_differences(objective: Objective, neurons: Neurons, width: FloatArray) -> FloatArray:
    def value(weights: FloatArray) -> float:
        moved = replace(neurons, weights=weights)
        products = objective.rows @ weights.T
        outputs = objective.rounded_outputs(moved, products, products, 0.0, width)
        return objective.fit(outputs) + objective.penalty(moved)

    gradient = np.zeros_like(neurons.weights)
    for index in np.ndindex(*gradient.shape):
        step = np.zeros_like(gradient)
        step[index] = 1e-6
        gradient[index] = (value(neurons.weights + step) - value(neurons.weights - step)) / 2e-6
    return gradient


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_slopes_of_the_model_are_those_of_the_rounded_objective(loss: str, hidden_bias: str) -> None:
    objective = draw_objective(4, loss=loss, activation="leaky_relu", hidden_bias=hidden_bias)
    neurons = random_neurons(objective, 5, np.random.default_rng(5))
    model = DirectModel(objective, neurons, 0.3)
    np.testing.assert_allclose(
        model.slopes, gradient_by_differences(objective, neurons, model.width), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_both_spaces_give_one_direction(fit_intercept: bool) -> None:
    objective = replace(draw_objective(6, n=12), fit_intercept=fit_intercept)
    neurons = random_neurons(objective, 6, np.random.default_rng(7))
    model = DirectModel(objective, neurons, 0.1)
    members = np.flatnonzero(neurons.outputs == 0)
    blocks = model.blocks[members] + np.eye(3)
    first, shift = model._in_weights(0, members, blocks, 0.1)
    second, other_shift = model._in_samples(0, members, blocks, 0.1)
    np.testing.assert_allclose(first, second, rtol=1e-8, atol=1e-10)
    assert shift == pytest.approx(other_shift, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_conjugate_gradients_find_the_direction_of_the_factors(
    loss: str, positions: int, fit_intercept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = replace(
        draw_objective(9, loss=loss, activation="leaky_relu", hidden_bias="free"), fit_intercept=fit_intercept
    )
    if positions > 1:
        rows = np.random.default_rng(10).normal(size=(positions * objective.n_samples, 3))
        objective = replace(
            objective, layer=GroupedLayer(rows, positions, LAYERS["leaky_relu"], np.ones(3, bool))
        )
    neurons = random_neurons(objective, 8, np.random.default_rng(11))
    monkeypatch.setattr(newton_models, "_ACCURACY", 1e-12)
    monkeypatch.setattr(newton_models, "_MAX_PRODUCTS", 1000)
    expected = DirectModel(objective, neurons, 0.2).direction(0.1)
    found = IterativeModel(objective, neurons, 0.2).direction(0.1)
    for direct, iterative in zip(expected, found, strict=True):
        np.testing.assert_allclose(iterative, direct, rtol=1e-7, atol=1e-9 * np.abs(expected[0]).max())


def test_a_step_through_zero_of_all_neurons_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = replace(draw_objective(14), fit_intercept=False)
    start = random_neurons(objective, 6, np.random.default_rng(15))
    optimum = replace(start, weights=0.25 * start.weights)
    objective = replace(objective, targets=objective.layer_outputs(optimum), alpha=1e-9)
    overshooting = (-1.5 * start.weights, np.zeros_like(start.intercept))
    monkeypatch.setattr(DirectModel, "direction", lambda model, damping: overshooting)
    descent = Descent(objective, start)
    best = descent.run(1, 1e-5, Clock())
    np.testing.assert_allclose(best.weights, optimum.weights, rtol=1e-12)


def test_large_models_are_iterative_and_descend(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = draw_objective(12, n=200)
    neurons = random_neurons(objective, 10, np.random.default_rng(13))
    assert isinstance(descent_model(objective, neurons, 0.3), DirectModel)
    direct = Descent(objective, neurons).run(60, 1e-5, Clock())
    monkeypatch.setattr(newton_models, "_DIRECT_OPERATIONS", 0.0)
    assert isinstance(descent_model(objective, neurons, 0.3), IterativeModel)
    iterative = Descent(objective, neurons).run(200, 1e-5, Clock())
    assert objective.value(iterative) < 1.02 * objective.value(direct)


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


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_no_step_ends_neurons_that_the_objective_needs(loss: str) -> None:
    """Rounded off by next to nothing the objective is the true one, which light damping must not raise."""
    for seed in range(20):
        objective = draw_objective(seed, loss=loss, n=40, alpha=0.05)
        descent = Descent(objective, random_neurons(objective, 24, np.random.default_rng(seed)))
        descent.width, descent._damping = 1e-9, 1e-6
        for _ in range(6):
            before = objective.value(descent._at)
            descent._step()
            assert objective.value(descent._at) <= before * (1 + 1e-7)


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
