"""Runs of non-negative least squares: limits, starts, paths and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from convexnn_solvers import (
    Clock,
    NonnegativeProgram,
    SolverNotFoundError,
    Status,
    solve_nonnegative,
    solve_nonnegative_path,
)
from nonnegative_cases import draw_program, optimality


@pytest.fixture
def answering(monkeypatch):
    """Let SciPy return this point, in columns and targets of norm one."""

    def answer(point):
        monkeypatch.setattr(optimize, "nnls", lambda matrix, target, maxiter=None: (np.array(point), 0.0))

    return answer


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_a_false_success_is_inaccurate_and_the_best_start_stays(answering, sum_to_one):
    program = draw_program(0, sum_to_one=sum_to_one)
    answering(1e3 * np.eye(6)[0] if not sum_to_one else np.zeros(6))
    result = solve_nonnegative(program)
    assert result.status is Status.INACCURATE
    assert not result.converged
    assert result.optimality == pytest.approx(optimality(program, result.weights), rel=1e-8)
    assert result.objective <= program.objective(program.uniform())
    errors = np.sum(program.sample_weight[:, None] * (program.matrix - program.targets[:, None]) ** 2, axis=0)
    assert result.objective <= (errors.min() if sum_to_one else program.objective(np.zeros(6)))


def test_an_answer_is_made_exact_on_its_support(answering):
    program = draw_program(0)
    optimum = solve_nonnegative(program)
    answering(1e-3 * (optimum.weights > 0))
    result = solve_nonnegative(program)
    assert result.converged
    np.testing.assert_allclose(result.weights, optimum.weights, atol=1e-12)


def test_iteration_limits_are_kept():
    program = draw_program(0, n=100, m=30)
    result = solve_nonnegative(program, max_iter=2)
    assert result.status is Status.ITERATION_LIMIT
    assert result.n_iter == 2
    assert result.objective <= program.objective(program.uniform())
    assert solve_nonnegative(program, max_iter=100_000).converged


@pytest.mark.parametrize("solver", ["nnls", "auto"])
def test_nothing_is_begun_without_time(solver):
    program = draw_program(0, n=100, m=30)
    moments = iter([0.0, *[5.0] * 100])
    result = solve_nonnegative(program, solver=solver, time_limit=Clock(1.0, now=lambda: next(moments)))
    assert result.status is Status.TIME_LIMIT
    assert result.message == "No time was left for a solver."
    assert solve_nonnegative(program, solver=solver, time_limit=100.0).converged


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_nothing_is_done_at_an_optimum(sum_to_one, seed):
    program = draw_program(seed, sum_to_one=sum_to_one)
    weights = solve_nonnegative(program).weights
    again = solve_nonnegative(program, start=(2 if sum_to_one else 1) * weights)
    assert again.n_iter == 0
    assert again.message == "The starting point is optimal."
    np.testing.assert_allclose(again.weights, weights, rtol=1e-15)


def test_the_result_is_not_worse_than_the_start():
    program = draw_program(0)
    start = 0.99 * solve_nonnegative(program).weights
    result = solve_nonnegative(program, max_iter=1, start=start)
    assert result.status is Status.ITERATION_LIMIT
    assert result.objective == program.objective(start)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (np.ones(5), r"shape \(6,\); got \(5,\)"),
        (-np.ones(6), "finite and non-negative"),
        (np.full(6, np.nan), "finite and non-negative"),
        (np.zeros(6), "positive sum"),
    ],
)
def test_bad_starts_are_refused(start, message):
    with pytest.raises(ValueError, match=message):
        solve_nonnegative(draw_program(0, sum_to_one=True), start=start)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"solver": "nonesuch"}, SolverNotFoundError, "'nonesuch'.*'auto' and 'nnls'"),
        ({"solver": "clarabel"}, SolverNotFoundError, "'clarabel'.*'auto' and 'nnls'"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"time_limit": 0.0}, ValueError, "time_limit"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        solve_nonnegative(draw_program(0), **options)
    with pytest.raises(error, match=message):
        solve_nonnegative_path([draw_program(0)], **options)


def test_objectives_that_overflow_are_refused():
    with pytest.raises(ValueError, match="float64 cannot hold it"):
        solve_nonnegative(NonnegativeProgram(1e200 * np.eye(2), 1e200 * np.ones(2)))


def test_the_result_is_printed(capsys):
    result = solve_nonnegative(draw_program(0), verbose=1)
    assert repr(result) in capsys.readouterr().out
    assert repr(result).startswith("NonnegativeResult(CONVERGED, objective=")
    assert "\n" not in repr(result)
    solve_nonnegative(draw_program(0))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_paths_over_columns_and_ridges_are_those_of_single_solves(sum_to_one, seed):
    program = draw_program(seed, n=80, m=12, sum_to_one=sum_to_one).reduced()
    columns = [program.leading(k) for k in (1, 2, 3, 8, 12, 5)]
    ridges = [replace(program, ridge=ridge) for ridge in (0.0, 0.01, 1.0, 100.0)]
    for programs in (columns, ridges, [columns[3], *ridges]):
        results = solve_nonnegative_path(programs)
        for single, result in zip(programs, results, strict=True):
            assert result.converged
            assert optimality(single, result.weights) <= 1e-8
            np.testing.assert_allclose(result.weights, solve_nonnegative(single).weights, atol=1e-12)


def test_an_empty_path_is_empty():
    assert solve_nonnegative_path([]) == []
