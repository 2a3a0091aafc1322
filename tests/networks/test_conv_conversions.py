"""Round trips of convolutional networks to PyTorch; what means, sums and paddings become; refusals."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv_cases import POOLINGS, conv_networks, draw_images
from convexnn.activations import LINEAR, get_activation, leaky_relu
from convexnn.networks import ConvNetwork
from convexnn.patches import PatchGeometry

torch = pytest.importorskip("torch")
nn = torch.nn
seeds = st.integers(0, 2**32 - 1)


def outputs_of(module, geometry, X):
    with torch.no_grad():
        result = module(torch.tensor(geometry.channels_first(X))).numpy()
    return result if result.ndim == 2 else np.moveaxis(result.reshape(*result.shape[:2], -1), 1, 2)


def tolerance(net, X):
    rows = np.abs(net.geometry.rows(X)) @ np.abs(net.hidden_weights) + np.abs(net.hidden_biases)
    size = rows.sum() * np.abs(net.output_weights).sum() + np.abs(net.output_biases).sum()
    return 1e-13 * size


@settings(deadline=None)
@given(net=conv_networks(), seed=seeds)
def test_modules_predict_the_same_and_are_read(net, seed):
    X = draw_images(net, seed, 4)
    module = net.to_torch()
    outputs = outputs_of(module, net.geometry, X)
    assert outputs.dtype == np.float64
    assert np.abs(outputs - net.outputs(X)).max() <= tolerance(net, X)
    back, factor = ConvNetwork.from_torch(module, net.geometry.image_shape)
    assert factor == 1
    assert back.pooling == net.pooling
    assert np.abs(back.outputs(X) - net.outputs(X)).max() <= tolerance(net, X)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("padding", ["valid", "zero", "circular"])
@pytest.mark.parametrize("shape", [(5, 4, 2), (7, 3)])
def test_weights_survive_the_round_trip(pooling, padding, shape):
    rng = np.random.default_rng(0)
    geometry = PatchGeometry.of(shape, 2, 2, padding)
    positions = (geometry.n_positions,) if pooling == "weighted" else ()
    U, A = rng.normal(size=(geometry.patch_size, 3)), rng.normal(size=(3, *positions, 2))
    net = ConvNetwork(geometry, U, rng.normal(size=3), A, rng.normal(size=2), pooling)
    assert ConvNetwork.from_torch(net.to_torch(), shape) == (net, 1.0)
    leaky = replace(net, activation=get_activation("leaky_relu")) if pooling != "max" else net
    assert ConvNetwork.from_torch(leaky.to_torch(), shape, hidden_bias="free")[0] == replace(
        leaky, hidden_bias="free"
    )


def test_layers_are_the_documented_ones():
    geometry = PatchGeometry.of((4, 4, 1), 3, padding="zero")
    U, A = np.ones((9, 2)), np.ones((2, 16, 1))
    kinds = {
        "average": ["ZeroPad2d", "Conv2d", "ReLU", "LPPool2d", "Flatten", "Linear"],
        "max": ["ZeroPad2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear"],
        "weighted": ["ZeroPad2d", "Conv2d", "ReLU", "Flatten", "Linear"],
        None: ["ZeroPad2d", "Conv2d", "ReLU", "Conv2d"],
    }
    for pooling, names in kinds.items():
        weights = A if pooling == "weighted" else A[:, 0]
        module = ConvNetwork(geometry, U, [0.0, 1.0], weights, [0.0], pooling).to_torch(torch.float32)
        assert [type(layer).__name__ for layer in module] == names
        assert module[1].weight.dtype == module[-1].weight.dtype == torch.float32


@pytest.mark.parametrize("n_axes", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_means_are_sums_with_more_regularisation(n_axes, bias):
    torch.manual_seed(1)
    shape = (6, 5)[:n_axes]
    pools = {
        1: [nn.AdaptiveAvgPool1d(1), nn.AvgPool1d(3)],
        2: [nn.AdaptiveAvgPool2d((1, 1)), nn.AdaptiveAvgPool2d(1), nn.AvgPool2d((3, 2))],
    }[n_axes]
    K = {1: 3, 2: 6}[n_axes]
    convolution = {1: nn.Conv1d, 2: nn.Conv2d}[n_axes](2, 3, 2, stride=2, bias=bias)
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(4, *shape, 2)), rng.normal(size=4)
    for pool in pools:
        module = nn.Sequential(convolution, nn.ReLU(), pool, nn.Flatten(), nn.Linear(3, 1)).double()
        net, factor = ConvNetwork.from_torch(module, (*shape, 2))
        assert factor == K
        f = outputs_of(module, net.geometry, X)
        np.testing.assert_allclose(net.outputs(X), f, rtol=1e-12)
        penalised = [p for name, p in module.named_parameters() if name != "4.bias"]
        expected = 0.5 * ((f[:, 0] - y) ** 2).sum()
        expected += 0.35 * sum(float((p.detach() ** 2).sum()) for p in penalised)
        assert net.objective(X, y, alpha=0.7 * factor) == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize(("padding", "kernel"), [("same", (2, 3)), (1, 3), ((0, 1), (1, 3)), ("valid", 2)])
def test_convolutions_may_pad_by_themselves(mode, padding, kernel):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 3, kernel, padding=padding, padding_mode=mode), nn.LeakyReLU(0.2)),
        nn.Identity(),
        nn.Flatten(),
        nn.LazyLinear(2),
    ).double()
    X = np.random.default_rng(3).normal(size=(3, 4, 5, 2))
    expected = module(torch.tensor(X).movedim(-1, 1)).detach().numpy()
    net, _ = ConvNetwork.from_torch(module, (4, 5, 2))
    assert net.activation == leaky_relu(0.2)
    assert net.pooling == "weighted"
    np.testing.assert_allclose(net.outputs(X), expected, rtol=1e-12)


def test_other_poolings_of_the_same_value_are_read():
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 2, 2)
    X = np.random.default_rng(4).normal(size=(3, 3, 4, 1))
    cases = {
        nn.AdaptiveMaxPool2d(1): "max",
        nn.MaxPool2d((2, 3), stride=1): "max",
        nn.AvgPool2d((2, 3), divisor_override=1): "average",
        nn.LPPool2d(1, (2, 3)): "average",
    }
    for pool, pooling in cases.items():
        module = nn.Sequential(convolution, nn.ReLU(), pool, nn.Flatten(), nn.Linear(2, 1)).double()
        net, factor = ConvNetwork.from_torch(module, (3, 4, 1))
        assert (net.pooling, factor) == (pooling, 1.0)
        np.testing.assert_allclose(net.outputs(X), outputs_of(module, net.geometry, X), rtol=1e-12)


def test_linear_networks_have_no_activation():
    module = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 1)).double()
    net, _ = ConvNetwork.from_torch(module, (4, 1))
    assert (net.activation, net.pooling) == (LINEAR, "weighted")


def test_training_can_go_on_from_a_network():
    rng = np.random.default_rng(5)
    geometry = PatchGeometry.of((6, 1), 3)
    net = ConvNetwork(geometry, rng.normal(size=(3, 4)), np.zeros(4), rng.normal(size=(4, 1)), [0.0])
    X, y = rng.normal(size=(8, 6)), rng.normal(size=8)
    module = net.to_torch()
    loss = 0.5 * ((module(torch.tensor(geometry.channels_first(X)))[:, 0] - torch.tensor(y)) ** 2).sum()
    loss.backward()
    step = 1e-6
    with torch.no_grad():
        slope = sum(float((p.grad**2).sum()) for p in module.parameters())
        for p in module.parameters():
            p.sub_(step * p.grad)
    moved, _ = ConvNetwork.from_torch(module, (6, 1))
    fall = net.objective(X, y, alpha=0.0) - moved.objective(X, y, alpha=0.0)
    assert fall == pytest.approx(step * slope, rel=1e-2)


def refused_modules():
    conv, flat, relu = nn.Conv2d(1, 2, 2), nn.Flatten(), nn.ReLU()
    pooled = nn.Linear(2, 1)
    return [
        (conv, r"Wanted torch\.nn\.Sequential.*Got Conv2d for images with 2 axes"),
        (nn.Sequential(conv, nn.Tanh(), flat, pooled), "Got Conv2d, Tanh, Flatten, Linear"),
        (nn.Sequential(nn.Conv1d(1, 2, 2), relu, flat, pooled), "Wanted torch"),
        (nn.Sequential(conv, relu, nn.AdaptiveMaxPool2d(1), pooled), "Wanted torch"),
        (nn.Sequential(conv, relu, nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 1, 1)), "Wanted torch"),
        (nn.Sequential(conv, relu, nn.Conv2d(2, 1, 2)), "Wanted torch"),
        (nn.Sequential(conv, relu, nn.MaxPool2d(2), flat, pooled), r"over all positions, here \(2, 3\)"),
        (nn.Sequential(conv, relu, nn.AdaptiveAvgPool2d(2), flat, pooled), "over all positions"),
        (nn.Sequential(conv, relu, nn.LPPool2d(2, (2, 3)), flat, pooled), "LPPool of norm 1"),
        (nn.Sequential(conv, relu, flat, pooled), r"must have 2 \* 6 inputs.*Got 2"),
        (nn.Sequential(nn.Conv2d(1, 2, 2, dilation=2), relu, flat, pooled), "dilation 1"),
        (nn.Sequential(nn.Conv2d(3, 2, 2), relu, flat, pooled), "1 input channels"),
        (nn.Sequential(nn.Conv2d(1, 2, 2, padding=1), relu, flat, pooled), "margins"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), relu, flat, pooled),
            "circular",
        ),
        (nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(1, 2, 3, padding=1), relu, flat, pooled), "applied once"),
        (nn.Sequential(nn.Conv2d(1, 2, (5, 5), padding=2), relu, flat, pooled), "must fit in the image"),
        (nn.Sequential(conv, nn.LeakyReLU(), nn.AdaptiveMaxPool2d(1), flat, pooled), "'max' is for"),
    ]


@pytest.mark.parametrize(("module", "message"), refused_modules())
def test_other_modules_are_refused(module, message):
    with pytest.raises(ValueError, match=message):
        ConvNetwork.from_torch(module, (3, 4, 1))


def test_other_image_shapes_are_refused():
    with pytest.raises(ValueError, match="give one channel as 1"):
        ConvNetwork.from_torch(nn.Sequential(nn.Conv2d(1, 2, 2)), (3,))
    module = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Conv1d(2, 1, 1))
    assert ConvNetwork.from_torch(module, [4, 1])[0].pooling is None
