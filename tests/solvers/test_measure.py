"""No point and no solver is believed: bounds hold for any input, and the status follows from figures."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solver_fakes
from convexnn_solvers import BackendError, Status, UnsupportedProgramError, registry, solve
from convexnn_solvers.dual import dual_bound, dual_value, support
from convexnn_solvers.measure import measure
from program_cases import BIASES, LAYERS, LOSSES, draw_case, random_point

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(registry, "_plugins", solver_fakes.entry_points)


@pytest.mark.parametrize("loss", LOSSES)
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_bound_and_objective_enclose_the_optimum(loss, data):
    pytest.importorskip("cvxpy")
    seed = data.draw(seeds)
    activation = data.draw(st.sampled_from(sorted(LAYERS)))
    modes = [mode for mode in BIASES if not (LAYERS[activation].gated and mode[0] == "free")]
    hidden_bias, fit_intercept = data.draw(st.sampled_from(modes))
    case = draw_case(
        seed,
        loss=loss,
        activation=activation,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n=9,
        n_patterns=4,
        alpha=data.draw(st.sampled_from([0.05, 1.0])),
    )
    program, optimum = case.program(), case.optimum()
    slack = 1e-6 * optimum + 1e-8
    rng = np.random.default_rng(seed)
    for scale in (1e-6, 1.0, 1e3):
        blocks, intercept = random_point(program, rng, scale), scale * rng.normal(size=program.n_outputs)
        guess = scale * rng.normal(size=program.targets.shape)
        point = measure(program, blocks, intercept, dual=guess)
        assert point.dual_objective - slack <= optimum <= point.objective + slack
        assert point.objective == program.objective(point.blocks, point.intercept)
        assert point.violation == program.design.violation(blocks)
        assert_dual_feasible(program, point.dual_point)
        assert point.dual_objective == dual_value(program, point.dual_point)
        # Rounding of a product depends on how many are computed together.
        assert program.design.violation(point.blocks) <= 1e-15
        if not fit_intercept:
            assert not point.intercept.any()


def assert_dual_feasible(program, theta):
    assert np.isfinite(dual_value(program, theta))
    assert support(program, theta).max() <= program.alpha * (1 + 1e-12)
    if program.fit_intercept:
        assert (np.abs(theta.sum(axis=0)) <= 1e-12 * (1 + np.abs(theta).sum(axis=0))).all()


@pytest.mark.parametrize("loss", LOSSES)
@settings(deadline=None, max_examples=15)
@given(seed=seeds, scale=st.sampled_from([0.0, 1e-8, 1.0, 1e8]))
def test_every_guess_becomes_a_feasible_dual_point(loss, seed, scale):
    case = draw_case(seed, loss=loss, n_patterns=3)
    program = case.program()
    guess = scale * np.random.default_rng(seed).normal(size=program.targets.shape)
    theta, value = dual_bound(program, guess)
    assert_dual_feasible(program, theta)
    assert value == dual_value(program, theta)
    # The zero point is feasible and always among the candidates.
    assert value >= dual_value(program, np.zeros_like(theta))


@pytest.mark.parametrize("loss", ["squared_error", "huber", "log_loss"])
def test_bound_is_tight_at_the_optimum(loss):
    program = draw_case(2, loss=loss, alpha=0.2).program()
    best = solve(program, tol=1e-10)
    again = measure(program, best.blocks, best.intercept)
    assert again.objective == pytest.approx(best.objective, rel=1e-12)
    # From the gradient alone: the error of the bound is of the order of that of the point.
    assert again.objective - again.dual_objective <= 1e-4 * best.objective


def test_infeasible_points_are_projected_and_their_violation_reported():
    program = draw_case(3, hidden_bias="none").program()
    inside = program.zeros()
    inside[:] = program.design.patterns.generators
    outside = inside.copy()
    outside[0, 0, 0] = -inside[0, 0, 0]
    feasible, repaired = (measure(program, blocks, np.zeros(1)) for blocks in (inside, outside))
    assert feasible.violation == 0
    np.testing.assert_array_equal(feasible.blocks, inside)
    assert repaired.violation > 1e-3
    np.testing.assert_array_equal(repaired.blocks[:, :, 1:], inside[:, :, 1:])
    # The opposite of an interior point projects on a point that is orthogonal to the step.
    moved = repaired.blocks[0, 0, 0]
    assert abs((outside[0, 0, 0] - moved) @ moved) <= 1e-10 * (outside[0, 0, 0] ** 2).sum()


def test_the_intercept_is_the_best_one():
    program = draw_case(4, loss="absolute_error").program()
    blocks = program.design.project(random_point(program, np.random.default_rng(4), 0.1))
    point = measure(program, blocks, np.array([50.0]))
    for shift in (-1e-3, 1e-3, -1.0, 1.0):
        assert point.objective <= program.objective(point.blocks, point.intercept + shift)


def test_small_blocks_go_within_the_slack_only():
    program = draw_case(5, activation="gated_relu", n_patterns=5).program()
    blocks = program.zeros()
    blocks[0, 0, 0] = 1.0
    blocks[0, 0, 1:] = 1e-9
    full = measure(program, blocks, np.zeros(1))
    assert np.count_nonzero(full.blocks.any(axis=-1)) in (1, 5)
    assert full.objective <= program.objective(blocks, full.intercept)
    slack = measure(program, blocks, np.zeros(1), slack=1e-6)
    assert np.count_nonzero(slack.blocks.any(axis=-1)) == 1
    assert slack.objective <= full.objective * (1 + 1e-6)
    blocks[0, 0, 1] = 1e-3
    kept = measure(program, blocks, np.zeros(1), slack=1e-12)
    assert kept.objective <= program.objective(blocks, kept.intercept) * (1 + 1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_that_are_no_numbers_are_refused(bad):
    program = draw_case(6).program()
    blocks = program.zeros()
    blocks[0, 0, 0, 0] = bad
    with pytest.raises(BackendError, match="NaN or infinity"):
        measure(program, blocks, np.zeros(1))
    with pytest.raises(BackendError, match="NaN or infinity"):
        measure(program, program.zeros(), np.array([bad]))


def test_dual_guesses_that_are_no_numbers_are_left_out():
    program = draw_case(6).program()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point = measure(program, program.zeros(), np.zeros(1), dual=np.full_like(program.targets, np.nan))
    assert np.isfinite(point.dual_objective)


@pytest.mark.parametrize("loss", LOSSES)
def test_dual_guesses_that_are_no_numbers_are_left_out_for_every_loss(loss):
    program = draw_case(6, loss=loss).program()
    dual = np.full_like(program.targets, np.inf)
    point = measure(program, program.zeros(), np.zeros(program.n_outputs), dual=dual)
    assert point.dual_objective <= point.objective
    assert_dual_feasible(program, point.dual_point)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_success_is_not_believed(fakes, loss, hidden_bias):
    program = draw_case(7, loss=loss, hidden_bias=hidden_bias, alpha=0.05).program()
    truth = solve(program, tol=1e-7)
    result = solve(program, solver="lying")
    assert result.status is Status.INACCURATE
    assert not result.converged
    assert result.gap > 1e-4 * result.objective
    assert result.violation > 0
    assert result.n_iter == 14  # 7, and 7 more of a second chance with a tighter tolerance
    assert result.message == "optimal, surely"
    assert result.dual_objective <= truth.objective * (1 + 1e-9)
    # The zero network is measured as well, so that the answer is never worse.
    zero = measure(program, program.zeros(), np.zeros(program.n_outputs))
    assert truth.dual_objective * (1 - 1e-9) <= result.objective <= zero.objective


@pytest.mark.parametrize(
    ("solver", "status", "message"),
    [
        ("undefined", Status.FAILED, "NaN or infinity"),
        ("raising", Status.FAILED, "out of luck"),
        ("interrupted", Status.INTERRUPTED, "keyboard"),
        ("modest", Status.FAILED, "infeasible"),
    ],
)
@pytest.mark.parametrize("n_patterns", [6, 40])
def test_the_best_point_survives_a_failure(fakes, solver, status, message, n_patterns):
    program = draw_case(8, n=12, alpha=0.05, n_patterns=n_patterns).program()
    assert program.design.n_blocks == n_patterns
    zero = measure(program, program.zeros(), np.zeros(1))
    without = solve(program, solver=solver)
    assert without.status is status
    assert message in without.message
    assert without.objective == zero.objective
    assert not without.blocks.any()
    rough = solve(program, tol=0.3)
    assert rough.objective < zero.objective
    started = solve(program, solver=solver, start=(rough.blocks, rough.intercept), tol=1e-9)
    assert started.status is status
    assert started.objective <= rough.objective
    # What was found is measured by the same rule as any other point.
    assert started.objective == program.objective(started.blocks, started.intercept)


def test_an_optimal_start_needs_no_solver(fakes):
    program = draw_case(9).program()
    best = solve(program, tol=1e-8)
    result = solve(program, solver="raising", start=(best.blocks, best.intercept), tol=1e-3)
    assert result.status is Status.CONVERGED
    assert result.n_iter == 0
    assert result.objective <= best.objective * (1 + 1e-12)


def test_an_infeasible_start_is_repaired(fakes):
    program = draw_case(10).program()
    start = random_point(program, np.random.default_rng(10), 0.05)
    result = solve(program, solver="raising", start=(start, np.zeros(1)))
    assert program.design.violation(start) > 0
    assert program.design.violation(result.blocks) <= 1e-15


@pytest.mark.parametrize("loss", LOSSES)
def test_iteration_limit(loss):
    program = draw_case(11, loss=loss, n=12, alpha=0.05).program()
    result = solve(program, max_iter=1, tol=1e-8)
    assert result.status is Status.ITERATION_LIMIT
    assert 0 < result.n_iter <= 1
    assert result.dual_objective <= solve(program, tol=1e-8).objective <= result.objective


@pytest.mark.parametrize("solver", ["native", "clarabel", "ecos", "scs", "cvxpy", "cvxpy:SCS", "cvxpy:ECOS"])
def test_iteration_limit_of_every_backend(solver):
    for package in solver.lower().split(":"):
        if package != "native":
            pytest.importorskip(package)
    program = draw_case(11, n=12, alpha=0.05).program()
    result = solve(program, solver=solver, max_iter=2, tol=1e-8)
    # A backend that has no point at its limit may say so instead.
    assert result.status in (Status.ITERATION_LIMIT, Status.FAILED), result
    assert result.n_iter <= 2
    zero = program.objective(program.zeros(), np.zeros(1))
    assert result.objective <= zero


@pytest.mark.parametrize("working_set", [True, False])
def test_iteration_limit_is_for_all_rounds_together(working_set):
    program = draw_case(12, n=14, d=3, alpha=0.02, n_patterns=200).program()
    free = solve(program, solver="clarabel", tol=1e-8, working_set=working_set)
    limit = free.n_iter // 2
    result = solve(program, solver="clarabel", tol=1e-8, max_iter=limit, working_set=working_set)
    assert free.status is Status.CONVERGED
    assert result.status is Status.ITERATION_LIMIT
    assert result.n_iter <= limit


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
@pytest.mark.parametrize("solver", ["native", "clarabel", "scs"])
def test_time_limit(loss, solver):
    if solver != "native":
        pytest.importorskip(solver)
    program = draw_case(13, loss=loss, n=14, d=3, alpha=0.02, n_patterns=100).program()
    result = solve(program, solver=solver, tol=1e-10, time_limit=1e-9)
    assert result.status is Status.TIME_LIMIT
    assert "optimal" not in result.message
    assert result.dual_objective <= result.objective
    assert np.isfinite(result.objective)


@pytest.mark.parametrize(
    "options", [{"tol": 0.0}, {"tol": -1.0}, {"tol": np.nan}, {"max_iter": 0}, {"time_limit": 0.0}]
)
def test_options_without_a_meaning_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        solve(draw_case(14).program(), **options)


def test_a_loss_that_the_solver_does_not_take_is_refused(fakes):
    with pytest.raises(UnsupportedProgramError, match="squared_error"):
        solve(draw_case(15, loss="hinge").program(), solver="modest")


@pytest.mark.parametrize("target", [5.0, 1e6])
def test_targets_of_zero_weight_do_not_matter(target):
    case = draw_case(16, n=10, weighted=False)
    weight = np.ones(10)
    weight[[2, 7]] = 0.0
    # The samples still cut the cones, so that only their targets are of no account.
    other = case.but(y=np.where(weight[:, None] > 0, case.y, target), sample_weight=weight)
    results = [solve(c.program(), tol=1e-8) for c in (case.but(sample_weight=weight), other)]
    assert [result.status for result in results] == [Status.CONVERGED] * 2
    assert results[0].objective == pytest.approx(results[1].objective, rel=2e-8)


def test_doubled_weights_are_doubled_samples():
    case = draw_case(17, n=6, weighted=False)
    twice = case.but(sample_weight=np.full(6, 2.0), alpha=2 * case.alpha)
    assert solve(twice.program(), tol=1e-9).objective == pytest.approx(
        2 * solve(case.program(), tol=1e-9).objective, rel=1e-8
    )


def test_verbosity_prints_one_line_a_round_and_one_at_the_end(capsys):
    program = draw_case(18).program()
    solve(program, solver="clarabel")
    assert capsys.readouterr().out == ""
    result = solve(program, solver="clarabel", verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "relative gap" in lines[0]
    assert lines[1].startswith(repr(result))


def test_shapes_of_a_program_are_checked():
    program = draw_case(19).program()
    with pytest.raises(ValueError, match="targets"):
        replace(program, targets=program.targets[:-1])
    with pytest.raises(ValueError, match="sample_weight"):
        replace(program, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="alpha"):
        replace(program, alpha=np.inf)
