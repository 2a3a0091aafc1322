"""What objects say of their training is read: strength, columns, outputs at positions."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import (
    ConvexCNNRegressor,
    ConvexMLPClassifier,
    ConvexMLPRegressor,
    ConvexMLPRegressorCV,
    ConvNetwork,
    TwoLayerNetwork,
    certify,
)
from convexnn.patches import PatchGeometry

CHEAP = {"refine": False, "method": "closed_form"}


def samples(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, size=(n, 2))
    return X, np.abs(X[:, 0]) - X[:, 1]


def trained(kind, X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(hidden_layer_sizes=(6,), random_state=0, **options).fit(X, y)


def objective_by_hand(mlp, X, y, alpha):
    """``sum_i 1/2 (f(x_i) - y_i)^2 + alpha/2 |weights|^2``, biases left out."""
    squares = sum(float((weights**2).sum()) for weights in mlp.coefs_)
    return 0.5 * float(((mlp.predict(X) - y) ** 2).sum()) + 0.5 * alpha * squares


@pytest.mark.parametrize(
    ("solver", "batch_size", "n", "factor"),
    [
        ("adam", "auto", 150, 1.0),
        ("adam", "auto", 600, 3.0),
        ("sgd", 25, 100, 4.0),
        ("adam", 100, 100, 1.0),
        ("lbfgs", 25, 100, 1.0),
        ("lbfgs", "auto", 600, 1.0),
    ],
)
def test_the_strength_is_what_the_solver_minimises(solver, batch_size, n, factor):
    X, y = samples(n)
    mlp = trained(MLPRegressor, X, y, solver=solver, batch_size=batch_size, alpha=0.7, max_iter=3)
    found = certify(mlp, X, y, **CHEAP)
    assert found.alpha == pytest.approx(0.7 * factor)
    assert found.objective == pytest.approx(objective_by_hand(mlp, X, y, 0.7 * factor))
    assert f"alpha = {found.alpha:.6g}" in repr(found)
    assert ("batch" in found.message) == (factor != 1.0)


@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_a_batch_has_no_more_rows_than_there_are():
    X, y = samples(40)
    mlp = trained(MLPRegressor, X, y, batch_size=1000, alpha=0.7, max_iter=3)
    assert certify(mlp, X, y, **CHEAP).alpha == 0.7


def test_adam_is_nearly_optimal_at_that_strength_only():
    # Trained long, the network is near a stationary point of the problem that adam solves.
    X, y = samples(40)
    mlp = trained(
        MLPRegressor, X, y, batch_size=10, alpha=1.0, max_iter=1500, tol=0.0, learning_rate_init=2e-3
    )
    minimised = certify(mlp, X, y)
    assert minimised.alpha == 4.0
    assert minimised.relative_gap < 0.05
    nominal = certify(mlp, X, y, alpha=1.0)
    assert nominal.alpha == 1.0
    assert nominal.relative_gap > 4 * minimised.relative_gap
    assert "= 4" in nominal.message


def test_strengths_that_a_solver_knows_may_be_said():
    X, y = samples(300)
    mlp = trained(MLPRegressor, X, y, alpha=0.1, batch_size=30, max_iter=2)
    said = certify(mlp, X, y, alpha=0.1 * 300 / 30, **CHEAP)
    assert (said.alpha, said.objective) == (1.0, certify(mlp, X, y, **CHEAP).objective)
    assert certify(mlp, X, y, alpha=0.1, **CHEAP).alpha == 0.1
    with pytest.raises(ValueError, match=r"alpha=1\.0 \(.*rows of a batch"):
        certify(mlp, X, y, alpha=0.5, **CHEAP)
    labels = np.where(y > 0, "up", "down")
    classifier = trained(MLPClassifier, X, labels, alpha=0.1, batch_size=30, max_iter=2)
    assert certify(classifier, X, labels, **CHEAP).alpha == pytest.approx(1.0)


def test_networks_handed_to_scikit_learn_keep_their_strength():
    X, y = samples(500)
    network = ConvexMLPRegressor(2.0, patterns=8, hidden_bias="free", random_state=0).fit(X, y).network_
    found, direct = (
        certify(network.to_sklearn(2.0), X, y, **CHEAP),
        certify(network, X, y, alpha=2.0, **CHEAP),
    )
    assert found.objective == pytest.approx(direct.objective, rel=1e-12)
    assert found.message == ""


FITTED = {
    "regressor": lambda X, y: ConvexMLPRegressor(patterns=5, random_state=0).fit(X, y),
    "classifier": lambda X, y: ConvexMLPClassifier(patterns=5, random_state=0).fit(X, y > 0),
    "cross-validated": lambda X, y: ConvexMLPRegressorCV(alphas=2, cv=2, patterns=5, random_state=0).fit(
        X, y
    ),
    "convolution": lambda X, y: ConvexCNNRegressor(kernel_size=1, patterns=5, random_state=0).fit(X, y),
    "scikit-learn": lambda X, y: trained(MLPRegressor, X, y, max_iter=2),
}


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[["b", "a"]],
        lambda frame: frame.rename(columns={"b": "c"}),
        lambda frame: frame[["a"]],
        lambda frame: frame.assign(c=1.0),
    ],
    ids=["swapped", "renamed", "fewer", "more"],
)
def test_columns_that_are_not_those_of_the_fit_are_refused_as_by_predict(name, change):
    X, y = samples(20)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = FITTED[name](frame, y)
    targets = y > 0 if name == "classifier" else y
    with pytest.raises(ValueError, match="feature") as of_predict:
        model.predict(change(frame))
    with pytest.raises(ValueError, match="feature") as of_certify:
        certify(model, change(frame), targets, **CHEAP)
    assert str(of_certify.value) == str(of_predict.value)
    objective = certify(model, frame, targets, **CHEAP).objective
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert certify(model, X, targets, **CHEAP).objective == objective


def test_networks_know_no_names():
    X, y = samples(10)
    network = TwoLayerNetwork([[1.0], [0.5]], [0.0], [[1.0]], [0.0])
    frame = pd.DataFrame(X, columns=["b", "a"])
    by_position = certify(network, frame, y, alpha=1.0, **CHEAP)
    assert by_position.objective == certify(network, X, y, alpha=1.0, **CHEAP).objective


def test_outputs_at_every_position_are_those_of_a_network_on_patches():
    rng = np.random.default_rng(0)
    geometry = PatchGeometry.of((5, 1), (2,), (1,), "valid")
    X, y = rng.normal(size=(6, 5)), rng.normal(size=(6, 4))
    network = ConvNetwork(
        geometry, rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=(3, 1)), [0.2], pooling=None
    )
    weight = rng.uniform(0.5, 2.0, 6)
    found = certify(network, X, y, alpha=0.5, sample_weight=weight)
    rows = np.lib.stride_tricks.sliding_window_view(X, 2, axis=1).reshape(-1, 2)
    dense = TwoLayerNetwork(
        network.hidden_weights, network.hidden_biases, network.output_weights, network.output_biases
    )
    same = certify(dense, rows, y.ravel(), alpha=0.5, sample_weight=np.repeat(weight, 4))
    assert found.objective == pytest.approx(same.objective, rel=1e-12)
    assert found.lower_bound == pytest.approx(same.lower_bound, rel=1e-5)
    assert found.dual_point.shape == (24, 1)
    assert isinstance(found.witness.network, ConvNetwork)
    assert found.witness.objective == pytest.approx(same.witness.objective, rel=1e-3)
    model = ConvexCNNRegressor(0.5, kernel_size=2, pooling=None, patterns="exact", tol=1e-7).fit(X, y, weight)
    assert found.lower_bound == pytest.approx(model.objective_, rel=1e-5)


@pytest.mark.parametrize("pooling", ["max", "weighted"])
def test_biases_without_a_norm_are_refused_where_gains_have_groups(pooling):
    # Their bound would count the bias in the norm, and so not hold.
    geometry = PatchGeometry.of((3, 1), (2,), (1,), "valid")
    amounts = np.ones((1, 1) if pooling == "max" else (1, 2, 1))
    network = ConvNetwork(geometry, [[1.0], [0.0]], [0.5], amounts, [0.0], pooling, hidden_bias="free")
    X, y = np.random.default_rng(0).normal(size=(5, 3)), np.arange(5.0)
    with pytest.raises(ValueError, match="'penalized' or 'none'"):
        certify(network, X, y, alpha=1.0)
    counted = replace(network, hidden_bias="penalized")
    assert certify(counted, X, y, alpha=1.0, **CHEAP).objective == counted.objective(X, y, alpha=1.0)


def test_means_of_patches_are_sums_of_another_strength():
    torch = pytest.importorskip("torch", reason="torch (extra `torch`) is not installed")
    module = torch.nn.Sequential(
        torch.nn.Conv1d(1, 3, 2),
        torch.nn.ReLU(),
        torch.nn.AvgPool1d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(3, 1),
    ).double()
    X, y = np.random.default_rng(0).normal(size=(6, 5, 1)), np.arange(6.0)
    found = certify(module, X, y, alpha=0.5, **CHEAP)
    assert found.alpha == 2.0
    assert "mean of 4 patches" in found.message
    with torch.no_grad():
        residual = module(torch.tensor(X).transpose(1, 2)).numpy()[:, 0] - y
        parameters = [module[0].weight, module[0].bias, module[4].weight]
        squares = sum(float((part**2).sum()) for part in parameters)
    assert found.objective == pytest.approx(0.5 * residual @ residual + 0.25 * squares)
