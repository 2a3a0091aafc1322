"""The solver of non-negative weights finds the optimum, judged by formulas of the tests' own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn_solvers import NonnegativeProgram, Status, solve_nonnegative
from nonnegative_cases import (
    KINDS,
    by_enumeration,
    class_probabilities,
    draw_program,
    optimality,
    restated,
    stacked,
)


def solved(program):
    """Solve, and check all that holds for every result."""
    result = solve_nonnegative(program)
    assert result.status is Status.CONVERGED, result
    assert result.converged
    weights = result.weights
    assert weights.shape == (program.n_weights,)
    assert (weights >= 0).all()
    if program.sum_to_one:
        assert abs(weights.sum() - 1) <= 1e-15 * weights.size
    assert optimality(program, weights) <= 1e-8
    assert result.optimality <= 1e-8
    assert result.objective == program.objective(weights)
    assert result.objective <= program.objective(program.uniform())
    if not program.sum_to_one:
        assert result.objective <= program.objective(np.zeros(program.n_weights))
    return result


@pytest.mark.parametrize(("ridge", "sum_to_one"), KINDS)
def test_it_agrees_with_a_restatement_and_with_enumeration(ridge, sum_to_one, seed):
    program = draw_program(seed, ridge=ridge, sum_to_one=sum_to_one)
    result = solved(program)
    assert result.objective == pytest.approx(by_enumeration(program), rel=1e-12)
    pytest.importorskip("cvxpy", reason="the restatement is in CVXPY")
    weights, objective = restated(program)
    assert result.objective == pytest.approx(objective, rel=1e-8)
    np.testing.assert_allclose(result.weights, weights, atol=1e-6)


@pytest.mark.parametrize(("ridge", "sum_to_one"), KINDS)
@pytest.mark.parametrize("noise", [0.5, 0.01])
def test_nearly_collinear_class_probabilities(ridge, sum_to_one, noise):
    columns, targets = class_probabilities(0, noise=noise)
    program = NonnegativeProgram(columns, targets, ridge=ridge, sum_to_one=sum_to_one)
    result = solved(program)
    A, b = stacked(program)
    # Moves to single columns and away from them bring nothing.
    for column in np.flatnonzero(result.weights)[:5]:
        for step in (-1e-6, 1e-6):
            moved = result.weights * (1 - step) if sum_to_one else result.weights.copy()
            moved[column] += step
            assert np.sum((A @ moved - b) ** 2) >= result.objective * (1 - 1e-12)


def degenerate(name):
    rng = np.random.default_rng(5)
    matrix, targets = rng.normal(size=(15, 4)), rng.normal(size=15)
    matrix[:, 0] += targets
    cases = {
        "duplicated": (np.hstack([matrix, matrix]), targets),
        "zero columns": (np.insert(matrix, [1, 3], 0.0, axis=1), targets),
        "only zero columns": (np.zeros((15, 3)), targets),
        "opposite": (np.hstack([matrix, -matrix]), targets),
        "dependent": (np.column_stack([matrix, matrix @ [1, 2, 0, 0], matrix @ [0, 0, 1, 1]]), targets),
        "wide": (rng.normal(size=(3, 9)), rng.normal(size=3)),
        "one row": (np.array([[1.0, -2.0, 3.0]]), np.array([2.0])),
        "one column": (matrix[:, :1], targets),
        "one bad column": (-np.abs(matrix[:, :1]), np.abs(targets)),
        "no useful column": (-np.abs(matrix), np.abs(targets)),
        "zero targets": (matrix, np.zeros(15)),
        "all zero": (np.zeros((4, 2)), np.zeros(4)),
        "constant": (np.ones((6, 3)), np.arange(6.0)),
        "perfect column": (np.column_stack([matrix, targets]), targets),
        "perfect combination": (matrix, matrix @ [0.5, 0.0, 0.25, 0.25]),
        "columns of many scales": (matrix * 10.0 ** np.array([-8, 8, 0, 3]), targets),
        "large": (1e8 * matrix, 1e8 * targets),
        "small": (1e-8 * matrix, 1e-8 * targets),
        "huge": (1e150 * matrix, 1e150 * targets),
        "tiny": (1e-150 * matrix, 1e-150 * targets),
        "large columns, small targets": (1e8 * matrix, 1e-8 * targets),
        "large offset": (1e4 + matrix, 1e4 + targets),
        "Hilbert": (1 / (1.0 + np.add.outer(np.arange(12), np.arange(8))), np.ones(12)),
    }
    return cases[name]


DEGENERATE = """duplicated, zero columns, only zero columns, opposite, dependent, wide, one row, one column,
one bad column, no useful column, zero targets, all zero, constant, perfect column, perfect combination,
columns of many scales, large, small, huge, tiny, large offset, Hilbert""".replace("\n", " ").split(", ")


@pytest.mark.parametrize("sum_to_one", [False, True])
@pytest.mark.parametrize("name", [*DEGENERATE, "large columns, small targets"])
def test_degenerate_data(sum_to_one, name):
    matrix, targets = degenerate(name)
    program = NonnegativeProgram(matrix, targets, sum_to_one=sum_to_one)
    result = solved(program)
    if name not in ("huge", "tiny"):
        A, b = stacked(program)
        size = float(b @ b) + (float((A * A).max()) if sum_to_one else 0.0)
        assert result.objective == pytest.approx(by_enumeration(program), rel=1e-9, abs=1e-12 * size)
    useless = ~matrix.any(axis=0)
    if not sum_to_one:
        assert not result.weights[useless].any()


@settings(max_examples=150)
@given(data=st.data())
def test_optimal_and_no_worse_than_uniform_whatever_the_data(data):
    n, m = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    entries = st.one_of(st.integers(-3, 3), st.floats(-10, 10).map(lambda number: round(number, 6)))
    matrix = np.array(data.draw(st.lists(entries, min_size=n * m, max_size=n * m)), float).reshape(n, m)
    if data.draw(st.booleans()):
        matrix[:, -1] = data.draw(st.sampled_from([0.0, -1.0, 1.0, 2.0])) * matrix[:, 0]
    targets = np.array(data.draw(st.lists(entries, min_size=n, max_size=n)), float)
    scale = 10.0 ** data.draw(st.integers(-6, 6))
    program = NonnegativeProgram(
        scale * matrix,
        scale * targets,
        ridge=scale**2 * data.draw(st.sampled_from([0.0, 1e-3, 1.0])),
        sum_to_one=data.draw(st.booleans()),
    )
    solved(program)


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_planted_optimum_is_found(sum_to_one, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(30, 8))
    weights = np.where(np.arange(8) < 4, rng.uniform(0.5, 1.5, 8), 0.0)
    weights /= weights.sum()
    multipliers = np.where(weights > 0, 0.0, rng.uniform(0.1, 1.0, 8))
    # 2 A'(A w - y) is the multipliers, shifted by a price of the sum where that is constrained.
    slopes = multipliers + (0.7 if sum_to_one else 0.0)
    residual = matrix @ np.linalg.solve(matrix.T @ matrix, slopes / 2)
    residual += 0.3 * np.linalg.svd(matrix)[0][:, -1]
    program = NonnegativeProgram(matrix, matrix @ weights - residual, sum_to_one=sum_to_one)
    result = solved(program)
    np.testing.assert_allclose(result.weights, weights, atol=1e-12)
    np.testing.assert_allclose(result.multipliers, multipliers, atol=1e-11)
    assert result.n_active == 4
    assert result.objective == pytest.approx(residual @ residual, rel=1e-12)


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_scaling_the_data_scales_the_weights(sum_to_one, seed):
    program = draw_program(seed, sum_to_one=sum_to_one)
    result = solved(program)
    both = solved(replace(program, matrix=1e6 * program.matrix, targets=1e6 * program.targets))
    np.testing.assert_allclose(both.weights, result.weights, atol=1e-13)
    if not sum_to_one:
        factors = 10.0 ** np.arange(-3, 3)
        columns = solved(replace(program, matrix=factors * program.matrix))
        np.testing.assert_allclose(factors * columns.weights, result.weights, atol=1e-13)
    weighted = solved(replace(program, sample_weight=1e5 * program.sample_weight))
    np.testing.assert_allclose(weighted.weights, result.weights, atol=1e-13)


@pytest.mark.parametrize(("ridge", "sum_to_one"), KINDS)
def test_whole_and_reduced_program_have_one_answer(ridge, sum_to_one, seed):
    program = draw_program(seed, n=400, ridge=ridge, sum_to_one=sum_to_one)
    whole, reduced = solved(program), solved(program.reduced())
    np.testing.assert_allclose(whole.weights, reduced.weights, atol=1e-13)
    assert whole.objective == pytest.approx(reduced.objective, rel=1e-13)


def test_integer_weights_are_repeated_rows(seed):
    program = draw_program(seed, weighted=False)
    counts = np.random.default_rng(seed).integers(0, 4, program.targets.size)
    repeated = NonnegativeProgram(
        np.repeat(program.matrix, counts, axis=0), np.repeat(program.targets, counts)
    )
    weighted = replace(program, sample_weight=counts)
    np.testing.assert_allclose(solved(weighted).weights, solved(repeated).weights, atol=1e-12)


def test_a_large_ridge_shrinks_to_zero_and_on_the_simplex_to_uniform_weights():
    program = draw_program(0, ridge=1e10)
    assert solved(program).weights.max() < 1e-7
    np.testing.assert_allclose(
        solved(replace(program, sum_to_one=True)).weights, program.uniform(), atol=1e-7
    )
