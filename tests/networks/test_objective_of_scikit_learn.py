"""F with free biases is the weight sum times scikit-learn's training loss."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn.networks import TwoLayerNetwork


def train(mlp, X, y, sample_weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mlp.fit(X, y, sample_weight=sample_weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 20.0])
def test_regression(weighted, alpha):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    weight = rng.uniform(size=30) if weighted else None
    mlp = train(
        MLPRegressor(hidden_layer_sizes=(7,), alpha=alpha, solver="lbfgs", max_iter=20, random_state=0),
        X,
        y,
        weight,
    )
    network = TwoLayerNetwork.from_sklearn(mlp)
    assert network.hidden_bias == "free"
    expected = mlp.loss_ * (weight.sum() if weighted else 30)
    assert network.objective(X, y, alpha=alpha, sample_weight=weight) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_classification(weighted, n_classes):
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(40, 3)), np.array(["b", "a", "d", "c"])[:n_classes]
    y = labels[rng.integers(0, n_classes, 40)]
    weight = rng.uniform(size=40) if weighted else None
    mlp = train(
        MLPClassifier(hidden_layer_sizes=(6,), alpha=0.5, solver="lbfgs", max_iter=15, random_state=0),
        X,
        y,
        weight,
    )
    network = TwoLayerNetwork.from_sklearn(mlp)
    assert network.classes == tuple(sorted(labels))
    expected = mlp.loss_ * (weight.sum() if weighted else 40)
    objective = network.objective(X, y, alpha=0.5, loss="log_loss", sample_weight=weight)
    assert objective == pytest.approx(expected, rel=1e-10)


def test_several_outputs_differ_by_the_mean_over_outputs():
    # scikit-learn averages the squared error over outputs, this package sums it.
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 3))
    mlp = train(
        MLPRegressor(hidden_layer_sizes=(5,), alpha=0.2, solver="lbfgs", max_iter=20, random_state=0),
        X,
        y,
        None,
    )
    objective = TwoLayerNetwork.from_sklearn(mlp).objective(X, y, alpha=3 * 0.2)
    assert objective == pytest.approx(3 * 30 * mlp.loss_, rel=1e-10)
