"""Runs of solvers of non-negative weights: limits, failures, starts, and what OSQP keeps between problems."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from convexnn_solvers import (
    BackendError,
    NonnegativeBackend,
    NonnegativeCandidate,
    NonnegativeProgram,
    SolverNotFoundError,
    Status,
    UnsupportedProgramError,
    registry,
    solve_nonnegative,
    solve_nonnegative_path,
)
from convexnn_solvers.nonnegative import record
from convexnn_solvers.nonnegative.finish import Finished, finish
from convexnn_solvers.nonnegative.unit import augmented, unit_problem
from convexnn_solvers.options import SolveOptions
from nonnegative_cases import SOLVERS, draw_program, optimality, require


class Fake(NonnegativeBackend):
    """Returns or raises what it is told."""

    name: ClassVar[str] = "fake"
    answers: ClassVar[list] = []
    seen: ClassVar[list] = []

    def run(self, problem, options, start):
        self.seen.append((options, start))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Entry:
    """An entry point whose class is at hand."""

    @staticmethod
    def load():
        return Fake


@pytest.fixture
def fake(monkeypatch):
    """Solve with a backend that gives these answers, one after another."""
    monkeypatch.setattr(registry, "_nonnegative_plugins", lambda: {"fake": Entry})

    def run(program, *answers, **options):
        Fake.answers, Fake.seen = list(answers), []
        return solve_nonnegative(program, solver="fake", **options)

    return run


@pytest.fixture
def unfinished(monkeypatch):
    """Leave points as the solvers return them."""
    monkeypatch.setattr(record, "finish", lambda problem, point, **limits: Finished(point, 0, False))


def answer(point, stopped=Status.CONVERGED, n_iter=3):
    return NonnegativeCandidate(np.asarray(point, float), stopped, n_iter, "sure")


def of(program):
    return unit_problem(*augmented(program), program.sum_to_one)


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_any_support_is_finished_to_the_optimum(fake, sum_to_one, seed):
    program = draw_program(seed, m=8, sum_to_one=sum_to_one)
    result = fake(program, answer(np.random.default_rng(seed).uniform(-1, 1, 8)))
    assert result.status is Status.CONVERGED
    assert optimality(program, result.weights) <= 1e-8
    np.testing.assert_allclose(result.weights, solve_nonnegative(program).weights, atol=1e-12)
    assert result.n_iter > 3
    assert result.message.startswith("sure; ")


@pytest.mark.parametrize("sum_to_one", [False, True])
@pytest.mark.usefixtures("unfinished")
def test_a_false_success_is_inaccurate_and_the_best_start_stays(fake, sum_to_one):
    program = draw_program(0, sum_to_one=sum_to_one)
    result = fake(program, answer(1e3 * np.arange(1.0, 7.0)))
    assert result.status is Status.INACCURATE
    assert not result.converged
    assert [options.tol for options, _ in Fake.seen] == [1e-8, 1e-10]
    assert result.n_iter == 6
    assert result.optimality == pytest.approx(optimality(program, result.weights), rel=1e-8)
    assert result.objective <= program.objective(program.uniform())
    errors = np.sum(program.sample_weight[:, None] * (program.matrix - program.targets[:, None]) ** 2, axis=0)
    assert result.objective <= (errors.min() if sum_to_one else program.objective(np.zeros(6)))


@pytest.mark.parametrize(
    ("thrown", "status", "message"),
    [
        (BackendError("out of luck"), Status.FAILED, "out of luck"),
        (KeyboardInterrupt(), Status.INTERRUPTED, "Interrupted from the keyboard."),
        (answer(np.full(6, np.nan)), Status.FAILED, "The solver returned weights with NaN or infinity."),
        (answer(-np.ones(6)), Status.FAILED, "The solver returned no positive weight."),
    ],
)
def test_failures_and_interruptions_keep_the_best_point(fake, thrown, status, message):
    program = draw_program(0, sum_to_one=True)
    result = fake(program, thrown)
    assert result.status is status
    assert result.message == message
    assert result.weights.sum() == pytest.approx(1, abs=1e-15)
    assert result.objective <= program.objective(program.uniform())


@pytest.mark.usefixtures("unfinished")
def test_what_was_found_before_a_failure_is_kept(fake):
    program = draw_program(0)
    optimum = solve_nonnegative(program)
    near = (1 + 1e-4) * of(program).encode(optimum.weights)
    result = fake(program, answer(near), BackendError("out of luck"))
    assert result.status is Status.FAILED
    np.testing.assert_allclose(result.weights, (1 + 1e-4) * optimum.weights, rtol=1e-12)


@pytest.mark.parametrize("stopped", [Status.ITERATION_LIMIT, Status.TIME_LIMIT, Status.FAILED])
@pytest.mark.usefixtures("unfinished")
def test_limits_are_not_followed_by_another_try(fake, stopped):
    result = fake(draw_program(0), answer(np.ones(6), stopped))
    assert result.status is stopped
    assert len(Fake.seen) == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_iteration_limits_are_kept(solver):
    require(solver)
    program = draw_program(0, n=100, m=30)
    result = solve_nonnegative(program, solver=solver, max_iter=2)
    assert result.status in (Status.ITERATION_LIMIT, Status.FAILED)
    assert result.n_iter <= 3  # ECOS counts the iteration that it does not finish
    assert result.objective <= program.objective(program.uniform())
    assert solve_nonnegative(program, solver=solver, max_iter=100_000).converged


@pytest.mark.parametrize("solver", ["clarabel", "osqp", "cvxpy", "auto"])
def test_time_limits_are_kept(solver):
    require("nnls" if solver == "auto" else solver)
    program = draw_program(0, n=100, m=30)
    result = solve_nonnegative(program, solver=solver, time_limit=1e-9)
    assert result.status is Status.TIME_LIMIT
    assert result.message == "No time was left for a solver."
    assert solve_nonnegative(program, solver=solver, time_limit=100.0).converged


def test_active_set_steps_count_and_stop_at_their_limits():
    problem = of(draw_program(0, n=100, m=30))
    whole = finish(problem, np.zeros(30))
    assert whole.complete
    assert whole.n_steps > 3
    short = finish(problem, np.zeros(30), max_steps=3)
    assert (short.n_steps, short.complete) == (3, False)
    assert not finish(problem, np.zeros(30), seconds=-1.0).complete
    errors = [np.sum((problem.matrix @ f.point - problem.target) ** 2) for f in (short, whole)]
    assert errors[1] < errors[0] < 1
    assert finish(problem, whole.point).n_steps == 1


def test_auto_is_nnls_and_then_clarabel(monkeypatch):
    program = draw_program(0)
    assert solve_nonnegative(program).solver == "nnls"
    nnls = registry.get_backend("nnls", "nonnegative")
    monkeypatch.setattr(type(nnls), "run", lambda *given: answer(np.zeros(6), Status.INACCURATE, n_iter=18))
    monkeypatch.setattr(record, "finish", lambda problem, point, **limits: Finished(point, 0, False))
    result = solve_nonnegative(program)
    assert result.solver == "clarabel"
    assert result.n_iter > 18
    assert result.converged


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_nothing_is_done_at_an_optimum(sum_to_one, seed):
    program = draw_program(seed, sum_to_one=sum_to_one)
    weights = solve_nonnegative(program).weights
    again = solve_nonnegative(program, start=(2 if sum_to_one else 1) * weights)
    assert again.n_iter == 0
    assert again.message == "The starting point is optimal."
    np.testing.assert_allclose(again.weights, weights, rtol=1e-15)


def test_the_solvers_own_residual_is_told(fake):
    program = draw_program(3, n=40, m=6, weighted=False)
    own = 1.5 * solve_nonnegative(program).weights + 0.1
    # Backends see columns and targets of norm one.
    point = own * np.linalg.norm(program.matrix, axis=0) / np.linalg.norm(program.targets)
    result = fake(program, NonnegativeCandidate(point, Status.CONVERGED, 1, "done"))
    assert result.converged
    assert result.solver_optimality == pytest.approx(optimality(program, own), rel=1e-9)
    assert result.solver_optimality > 1e-2


def test_the_result_is_not_worse_than_the_start(fake):
    program = draw_program(0)
    start = 0.99 * solve_nonnegative(program).weights
    result = fake(program, BackendError("no"), start=start)
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
        ({"solver": "nonesuch"}, SolverNotFoundError, "'nonesuch'.*'clarabel', 'cvxpy', 'nnls', 'osqp'"),
        ({"solver": "ecos"}, UnsupportedProgramError, "'ecos' takes programs with a norm"),
        ({"solver": "nnls", "time_limit": 1.0}, UnsupportedProgramError, "cannot be limited in time"),
        ({"solver": "nnls", "nonesuch": 1}, UnsupportedProgramError, "nonesuch"),
        ({"solver": "clarabel", "nonesuch": 1}, UnsupportedProgramError, "nonesuch"),
        ({"nonesuch": 1}, UnsupportedProgramError, "nonesuch"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"max_iter": 0}, ValueError, "max_iter"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        solve_nonnegative(draw_program(0), **options)


@pytest.mark.parametrize("solver", ["osqp", "cvxpy", "cvxpy:ECOS"])
def test_unknown_settings_of_optional_solvers_are_refused(solver):
    require(solver)
    with pytest.raises(UnsupportedProgramError, match="nonesuch"):
        solve_nonnegative(draw_program(0), solver=solver, nonesuch=1)


def test_time_limits_that_cvxpy_cannot_pass_are_refused():
    require("cvxpy:ECOS")
    with pytest.raises(UnsupportedProgramError, match="time_limit cannot be passed to ECOS"):
        solve_nonnegative(draw_program(0), solver="cvxpy:ECOS", time_limit=1.0)
    with pytest.raises(UnsupportedProgramError, match="no solver 'NONESUCH'"):
        solve_nonnegative(draw_program(0), solver="cvxpy:nonesuch")


def test_objectives_that_overflow_are_refused():
    with pytest.raises(ValueError, match="float64 cannot hold it"):
        solve_nonnegative(NonnegativeProgram(1e200 * np.eye(2), 1e200 * np.ones(2)))


def test_progress_is_printed(capsys):
    result = solve_nonnegative(draw_program(0), verbose=1)
    out = capsys.readouterr().out
    assert "nnls: solved" in out
    assert repr(result) in out
    assert repr(result).startswith("NonnegativeResult(CONVERGED, objective=")
    assert "\n" not in repr(result)
    solve_nonnegative(draw_program(0))
    assert capsys.readouterr().out == ""


@pytest.fixture
def osqp_calls(monkeypatch):
    """Set-ups of OSQP and updates of its matrix and its vectors, counted."""
    osqp = pytest.importorskip("osqp", reason="its calls are counted")
    counts = {"setup": 0, "Px": 0, "q": 0, "u": 0}
    setup, update = osqp.OSQP.setup, osqp.OSQP.update

    def counted_setup(self, *args, **settings):
        counts["setup"] += 1
        return setup(self, *args, **settings)

    def counted_update(self, **data):
        for name in data:
            counts[name] += 1
        return update(self, **data)

    monkeypatch.setattr(osqp.OSQP, "setup", counted_setup)
    monkeypatch.setattr(osqp.OSQP, "update", counted_update)
    return counts


def residual(problem, point):
    slopes = problem.matrix.T @ (problem.matrix @ point - problem.target)
    return max(-slopes.min(), np.abs(point * slopes).max())


def fresh_and_kept(kept, problem, tol=1e-10):
    """Points of a new backend and of one that has served other problems."""
    options, start = SolveOptions(tol), np.zeros(problem.columns.size)
    fresh = registry.get_backend("osqp", "nonnegative").run(problem, options, start)
    return fresh.point, kept.run(problem, options, start).point


def test_osqp_changes_only_the_vector_for_other_targets(osqp_calls, seed):
    rng = np.random.default_rng(seed)
    program = draw_program(seed, weighted=False)
    kept = registry.get_backend("osqp", "nonnegative")
    for _ in range(4):
        problem = of(replace(program, targets=rng.normal(size=20)))
        fresh, point = fresh_and_kept(kept, problem)
        np.testing.assert_allclose(point, fresh, atol=1e-7)
        assert residual(problem, point) < 1e-8
    assert osqp_calls == {"setup": 1 + 4, "Px": 0, "q": 8, "u": 5}


def test_osqp_keeps_its_ordering_for_other_matrices(osqp_calls, seed):
    kept = registry.get_backend("osqp", "nonnegative")
    for i in range(4):
        problem = of(draw_program(10 * seed + i))
        fresh, point = fresh_and_kept(kept, problem)
        np.testing.assert_allclose(point, fresh, atol=1e-7)
    assert osqp_calls["setup"] == 1 + 4
    assert osqp_calls["Px"] == 3


def test_osqp_stores_zeros_where_other_values_may_come(osqp_calls):
    kept = registry.get_backend("osqp", "nonnegative")
    for matrix in (np.eye(5), np.eye(5) + 0.3, np.eye(5)):
        problem = of(NonnegativeProgram(matrix, np.arange(-1.0, 4.0)))
        fresh, point = fresh_and_kept(kept, problem)
        np.testing.assert_allclose(point, fresh, atol=1e-7)
    assert osqp_calls["setup"] == 1 + 3


def test_osqp_continues_where_it_stopped(osqp_calls, seed):
    problem = of(draw_program(seed, n=60, m=20))
    backend, start = registry.get_backend("osqp", "nonnegative"), np.zeros(20)
    loose = backend.run(problem, SolveOptions(1e-3), start)
    tight = backend.run(problem, SolveOptions(1e-10), start)
    assert residual(problem, tight.point) < 1e-9 < residual(problem, loose.point)
    assert osqp_calls == {"setup": 1, "Px": 0, "q": 1, "u": 1}
    whole = registry.get_backend("osqp", "nonnegative").run(problem, SolveOptions(1e-10), start)
    np.testing.assert_allclose(tight.point, whole.point, atol=1e-8)


def test_osqp_that_was_interrupted_interrupts_the_solve(monkeypatch):
    osqp = pytest.importorskip("osqp", reason="it is interrupted")
    solve = osqp.OSQP.solve

    def interrupted(self, **options):
        solution = solve(self, **options)
        solution.info.status_val = int(osqp.SolverStatus.OSQP_SIGINT)
        return solution

    monkeypatch.setattr(osqp.OSQP, "solve", interrupted)
    assert solve_nonnegative(draw_program(0), solver="osqp").status is Status.INTERRUPTED


@pytest.mark.parametrize("solver", ["nnls", "osqp", "clarabel"])
@pytest.mark.parametrize("sum_to_one", [False, True])
def test_paths_over_columns_and_ridges_are_those_of_single_solves(solver, sum_to_one, seed):
    require(solver)
    program = draw_program(seed, n=80, m=12, sum_to_one=sum_to_one).reduced()
    columns = [program.leading(k) for k in (1, 2, 3, 8, 12, 5)]
    ridges = [replace(program, ridge=ridge) for ridge in (0.0, 0.01, 1.0, 100.0)]
    for programs in (columns, ridges, [columns[3], *ridges]):
        results = solve_nonnegative_path(programs, solver=solver)
        for single, result in zip(programs, results, strict=True):
            assert result.converged
            assert optimality(single, result.weights) <= 1e-8
            np.testing.assert_allclose(result.weights, solve_nonnegative(single).weights, atol=1e-12)


def test_osqp_is_set_up_once_for_a_path(osqp_calls):
    program = draw_program(0, n=80, m=12).reduced()
    solve_nonnegative_path([program.leading(k) for k in range(1, 13)], solver="osqp")
    assert (osqp_calls["setup"], osqp_calls["Px"]) == (1, 0)
    assert osqp_calls["q"] > 6
    solve_nonnegative_path([replace(program, ridge=r) for r in (1.0, 0.1, 0.01)], solver="osqp")
    assert (osqp_calls["setup"], osqp_calls["Px"]) == (2, 2)
    simplex = replace(program, sum_to_one=True)
    solve_nonnegative_path([simplex.leading(k) for k in range(1, 13)], solver="osqp")
    assert osqp_calls["setup"] == 3


def test_an_empty_path_is_empty():
    assert solve_nonnegative_path([]) == []
