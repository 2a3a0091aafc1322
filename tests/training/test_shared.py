"""Neurons that feed all outputs: against nets of directions, nuclear norms, L-BFGS and identities."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, enumerate_patterns, sample_patterns
from convexnn.losses import get_loss
from convexnn.networks import TwoLayerNetwork
from convexnn.pricing.vector_gain import vector_bounds
from convexnn.problem import augment

BIASES = ["penalized", "free", "none"]


def draw(seed, n=14, d=2, n_outputs=2, loss="squared_error"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if loss == "log_loss":
        labels = rng.permutation(np.arange(n) % n_outputs)
        return X, labels, np.eye(n_outputs)[labels]
    y = np.tanh(X @ rng.normal(size=(d, n_outputs))) + 0.3 * rng.normal(size=(n, n_outputs))
    return X, y, y


def fitted(X, y, alpha, loss="squared_error", **options):
    kind = ConvexMLPClassifier if loss == "log_loss" else ConvexMLPRegressor
    return kind(alpha, loss=loss, random_state=0, **options).fit(X, y)


def net_optimum(X, targets, alpha, *, loss, bias, patterns, n_directions):
    """Optimum over blocks on all pairs of given patterns and directions at equal angles in the plane."""
    from restatement import restated_shared_optimum

    angles = 2 * np.pi * np.arange(n_directions) / n_directions
    plane = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if targets.shape[1] == 3:
        # Softmax does not see what all outputs have in common.
        plane = plane @ (np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]]))
    pairs = [(pattern, direction) for pattern in patterns for direction in plane]
    name = "softmax" if loss == "log_loss" else loss
    return restated_shared_optimum(X, targets, pairs, alpha=alpha, loss=name, hidden_bias=bias)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize(("loss", "n_outputs"), [("squared_error", 2), ("log_loss", 3)])
def test_exact_optima_lie_between_those_over_nets_of_directions(bias, loss, n_outputs):
    """A vector is a sum of its neighbours in a net, which costs at most 1 / cos of half their angle more."""
    pytest.importorskip("cvxpy")
    X, y, targets = draw(1, n=7, d=1, n_outputs=n_outputs, loss=loss)
    alpha, n_directions = 0.3, 24 if n_outputs == 2 else 9
    model = fitted(X, y, alpha, loss, patterns="exact", hidden_bias=bias, tol=1e-6)
    patterns = enumerate_patterns(augment(X, bias)).to_dense()
    options = {"loss": loss, "bias": bias, "patterns": patterns, "n_directions": n_directions}
    above = net_optimum(X, targets, alpha, **options)
    below = net_optimum(X, targets, alpha * math.cos(np.pi / n_directions), **options)
    assert model.gap_scope_ == "global"
    assert model.dual_gap_ <= 1.01e-6 * model.objective_
    assert below - 1e-6 <= model.objective_ <= above * (1 + 2e-6)
    assert below > 0.92 * above  # the net is fine enough to say something


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("bias", ["penalized", "none"])
def test_gated_networks_are_programs_with_nuclear_norms(loss, bias):
    cp = pytest.importorskip("cvxpy")
    X, y, targets = draw(2, n=12, d=2, n_outputs=3, loss=loss)
    data = augment(X, bias)
    patterns = sample_patterns(data, 6, random_state=0)
    options = {"patterns": patterns, "activation": "gated_relu", "hidden_bias": bias, "tol": 1e-8}
    model = fitted(X, y, 0.3, loss, **options)
    blocks = [cp.Variable((data.shape[1], 3)) for _ in range(len(patterns))]
    outputs = np.ones((12, 1)) @ cp.reshape(cp.Variable(3), (1, 3), order="C")
    for block, pattern in zip(blocks, patterns.to_dense(), strict=True):
        outputs = outputs + np.diag(pattern.astype(float)) @ data @ block
    fit = 0.5 * cp.sum_squares(outputs - targets)
    if loss == "log_loss":
        fit = cp.sum(cp.log_sum_exp(outputs, axis=1)) - cp.sum(cp.multiply(targets, outputs))
    problem = cp.Problem(cp.Minimize(fit + 0.3 * sum(cp.normNuc(block) for block in blocks)))
    problem.solve(solver="SCS", eps_abs=1e-9, eps_rel=1e-9, max_iters=200_000)
    assert model.objective_ == pytest.approx(problem.value, rel=1e-6)
    assert model.dual_objective_ == pytest.approx(problem.value, rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "absolute_value"])
def test_listed_patterns_lie_between_the_exact_optimum_and_separate_outputs(activation):
    X, y, _ = draw(3, n=20, d=2, n_outputs=3)
    patterns = sample_patterns(augment(X, "penalized"), 12, random_state=0)
    options = {"activation": activation, "tol": 1e-5}
    listed = fitted(X, y, 0.3, patterns=patterns, **options)
    separate = fitted(X, y, 0.3, patterns=patterns, multi_output="separate", **options)
    exact = fitted(X, y, 0.3, patterns="exact", **options)
    assert listed.gap_scope_ == "patterns"
    assert exact.dual_objective_ <= listed.objective_ <= separate.objective_ * (1 + 1e-5)
    assert listed.patterns_ == patterns
    assert (listed.coefs_[1] != 0).sum(axis=1).max() > 1


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_objective_is_that_of_scikit_learn(loss):
    """``F = n_samples * loss`` of an MLP with several classes; of several targets the loss is a mean."""
    X, y, _ = draw(4, n=40, d=3, n_outputs=3, loss=loss)
    kind, n_means = (MLPClassifier, 1) if loss == "log_loss" else (MLPRegressor, 3)
    mlp = kind(hidden_layer_sizes=(7,), alpha=0.5 / n_means, solver="lbfgs", max_iter=30, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp.fit(X, y)
    network = TwoLayerNetwork.from_sklearn(mlp)
    found = network.objective(X, y, alpha=0.5, loss=get_loss(loss, 3))
    # One more step of nothing: the loss that scikit-learn reports is that of the last weights.
    gradients = (
        [np.empty_like(part) for part in mlp.coefs_],
        [np.empty_like(part) for part in mlp.intercepts_],
    )
    target = mlp._label_binarizer.transform(y) if loss == "log_loss" else y
    activations = [X, *[np.empty((len(X), size)) for size in (7, 3)]]
    value, _, _ = mlp._backprop(X, target, None, activations, [None] * 3, *gradients)
    assert found == pytest.approx(n_means * len(X) * value, rel=1e-10)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("seed", [1, 2])
def test_restarts_of_lbfgs_lie_between_the_bound_and_never_below(loss, seed):
    X, y, _ = draw(seed, n=30, d=2, n_outputs=3, loss=loss)
    exact, auto = (
        fitted(X, y, 0.5, loss, hidden_bias="free", patterns=patterns, tol=1e-6)
        for patterns in ("exact", "auto")
    )
    kind = MLPClassifier if loss == "log_loss" else MLPRegressor
    values = []
    for start in range(3):
        mlp = kind(
            hidden_layer_sizes=(40,), alpha=0.5, solver="lbfgs", max_iter=1500, tol=1e-9, random_state=start
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlp.fit(X, y)
        network = TwoLayerNetwork.from_sklearn(mlp)
        values.append(network.objective(X, y, alpha=0.5, loss=get_loss(loss, 3)))
    assert exact.gap_scope_ == "global"
    assert exact.dual_objective_ <= min(values) * (1 + 1e-9)
    assert exact.dual_objective_ <= auto.objective_ <= min(values) * (1 + 1e-4)
    assert exact.objective_ <= auto.objective_ * (1 + 1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    d=st.integers(1, 3),
    q=st.integers(2, 4),
    free=st.booleans(),
    linear=st.booleans(),
)
def test_bounds_of_vector_gains_hold_and_are_attained(seed, n, d, q, free, linear):
    rng = np.random.default_rng(seed)
    rows, values = rng.normal(size=(n, d)), rng.normal(size=(n, q))
    slopes = rng.normal(size=(q, d)) if linear else np.zeros((q, d))
    penalized = np.ones(d + free, dtype=bool)
    if free:
        rows, slopes = np.column_stack([rows, np.ones(n)]), np.column_stack([slopes, np.zeros(q)])
        penalized[-1] = False
        values -= values.mean(axis=0)

    def gains(weights):
        return np.linalg.norm(weights @ slopes.T + np.maximum(weights @ rows.T, 0) @ values, axis=1)

    weights = rng.normal(size=(20_000, d + free))
    weights[:, penalized] /= np.linalg.norm(weights[:, penalized], axis=1, keepdims=True)
    if free:
        kinks = rows[rng.integers(n, size=len(weights)), :-1]
        weights[:, -1] = -(weights[:, :-1] * kinks).sum(axis=1)
    sampled = gains(weights).max()
    bounds = vector_bounds(rows, values, linear=slopes, penalized=penalized, tol=1e-6)
    assert bounds.complete
    size = np.abs(values).sum()
    assert sampled <= bounds.upper + 1e-9 * size
    assert bounds.upper <= bounds.lower * (1 + 1e-6) + 1e-9 * size
    if bounds.lower > 1e-9 * size:
        assert np.linalg.norm(bounds.weights[penalized]) == pytest.approx(1.0, rel=1e-9)
        assert gains(bounds.weights[None])[0] == pytest.approx(bounds.lower, rel=1e-9)


@pytest.mark.parametrize("multi_output", ["joint", None])
def test_unknown_ways_of_feeding_outputs_are_refused(multi_output):
    X, y, _ = draw(5)
    with pytest.raises(ValueError, match="multi_output must be 'shared' or 'separate'"):
        ConvexMLPRegressor(multi_output=multi_output).fit(X, y)


def test_a_single_output_is_the_same_either_way():
    X, y, _ = draw(6)
    models = [fitted(X, y[:, 0], 0.2, multi_output=way) for way in ("shared", "separate")]
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_without_regularisation_both_ways_interpolate():
    X, y, _ = draw(7, n=6)
    for way in ("shared", "separate"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = fitted(X, y, 0.0, multi_output=way)
        assert model.objective_ <= 1e-6


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_convolutions_share_filters_among_classes(pooling):
    from convexnn import ConvexCNNClassifier

    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(24, 6, 1)), np.arange(24) % 3
    options = {"kernel_size": 3, "pooling": pooling, "patterns": "exact", "tol": 1e-4, "random_state": 0}
    shared, separate = (
        ConvexCNNClassifier(0.5, multi_output=way, **options).fit(X, y) for way in ("shared", "separate")
    )
    assert shared.gap_scope_ == "global"
    assert separate.gap_scope_ == "patterns"
    assert shared.objective_ <= separate.objective_ * (1 + 1e-4)
    assert shared.dual_objective_ <= shared.objective_


def test_a_warm_start_is_not_worse():
    X, y, _ = draw(9, n=40, d=3, n_outputs=3)
    model = ConvexMLPRegressor(0.3, warm_start=True, random_state=0).fit(X, y)
    before = model.objective_
    assert model.fit(X, y).objective_ <= before * (1 + 1e-12)
