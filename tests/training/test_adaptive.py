"""Adaptive patterns: the optimum over all patterns on small data, and what holds on any."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convexnn._typing import FloatArray
from convexnn.activations import get_activation
from convexnn.losses import get_loss
from convexnn.patterns import enumerate_patterns
from convexnn.problem import NetworkKind, Problem, TrainingData, augment
from convexnn.programs import program_over, two_layer_program
from convexnn.training import Fit, local_search
from convexnn.training.ascent import best_candidates
from convexnn.training.descent import first_network
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.trust_region import Descent
from convexnn_solvers import Status, solve
from convexnn_solvers.clock import Clock
from program_cases import BIASES, LAYERS, LOSSES, draw_targets
from training_cases import adapted as adapt

NON_GATED = [name for name, layer in LAYERS.items() if not layer.gated]
TOL = 1e-4


def draw_data(
    seed: int, loss: str = "squared_error", n: int = 10, d: int = 2, **changes: Any
) -> TrainingData:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    targets = draw_targets(LOSSES[loss], rng, n, 3 if loss == "softmax" else 1)
    data = TrainingData(X, targets, rng.uniform(0.2, 2.0, n), LOSSES[loss])
    return replace(data, **changes)


def kind_of(
    activation: str = "relu", hidden_bias: Any = "penalized", fit_intercept: bool = True
) -> NetworkKind:
    """Of neurons that feed one output each; see test_shared.py for others."""
    return NetworkKind(LAYERS[activation], hidden_bias, fit_intercept, multi_output="separate")


def optimum_over_all_patterns(data: TrainingData, kind: NetworkKind, alpha: float) -> float:
    program = two_layer_program(
        data.X,
        data.targets,
        enumerate_patterns(augment(data.X, kind.hidden_bias)),
        alpha=alpha,
        loss=data.loss,
        activation=kind.activation,
        hidden_bias=kind.hidden_bias,
        fit_intercept=kind.fit_intercept,
        sample_weight=data.weight,
    )
    result = solve(program, solver="auto", tol=1e-7)
    assert result.relative_gap < 1e-5
    return result.objective


def check(fit: Fit, data: TrainingData, alpha: float) -> float:
    """Feasible blocks, and a network whose objective is what the result says; returns it."""
    assert program_over(fit.problem, fit.patterns).design.violation(fit.result.blocks) == 0.0
    assert fit.scope == "patterns"
    objective = fit.network.objective(
        data.X, data.targets, alpha=alpha, loss=data.loss, sample_weight=data.weight
    )
    assert objective == pytest.approx(fit.result.objective, rel=1e-7, abs=1e-12 * float(data.weight.sum()))
    return objective


@pytest.mark.parametrize(
    ("loss", "activation", "hidden_bias", "fit_intercept"),
    [
        *((loss, "relu", "penalized", True) for loss in LOSSES),
        *(("squared_error", activation, "penalized", True) for activation in NON_GATED[1:]),
        *(("log_loss", "relu", *bias) for bias in BIASES[1:]),
        ("absolute_error", "leaky_relu", "none", False),
        ("hinge", "absolute_value", "free", True),
    ],
)
def test_small_data_are_fitted_to_the_optimum_over_all_patterns(
    loss: str, activation: str, hidden_bias: str, fit_intercept: bool
) -> None:
    data, kind, alpha = draw_data(1, loss), kind_of(activation, hidden_bias, fit_intercept), 0.3
    fit = adapt(data, kind, alpha=alpha, random_state=0, tol=TOL)
    best = optimum_over_all_patterns(data, kind, alpha)
    assert fit.result.status is Status.CONVERGED
    assert fit.result.converged
    assert fit.violation <= TOL
    assert best * (1 - 1e-5) <= check(fit, data, alpha) <= best * (1 + 3 * TOL)


@pytest.mark.parametrize(("alpha", "optimum"), [(1e-2, 8.5521e-2), (1e-1, 6.5767e-1)])
def test_known_values(alpha: float, optimum: float) -> None:
    X, y = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]]), np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0]])
    data = TrainingData(X, y, np.ones(5), get_loss("squared_error"))
    fit = adapt(data, kind_of(fit_intercept=False), alpha=alpha, random_state=0, tol=1e-6)
    assert fit.result.objective == pytest.approx(optimum, rel=2e-5)


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "softmax", "hinge"])
def test_never_above_the_descent_it_starts_from(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []

    class Recording(Descent):
        def run(self, *arguments: Any) -> Any:
            ends.append(super().run(*arguments))
            return ends[-1]

    monkeypatch.setattr(first_network, "Descent", Recording)
    data = draw_data(2, loss, n=40, d=3)
    fit = adapt(data, kind_of(), alpha=0.5, random_state=0)
    objective = Objective.of(Problem.of(data, kind_of(), 0.5))
    (descended,) = ends
    assert check(fit, data, 0.5) <= objective.value(descended) * (1 + 1e-12)


def test_never_above_a_previous_network() -> None:
    data, kind = draw_data(3, n=40, d=3), kind_of()
    good = adapt(data, kind, alpha=0.5, random_state=0, tol=1e-6)
    again = adapt(data, kind, alpha=0.5, random_state=1, tol=0.1, previous=good.network)
    assert check(again, data, 0.5) <= good.objective * (1 + 1e-12)


def test_the_same_seed_gives_the_same_network() -> None:
    data = draw_data(4, n=40, d=3)
    fits = [adapt(data, kind_of(), alpha=0.5, random_state=5) for _ in range(2)]
    assert fits[0].network == fits[1].network


def test_several_outputs_are_neurons_of_their_own() -> None:
    data = draw_data(5, n=30)
    rng = np.random.default_rng(0)
    both = replace(data, targets=np.column_stack([data.targets, rng.normal(size=30)]))
    fit = adapt(both, kind_of(), alpha=0.5, random_state=0)
    separate = 0.0
    for k in range(2):
        one = replace(data, targets=both.targets[:, k : k + 1])
        separate += adapt(one, kind_of(), alpha=0.5, random_state=0).result.objective
    assert check(fit, both, 0.5) == pytest.approx(separate, rel=5 * TOL)


def test_weights_are_repetitions() -> None:
    data = draw_data(6, n=20, weight=np.array([0.0, 1.0, 2.0, 3.0] * 5))
    times = data.weight.astype(int)
    repeated = replace(
        data, X=np.repeat(data.X, times, axis=0), targets=np.repeat(data.targets, times, axis=0),
        weight=np.ones(times.sum()),
    )  # fmt: skip
    fits = [adapt(each, kind_of(), alpha=0.5, random_state=0) for each in (data, repeated)]
    assert fits[0].result.objective == pytest.approx(fits[1].result.objective, rel=1e-12)


def degenerate(name: str) -> TrainingData:
    data = draw_data(7, n=12, d=3)
    X, targets = data.X.copy(), data.targets
    if name == "one sample":
        return replace(data, X=X[:1], targets=targets[:1], weight=data.weight[:1])
    if name == "zero column":
        X[:, 1] = 0.0
    elif name == "constant column":
        X[:, 1] = 3.0
    elif name == "all zero":
        X[:] = 0.0
    elif name == "repeated rows":
        X[4:8] = X[:4]
        X[8:] = -X[:4]
    elif name == "zero targets":
        targets = np.zeros_like(targets)
    elif name == "equal columns":
        X[:, 1] = X[:, 0]
    return replace(data, X=X, targets=targets)


@pytest.mark.parametrize(
    "name",
    [
        "one sample",
        "zero column",
        "constant column",
        "all zero",
        "repeated rows",
        "zero targets",
        "equal columns",
    ],
)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_degenerate_data(name: str, hidden_bias: str) -> None:
    data, kind = degenerate(name), kind_of(hidden_bias=hidden_bias)
    fit = adapt(data, kind, alpha=0.1, random_state=0)
    assert fit.result.status is Status.CONVERGED
    best = optimum_over_all_patterns(data, kind, 0.1)
    assert check(fit, data, 0.1) <= best * (1 + 3 * TOL) + 1e-12


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_scales_of_data_and_targets(scale: float) -> None:
    """Targets times s and alpha times s^2, or data times t and alpha times t, give equivalent problems."""
    data = draw_data(8, n=20)
    kind = kind_of(hidden_bias="none")
    plain = adapt(data, kind, alpha=0.2, random_state=0).result.objective
    targets = adapt(replace(data, targets=scale * data.targets), kind, alpha=0.2 * scale, random_state=0)
    inputs = adapt(replace(data, X=scale * data.X), kind, alpha=0.2 * scale, random_state=0)
    assert targets.result.objective == pytest.approx(plain * scale**2, rel=3 * TOL)
    assert inputs.result.objective == pytest.approx(plain, rel=3 * TOL)


def test_a_large_alpha_leaves_no_neurons() -> None:
    data = draw_data(9)
    fit = adapt(data, kind_of(), alpha=1e4, random_state=0)
    assert fit.network.n_neurons == 0
    assert fit.result.status is Status.CONVERGED


def test_alpha_zero_interpolates() -> None:
    data = draw_data(10, n=8)
    fit = adapt(data, kind_of(), alpha=0.0, random_state=0)
    assert check(fit, data, 0.0) <= 1e-6 * float((data.targets**2).sum())


@pytest.mark.parametrize("place", ["descent", "pricing"])
def test_an_interrupt_leaves_the_best_answer(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw_data(11, n=40, d=3)
    calls = {"descent": 0, "pricing": 0}
    step = Descent._step

    def interrupted_step(self: Descent, clock: Clock) -> float:
        calls["descent"] += 1
        if place == "descent" and calls["descent"] == 4:
            raise KeyboardInterrupt
        return step(self, clock)

    def interrupted_pricing(*arguments: Any, **options: Any) -> Any:
        calls["pricing"] += 1
        if place == "pricing" and calls["pricing"] == 3:
            raise KeyboardInterrupt
        return best_candidates(*arguments, **options)

    monkeypatch.setattr(Descent, "_step", interrupted_step)
    monkeypatch.setattr(local_search, "best_candidates", interrupted_pricing)
    fit = adapt(data, kind_of(), alpha=0.05, random_state=0)
    assert fit.result.status is Status.INTERRUPTED
    constant = np.tile(data.targets.mean(axis=0), (40, 1))
    empty = data.loss.value(constant, data.targets, data.weight)
    assert check(fit, data, 0.05) < empty


def test_a_time_limit_is_reported() -> None:
    data = draw_data(12, n=60, d=4)
    fit = adapt(data, kind_of(), alpha=0.01, random_state=0, time_limit=1e-3)
    assert fit.result.status is Status.TIME_LIMIT
    check(fit, data, 0.01)


def test_an_iteration_limit_is_reported() -> None:
    data = draw_data(12, n=60, d=4)
    fit = adapt(data, kind_of(), alpha=0.05, random_state=0, max_iter=1)
    assert fit.result.status is Status.ITERATION_LIMIT
    check(fit, data, 0.05)


def test_gated_networks_are_refused() -> None:
    kind = NetworkKind(get_activation("gated_relu"), "penalized", True)
    with pytest.raises(ValueError, match="gates are fixed"):
        adapt(draw_data(0), kind, alpha=1.0)


def standardised(X: FloatArray) -> FloatArray:
    return (X - X.mean(axis=0)) / X.std(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [5.0, 0.5])
def test_not_above_restarts_of_lbfgs_on_planted_data(alpha: float) -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    X = standardised(rng.standard_normal((200, 6)))
    y = np.maximum(X @ rng.standard_normal((6, 4)), 0) @ np.array([1.0, -1.0, 1.0, -1.0])
    y = (y + 0.1 * rng.standard_normal(200))[:, None]
    data = TrainingData(X, y, np.ones(200), get_loss("squared_error"))
    fit = adapt(data, kind_of(), alpha=alpha, random_state=0)
    ones, width = np.column_stack([X, np.ones(200)]), 60

    def value(x: FloatArray) -> tuple[float, FloatArray]:
        U, a, c = x[: 7 * width].reshape(7, width), x[7 * width : -1], x[-1]
        hidden = np.maximum(ones @ U, 0.0)
        r = hidden @ a + c - y[:, 0]
        back = ones.T @ ((hidden > 0) * np.outer(r, a)) + alpha * U
        gradient = np.concatenate([back.ravel(), hidden.T @ r + alpha * a, [r.sum()]])
        return 0.5 * float(r @ r) + 0.5 * alpha * float((U**2).sum() + a @ a), gradient

    starts = [0.5 * rng.standard_normal(8 * width + 1) for _ in range(5)]
    best = min(float(minimize(value, x, jac=True, method="L-BFGS-B").fun) for x in starts)
    assert check(fit, data, alpha) <= best * (1 + 1e-4)
