"""Pruning: same outputs, no larger objective, independent neurons; the optimum is kept at an optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog

from convexnn.networks import TwoLayerNetwork
from convexnn.networks.prune import independent_weights
from network_cases import draw_samples, networks

seeds = st.integers(0, 2**32 - 1)


def contributions(network, X):
    columns = network.hidden(X)[:, None, :] * network.output_weights.T
    return columns.reshape(len(X) * network.n_outputs, network.n_neurons)


def rank(network, X):
    columns = contributions(network, X)
    norms = np.linalg.norm(columns, axis=0)
    return np.linalg.matrix_rank(columns / norms) if columns.size else 0


@settings(deadline=None)
@given(network=networks(max_neurons=30), seed=seeds, n_samples=st.integers(1, 8))
def test_pruned_networks_agree_on_the_data_and_cost_no_more(network, seed, n_samples):
    X = draw_samples(network, seed, n_samples)
    pruned = network.prune(X)
    expected = network.outputs(X)
    size = (np.abs(network.hidden(X)) @ np.abs(network.output_weights)).max(initial=0.0)
    assert np.abs(pruned.outputs(X) - expected).max() <= 1e-10 * np.abs(expected).max() + 1e-13 * size
    assert pruned.regularizer() <= network.balanced().regularizer() * (1 + 1e-12)
    assert pruned.n_neurons <= min(network.n_neurons, n_samples * network.n_outputs)
    assert rank(pruned, X) == pruned.n_neurons
    assert pruned.hidden_bias == network.hidden_bias


@settings(deadline=None)
@given(network=networks(max_neurons=6, activations=["relu"]), seed=seeds, extra=st.integers(0, 20))
def test_pruning_undoes_splitting(network, seed, extra):
    X = draw_samples(network, seed, 8)
    once = network.prune(X)
    if once.n_neurons == 0:
        return
    again = once.split(once.n_neurons + extra).prune(X)
    assert again.n_neurons == once.n_neurons
    np.testing.assert_allclose(again.hidden_weights, once.hidden_weights, rtol=1e-10, atol=0)
    np.testing.assert_allclose(again.output_weights, once.output_weights, rtol=1e-10, atol=0)


def test_an_optimum_keeps_its_objective():
    # With free biases chosen such that price . relu(X w_j + b_j) = |w_j| = 1, the regulariser of any mixture
    # of these neurons is price . (f - c): mixtures with the same outputs cost the same, as at an optimum.
    rng = np.random.default_rng(0)
    n, m = 6, 40
    X, price = rng.normal(size=(n, 3)), rng.uniform(size=n)
    W = rng.normal(size=(3, m))
    W /= np.linalg.norm(W, axis=0)
    b = [brentq(lambda t, w=w: price @ np.maximum(X @ w + t, 0) - 1, -99, 99, xtol=1e-15) for w in W.T]
    size = np.sqrt(rng.uniform(size=m))
    network = TwoLayerNetwork(W * size, b * size, size[:, None], [0.3], hidden_bias="free")
    expected = price @ (network.outputs(X)[:, 0] - 0.3)
    assert network.regularizer() == pytest.approx(expected, rel=1e-12)
    pruned = network.prune(X)
    assert pruned.n_neurons <= n
    np.testing.assert_allclose(pruned.outputs(X), network.outputs(X), rtol=1e-12)
    assert pruned.regularizer() == pytest.approx(expected, rel=1e-12)
    y = rng.normal(size=n)
    assert pruned.objective(X, y, alpha=2.0) == pytest.approx(network.objective(X, y, alpha=2.0), rel=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_away_from_an_optimum_the_objective_falls(n_outputs):
    rng = np.random.default_rng(1)
    X, m = rng.normal(size=(5, 2)), 40
    network = TwoLayerNetwork(
        rng.normal(size=(2, m)), rng.normal(size=m), rng.normal(size=(m, n_outputs)), np.zeros(n_outputs)
    ).balanced()
    y = rng.normal(size=(5, n_outputs))
    pruned = network.prune(X)
    assert pruned.n_neurons <= 5 * n_outputs
    assert pruned.objective(X, y, alpha=1.0) < 0.99 * network.objective(X, y, alpha=1.0)


@settings(deadline=None)
@given(seed=seeds, spread=st.sampled_from([0.0, 3.0, 8.0]))
def test_weights_stay_between_the_cheapest_and_the_given_cost(seed, spread):
    rng = np.random.default_rng(seed)
    n, m = 4, 15
    directions = rng.normal(size=(n, m))
    directions[:, 5:8] = directions[:, :3]
    directions[:, 8] = -directions[:, 0]
    directions /= np.linalg.norm(directions, axis=0)
    weights, costs = 10.0 ** rng.uniform(-spread, 0, size=(2, m))
    result = independent_weights(directions, weights, costs)
    target = directions @ weights
    np.testing.assert_allclose(
        directions @ result, target, rtol=0, atol=1e-10 * np.linalg.norm(target) + 1e-14
    )
    assert (result >= 0).all()
    assert np.linalg.matrix_rank(directions[:, result > 0]) == np.count_nonzero(result)
    cheapest = linprog(costs, A_eq=directions, b_eq=target, method="highs")
    assert cheapest.status == 0
    assert cheapest.fun * (1 - 1e-6) - 1e-6 <= costs @ result <= (costs @ weights) * (1 + 1e-12)


def test_columns_come_in_blocks():
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(7, 500))
    directions /= np.linalg.norm(directions, axis=0)
    weights, costs = rng.uniform(size=500), rng.uniform(0.5, 1, size=500)
    result = independent_weights(directions, weights, costs)
    assert np.count_nonzero(result) == 7
    np.testing.assert_allclose(directions @ result, directions @ weights, rtol=1e-11)
    assert costs @ result < costs @ weights


def test_independent_neurons_are_left_alone():
    network = TwoLayerNetwork([[1.0, -1.0]], [0.0, 0.0], [[1.0], [-1.0]], [0.0])
    assert network.prune([[2.0], [-3.0]]) == network
    assert network.prune([[2.0]]).n_neurons == 1


def test_collinear_neurons_merge_everywhere_and_opposite_outputs_cancel():
    network = TwoLayerNetwork(
        [[1.0, 3.0, 1.0, 2.0]], [0.5, 1.5, -1.0, -2.0], [[1.0], [2.0], [2.0], [-1.0]], [0.1]
    )
    pruned = network.prune(np.linspace(-3, 3, 9)[:, None])
    assert pruned.n_neurons == 1
    everywhere = np.linspace(-10, 10, 101)[:, None]
    np.testing.assert_allclose(pruned.predict(everywhere), network.predict(everywhere), rtol=1e-14)


def test_samples_of_weight_zero_are_left_out():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(8, 2))
    weight = np.array([1.0, 0, 2, 0, 0, 1, 0, 0])
    network = TwoLayerNetwork(rng.normal(size=(2, 20)), rng.normal(size=20), rng.normal(size=(20, 1)), [0.0])
    pruned = network.prune(X, sample_weight=weight)
    assert pruned.n_neurons <= 3
    np.testing.assert_allclose(pruned.predict(X)[weight > 0], network.predict(X)[weight > 0], rtol=1e-11)
    assert network.prune(X, sample_weight=np.zeros(8)).n_neurons == 0


@pytest.mark.slow
def test_large_networks_prune_accurately():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(500, 10))
    network = TwoLayerNetwork(
        rng.normal(size=(10, 3000)), rng.normal(size=3000), rng.normal(size=(3000, 1)), [0.0]
    )
    pruned = network.prune(X)
    assert pruned.n_neurons <= 500
    error = np.abs(pruned.predict(X) - network.predict(X)).max()
    assert error <= 1e-11 * np.abs(network.predict(X)).max()
    assert pruned.regularizer() < network.regularizer()
