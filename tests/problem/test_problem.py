"""A problem: products, norms and objectives are the same in the frame; equal samples merge."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.activations import ACTIVATIONS
from convexnn.losses import get_loss
from convexnn.patches import PatchGeometry
from convexnn.patterns import sample_patterns
from convexnn.problem import NetworkKind, Neurons, Problem, TrainingData, augment, network_weights
from convexnn.training.descent.objective import Objective

BIASES = ["penalized", "free", "none"]
SCALES = [1e-6, 1.0, 1e6]


def draw(seed: int, hidden_bias: Any, n: int = 9, d: int = 3, **kind: Any) -> Problem:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-6, 7) + rng.choice([0.0, 1e4])
    targets = rng.normal(size=(n, 2))
    data = TrainingData(X, targets, rng.integers(0, 3, n) + (np.arange(n) == 0), get_loss("squared_error"))
    return Problem.of(data, NetworkKind(ACTIVATIONS["relu"], hidden_bias, True, **kind), 0.3)


@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize(("n", "d"), [(9, 3), (4, 7), (1, 2)])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_products_with_all_rows_stay(hidden_bias: str, n: int, d: int, seed: int) -> None:
    problem = draw(seed, hidden_bias, n, d)
    rows = augment(problem.samples.X, hidden_bias)
    weights = np.random.default_rng(seed).normal(size=(5, rows.shape[1])) / (1 + np.abs(rows).max(axis=0))
    products = problem.layer.rows @ problem.frame.weights(weights).T
    size = np.abs(rows) @ np.abs(weights).T + np.abs(products)
    assert (np.abs(products - rows @ weights.T) <= 1e-12 * (1 + size)).all()
    again = rows @ problem.frame.original_weights(problem.frame.weights(weights)).T
    assert (np.abs(again - rows @ weights.T) <= 1e-11 * (1 + size)).all()


@pytest.mark.parametrize("hidden_bias", BIASES)
def test_norms_grow_by_the_scale(hidden_bias: str) -> None:
    for seed in range(10):
        problem = draw(seed, hidden_bias)
        weights = np.random.default_rng(seed).normal(size=(4, len(problem.frame.centre)))
        moved = problem.frame.weights(weights)
        kept = slice(None, -1) if hidden_bias == "free" else slice(None)
        np.testing.assert_allclose(
            np.linalg.norm(moved[:, kept], axis=1),
            problem.frame.scale * np.linalg.norm(weights[:, kept], axis=1),
            rtol=1e-12,
        )
        assert np.abs(problem.layer.rows[:, kept]).max() <= 2.0
        assert problem.frame.scale == 2.0 ** round(np.log2(problem.frame.scale))


@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize("d", [3, 12])
def test_the_objective_in_the_frame_is_that_of_the_network(hidden_bias: str, d: int) -> None:
    for seed in range(10):
        problem = draw(seed, hidden_bias, d=d)
        rng = np.random.default_rng(seed)
        m, r = 4, problem.layer.n_weights
        neurons = Neurons.separate(
            rng.normal(size=(m, r)), rng.choice([-1.0, 1.0], m), rng.integers(0, 2, m), rng.normal(size=2)
        )
        network = problem.network(neurons)
        data = problem.data
        value = network.objective(data.X, data.targets, alpha=0.3, sample_weight=data.weight)
        assert problem.objective(network) == pytest.approx(value, rel=1e-12)
        assert Objective.of(problem).value(neurons) == pytest.approx(value, rel=1e-8)
        back = problem.neurons(network)
        assert Objective.of(problem).value(back) == pytest.approx(value, rel=1e-8)


def test_copies_merge_and_samples_without_weight_go() -> None:
    X = np.array([[1.0], [2.0], [1.0], [5.0], [1.0]])
    targets = np.array([[0.0], [1.0], [0.0], [3.0], [7.0]])
    weight = np.array([1.0, 2.0, 0.5, 0.0, 1.0])
    data = TrainingData(X, targets, weight, get_loss("squared_error"))
    problem = Problem.of(data, NetworkKind(ACTIVATIONS["relu"], "none", True), 1.0)
    found = np.column_stack([problem.samples.X, problem.targets, problem.sample_weight])
    assert found.tolist() == [[1.0, 0.0, 1.5], [1.0, 7.0, 1.0], [2.0, 1.0, 2.0]]
    spread = problem.spread(np.array([[3.0], [4.0], [5.0]]))
    np.testing.assert_allclose(spread[:, 0], [2.0, 5.0, 1.0, 0.0, 4.0])


@pytest.mark.parametrize("hidden_bias", BIASES)
def test_given_patterns_come_back_as_they_were(hidden_bias: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    data = TrainingData(X, rng.normal(size=(20, 1)), np.ones(20), get_loss("squared_error"))
    problem = Problem.of(data, NetworkKind(ACTIVATIONS["relu"], hidden_bias, True), 1.0)
    patterns = sample_patterns(augment(X, hidden_bias), 12, random_state=0)
    again = problem.on_all_samples(problem.given_patterns(patterns))
    np.testing.assert_array_equal(again.bits, patterns.bits)
    assert problem.original_layer.has(again)


def test_without_pooling_samples_are_patches() -> None:
    rng = np.random.default_rng(1)
    geometry = PatchGeometry.of((6, 1), 3, 1, "valid")
    kind = NetworkKind(ACTIVATIONS["relu"], "penalized", True, geometry, None)
    data = TrainingData(rng.normal(size=(5, 6)), rng.normal(size=(20, 1)), np.ones(20), get_loss("huber"))
    problem = Problem.of(data, kind, 0.1)
    assert problem.layer.rows.shape == (20, 4)
    assert problem.layer.positions == 1
    neurons = Neurons.separate(
        rng.normal(size=(3, 4)), np.array([1.0, -1.0, 1.0]), np.zeros(3, dtype=int), np.zeros(1)
    )
    network = problem.network(neurons)
    assert network.outputs(data.X).shape == (5, 4, 1)
    np.testing.assert_allclose(problem.frame.weights(network_weights(network)).shape, (3, 4))
    assert problem.objective(network) == pytest.approx(Objective.of(problem).value(neurons), rel=1e-10)
