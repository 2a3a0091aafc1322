"""The least strength without neurons: beside CVXPY, support functions and what scales must do to it."""

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest

from convexnn.losses import SquaredError
from convexnn.paths import alpha_grid, alpha_max
from convexnn.paths.alpha_grid import check_attained, checked_alphas
from convexnn_solvers import solve
from program_cases import BIASES, LOSSES, draw_case
from restatement import loss_of, restated_support, with_bias

SMOOTH = [name for name, loss in LOSSES.items() if np.isfinite(loss.smoothness)]


def loss_of_constant(case):
    """Least loss of outputs that do not depend on the samples."""
    n, n_outputs = case.y.shape
    f = cp.Constant(np.zeros((n, n_outputs)))
    if case.fit_intercept:
        f = np.ones((n, 1)) @ cp.Variable((1, n_outputs))
    losses = loss_of(case.loss.name, f, case.y, getattr(case.loss, "delta", 1.0))
    problem = cp.Problem(cp.Minimize(case.sample_weight @ losses))
    return float(problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10))


def assert_is_least(case):
    least, constant = alpha_max(case.program()), loss_of_constant(case)
    assert least > 0
    assert case.but(alpha=1.0001 * least).optimum() == pytest.approx(constant, rel=1e-7)
    assert case.but(alpha=0.98 * least).optimum() < constant * (1 - 1e-7)


@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIASES)
@pytest.mark.parametrize("loss", ["squared_error", "hinge"])
def test_no_network_is_better_from_there_on(loss, hidden_bias, fit_intercept):
    assert_is_least(draw_case(1, loss=loss, hidden_bias=hidden_bias, fit_intercept=fit_intercept))


@pytest.mark.slow
@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIASES)
@pytest.mark.parametrize("activation", ["relu", "absolute_value", "leaky_relu", "gated_relu"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_no_network_of_any_kind_is_better_from_there_on(loss, activation, hidden_bias, fit_intercept, seed):
    if activation == "gated_relu" and hidden_bias == "free":
        pytest.skip("a gated unit with a free bias has no program")
    options = {"hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    assert_is_least(draw_case(seed, loss=loss, activation=activation, **options))


@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_largest_support_function_of_the_residual(hidden_bias, seed):
    case = draw_case(seed, hidden_bias=hidden_bias, n_patterns=20)
    weight, y = case.sample_weight, case.y[:, 0]
    theta = weight * (y - np.average(y, weights=weight))
    data = with_bias(case.X, hidden_bias)
    penalized = data.shape[1] - (hidden_bias == "free")
    supports = [
        restated_support(data, pattern, sign * np.where(pattern, theta, 0.0) @ data, n_penalized=penalized)
        for pattern in case.patterns.to_dense()
        for sign in (1, -1)
    ]
    assert alpha_max(case.program()) == pytest.approx(max(supports), rel=1e-6)


@pytest.mark.parametrize("loss", SMOOTH)
def test_the_solver_finds_no_neuron_at_it_and_one_below(loss, seed):
    program = draw_case(seed, loss=loss).program()
    least = alpha_max(program)
    at = solve(replace(program, alpha=least), tol=1e-9)
    assert at.converged
    assert at.n_iter == 0
    assert not at.blocks.any()
    assert solve(replace(program, alpha=0.999 * least), tol=1e-9).blocks.any()


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_scales(loss, seed):
    case = draw_case(seed, loss=loss)
    least = alpha_max(case.program())
    assert alpha_max(case.but(alpha=123.0).program()) == least
    heavier = case.but(sample_weight=3 * case.sample_weight)
    assert alpha_max(heavier.program()) == pytest.approx(3 * least, rel=1e-5)
    larger = case.but(y=-7 * case.y)
    factor = 7 if loss == "squared_error" else 1
    assert alpha_max(larger.program()) == pytest.approx(factor * least, rel=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error"])
@pytest.mark.parametrize("constant", [0.0, 1.0, 1e9, 1 / 3])
def test_constant_targets_need_no_neuron(loss, constant):
    case = draw_case(0, loss=loss)
    case = case.but(y=np.full_like(case.y, constant))
    assert alpha_max(case.program()) == 0
    np.testing.assert_allclose(alpha_grid(alpha_max(case.program()), 4, 1e-3), [1, 0.1, 0.01, 0.001])
    assert solve(replace(case.program(), alpha=1e-6)).n_iter == 0


def test_small_variation_at_a_large_offset_counts():
    case = draw_case(0)
    moved = case.but(y=case.y + 1e6)
    assert alpha_max(moved.program()) == pytest.approx(alpha_max(case.program()), rel=1e-6)


def test_grid():
    program = draw_case(0).program()
    grid = alpha_grid(alpha_max(program), 7, 1e-2)
    assert grid[0] == alpha_max(program)
    np.testing.assert_allclose(grid[1:] / grid[:-1], 1e-2 ** (1 / 6))
    assert alpha_grid(alpha_max(program), 1, 1e-2).tolist() == [alpha_max(program)]


def test_given_alphas_are_sorted():
    assert checked_alphas(5, 1e-3) == 5
    assert checked_alphas(np.int64(5), 1e-3) == 5
    assert checked_alphas([0.1, 3, 0.1, 0], 1e-3).tolist() == [3, 0.1, 0]


@pytest.mark.parametrize(
    "alphas", [0, -1, True, 2.5, None, "auto", [], [-1.0], [np.nan], [np.inf], [[1.0]]], ids=repr
)
def test_alphas_without_a_meaning(alphas):
    with pytest.raises(ValueError, match=r"alphas must be .* Got"):
        checked_alphas(alphas, 1e-3)


@pytest.mark.parametrize("eps", [0, 1, -0.1, np.nan, 2])
def test_eps_without_a_meaning(eps):
    with pytest.raises(ValueError, match="eps must be between 0 and 1"):
        checked_alphas(3, eps)


def test_alpha_zero_needs_a_loss_with_a_minimum():
    check_attained(np.array([1.0, 0.0]), SquaredError())
    check_attained(np.array([1.0, 0.0]), LOSSES["hinge"])
    with pytest.raises(ValueError, match="alphas must be positive with loss='log_loss'"):
        check_attained(np.array([1.0, 0.0]), LOSSES["log_loss"])
