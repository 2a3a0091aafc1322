"""One clock for everything below a limit of time; no test looks at real seconds."""

import math

import clarabel
import numpy as np
import pytest

from convexnn_solvers import Clock, Status, measure_point, solve
from convexnn_solvers import prices as prices_module
from convexnn_solvers.clock import pieces
from convexnn_solvers.conic import effort
from convexnn_solvers.dual import dual_bound, dual_value
from convexnn_solvers.measure import measure
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.prices import prices
from program_cases import LAYERS, LOSSES, draw_case, random_point


class Time:
    """Seconds that pass when a test says so, or a little at each look."""

    def __init__(self, at_each_look=0.0):
        self.seconds, self.at_each_look = 100.0, at_each_look

    def __call__(self):
        self.seconds += self.at_each_look
        return self.seconds


@pytest.fixture
def nothing_is_quick(monkeypatch):
    monkeypatch.setattr(prices_module, "_QUICK_PRODUCTS", 0.0)
    monkeypatch.setattr(prices_module, "_QUICK_PROJECTIONS", 0.0)


def expired():
    now = Time()
    clock = Clock(1.0, now=now)
    now.seconds += 2.0
    return clock


def test_time_passes_once_for_all_that_share_a_clock():
    now = Time()
    clock = Clock(10.0, now=now)
    now.seconds += 4.0
    assert (clock.elapsed, clock.left, clock.expired, clock.limited) == (4.0, 6.0, False, True)
    half, soon, later, early = clock.share(0.5), clock.within(1.0), clock.within(60.0), clock.sparing(2.0)
    assert [part.left for part in (half, soon, later, early)] == [3.0, 1.0, 6.0, 4.0]
    now.seconds += 3.0
    assert [part.expired for part in (clock, half, soon, later, early)] == [False, True, True, False, False]
    assert [clock.lasting(seconds).left for seconds in (1.0, 5.0)] == [3.0, 5.0]
    now.seconds += 10.0
    assert clock.left == 0.0
    assert clock.lasting(0.5).left == 0.5
    assert 0 < clock.time_limit < 1e-6


def test_without_a_limit_nothing_ends():
    now = Time()
    clock = Clock(now=now)
    now.seconds += 1e9
    for part in (clock, clock.share(0.1), clock.sparing(5.0), clock.lasting(5.0)):
        assert (part.left, part.expired, part.limited, part.time_limit) == (math.inf, False, False, None)
    assert clock.within(2.0).left == 2.0


def test_limits_of_users_become_clocks_and_clocks_stay():
    clock = Clock(5.0)
    assert Clock.of(clock) is clock
    assert not Clock.of(None).limited
    assert Clock.of(3).left <= 3
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="time_limit must be None or positive; got"):
            Clock.of(wrong)


def test_solvers_leave_what_is_reserved():
    now = Time()
    options = SolveOptions(clock=Clock(10.0, now=now), reserve=4.0)
    assert options.time_limit == 6.0
    assert options.after(0) == options
    now.seconds += 7.0
    assert options.after(0) is Status.TIME_LIMIT
    assert not options.clock.expired


@pytest.mark.parametrize("seconds", [1e-4, 0.01, 0.3, 2.0, 50.0])
@pytest.mark.parametrize("limit", [0.5, 10.0])
def test_pieces_of_work_end_in_time(seconds, limit):
    now = Time()
    clock, done = Clock(limit, now=now), 0
    for size in pieces(clock):
        now.seconds += size * seconds
        done += size
    # No more than one item, the first of unknown length, or half a second beyond the limit.
    assert clock.elapsed <= max(limit + 0.5, seconds) * (1 + 1e-9)
    assert done * seconds >= min(limit, seconds) - 0.5


@pytest.mark.parametrize("loss", ["squared_error", "hinge", "softmax"])
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_prices_piece_by_piece_are_those_at_once(nothing_is_quick, loss, activation, hidden_bias):
    if LAYERS[activation].gated and hidden_bias == "free":
        return
    program = draw_case(
        3, loss=loss, activation=activation, hidden_bias=hidden_bias, n=12, n_patterns=20, alpha=0.1
    ).program()
    point = measure(program, random_point(program, np.random.default_rng(0)), np.zeros(program.n_outputs))
    theta = 3.0 * point.dual_point
    whole, in_pieces = prices(program, theta), prices(program, theta, None, Clock(1e6))
    above = whole > program.alpha
    assert above.any()
    np.testing.assert_allclose(in_pieces[above], whole[above], rtol=1e-9)
    assert (in_pieces[~above] <= program.alpha * (1 + 1e-9)).all()
    # Of the largest ones only the largest is settled.
    assert prices(program, theta, 1, Clock(1e6)).max() == pytest.approx(whole.max(), rel=1e-9)
    # Without time all of them are valid, and none is settled.
    late = prices(program, theta, None, expired())
    assert (late >= whole * (1 - 1e-12)).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_bounds_are_valid_wherever_the_clock_stops(nothing_is_quick, loss, hidden_bias):
    program = draw_case(4, loss=loss, hidden_bias=hidden_bias, n=10, n_patterns=15, alpha=0.1).program()
    best = solve(program, tol=1e-7)
    guess = best.dual_point * 1.3
    _, full = dual_bound(program, guess)
    _, trivial = dual_bound(program, guess, expired())
    assert trivial == dual_value(program, np.zeros_like(guess))
    looks = [0.01, 0.05, 0.2, 0.4]
    for at_each_look in looks:
        theta, value = dual_bound(program, guess, Clock(1.0, now=Time(at_each_look)))
        assert trivial <= value <= full + 1e-9 * abs(full)
        assert value == dual_value(program, theta)


def test_blocks_that_are_not_known_to_be_feasible_are_left_out(nothing_is_quick, monkeypatch):
    program = draw_case(5, n=10, n_patterns=15).program()
    blocks = random_point(program, np.random.default_rng(5))
    assert program.design.violation(blocks) > 0
    just_in_time = measure(program, blocks, np.zeros(1), clock=expired())
    assert just_in_time.blocks.any()
    assert program.design.violation(just_in_time.blocks) <= 1e-15
    monkeypatch.setattr("convexnn_solvers.measure._GRACE", 0.0)
    late = measure(program, blocks, np.zeros(1), clock=expired())
    assert not late.blocks.any()
    some = measure(program, blocks, np.zeros(1), clock=Clock(1.0, now=Time(0.1)))
    assert program.design.violation(some.blocks) <= 1e-15
    in_time = measure(program, blocks, np.zeros(1), clock=Clock(1e6))
    assert in_time.objective == pytest.approx(measure(program, blocks, np.zeros(1)).objective, rel=1e-12)


@pytest.mark.parametrize("solver", ["clarabel", "scs", "cvxpy"])
@pytest.mark.parametrize("loss", ["hinge", "softmax", "squared_error"])
@pytest.mark.parametrize("n_patterns", [6, 40])
def test_a_set_up_that_does_not_fit_is_not_begun(monkeypatch, solver, loss, n_patterns):
    pytest.importorskip(solver)
    module = __import__(f"convexnn_solvers.backends.{solver}_", fromlist=["_"])
    monkeypatch.setattr(module, "setup_seconds", lambda program: 1000.0)
    monkeypatch.setattr(clarabel, "DefaultSolver", None)
    program = draw_case(6, loss=loss, n=12, n_patterns=n_patterns, alpha=0.05).program()
    result = solve(program, solver=solver, time_limit=30.0)
    assert result.status is Status.TIME_LIMIT
    assert "its set-up would take about" in result.message
    assert result.n_iter == 0
    assert np.isfinite(result.objective)
    assert result.dual_objective <= result.objective


def test_estimates_grow_with_the_program():
    small, large = (draw_case(0, n=n, n_patterns=p).program() for n, p in ((8, 4), (14, 12)))
    assert 0 < effort.setup_seconds(small) < effort.setup_seconds(large) < 1.0
    assert 0 < effort.step_seconds(small) < effort.step_seconds(large) < 1.0


def test_a_running_clock_is_taken_over():
    program = draw_case(7, n=12, alpha=0.05).program()
    late = solve(program, solver="clarabel", tol=1e-9, time_limit=expired())
    assert late.status is Status.TIME_LIMIT
    assert late.n_iter == 0
    fresh = solve(program, solver="clarabel", tol=1e-7, time_limit=Clock(1e6))
    assert fresh.status is Status.CONVERGED
    point = measure_point(program, fresh.blocks, fresh.intercept, time_limit=expired())
    assert point.objective == pytest.approx(fresh.objective, rel=1e-12)
