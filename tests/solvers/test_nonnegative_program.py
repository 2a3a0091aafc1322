"""The program of non-negative weights: its formula, its reductions and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from convexnn_solvers import NonnegativeProgram
from convexnn_solvers.nonnegative import program as program_module
from nonnegative_cases import draw_program, stacked


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_objective_is_the_formula(seed, ridge, weighted):
    program = draw_program(seed, ridge=ridge, weighted=weighted)
    w = np.random.default_rng(seed).uniform(size=program.n_weights)
    s = np.ones(20) if program.sample_weight is None else program.sample_weight
    expected = sum(s[i] * (program.matrix[i] @ w - program.targets[i]) ** 2 for i in range(20))
    assert program.objective(w) == pytest.approx(expected + ridge * sum(w**2), rel=1e-13)
    numeric = optimize.approx_fprime(w, program.objective, 1e-7)
    np.testing.assert_allclose(program.gradient(w), numeric, atol=1e-4)


def test_uniform_weights():
    np.testing.assert_array_equal(draw_program(0, m=4).uniform(), [0.25] * 4)


@given(
    n=st.integers(1, 30),
    m=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    ridge=st.sampled_from([0.0, 0.5]),
    weighted=st.booleans(),
    sum_to_one=st.booleans(),
)
def test_reductions_keep_objective_and_gradient(n, m, seed, ridge, weighted, sum_to_one):
    program = draw_program(seed, n, m, ridge=ridge, sum_to_one=sum_to_one, weighted=weighted)
    reduced = program.reduced()
    assert reduced.matrix.shape[0] <= m + 1
    assert reduced.sample_weight is None
    assert (reduced.ridge, reduced.sum_to_one) == (ridge, sum_to_one)
    k = 1 + seed % m
    w = np.random.default_rng(seed).uniform(size=k)
    padded = np.append(w, np.zeros(m - k))
    scale = program.objective(np.zeros(m)) + program.objective(padded)
    for smaller, point in ((reduced, padded), (program.leading(k), w), (reduced.leading(k), w)):
        assert smaller.objective(point) == pytest.approx(program.objective(padded), abs=1e-13 * scale)
        gradient = program.gradient(padded)[: point.size]
        np.testing.assert_allclose(smaller.gradient(point), gradient, atol=1e-12 * (1 + scale))
    if n > m + 1:
        assert reduced.leading(k).matrix.shape == (min(k + 1, reduced.matrix.shape[0]), k)


def test_chunks_of_rows_do_not_change_the_reduction(monkeypatch):
    program = draw_program(3, n=500, m=5)
    whole = program.reduced()
    monkeypatch.setattr(program_module, "_LEAST_ROWS", 7)
    monkeypatch.setattr(program_module, "_ROWS_PER_COLUMN", 1)
    chunks = program.reduced()
    factor = np.linalg.cholesky(np.column_stack(stacked(program)).T @ np.column_stack(stacked(program))).T
    for reduced in (whole, chunks):
        found = np.column_stack([reduced.matrix, reduced.targets])
        np.testing.assert_allclose(np.abs(found), np.abs(factor), atol=1e-11)


def test_small_programs_are_their_own_reduction():
    program = draw_program(0, n=5, m=6, weighted=False)
    assert program.reduced() is program


def test_lists_and_other_types_become_float64():
    program = NonnegativeProgram([[1, 0], [0, 1]], np.array([True, False]), [1, 2])
    assert {a.dtype for a in (program.matrix, program.targets, program.sample_weight)} == {np.dtype(float)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": np.zeros((3, 0))}, r"row and a column at least; got \(3, 0\)"),
        ({"matrix": np.zeros((0, 2)), "targets": np.zeros(0)}, r"got \(0, 2\)"),
        ({"matrix": np.zeros(3)}, r"got \(3,\)"),
        ({"targets": np.zeros(2)}, r"targets must have shape \(3,\); got \(2,\)"),
        ({"targets": np.zeros((3, 1))}, r"got \(3, 1\)"),
        ({"matrix": np.array([[1.0], [np.nan], [0.0]])}, "must be finite"),
        ({"targets": np.array([0.0, np.inf, 0.0])}, "must be finite"),
        ({"sample_weight": np.ones(2)}, r"sample_weight must have shape \(3,\); got \(2,\)"),
        ({"sample_weight": np.array([1.0, -1.0, 1.0])}, "finite and non-negative"),
        ({"sample_weight": np.array([1.0, np.nan, 1.0])}, "finite and non-negative"),
        ({"ridge": -1.0}, r"ridge must be finite and non-negative; got -1\.0"),
        ({"ridge": np.inf}, "got inf"),
    ],
)
def test_bad_data_are_refused(change, message):
    data = {"matrix": np.ones((3, 2)), "targets": np.ones(3)} | change
    with pytest.raises(ValueError, match=message):
        NonnegativeProgram(**data)


@pytest.mark.parametrize("n_weights", [0, -1, 7])
def test_there_must_be_so_many_columns(n_weights):
    with pytest.raises(ValueError, match=f"from 1 to 6; got {n_weights}"):
        draw_program(0).leading(n_weights)
