"""Convolutional networks: forward pass by loops, objective written out, balance, pruning, validation."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conv_cases import POOLINGS, conv_networks, draw_images
from convexnn.activations import ACTIVATIONS, LINEAR, get_activation, leaky_relu
from convexnn.losses import get_loss
from convexnn.networks import ConvNetwork, TwoLayerNetwork
from convexnn.patches import PatchGeometry

seeds = st.integers(0, 2**32 - 1)
GEOMETRY = PatchGeometry.of((4, 5, 2), (2, 3))
K, H = 9, 12


def network(pooling="average", q=1, m=4, geometry=GEOMETRY, seed=0, **options):
    rng = np.random.default_rng(seed)
    positions = (geometry.n_positions,) if pooling == "weighted" else ()
    biases = rng.normal(size=m) * (options.get("hidden_bias") != "none")
    return ConvNetwork(
        geometry,
        rng.normal(size=(geometry.patch_size, m)),
        biases,
        rng.normal(size=(m, *positions, q)),
        rng.normal(size=q),
        pooling,
        **options,
    )


def loop_over_neurons(net, image):
    """Outputs for one image, patch by patch; also the sum of absolute terms, to judge rounding by."""
    patches = net.geometry.view(image[None])[0].reshape(net.geometry.n_positions, -1)
    phi = net.activation
    shape = (len(patches), net.n_outputs) if net.pooling is None else (net.n_outputs,)
    result, size = np.zeros(shape) + net.output_biases, np.abs(net.output_biases).sum()
    for j in range(net.n_neurons):
        values, a = [], net.output_weights[j]
        for patch in patches:
            t = sum(float(u) * float(x) for u, x in zip(net.hidden_weights[:, j], patch, strict=True))
            t += float(net.hidden_biases[j])
            values.append((phi.on if t >= 0 else phi.off) * t)
            size += (np.abs(net.hidden_weights[:, j]) @ np.abs(patch) + abs(net.hidden_biases[j])) * np.abs(
                a
            ).sum()
        if net.pooling is None:
            result += np.array([value * a for value in values])
        elif net.pooling == "weighted":
            result += sum(value * a_k for value, a_k in zip(values, a, strict=True))
        else:
            result += (sum(values) if net.pooling == "average" else max(values)) * a
    return result, size


def rounding(net, X):
    return 1e-13 * max((loop_over_neurons(net, x)[1] for x in X), default=0.0)


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds, flat=st.booleans())
def test_outputs_are_the_sum_over_neurons_and_patches(net, seed, flat):
    X = draw_images(net, seed, 4)
    expected = np.array([loop_over_neurons(net, x)[0] for x in X])
    outputs = net.outputs(X.reshape(4, -1) if flat else X)
    assert outputs.shape == expected.shape
    assert np.abs(outputs - expected).max() <= rounding(net, X)
    predicted = net.predict(X)
    np.testing.assert_array_equal(predicted, outputs[..., 0] if net.n_outputs == 1 else outputs)


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds)
def test_chunks_do_not_matter(net, seed):
    X = draw_images(net, seed, 5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("convexnn.patches.geometry._CHUNK_ENTRIES", 1)
        outputs, layer = net.outputs(X), net.hidden(X)
    assert np.abs(outputs - net.outputs(X)).max() <= rounding(net, X)
    np.testing.assert_allclose(layer, net.hidden(X), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds, alpha=st.floats(0, 10))
def test_objective_is_the_sum_written_out(net, seed, alpha):
    rng = np.random.default_rng(seed)
    X, s = draw_images(net, seed, 3), rng.uniform(size=3)
    outputs = net.outputs(X)
    y = rng.normal(size=outputs.shape)
    data = sum(s[i] * 0.5 * np.sum((outputs[i] - y[i]) ** 2) for i in range(3))
    squares = (net.hidden_weights**2).sum() + (net.output_weights**2).sum()
    if net.hidden_bias == "penalized":
        squares += (net.hidden_biases**2).sum()
    expected = pytest.approx(data + alpha / 2 * squares, rel=1e-12)
    assert net.objective(X, y, alpha=alpha, sample_weight=s) == expected
    if net.n_outputs == 1:
        assert net.objective(X, y[..., 0], alpha=alpha, sample_weight=s) == expected
    encoded = net.encoded_targets(get_loss("squared_error"), y)
    np.testing.assert_array_equal(encoded, y.reshape(-1, net.n_outputs))
    assert net.objective(X, encoded, alpha=alpha, sample_weight=s) == expected


@pytest.mark.parametrize("q", [1, 3, 9])
def test_positions_have_targets_of_their_own(q):
    net = network(None, q, classes=tuple(range(max(2, q))))
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(4, 4, 5, 2)), rng.integers(max(2, q), size=(4, K))
    patches = net.geometry.rows(X)
    dense = TwoLayerNetwork(
        net.hidden_weights, net.hidden_biases, net.output_weights, net.output_biases, classes=net.classes
    )
    s = np.array([1.0, 0.0, 2.0, 0.5])
    expected = dense.objective(patches, y.ravel(), alpha=0.3, loss="log_loss", sample_weight=np.repeat(s, K))
    for targets in (y, y.ravel(), dense.encoded_targets(get_loss("log_loss", q), y.ravel())):
        value = net.objective(X, targets, alpha=0.3, loss="log_loss", sample_weight=s)
        assert value == pytest.approx(expected, rel=1e-13)
    with pytest.raises(ValueError, match=r"y must have shape \(n_samples, 9\)"):
        net.objective(X, y[:, 1:], alpha=0.3, loss="log_loss")


def test_one_position_is_the_dense_network():
    rng = np.random.default_rng(2)
    full = PatchGeometry.of((3, 2, 1), 5)
    X = rng.normal(size=(7, 6))
    U, b, A = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=(4, 2))
    dense = TwoLayerNetwork(U, b, A, [0.5, -1.0])
    y = rng.normal(size=(7, 2))
    for pooling in POOLINGS:
        net = ConvNetwork(full, U, b, A[:, None] if pooling == "weighted" else A, [0.5, -1.0], pooling)
        outputs = net.outputs(X)
        np.testing.assert_allclose(outputs.reshape(7, 2), dense.outputs(X), rtol=1e-13)
        assert net.objective(X, y, alpha=2.0) == pytest.approx(dense.objective(X, y, alpha=2.0), rel=1e-13)


def test_linear_weighted_networks_are_linear_models():
    net = network("weighted", 2, activation=LINEAR)
    X = np.random.default_rng(3).normal(size=(5, 40))
    z = np.einsum("hj,jko->kho", net.hidden_weights, net.output_weights)
    constant = net.output_biases + net.hidden_biases @ net.output_weights.sum(axis=1)
    expected = np.einsum("ikh,kho->io", net.geometry.rows(X).reshape(5, K, H), z) + constant
    np.testing.assert_allclose(net.outputs(X), expected, rtol=1e-12, atol=1e-12)


def test_filters_are_small_images():
    net = network()
    assert net.filters.shape == (4, 2, 3, 2)
    X = np.random.default_rng(4).normal(size=(1, 4, 5, 2))
    direct = np.einsum("rpc,jrpc->j", X[0, 1:3, 2:5], net.filters) + net.hidden_biases
    np.testing.assert_allclose(
        replace(net, pooling=None).hidden(X)[0, 1 * 3 + 2], np.maximum(direct, 0), rtol=1e-13
    )


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds)
def test_balanced_is_the_same_function_with_equal_norms(net, seed):
    balanced = net.balanced()
    X = draw_images(net, seed, 4)
    assert np.abs(balanced.outputs(X) - net.outputs(X)).max() <= rounding(net, X)
    assert balanced.regularizer() <= net.regularizer() * (1 + 1e-14)
    inner = (balanced.hidden_weights**2).sum(axis=0)
    if net.hidden_bias == "penalized":
        inner += balanced.hidden_biases**2
    outer = (balanced.output_weights**2).sum(axis=tuple(range(1, balanced.output_weights.ndim)))
    np.testing.assert_allclose(inner, outer, rtol=1e-12)


@settings(deadline=None)
@given(net=conv_networks(max_neurons=4), seed=seeds, extra=st.integers(0, 9))
def test_split_keeps_function_and_objective(net, seed, extra):
    split = net.split(net.n_neurons + extra)
    assert split.n_neurons == net.n_neurons + extra
    X = draw_images(net, seed, 4)
    assert np.abs(split.outputs(X) - net.outputs(X)).max() <= rounding(net, X)
    assert split.regularizer() == pytest.approx(net.regularizer(), rel=1e-13)


@settings(deadline=None)
@given(net=conv_networks(max_neurons=20), seed=seeds, n_samples=st.integers(1, 4))
def test_pruned_networks_agree_on_the_data_and_cost_no_more(net, seed, n_samples):
    X = draw_images(net, seed, n_samples)
    pruned = net.prune(X)
    expected = net.outputs(X)
    allowed = 1e-10 * np.linalg.norm(expected) + rounding(net, X)
    assert np.abs(pruned.outputs(X) - expected).max() <= allowed
    assert pruned.regularizer() <= net.balanced().regularizer() * (1 + 1e-12)
    assert pruned.n_neurons <= min(net.n_neurons, expected.size)
    alone = [replace(pruned, **one_neuron(pruned, j)).outputs(X).ravel() for j in range(pruned.n_neurons)]
    if alone:
        columns = np.array(alone).T
        assert np.linalg.matrix_rank(columns / np.linalg.norm(columns, axis=0)) == pruned.n_neurons


def one_neuron(net, j):
    return {
        "hidden_weights": net.hidden_weights[:, [j]],
        "hidden_biases": net.hidden_biases[[j]],
        "output_weights": net.output_weights[[j]],
        "output_biases": np.zeros(net.n_outputs),
    }


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds)
def test_contributions_are_the_outputs_of_neurons_alone(net, seed):
    X = draw_images(net, seed, 3)
    columns = net.contributions(X)
    assert columns.shape == (net.outputs(X).size, net.n_neurons)
    for j in range(net.n_neurons):
        alone = replace(net, **one_neuron(net, j)).outputs(X).ravel()
        assert np.abs(columns[:, j] - alone).max() <= rounding(net, X)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_samples_of_weight_zero_are_left_out(pooling):
    net = network(pooling, m=60)
    X = np.random.default_rng(5).normal(size=(6, 40))
    weight = np.array([1.0, 0, 0, 2, 0, 0])
    pruned = net.prune(X, sample_weight=weight)
    assert pruned.n_neurons <= 2 * (K if pooling is None else 1)
    np.testing.assert_allclose(pruned.outputs(X[weight > 0]), net.outputs(X[weight > 0]), rtol=1e-8)


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds)
def test_one_more_neuron_adds_its_outputs(net, seed):
    rng = np.random.default_rng(seed)
    bias = 0.0 if net.hidden_bias == "none" else float(rng.normal())
    weights, output = rng.normal(size=net.geometry.patch_size), rng.normal(size=net.output_weights.shape[1:])
    larger = net.with_neuron(weights, bias, output)
    last = replace(larger, **one_neuron(larger, net.n_neurons))
    np.testing.assert_array_equal(last.hidden_weights[:, 0], weights)
    np.testing.assert_array_equal(last.output_weights[0], output)
    X = draw_images(net, seed, 3)
    added = larger.outputs(X) - net.outputs(X)
    assert np.abs(added - last.outputs(X)).max() <= rounding(larger, X)


@settings(deadline=None)
@given(net=conv_networks())
def test_networks_are_frozen_values(net):
    twin = pickle.loads(pickle.dumps(net))
    assert twin == net
    assert hash(twin) == hash(net)
    assert not any(a.flags.writeable for a in [*twin.coefs, *twin.intercepts])


def test_equality_is_by_content():
    assert network() == network()
    others = [
        network("max"),
        network(seed=1),
        network(activation=leaky_relu(0.3)),
        network(geometry=PatchGeometry.of((4, 5, 2), (2, 3), padding="zero")),
    ]
    assert all(network() != other for other in others)
    one = PatchGeometry.of((2, 1), 2)
    assert TwoLayerNetwork(*arrays(one)) != ConvNetwork(one, *arrays(one))


def arrays(geometry):
    return np.ones((geometry.patch_size, 1)), [0.0], [[1.0]], [0.0]


def test_repr_is_short():
    assert repr(network("max", classes=(0, 1))) == (
        "ConvNetwork(image_shape=(4, 5, 2), kernel_size=(2, 3), pooling='max', n_neurons=4, n_outputs=1, "
        "activation='relu', hidden_bias='penalized', classes=(0, 1))"
    )


@settings(deadline=None)
@given(net=conv_networks(max_neurons=1), seed=seeds)
def test_flat_filters_with_free_biases_are_constants(net, seed):
    assume(net.n_neurons == 1)
    flat = replace(net, hidden_weights=0 * net.hidden_weights, hidden_biases=[2.0], hidden_bias="free")
    balanced = flat.balanced()
    assert balanced.n_neurons == 0
    X = draw_images(net, seed, 2)
    np.testing.assert_allclose(balanced.outputs(X), flat.outputs(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_weights": np.zeros((11, 4))}, r"hidden_weights must have shape \(12, 4\)"),
        ({"hidden_weights": np.zeros(12)}, r"must be \(patch_size, n_neurons\)"),
        ({"hidden_biases": [1.0]}, r"hidden_biases must have shape \(4,\)"),
        ({"output_weights": np.zeros((4, 9, 1))}, r"output_weights \(n_neurons, n_outputs\)"),
        ({"pooling": "weighted"}, r"output_weights \(n_neurons, n_positions, n_outputs\)"),
        (
            {"pooling": "weighted", "output_weights": np.zeros((4, 8, 1))},
            r"output_weights must have shape \(4, 9, 1\)",
        ),
        ({"output_weights": np.zeros((3, 1))}, r"output_weights must have shape \(4, 1\)"),
        ({"output_weights": np.zeros((4, 0)), "output_biases": []}, "at least one output"),
        ({"pooling": "mean"}, r"pooling must be one of \['average', 'max', 'weighted', None\]"),
        ({"pooling": "max", "activation": LINEAR}, "pooling='max' is for the activation 'relu'"),
        ({"activation": get_activation("gated_relu")}, "'gated_relu' needs gates"),
        ({"hidden_bias": "none"}, "needs hidden_biases of zero"),
        ({"classes": (1,)}, "needs 2 classes"),
    ],
)
def test_contradictory_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(network(), **changes)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((2, 39)), [0, 0], r"X must have shape \(n_samples, 4, 5, 2\)"),
        (np.full((1, 40), np.nan), [0], "X must be finite"),
        (np.zeros((2, 40)), [0], "as many samples as X, 2. Got 1"),
    ],
)
def test_unfit_data_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        network().objective(X, y, alpha=1.0)


def test_unfit_neurons_are_refused():
    with pytest.raises(ValueError, match=r"output_weights must have shape \(9, 1\)\. Got \(1,\)"):
        network("weighted").with_neuron(np.zeros(12), 0.0, np.zeros(1))
    with pytest.raises(ValueError, match=r"weights must have shape \(12,\)"):
        network().with_neuron(np.zeros(11), 0.0, np.zeros(1))
    gated = TwoLayerNetwork([[1.0]], [0.0], [[1.0]], [0.0], ACTIVATIONS["gated_relu"], gates=[[1.0], [0.5]])
    with pytest.raises(ValueError, match="needs a gate"):
        gated.with_neuron(np.zeros(1), 0.0, np.zeros(1))
