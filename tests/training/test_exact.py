"""Column generation against the whole program over all patterns, and against CVXPY's answer to it."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from convexnn import ConvexMLPRegressor, enumerate_patterns
from convexnn.activations import get_activation
from convexnn.losses import get_loss
from convexnn.problem import NetworkKind, TrainingData, augment
from convexnn.programs import two_layer_program
from convexnn_solvers import Status, solve
from restatement import restated_optimum
from training_cases import proved

LOSSES = ["squared_error", "huber", "log_loss", "squared_hinge", "hinge", "absolute_error"]


def draw(rng, loss):
    n, d = int(rng.integers(1, 13)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d))
    kind, half = rng.integers(5), n // 2
    if kind == 1:
        X = np.round(X)
    elif kind == 2:
        X[half : 2 * half] = X[:half]
    elif kind == 3:
        X[half : 2 * half] = -X[:half]
    elif kind == 4 and d > 1:
        X[:, -1] = 2 * X[:, 0]
    regression = get_loss(loss).task == "regression"
    y = rng.normal(size=n) if regression else np.where(np.arange(n) % 2 > 0, 1.0, -1.0)
    return X, y


def trained(
    X, y, alpha, *, loss="squared_error", activation="relu", bias="penalized", intercept=True, **options
):
    data = TrainingData(X, y.reshape(len(y), -1), np.ones(len(y)), get_loss(loss))
    kind = NetworkKind(get_activation(activation), bias, intercept, multi_output="separate")
    return proved(data, kind, alpha=alpha, **options)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bias", ["penalized", "free", "none"])
def test_it_reaches_the_optimum_of_the_whole_program(loss, bias, seed):
    rng = np.random.default_rng([seed, LOSSES.index(loss), len(bias)])
    X, y = draw(rng, loss)
    intercept = bias == "free" or bool(rng.integers(2))
    activation = ["relu", "leaky_relu", "absolute_value"][seed]
    alpha = float(10 ** rng.uniform(-2, 0.3))
    whole = two_layer_program(
        X,
        y,
        enumerate_patterns(augment(X, bias)),
        alpha=alpha,
        loss=loss,
        activation=activation,
        hidden_bias=bias,
        fit_intercept=intercept,
    )
    reference = solve(whole, tol=1e-7)
    found = trained(
        X, y, alpha, loss=loss, activation=activation, bias=bias, intercept=intercept, tol=1e-6
    ).result
    slack = 1e-9 * (1 + abs(reference.objective))
    assert found.dual_objective <= reference.objective + slack
    assert found.objective >= reference.dual_objective - slack
    assert found.objective - found.dual_objective <= 1e-6 * abs(found.objective) + 1e-11


@pytest.mark.parametrize(
    ("alpha", "optimum"), [(1e-4, 8.7694e-4), (1e-3, 8.7497e-3), (1e-2, 8.5521e-2), (1e-1, 6.5767e-1)]
)
def test_known_optima(alpha, optimum):
    X, y = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]]), np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    found = trained(X, y, alpha, intercept=False, tol=1e-7)
    assert found.result.objective == pytest.approx(optimum, rel=1e-4)
    assert found.result.status is Status.CONVERGED


def test_it_agrees_with_cvxpy_over_all_patterns():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(14, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2
    patterns = enumerate_patterns(augment(X, "penalized")).to_dense()
    optimum = restated_optimum(X, y[:, None], patterns, alpha=0.05, fit_intercept=False)
    found = trained(X, y, 0.05, intercept=False, tol=1e-8).result
    assert found.objective == pytest.approx(optimum, rel=1e-6)


@pytest.mark.parametrize("bias", ["penalized", "free"])
def test_an_estimator_with_too_many_patterns_to_list_is_certified(bias):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.maximum(X[:, 0] - X[:, 1], 0) - np.maximum(X[:, 2], 0) + 0.05 * rng.normal(size=60)
    model = ConvexMLPRegressor(2.0, patterns="exact", hidden_bias=bias, tol=1e-6).fit(X, y)
    assert model.gap_scope_ == "global"
    assert model.dual_gap_ <= 1e-6 * model.objective_
    assert 0 <= model.violation_ <= 1e-5
    assert len(model.patterns_) < 500
    sampled = ConvexMLPRegressor(2.0, patterns=300, hidden_bias=bias, random_state=0).fit(X, y)
    assert model.dual_objective_ <= sampled.objective_
    again = ConvexMLPRegressor(2.0, patterns=model.patterns_, hidden_bias=bias, tol=1e-6).fit(X, y)
    assert again.objective_ == pytest.approx(model.objective_, rel=3e-6)


def test_a_limit_of_time_leaves_a_network_and_a_valid_bound():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 6)), rng.normal(size=120)
    with pytest.warns(ConvergenceWarning, match="TIME_LIMIT"):
        model = ConvexMLPRegressor(0.5, patterns="exact", time_limit=1.0).fit(X, y)
    assert model.gap_scope_ == "global"
    sampled = ConvexMLPRegressor(0.5, patterns=100, random_state=0).fit(X, y)
    assert model.dual_objective_ <= sampled.objective_
    assert np.isfinite(model.dual_objective_)


def test_an_interrupt_keeps_the_best_network(monkeypatch):
    from convexnn.layers import summed

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(summed, "support_bounds", interrupted)
    rng = np.random.default_rng(0)
    found = trained(rng.normal(size=(20, 2)), rng.normal(size=20), 0.5)
    assert found.result.status is Status.INTERRUPTED
    assert found.result.dual_objective <= found.result.objective


def test_previous_network_is_never_beaten_by_the_answer():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    model = ConvexMLPRegressor(1.0, patterns=40, random_state=0, warm_start=True).fit(X, y)
    before = model.objective_
    model.set_params(patterns="exact").fit(X, y)
    assert model.objective_ <= before * (1 + 1e-9)
    assert model.gap_scope_ == "global"


def test_several_outputs_are_optimal_over_networks_with_neurons_of_their_own():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(9, 2))
    Y = rng.normal(size=(9, 2))
    whole = two_layer_program(X, Y, enumerate_patterns(augment(X, "penalized")), alpha=0.1)
    found = trained(X, Y, 0.1, tol=1e-7).result
    assert found.objective == pytest.approx(solve(whole, tol=1e-8).objective, rel=2e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "fraction"), [(100, 4, 0.03), (200, 4, 0.003), (1000, 3, 0.03), (100, 5, 0.03), (200, 5, 0.03)]
)
def test_planted_problems_are_certified(n, d, fraction):
    rng = np.random.default_rng(n + d)
    X = rng.normal(size=(n, d - 1))
    data = augment((X - X.mean(axis=0)) / X.std(axis=0), "penalized")
    signal = np.maximum(data @ rng.normal(size=(d, 5)), 0) @ rng.choice([-1.0, 1.0], 5)
    y = signal + 0.1 * signal.std() * rng.normal(size=n)
    alpha = fraction * np.linalg.norm(data.T @ y)
    found = trained(data[:, :-1], y, alpha, intercept=False, tol=1e-6)
    assert found.result.status is Status.CONVERGED
    assert found.result.objective - found.result.dual_objective <= 1e-6 * found.result.objective
