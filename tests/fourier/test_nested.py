"""Least squares on the first columns beside numpy's for each number of columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.fourier import nested
from convexnn.fourier.least_squares import least_squares
from convexnn.fourier.nested import NestedLeastSquares

RNG = np.random.default_rng(0)


def expected(A, T, ridge):
    """Plain least squares on rows (few columns) or columns (many) that stand for the ridge."""
    m, p = A.shape
    if ridge == 0:
        return np.linalg.lstsq(A, T)[0]
    if p <= m:
        stacked = np.vstack([A, np.sqrt(ridge) * np.eye(p)])
        return np.linalg.lstsq(stacked, np.vstack([T, np.zeros((p, T.shape[1]))]))[0]
    return np.linalg.lstsq(np.hstack([A, np.sqrt(ridge) * np.eye(m)]), T)[0][:p]


@pytest.fixture
def _no_singular_values(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("not solved by shared factors")

    monkeypatch.setattr(nested, "least_squares", refuse)


@pytest.mark.usefixtures("_no_singular_values")
@pytest.mark.parametrize("ridge", [0.0, 1e-8, 0.1, 1e3])
@pytest.mark.parametrize("sizes", [range(1, 120, 7), [90, 3, 41, 40, 39, 90, 60]])
def test_well_conditioned_sizes_share_factors(seed, ridge, sizes):
    rng = np.random.default_rng(seed)
    A, T = rng.normal(size=(40, 120)), rng.normal(size=(40, 3))
    solver = NestedLeastSquares(A, T)
    for p in sizes:
        coef, rank = solver.solve(p, ridge)
        best = expected(A[:, :p], T, ridge)
        assert coef.shape == (p, 3)
        assert rank == min(40, p)
        np.testing.assert_allclose(coef, best, rtol=0, atol=1e-10 * np.linalg.norm(best))


@pytest.mark.parametrize("ridge", [0.0, 1e-6, 1.0])
@pytest.mark.parametrize("condition", [1e3, 1e5, 1e7, 1e9, 1e11])
def test_errors_grow_with_the_condition_as_those_of_lstsq(seed, ridge, condition):
    rng = np.random.default_rng(seed)
    m, P = 30, 80
    rotation = np.linalg.qr(rng.normal(size=(m, m)))[0]
    A = rotation * np.geomspace(1, 1 / condition, m) @ np.linalg.qr(rng.normal(size=(P, m)))[0].T
    T = A @ rng.normal(size=(P, 2))
    solver = NestedLeastSquares(A, T)
    for p in (10, 29, 30, 31, 40, 80):
        coef, _ = solver.solve(p, ridge)
        best = expected(A[:, :p], T, ridge)
        exact = np.linalg.cond(A[:, :p])
        assert np.linalg.norm(coef - best) <= 1e-14 * exact * np.linalg.norm(best)
        residual, least = (np.linalg.norm(A[:, :p] @ a - T) for a in (coef, best))
        assert residual <= least * (1 + 1e-8) + 1e-11


COLUMNS = st.lists(st.sampled_from(["new", "zero", "copy", "opposite", "nearly"]), min_size=1, max_size=16)


@settings(max_examples=60)
@given(
    COLUMNS, st.integers(1, 8), st.booleans(), st.sampled_from([1e-120, 1.0, 1e120]), st.integers(0, 2**31)
)
def test_rank_deficient_sizes_are_those_of_singular_values(kinds, m, duplicate_row, scale, seed):
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=m)]
    for kind in kinds:
        last = columns[-1]
        nearly = last + 1e-15 * rng.normal(size=m)
        columns.append(
            {"new": rng.normal(size=m), "zero": 0 * last, "copy": last, "opposite": -last, "nearly": nearly}[
                kind
            ]
        )
    A = scale * np.column_stack(columns)
    if duplicate_row:
        A[-1] = A[0]
    T = rng.normal(size=(m, 2))
    solver = NestedLeastSquares(A, T)
    for p in range(1, A.shape[1] + 1):
        coef, rank = solver.solve(p, 0.0)
        best, _, true_rank, _ = np.linalg.lstsq(A[:, :p], T)
        assert rank == true_rank
        values = np.linalg.svd(A[:, :p], compute_uv=False)
        condition = values[0] / values[max(rank, 1) - 1] if values[0] > 0 else 1.0
        bound = 1e-13 * condition * max(1.0, condition * 1e-8)
        assert np.linalg.norm(scale * (coef - best)) <= bound * (np.linalg.norm(scale * best) + 1)


def test_zero_matrices_and_no_rows():
    for A in (np.zeros((3, 5)), np.zeros((0, 5))):
        solver = NestedLeastSquares(A, np.ones((len(A), 2)))
        for p in (1, 3, 5):
            for ridge in (0.0, 0.5):
                coef, rank = solver.solve(p, ridge)
                assert not coef.any()
                assert coef.shape == (p, 2)
                assert rank == 0


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
@pytest.mark.parametrize("ridge", [0.0, 1e-300, 1e-3, 1e300])
def test_singular_values_solve_the_ridge(shape, ridge):
    A, T = RNG.normal(size=shape), RNG.normal(size=(shape[0], 2))
    A[:, 1] = A[:, 0]
    coef, rank = least_squares(A, T, ridge)
    assert rank == np.linalg.matrix_rank(A)
    if 0 < ridge < 1:
        np.testing.assert_allclose(coef, expected(A, T, ridge), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(coef[0], coef[1], rtol=1e-9)
    gradient = A.T @ (A @ coef - T) + ridge * coef
    assert np.abs(gradient).max() <= 1e-12
