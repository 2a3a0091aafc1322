"""Round trips to scikit-learn and PyTorch keep predictions; what has no equivalent is refused."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted

from convexnn.activations import get_activation, leaky_relu
from convexnn.exceptions import MissingExtraError
from convexnn.networks import TwoLayerNetwork
from network_cases import draw_samples, networks

seeds = st.integers(0, 2**32 - 1)
UNGATED = ["relu", "leaky_relu", "absolute_value"]


def tolerance(network, X):
    pre = np.abs(X) @ np.abs(network.hidden_weights) + np.abs(network.hidden_biases)
    return 1e-13 * (pre @ np.abs(network.output_weights) + np.abs(network.output_biases)).max()


def classifier(n_outputs, classes, activation="relu", seed=0):
    rng = np.random.default_rng(seed)
    return TwoLayerNetwork(
        rng.normal(size=(3, 5)),
        rng.normal(size=5),
        rng.normal(size=(5, n_outputs)),
        rng.normal(size=n_outputs),
        get_activation(activation),
        classes=classes,
    )


@settings(deadline=None)
@given(network=networks(activations=UNGATED), seed=seeds)
def test_regressors_of_scikit_learn_predict_the_same(network, seed):
    X = draw_samples(network, seed, 7)
    mlp = pickle.loads(pickle.dumps(network.to_sklearn()))
    check_is_fitted(mlp)
    assert isinstance(mlp, MLPRegressor)
    assert mlp.n_features_in_ == network.n_features
    predicted = mlp.predict(X)
    assert predicted.shape == network.predict(X).shape
    assert np.abs(predicted - network.predict(X)).max() <= tolerance(network, X)
    back = TwoLayerNetwork.from_sklearn(mlp)
    assert np.abs(back.outputs(X) - network.outputs(X)).max() <= tolerance(network, X)


@pytest.mark.parametrize("activation", UNGATED)
@pytest.mark.parametrize("classes", [("no", "yes"), (3, 7), (False, True)])
def test_binary_classifiers_of_scikit_learn_predict_the_same(activation, classes):
    X = np.random.default_rng(1).normal(size=(20, 3))
    network = classifier(1, classes, activation)
    mlp = network.to_sklearn()
    assert isinstance(mlp, MLPClassifier)
    f = network.predict(X)
    np.testing.assert_allclose(mlp.predict_proba(X)[:, 1], expit(f), rtol=1e-12)
    assert mlp.predict(X).tolist() == [classes[int(value > 0)] for value in f]
    if activation == "relu":
        back = TwoLayerNetwork.from_sklearn(mlp)
        assert back.classes == classes
        assert back.predict(X).tolist() == f.tolist()


@pytest.mark.parametrize("activation", UNGATED)
@pytest.mark.parametrize("classes", [("no", "yes"), (1, 2, 5), ("a", "b", "c", "d")])
def test_softmax_classifiers_of_scikit_learn_predict_the_same(activation, classes):
    X = np.random.default_rng(2).normal(size=(20, 3))
    network = classifier(len(classes), classes, activation)
    mlp = pickle.loads(pickle.dumps(network.to_sklearn()))
    f = network.predict(X)
    np.testing.assert_allclose(mlp.predict_proba(X), softmax(f, axis=1), rtol=1e-11)
    assert mlp.predict(X).tolist() == [classes[k] for k in f.argmax(axis=1)]
    assert tuple(mlp.classes_) == classes


def test_training_can_go_on_from_a_network():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    network = TwoLayerNetwork(rng.normal(size=(3, 4)), np.zeros(4), rng.normal(size=(4, 1)), [0.0])
    mlp = network.to_sklearn(alpha=0.01).set_params(warm_start=True, max_iter=200, tol=1e-3)
    assert mlp.alpha == 0.01
    before = network.objective(X, y, alpha=0.01, hidden_bias="free")
    mlp.fit(X, y)
    assert TwoLayerNetwork.from_sklearn(mlp).objective(X, y, alpha=0.01) < before


def test_converted_weights_are_copies():
    network = classifier(1, None)
    mlp = network.to_sklearn()
    mlp.coefs_[0][:] = 0.0
    assert network.hidden_weights.any()
    assert network.to_sklearn().alpha == MLPRegressor().alpha


@pytest.mark.parametrize(
    ("mlp", "message"),
    [
        (LinearRegression(), "Wanted a fitted MLPRegressor or MLPClassifier. Got LinearRegression"),
        (MLPRegressor(hidden_layer_sizes=(2, 2)), "must have one hidden layer. Got 2"),
        (MLPRegressor(hidden_layer_sizes=(2,), activation="tanh"), "must have activation='relu'. Got 'tanh'"),
        (MLPRegressor(hidden_layer_sizes=(2,), loss="poisson", random_state=0), "must have identity outputs"),
        (MLPClassifier(hidden_layer_sizes=(2,)), "must have exclusive classes. Got 2 labels"),
    ],
    ids=repr,
)
def test_other_estimators_are_refused(mlp, message):
    X, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 2.0])
    if isinstance(mlp, MLPClassifier):
        y = np.array([[0, 1], [1, 1], [1, 0]])
    mlp.set_params(**({} if isinstance(mlp, LinearRegression) else {"solver": "lbfgs", "max_iter": 1000}))
    mlp.fit(X, y)
    with pytest.raises(ValueError, match=message):
        TwoLayerNetwork.from_sklearn(mlp)


def test_gated_networks_have_no_equivalent():
    network = TwoLayerNetwork(
        [[1.0]], [0.0], [[1.0]], [0.0], get_activation("gated_relu"), gates=[[1.0], [0.5]]
    )
    with pytest.raises(ValueError, match="'gated_relu' has no equivalent in scikit-learn"):
        network.to_sklearn()
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="'gated_relu' has no equivalent in PyTorch"):
        network.to_torch()


@settings(deadline=None)
@given(network=networks(activations=UNGATED), seed=seeds)
def test_torch_modules_predict_the_same(network, seed):
    torch = pytest.importorskip("torch")
    X = draw_samples(network, seed, 7)
    module = network.to_torch()
    assert [type(layer).__name__ for layer in module] == [
        "Linear",
        "LeakyReLU" if network.activation.name == "leaky_relu" else "ReLU",
        "Linear",
    ]
    with torch.no_grad():
        outputs = module(torch.tensor(X)).numpy()
    assert outputs.dtype == np.float64
    assert np.abs(outputs - network.outputs(X)).max() <= tolerance(network, X)
    back = TwoLayerNetwork.from_torch(module)
    assert np.abs(back.outputs(X) - network.outputs(X)).max() <= tolerance(network, X)


def test_torch_weights_survive_the_round_trip():
    torch = pytest.importorskip("torch")
    network = classifier(2, None)
    assert TwoLayerNetwork.from_torch(network.to_torch()) == network
    assert network.to_torch(torch.float32)[0].weight.dtype == torch.float32


def test_torch_modules_are_read():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    X = np.random.default_rng(4).normal(size=(6, 3))
    plain = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.LeakyReLU(0.2), nn.Linear(4, 2, bias=False)
    ).double()
    network = TwoLayerNetwork.from_torch(plain)
    assert network.hidden_bias == "none"
    assert network.activation == leaky_relu(0.2)
    np.testing.assert_allclose(network.outputs(X), plain(torch.tensor(X)).detach().numpy(), rtol=1e-13)
    biased = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    assert TwoLayerNetwork.from_torch(biased).hidden_bias == "penalized"
    assert TwoLayerNetwork.from_torch(biased, hidden_bias="free").hidden_bias == "free"
    for other in (biased[0], nn.Sequential(biased[0], nn.Tanh(), biased[2]), biased[:2]):
        with pytest.raises(
            ValueError, match=r"Wanted torch\.nn\.Sequential\(Linear, ReLU or LeakyReLU, Linear\)"
        ):
            TwoLayerNetwork.from_torch(other)


def test_missing_torch_gives_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r'pip install "convexnn\[torch\]"'):
        classifier(1, None).to_torch()
    with pytest.raises(MissingExtraError, match="torch"):
        TwoLayerNetwork.from_torch(object())
