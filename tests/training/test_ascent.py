"""Local pricing: prices are what they claim, and on small data their maximum is that over all cells."""

import numpy as np
import pytest

from convexnn._typing import FloatArray
from convexnn.layers import HiddenLayer
from convexnn.patterns import enumerate_patterns
from convexnn.training.ascent import best_candidates
from convexnn.training.descent.objective import Objective
from program_cases import LAYERS, LOSSES
from restatement import restated_support


def draw_objective(seed: int, activation: str, n: int = 10, n_outputs: int = 1) -> Objective:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, 2)), np.ones(n)])
    targets = rng.normal(size=(n, n_outputs))
    penalized = np.ones(3, dtype=np.bool_)
    layer = HiddenLayer(X, 1, LAYERS[activation], penalized)
    return Objective(layer, targets, np.ones(n), LOSSES["squared_error"], 1.0, True)


def price_of(objective: Objective, theta: FloatArray, weights: FloatArray, sign: float) -> float:
    hidden = objective.activation(objective.rows @ weights)
    return sign * float(theta @ hidden) / float(np.linalg.norm(weights[objective.penalized]))


def largest_over_all_cells(objective: Objective, theta: FloatArray) -> float:
    """Convex support function of every cell, both signs, by CVXPY."""
    best = 0.0
    for pattern in enumerate_patterns(objective.rows).to_dense():
        slopes = np.where(pattern, objective.activation.on, objective.activation.off)
        gradient = objective.rows.T @ (slopes * theta)
        for sign in (1.0, -1.0):
            best = max(best, restated_support(objective.rows, pattern, sign * gradient, n_penalized=3))
    return best


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
def test_the_best_candidate_is_the_maximum_over_all_cells(activation: str) -> None:
    objective = draw_objective(3, activation, n=7)
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(7, 1))
    found = best_candidates(
        objective, theta, rng.standard_normal((60, 3)), objective.empty(), floor=0.0, n_best=50
    )
    assert found.largest == pytest.approx(largest_over_all_cells(objective, theta[:, 0]), rel=1e-4)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_prices_are_those_of_the_neurons(n_outputs: int, seed: int) -> None:
    objective = draw_objective(seed, "relu", n=40, n_outputs=n_outputs)
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(40, n_outputs))
    found = best_candidates(
        objective, theta, rng.standard_normal((20, 3)), objective.empty(), floor=1.0, n_best=5
    )
    neurons = found.neurons
    assert 0 < len(neurons) <= 5
    for j in range(len(neurons)):
        price = price_of(objective, theta[:, neurons.outputs[j]], neurons.weights[j], neurons.signs[j])
        assert found.prices[j] == pytest.approx(price, rel=1e-10)
        assert np.linalg.norm(neurons.weights[j]) == pytest.approx(1.0)
    assert (np.diff(found.prices) <= 0).all()
    assert (found.prices > 1.0).all()


def test_no_random_direction_beats_the_candidates(seed: int) -> None:
    objective = draw_objective(seed, "relu", n=100)
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(100, 1))
    found = best_candidates(
        objective, theta, rng.standard_normal((40, 3)), objective.empty(), floor=0.0, n_best=20
    )
    many = rng.standard_normal((20000, 3))
    prices = np.abs(theta[:, 0] @ np.maximum(objective.rows @ many.T, 0)) / np.linalg.norm(many, axis=1)
    assert found.largest >= prices.max() * (1 - 1e-9)


def test_free_bias_prices_leave_the_bias_out_of_the_norm() -> None:
    objective = draw_objective(1, "relu", n=30)
    objective.penalized[2] = False
    rng = np.random.default_rng(2)
    theta = rng.normal(size=(30, 1))
    theta -= theta.mean()
    found = best_candidates(
        objective, theta, rng.standard_normal((40, 3)), objective.empty(), floor=0.0, n_best=20
    )
    slopes = rng.standard_normal((3000, 2))
    slopes /= np.linalg.norm(slopes, axis=1)[:, None]
    best = 0.0
    for biases in -objective.rows[:, :2] @ slopes.T:  # the price is linear in the bias between these
        hidden = np.maximum(objective.rows[:, :2] @ slopes.T + biases, 0.0)
        best = max(best, float(np.abs(theta[:, 0] @ hidden).max()))
    assert found.largest >= best * (1 - 1e-6)
    assert np.linalg.norm(found.neurons.weights[0, :2]) == pytest.approx(1.0)


def test_nothing_is_found_above_a_high_floor() -> None:
    objective = draw_objective(0, "relu")
    found = best_candidates(objective, np.ones((10, 1)), np.eye(3), objective.empty(), floor=1e6, n_best=5)
    assert len(found.neurons) == 0
    assert found.largest == 0.0
