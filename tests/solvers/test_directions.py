"""Programs whose blocks feed all outputs, each in a direction of its own."""

from dataclasses import replace

import numpy as np
import pytest

from convexnn_solvers import Clock, ConvexProgram, Status, solve
from convexnn_solvers import prices as prices_module
from program_cases import BIASES, LOSSES, Case, draw_case


def with_directions(case: Case, n_layers: int, seed: int) -> ConvexProgram:
    """Give every pattern so many random directions, some patterns fewer."""
    program, rng = case.program(), np.random.default_rng(seed)
    directions = rng.normal(size=(n_layers, program.design.n_blocks, program.n_outputs))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    directions[-1, ::2] = 0.0
    return replace(program, directions=directions)


def restated(case: Case, program: ConvexProgram) -> float:
    from restatement import restated_shared_optimum

    patterns = case.patterns.to_dense()
    pairs = [
        (patterns[i], program.directions[m, i])
        for m in range(len(program.directions))
        for i in range(len(patterns))
        if program.directions[m, i].any()
    ]
    return restated_shared_optimum(
        case.X,
        case.y,
        pairs,
        alpha=case.alpha,
        loss=case.loss.name,
        delta=getattr(case.loss, "delta", 1.0),
        slopes=(case.activation.on, case.activation.off),
        hidden_bias=case.hidden_bias,
        fit_intercept=case.fit_intercept,
        sample_weight=case.sample_weight,
    )


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIASES)
def test_blocks_with_directions_against_their_restatement(loss, hidden_bias, fit_intercept):
    pytest.importorskip("cvxpy")
    case = draw_case(
        5, loss=loss, hidden_bias=hidden_bias, fit_intercept=fit_intercept, n=9, n_outputs=3, alpha=0.3
    )
    program = with_directions(case, 2, 0)
    optimum = restated(case, program)
    solvers = ["clarabel", "cvxpy:CLARABEL"] + ["native"] * LOSSES[loss].is_smooth
    for solver in solvers:
        result = solve(program, solver=solver, tol=1e-8)
        assert result.status is Status.CONVERGED
        assert result.objective == pytest.approx(optimum, rel=2e-7)
        assert result.dual_objective == pytest.approx(optimum, rel=2e-7)


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "huber"])
@pytest.mark.parametrize("activation", ["leaky_relu", "absolute_value"])
def test_the_native_solver_agrees_with_clarabel_on_many_directions(loss, activation):
    case = draw_case(6, loss=loss, activation=activation, n=20, d=3, n_outputs=4, n_patterns=60, alpha=0.4)
    program = with_directions(case, 3, 1)
    native, reference = (solve(program, solver=solver, tol=1e-9) for solver in ("native", "clarabel"))
    assert native.status is reference.status is Status.CONVERGED
    assert native.objective == pytest.approx(reference.objective, rel=1e-8)


def test_coordinate_directions_are_the_program_of_separate_outputs():
    case = draw_case(7, loss="softmax", n=15, d=3, n_outputs=3, n_patterns=30, alpha=0.3)
    separate = case.program()
    coordinates = np.concatenate([np.eye(3), -np.eye(3)])
    directions = np.repeat(coordinates[:, None, :], separate.design.n_blocks, axis=1)
    shared = replace(separate, directions=directions)
    results = [solve(program, tol=1e-9) for program in (separate, shared)]
    assert results[0].objective == pytest.approx(results[1].objective, rel=1e-8)


def test_directions_must_fit_the_program():
    program = draw_case(8, n_outputs=2).program()
    with pytest.raises(ValueError, match="directions must have shape"):
        replace(program, directions=np.ones((1, program.design.n_blocks, 3)))
    directions = np.ones((1, program.design.n_blocks, 2)) / np.sqrt(2)
    with pytest.raises(ValueError, match="Leave the directions out"):
        solve(replace(program, directions=directions, alpha=0.0))


@pytest.mark.parametrize("limit", [None, 1e6])
def test_gradients_are_those_of_each_slot_and_zero_where_a_pattern_has_no_direction(monkeypatch, limit):
    program = with_directions(draw_case(7, loss="softmax", n=10, n_outputs=3), 3, 1)
    theta = np.random.default_rng(2).normal(size=program.targets.shape)
    theta -= theta.mean(axis=0)
    monkeypatch.setattr(prices_module, "_QUICK_PRODUCTS", 0.0)
    seen = []

    def support(design, gradients, *of):
        seen.append(gradients)
        return gradients[..., 0]

    monkeypatch.setattr(type(program.design), "support", support)
    monkeypatch.setattr(prices_module, "_QUICK_PROJECTIONS", np.inf)
    prices_module.prices(program, theta, None, Clock(limit))
    wanted = program.gradients(np.arange(program.n_slots), theta).reshape(program.block_shape)
    np.testing.assert_allclose(seen[0], wanted, rtol=1e-12, atol=1e-13 * np.abs(wanted).max())
    assert not seen[0][0, -1, ::2].any()
