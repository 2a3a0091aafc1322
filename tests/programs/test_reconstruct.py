"""Blocks to network and back: same outputs, same objective."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convexnn.networks import TwoLayerNetwork
from convexnn.patterns import PatternSet, enumerate_patterns
from convexnn.problem import augment, network_weights
from convexnn.programs import blocks_from_network, network_from_blocks, two_layer_program
from convexnn_solvers import solve
from network_cases import draw_samples, networks
from program_cases import BIASES, DEGENERACIES, LAYERS, LOSSES, draw_case, random_point

seeds = st.integers(0, 2**32 - 1)
MODES = [
    pytest.param(activation, bias, intercept, id=f"{activation}-{bias}-{'c' if intercept else 'no c'}")
    for activation, layer in LAYERS.items()
    for bias, intercept in BIASES
    if not (layer.gated and bias == "free")
]


def objective_of(network, case):
    return network.objective(
        case.X, case.y, alpha=case.alpha, loss=case.loss, sample_weight=case.sample_weight
    )


def network_of(case, program, blocks, intercept):
    return network_from_blocks(program, blocks, intercept, hidden_bias=case.hidden_bias)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize(("activation", "hidden_bias", "fit_intercept"), MODES)
@settings(deadline=None, max_examples=8)
@given(seed=seeds, kinds=st.lists(st.sampled_from(DEGENERACIES), max_size=3))
def test_network_of_blocks_has_their_outputs_and_objective(
    activation, hidden_bias, fit_intercept, n_outputs, seed, kinds
):
    case = draw_case(
        seed,
        activation=activation,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n_outputs=n_outputs,
        kinds=kinds,
    )
    program, rng = case.program(), np.random.default_rng(seed)
    blocks = program.design.project(random_point(program, rng))
    intercept = rng.normal(size=n_outputs) * fit_intercept
    network = network_of(case, program, blocks, intercept)
    outputs = program.outputs(blocks, intercept)
    np.testing.assert_allclose(network.outputs(case.X), outputs, atol=1e-10 * (1 + np.abs(outputs).max()))
    assert objective_of(network, case) == pytest.approx(program.objective(blocks, intercept), rel=1e-10)
    assert network.hidden_bias == hidden_bias
    # Each neuron is balanced and serves one output.
    slopes = network.hidden_weights
    if hidden_bias == "penalized":
        slopes = np.vstack([slopes, network.hidden_biases])
    np.testing.assert_allclose(
        np.linalg.norm(slopes, axis=0), np.linalg.norm(network.output_weights, axis=1), rtol=1e-12
    )
    assert (np.count_nonzero(network.output_weights, axis=1) == 1).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_agrees_between_program_and_network(loss):
    case = draw_case(1, loss=loss)
    program = case.program()
    blocks = program.design.project(random_point(program, np.random.default_rng(1)))
    intercept = np.linspace(-0.5, 0.5, program.n_outputs)
    network = network_of(case, program, blocks, intercept)
    assert objective_of(network, case) == pytest.approx(program.objective(blocks, intercept), rel=1e-12)


@pytest.mark.parametrize(("activation", "hidden_bias", "fit_intercept"), MODES)
@settings(deadline=None, max_examples=8)
@given(seed=seeds, n_outputs=st.integers(1, 2))
def test_round_trip_keeps_outputs_and_does_not_raise_the_objective(
    activation, hidden_bias, fit_intercept, n_outputs, seed
):
    case = draw_case(
        seed,
        activation=activation,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n_outputs=n_outputs,
    )
    program, rng = case.program(), np.random.default_rng(seed)
    blocks = program.design.project(random_point(program, rng))
    intercept = rng.normal(size=n_outputs) * fit_intercept
    network = network_of(case, program, blocks, intercept)
    again, shift = blocks_from_network(program, network)
    np.testing.assert_allclose(
        program.outputs(again, shift), program.outputs(blocks, intercept), rtol=1e-9, atol=1e-9
    )
    assert program.objective(again, shift) <= program.objective(blocks, intercept) * (1 + 1e-9)
    assert program.design.violation(again) <= 1e-9


@settings(deadline=None, max_examples=60)
@given(network=networks(max_neurons=6), seed=seeds, alpha=st.sampled_from([1e-3, 1.0]))
def test_any_network_is_a_point_of_the_program_of_its_own_patterns(network, seed, alpha):
    # A gated unit with a free bias is refused by the program.
    assume(network.gates is None or network.hidden_bias != "free")
    if network.gates is not None and network.hidden_bias == "none":
        network = replace(network, gates=network.gates * np.array([[1.0]] * network.n_features + [[0.0]]))
    X = draw_samples(network, seed, 9)
    data = augment(X, network.hidden_bias)
    deciding = network_weights(network)
    if network.gates is not None:
        deciding = network.gates.T[:, : data.shape[1]]
    nonzero = deciding.any(axis=1)
    patterns = PatternSet.from_weights(data, deciding[nonzero] if nonzero.any() else np.ones_like(data[:1]))
    y = np.random.default_rng(seed).normal(size=(9, network.n_outputs))
    program = two_layer_program(
        X, y, patterns, alpha=alpha, activation=network.activation, hidden_bias=network.hidden_bias
    )
    blocks, intercept = blocks_from_network(program, network)
    outputs = network.outputs(X)
    size = np.abs(network.hidden(X)) @ np.abs(network.output_weights) + np.abs(network.output_biases)
    np.testing.assert_allclose(program.outputs(blocks, intercept), outputs, atol=1e-7 * (1 + size.max()))
    if network.n_outputs == 1:
        written = network.objective(X, y, alpha=alpha)
        assert program.objective(blocks, intercept) <= written * (1 + 1e-6)


@pytest.mark.parametrize("activation", LAYERS)
def test_round_trip_at_the_optimum_keeps_the_objective(activation):
    case = draw_case(4, activation=activation, alpha=0.1)
    program = case.program()
    result = solve(program, tol=1e-8)
    network = network_of(case, program, result.blocks, result.intercept)
    blocks, intercept = blocks_from_network(program, network)
    assert network.n_neurons > 0
    assert objective_of(network, case) == pytest.approx(result.objective, rel=1e-10)
    assert program.objective(blocks, intercept) == pytest.approx(result.objective, rel=1e-8)


def test_neurons_of_one_cone_and_sign_merge():
    X = np.array([[1.0, 0.0], [0.0, 1.0]])
    program = two_layer_program(X, np.ones(2), enumerate_patterns(X), alpha=1.0, hidden_bias="none")
    network = TwoLayerNetwork(
        [[1.0, 3.0, 1.0], [2.0, 1.0, 1.0]],
        [0.0, 0.0, 0.0],
        [[2.0], [1.0], [-1.0]],
        [0.25],
        hidden_bias="none",
    )
    blocks, intercept = blocks_from_network(program, network)
    positive = program.design.patterns.to_dense().all(axis=1)
    np.testing.assert_array_equal(blocks[0, 0, positive], [[5.0, 5.0]])
    np.testing.assert_array_equal(blocks[1, 0, positive], [[1.0, 1.0]])
    assert not blocks[:, :, ~positive].any()
    assert intercept == 0.25


def test_blocks_are_kept_by_norm_not_by_sum():
    X = np.array([[1.0, 0.0], [0.0, 1.0]])
    patterns = enumerate_patterns(X)
    program = two_layer_program(X, np.ones(2), patterns, alpha=1.0, hidden_bias="none")
    first_only = int(np.flatnonzero((patterns.to_dense() == [True, False]).all(axis=1))[0])
    blocks = program.zeros()
    blocks[0, 0, first_only] = [1.0, -1.0]
    network = network_from_blocks(program, blocks, np.zeros(1), hidden_bias="none")
    assert network.n_neurons == 1
    np.testing.assert_allclose(network.predict(X), [1.0, 0.0])


@pytest.mark.parametrize(("activation", "constant"), [("relu", 3.0), ("leaky_relu", 3.0 - 0.3 * 2.0)])
def test_free_biases_without_a_slope_join_the_intercept(activation, constant):
    X = np.random.default_rng(0).normal(size=(5, 2))
    patterns = enumerate_patterns(augment(X, "free"))
    program = two_layer_program(
        X, np.ones(5), patterns, alpha=1.0, activation=LAYERS[activation], hidden_bias="free"
    )
    dense = patterns.to_dense()
    every, none = (int(np.flatnonzero((dense == bit).all(axis=1))[0]) for bit in (True, False))
    blocks = program.zeros()
    blocks[0, 0, every, -1] = 3.0
    blocks[0, 0, none, -1] = -2.0
    intercept = np.array([0.5])
    assert program.design.violation(blocks) == 0
    network = network_from_blocks(program, blocks, intercept, hidden_bias="free")
    assert network.n_neurons == 0
    np.testing.assert_allclose(network.output_biases, [0.5 + constant])
    np.testing.assert_allclose(network.outputs(X), program.outputs(blocks, intercept))
    assert network.regularizer() == 0


def test_patterns_off_the_list_are_refused():
    X = np.random.default_rng(1).normal(size=(6, 2))
    patterns = enumerate_patterns(X)
    network = TwoLayerNetwork(patterns.generators[[3]].T, [0.0], [[1.0]], [0.0], hidden_bias="none")
    listed = two_layer_program(X, np.ones(6), patterns.take([0, 3]), alpha=1.0, hidden_bias="none")
    blocks, _ = blocks_from_network(listed, network)
    assert blocks[0, 0, 1].any()
    other = two_layer_program(X, np.ones(6), patterns.take([0, 1, 2]), alpha=1.0, hidden_bias="none")
    with pytest.raises(ValueError, match="1 of 1 neurons"):
        blocks_from_network(other, network)


def test_gates_with_a_bias_do_not_fit_a_program_without_one():
    X = np.array([[1.0], [2.0], [3.0]])
    program = two_layer_program(
        X, np.ones(3), enumerate_patterns(X), alpha=1.0, activation="gated_relu", hidden_bias="none"
    )
    # The gate opens at 1.5, which no pattern of X alone does: any point has other outputs.
    network = TwoLayerNetwork(
        [[1.0]],
        [0.0],
        [[1.0]],
        [0.0],
        activation=LAYERS["gated_relu"],
        hidden_bias="none",
        gates=[[1.0], [-1.5]],
    )
    with pytest.raises(ValueError, match=r"gate|pattern"):
        blocks_from_network(program, network)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_shapes_that_do_not_fit_are_refused(n_outputs):
    X = np.random.default_rng(2).normal(size=(6, 2))
    program = two_layer_program(X, np.ones(6), enumerate_patterns(X), alpha=1.0, hidden_bias="none")
    d = 2 if n_outputs == 2 else 3
    network = TwoLayerNetwork(
        np.ones((d, 1)), [0.0], np.ones((1, n_outputs)), np.zeros(n_outputs), hidden_bias="none"
    )
    with pytest.raises(ValueError, match="does not fit"):
        blocks_from_network(program, network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_bias": "free", "fit_intercept": False}, "fit_intercept"),
        ({"hidden_bias": "free", "activation": "gated_relu"}, "gated"),
        ({"hidden_bias": "some"}, "hidden_bias must be"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": np.nan}, "alpha"),
        ({"sample_weight": np.array([1.0, -1.0, 1.0])}, "sample_weight"),
        ({"sample_weight": np.ones(2)}, "sample_weight"),
        ({"activation": "sigmoid"}, "Unknown activation"),
        ({"loss": "zero_one"}, "Unknown loss"),
    ],
)
def test_programs_without_a_meaning_are_refused(options, message):
    X = np.random.default_rng(3).normal(size=(3, 2))
    patterns = enumerate_patterns(augment(X, "penalized"))
    with pytest.raises(ValueError, match=message):
        two_layer_program(X, np.ones(3), patterns, **{"alpha": 1.0, **options})
