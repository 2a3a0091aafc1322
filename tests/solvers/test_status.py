"""CONVERGED means that the gap is within tol of the objective, at every scale; and points measured alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.patterns import enumerate_patterns
from convexnn.problem import augment
from convexnn_solvers import BackendError, Status, measure_point, solve
from convexnn_solvers.result import is_closed
from program_cases import BIASES, LOSSES, draw_case, random_point

seeds = st.integers(0, 2**32 - 1)
exponents = st.integers(-8, 8)
# Those that ask for alpha > 0 have no minimum without.
ATTAINED = [name for name, loss in LOSSES.items() if loss.attains_minimum]


def assert_honest(program, result, tol):
    """The status follows from figures that are computed here once more."""
    objective = program.objective(result.blocks, result.intercept)
    assert result.objective == objective
    gap = objective - result.dual_objective
    is_zero = abs(objective) <= result.rounding
    assert result.converged == (gap <= tol * abs(objective) or is_zero)
    assert result.is_within(tol) == result.converged
    if result.converged and gap > tol * abs(objective):
        assert result.message.endswith("The objective is zero up to the rounding of its terms.")
        assert_zero_to_rounding(program, result)


def assert_zero_to_rounding(program, result):
    """What is left of the targets is of the size of a few roundings of numbers of the program."""
    outputs = program.outputs(result.blocks, result.intercept)
    sizes = np.abs(program.targets).max() + np.abs(result.intercept).max()
    for part in result.blocks:
        norms = np.abs(part).reshape(-1, part.shape[-1]).sum(axis=0)
        sizes += float(norms @ np.abs(program.design.X).max(axis=0))
    used = program.sample_weight > 0
    assert np.abs(outputs - program.targets)[used].max() <= 1e-13 * sizes


@pytest.mark.parametrize("loss", LOSSES)
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_the_status_is_honest_at_every_scale(loss, data):
    seed = data.draw(seeds)
    hidden_bias, fit_intercept = data.draw(st.sampled_from(BIASES))
    case = draw_case(
        seed,
        loss=loss,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n=9,
        weighted=data.draw(st.booleans()),
    )
    X = case.X * 10.0 ** np.array(data.draw(st.lists(exponents, min_size=2, max_size=2)))
    rng = np.random.default_rng(seed)
    every = enumerate_patterns(augment(X, hidden_bias))
    y = case.y
    if LOSSES[loss].task == "regression":
        y = 10.0 ** data.draw(exponents) * (y + data.draw(st.sampled_from([0.0, 1e4])))
    lowest = 0.0 if loss in ATTAINED else 1e-8
    alpha = data.draw(st.sampled_from([lowest, 1e-8, 1e-4, 1.0])) * 10.0 ** data.draw(exponents)
    case = case.but(X=X, patterns=every.take(rng.permutation(len(every))[:6]), y=y, alpha=alpha)
    tol = data.draw(st.sampled_from([1e-4, 1e-6]))
    program = case.program()
    assert_honest(program, solve(program, tol=tol, max_iter=60), tol)


@pytest.mark.parametrize("solver", ["native", "clarabel"])
@pytest.mark.parametrize("ratio", [1e-3, 1e-7, 1e-11])
def test_weak_regularisation_is_not_called_converged_too_early(solver, ratio):
    # Interpolation: the optimum is of the order of alpha, far below the objective at zero.
    case = draw_case(1, n=6, n_patterns=40, weighted=False)
    program = case.but(alpha=ratio * case.alpha).program()
    result = solve(program, solver=solver, tol=1e-6)
    assert result.objective < 10 * ratio * program.objective(program.zeros(), np.zeros(1))
    assert_honest(program, result, 1e-6)


@pytest.mark.parametrize("offset", [0.1, 1e6, -3e-9])
@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error"])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_constant_targets_are_fitted_but_for_rounding(offset, loss, alpha):
    case = draw_case(2, loss=loss, alpha=alpha)
    program = case.but(y=np.full_like(case.y, offset)).program()
    result = solve(program)
    assert result.converged
    assert result.n_iter == 0
    assert_honest(program, result, 1e-4)
    assert result.objective <= 8 * max(1e-15 * abs(offset), (1e-15 * offset) ** 2)


def test_a_spread_of_the_targets_that_is_more_than_rounding_is_no_zero():
    case = draw_case(2, alpha=1e-9)
    program = case.but(y=1.0 + 1e-9 * case.y).program()
    zero = measure_point(program, program.zeros(), np.zeros(1))
    assert zero.rounding < 1e-3 * zero.objective
    assert not zero.converged


@pytest.mark.parametrize(
    ("objective", "bound", "rounding", "closed"),
    [
        (1.0, 1.0 - 1e-5, 0.0, True),
        (1.0, 1.0 - 1e-3, 0.0, False),
        (1.0, 1.1, 0.0, True),
        (0.0, 0.0, 0.0, True),
        (1e-30, 0.0, 1e-29, True),
        (1e-30, 0.0, 1e-31, False),
        (1.0, 0.0, 1e-3, False),
    ],
)
def test_what_closed_means(objective, bound, rounding, closed):
    assert is_closed(objective, bound, 1e-4, rounding) is closed


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_a_point_is_measured_without_a_solver(loss, hidden_bias):
    program = draw_case(3, loss=loss, hidden_bias=hidden_bias, alpha=0.05).program()
    best = solve(program, tol=1e-7)
    point = measure_point(program, best.blocks, best.intercept, tol=1e-3, stopped=Status.TIME_LIMIT)
    assert point.objective == pytest.approx(best.objective, rel=1e-12)
    assert (point.solver, point.n_iter) == ("none", 0)
    assert point.dual_objective <= best.objective
    if program.loss.smoothness < np.inf:
        assert point.status is Status.CONVERGED
    rough = random_point(program, np.random.default_rng(3))
    other = measure_point(program, rough, np.zeros(program.n_outputs), stopped=Status.TIME_LIMIT)
    assert other.status is Status.TIME_LIMIT
    assert other.violation == program.design.violation(rough) > 0
    assert program.design.violation(other.blocks) <= 1e-15
    assert other.dual_objective <= best.objective <= other.objective


def test_points_that_are_no_numbers_are_refused():
    program = draw_case(4).program()
    with pytest.raises(BackendError, match="NaN or infinity"):
        measure_point(program, program.zeros() * np.nan, np.zeros(1))
    with pytest.raises(ValueError, match="tol must be positive"):
        measure_point(program, program.zeros(), np.zeros(1), tol=0.0)


def test_a_start_that_is_better_than_zero_is_measured_alone(monkeypatch):
    from convexnn_solvers import record

    measured = []

    def spied(program, blocks, intercept, **options):
        measured.append(bool(blocks.any()))
        return original(program, blocks, intercept, **options)

    original = record.measure
    monkeypatch.setattr(record, "measure", spied)
    program = draw_case(5, alpha=0.05).program()
    best = solve(program, tol=1e-6)
    assert measured == [False, True] or measured[0] is False
    measured.clear()
    solve(program, tol=1e-3, start=(best.blocks, best.intercept))
    assert measured == [True]
    measured.clear()
    solve(program, tol=1e-3, start=(1e3 * best.blocks, best.intercept))
    assert measured[:2] == [True, False]
