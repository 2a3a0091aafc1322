"""The network as a value: forward pass, objective, balance, split, validation."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.activations import get_activation, leaky_relu
from convexnn.losses import LogLoss
from convexnn.networks import TwoLayerNetwork
from network_cases import draw_samples, networks

seeds = st.integers(0, 2**32 - 1)


def simple(**changes):
    options = {
        "hidden_weights": [[1.0, -2.0], [0.5, 1.0]],
        "hidden_biases": [0.1, -0.2],
        "output_weights": [[1.0], [3.0]],
        "output_biases": [0.7],
    }
    return TwoLayerNetwork(**{**options, **changes})


def neuron_by_neuron(network, x):
    phi = network.activation
    result = network.output_biases.copy()
    for j in range(network.n_neurons):
        t = float(x @ network.hidden_weights[:, j]) + network.hidden_biases[j]
        side = t if network.gates is None else float(x @ network.gates[:-1, j]) + network.gates[-1, j]
        result += (phi.on if side >= 0 else phi.off) * t * network.output_weights[j]
    return result


@settings(deadline=None)
@given(network=networks(), seed=seeds)
def test_outputs_are_the_sum_over_neurons(network, seed):
    X = draw_samples(network, seed, 6)
    expected = np.array([neuron_by_neuron(network, x) for x in X])
    size = np.abs(network.hidden(X)) @ np.abs(network.output_weights) + np.abs(network.output_biases)
    assert (np.abs(network.outputs(X) - expected) <= 1e-13 * size.max() + 1e-300).all()
    predicted = network.predict(X)
    assert predicted.shape == ((6,) if network.n_outputs == 1 else (6, network.n_outputs))
    np.testing.assert_array_equal(predicted.reshape(6, -1), network.outputs(X))


@settings(deadline=None)
@given(network=networks(), seed=seeds, alpha=st.floats(0, 10))
def test_objective_is_the_sum_written_out(network, seed, alpha):
    rng = np.random.default_rng(seed)
    X = draw_samples(network, seed, 6)
    y, s = rng.normal(size=(6, network.n_outputs)), rng.uniform(size=6)
    data = sum(s[i] * 0.5 * sum((network.outputs(X)[i] - y[i]) ** 2) for i in range(6))
    squares = (network.hidden_weights**2).sum() + (network.output_weights**2).sum()
    if network.hidden_bias == "penalized":
        squares += (network.hidden_biases**2).sum()
    objective = network.objective(X, y, alpha=alpha, sample_weight=s)
    assert objective == pytest.approx(data + alpha / 2 * squares, rel=1e-12)


def test_hidden_bias_of_the_objective_can_be_chosen():
    network = simple()
    biases = 0.5 * (0.1**2 + 0.2**2)
    assert network.regularizer() == pytest.approx(network.regularizer("free") + biases, rel=1e-14)
    assert replace(network, hidden_bias="free").regularizer("penalized") == network.regularizer()
    with pytest.raises(ValueError, match="non-zero hidden biases"):
        network.regularizer("none")
    with pytest.raises(ValueError, match="hidden_bias must be one of"):
        network.regularizer("some")


def test_zero_network_has_the_objective_of_a_constant():
    network = TwoLayerNetwork(np.zeros((3, 0)), np.zeros(0), np.zeros((0, 1)), [2.0])
    assert network.objective(np.zeros((2, 3)), [1.0, 4.0], alpha=5.0) == 0.5 + 2.0


def test_labels_are_mapped_by_classes():
    X = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    binary = simple(classes=("no", "yes"))
    signs = [1, -1, -1]
    expected = simple().objective(X, signs, alpha=0.1, loss="log_loss")
    assert binary.objective(X, ["yes", "no", "no"], alpha=0.1, loss="log_loss") == expected
    assert binary.objective(X, np.array(signs)[:, None], alpha=0.1, loss="log_loss") == expected
    three = {"output_weights": [[1.0, 0, 2], [3.0, 1, 1]], "output_biases": [0.0, 0, 1]}
    expected = simple(**three).objective(X, [2, 0, 1], alpha=0.1, loss="log_loss")
    labelled = simple(**three, classes=np.array([10, 20, 30]))
    assert labelled.objective(X, [30, 10, 20], alpha=0.1, loss="softmax") == expected
    with pytest.raises(ValueError, match=r"among the classes \(10, 20, 30\)\. Got \[2\]"):
        labelled.objective(X, [30, 2, 20], alpha=0.1, loss="softmax")
    with pytest.raises(ValueError, match="needs numbers, but this network has classes"):
        binary.objective(X, ["yes", "no", "no"], alpha=0.1)


def test_independent_outputs_are_summed():
    network = simple(output_weights=[[1.0, 2.0], [3.0, -1.0]], output_biases=[0.0, 0.5])
    X, y = np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([[1.0, 1.0], [-1.0, 1.0]])
    single = [
        replace(network, output_weights=network.output_weights[:, [k]], output_biases=[b])
        for k, b in enumerate(network.output_biases)
    ]
    expected = sum(net.objective(X, y[:, k], alpha=0, loss="log_loss") for k, net in enumerate(single))
    assert network.objective(X, y, alpha=0, loss=LogLoss()) == pytest.approx(expected, rel=1e-14)


@settings(deadline=None)
@given(network=networks(), seed=seeds)
def test_balanced_is_the_same_function_with_equal_norms(network, seed):
    balanced = network.balanced()
    X = draw_samples(network, seed, 8)
    size = (np.abs(network.hidden(X)) @ np.abs(network.output_weights)).max(initial=0.0)
    assert np.abs(balanced.outputs(X) - network.outputs(X)).max() <= 1e-13 * (1 + size)
    assert balanced.regularizer() <= network.regularizer() * (1 + 1e-14)
    inner = (balanced.hidden_weights**2).sum(axis=0)
    if network.hidden_bias == "penalized":
        inner += balanced.hidden_biases**2
    outer = (balanced.output_weights**2).sum(axis=1)
    scaled = (inner > 0) | (not network.activation.gated)
    np.testing.assert_allclose(inner[scaled], outer[scaled], rtol=1e-12)
    assert (outer > 0).all()
    assert balanced.hidden_bias == network.hidden_bias


def test_balance_folds_constants_of_free_biases():
    network = TwoLayerNetwork([[0.0, 1.0]], [2.0, 0.0], [[3.0], [1.0]], [0.5], hidden_bias="free")
    balanced = network.balanced()
    assert balanced.n_neurons == 1
    assert balanced.output_biases.tolist() == [6.5]
    assert replace(network, hidden_bias="penalized").balanced().n_neurons == 2


def test_balance_survives_extreme_scales():
    network = TwoLayerNetwork([[1e-200]], [0.0], [[1e200]], [0.0])
    balanced = network.balanced()
    np.testing.assert_allclose(balanced.hidden_weights, [[1.0]], rtol=1e-14)
    np.testing.assert_allclose(balanced.output_weights, [[1.0]], rtol=1e-14)


@settings(deadline=None)
@given(network=networks(max_neurons=5), seed=seeds, extra=st.integers(0, 14))
def test_split_keeps_function_and_objective(network, seed, extra):
    split = network.split(network.n_neurons + extra)
    assert split.n_neurons == network.n_neurons + extra
    X = draw_samples(network, seed, 8)
    size = (np.abs(network.hidden(X)) @ np.abs(network.output_weights)).max(initial=0.0)
    assert np.abs(split.outputs(X) - network.outputs(X)).max() <= 1e-13 * (1 + size)
    assert split.regularizer() == pytest.approx(network.regularizer(), rel=1e-13)


def test_split_spreads_copies_evenly():
    split = simple().split(7)
    assert [int(np.sum(split.hidden_weights[0] * sign > 0)) for sign in (1, -1)] == [4, 3]
    np.testing.assert_allclose(split.output_weights[:, 0], [1 / 2] * 4 + [np.sqrt(3)] * 3, rtol=1e-15)


def test_split_refuses_fewer_neurons():
    with pytest.raises(ValueError, match=r"2 neurons into 1.*Use prune"):
        simple().split(1)
    assert simple().split(2) == simple()


@settings(deadline=None)
@given(network=networks())
def test_networks_are_frozen_values(network):
    for twin in (pickle.loads(pickle.dumps(network)), copy.copy(network), copy.deepcopy(network)):
        assert twin == network
        assert hash(twin) == hash(network)
        arrays = [*twin.coefs, *twin.intercepts, *([] if twin.gates is None else [twin.gates])]
        assert not any(a.flags.writeable for a in arrays)
        assert all(a.dtype == np.float64 and a.flags.c_contiguous for a in arrays)


def test_arrays_are_copied_and_attributes_frozen():
    weights = np.ones((2, 2), dtype=np.float32)
    network = simple(hidden_weights=weights)
    weights[:] = 7
    assert network.hidden_weights.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        network.hidden_weights[0, 0] = 2.0
    with pytest.raises(FrozenInstanceError):
        network.hidden_bias = "free"


def test_equality_is_by_content():
    assert simple() == simple()
    assert simple(hidden_biases=[-0.0, 0.0]) == simple(hidden_biases=[0.0, 0.0])
    assert hash(simple(hidden_biases=[-0.0, 0.0])) == hash(simple(hidden_biases=[0.0, 0.0]))
    others = [
        simple(hidden_biases=[0.1, 0.2]),
        simple(hidden_bias="free"),
        simple(activation=leaky_relu(0.3)),
        simple(classes=(0, 1)),
    ]
    assert all(simple() != other for other in others)
    assert simple() != "network"


def test_repr_is_short_and_layout_is_that_of_scikit_learn():
    network = simple(classes=("no", "yes"))
    assert repr(network) == (
        "TwoLayerNetwork(n_features=2, n_neurons=2, n_outputs=1, activation='relu', "
        "hidden_bias='penalized', classes=('no', 'yes'))"
    )
    assert [w.shape for w in network.coefs] == [(2, 2), (2, 1)]
    assert [b.shape for b in network.intercepts] == [(2,), (1,)]
    assert {f.name for f in fields(network)} >= {"gates", "classes", "activation"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_weights": [1.0, 2.0]}, r"must be \(n_features, n_neurons\)"),
        ({"hidden_biases": [1.0]}, r"hidden_biases must have shape \(2,\).*Got \(1,\)"),
        ({"output_weights": [[1.0]]}, r"output_weights must have shape \(2, 1\)"),
        ({"output_biases": [[1.0]]}, r"output_biases must have shape \(1,\)"),
        ({"hidden_weights": np.zeros((0, 2))}, "at least one feature"),
        ({"hidden_weights": [[1.0, np.nan], [0, 0]]}, "hidden_weights must be finite"),
        ({"hidden_bias": "none"}, "needs hidden_biases of zero"),
        ({"hidden_bias": "maybe"}, "hidden_bias must be one of"),
        ({"gates": np.zeros((3, 2))}, "'relu' needs no gates"),
        ({"activation": get_activation("gated_relu")}, "'gated_relu' needs gates"),
        (
            {"activation": get_activation("gated_relu"), "gates": np.zeros((2, 2))},
            r"gates must have shape \(3, 2\)",
        ),
        ({"classes": (1,)}, "needs 2 classes. Got 1"),
        ({"classes": (1, 2, 3)}, "needs 2 classes. Got 3"),
        ({"classes": (2, 1)}, "distinct and sorted"),
        ({"classes": (1, 1)}, "distinct and sorted"),
    ],
)
def test_contradictory_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        simple(**changes)


@pytest.mark.parametrize(
    ("X", "y", "options", "message"),
    [
        (np.zeros((3, 1)), [0, 0, 0], {}, r"X must have shape \(n_samples, 2\)"),
        (np.zeros(2), [0], {}, "X must have shape"),
        (np.full((1, 2), np.inf), [0], {}, "X must be finite"),
        (np.zeros((3, 2)), [0, 0], {}, "as many samples as X, 3. Got 2"),
        (np.zeros((1, 2)), [0], {"alpha": -1.0}, "alpha must be finite and >= 0"),
        (np.zeros((1, 2)), [0], {"alpha": np.nan}, "alpha must be finite"),
        (np.zeros((1, 2)), [0], {"sample_weight": [-1.0]}, "sample_weight must not be negative. Got -1.0"),
        (np.zeros((1, 2)), [0], {"sample_weight": [1.0, 2.0]}, r"shape \(1,\)"),
        (np.zeros((1, 2)), [0], {"loss": "mse"}, "Unknown loss"),
    ],
)
def test_unfit_data_are_refused(X, y, options, message):
    with pytest.raises(ValueError, match=message):
        simple().objective(X, y, **{"alpha": 1.0, **options})
