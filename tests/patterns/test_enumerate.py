from itertools import combinations, product
from math import comb, factorial, gcd

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convexnn.exceptions import PatternBudgetError
from convexnn.patterns import count_patterns, enumerate_patterns
from pattern_oracles import brute_force_patterns, region_count

small_entries = st.integers(-2, 2).map(float)


def rows_of(patterns):
    return {tuple(row) for row in patterns.to_dense().tolist()}


def assert_sound(patterns, X):
    """Distinct patterns, each reproduced by its generator, closed under negation."""
    values = patterns.generators @ X.T
    used = X.any(axis=1)
    assert (values[:, used] != 0).all()
    dense = patterns.to_dense()
    assert ((values > 0) == dense)[:, used].all()
    assert dense[:, ~used].all()
    assert len(np.unique(dense, axis=0)) == len(patterns)
    if used.any():
        assert (dense[::2, used] != dense[1::2, used]).all()
        assert (patterns.generators[::2] == -patterns.generators[1::2]).all()


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize("r", [0, 1, 2, 5, 50])
def test_count_is_covers_function(n, r):
    if r == 0:
        assert count_patterns(n, r) == 1
    elif r >= n:
        assert count_patterns(n, r) == 2**n
    else:
        assert count_patterns(n, r) == 2 * sum(comb(n - 1, k) for k in range(r))


def test_count_recursion():
    for n, r in product(range(1, 12), range(1, 6)):
        assert count_patterns(n + 1, r + 1) == count_patterns(n, r + 1) + count_patterns(n, r)


@pytest.mark.parametrize(("n", "r"), [(0, 1), (-1, 2), (3, -1)])
def test_count_rejects(n, r):
    with pytest.raises(ValueError, match="needs n >= 1"):
        count_patterns(n, r)


@pytest.mark.parametrize("seed", range(50))
def test_general_position_has_the_count_of_the_formula(seed):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 6))
    n = int(rng.integers(1, 21 if rank == 5 else 41))
    X = rng.standard_normal((n, rank))
    if seed % 3 == 0:
        X = X @ rng.standard_normal((rank, rank + 2))
    patterns = enumerate_patterns(X)
    assert len(patterns) == count_patterns(n, rank)
    assert_sound(patterns, X)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 4)), elements=small_entries))
def test_degenerate_data_against_linear_programs(X):
    patterns = enumerate_patterns(X)
    assert_sound(patterns, X)
    assert rows_of(patterns) == brute_force_patterns(X)


@settings(max_examples=150, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=small_entries))
def test_degenerate_data_against_whitneys_theorem(X):
    assume(X.any())
    assert len(enumerate_patterns(X)) == region_count(X)


def rank_three_count(rows):
    """Count the cells of integer rows in three dimensions from the exact points where the planes meet."""
    meeting: dict[tuple[int, ...], set[int]] = {}
    for i, j in combinations(range(len(rows)), 2):
        cross = [int(c) for c in np.cross(rows[i], rows[j])]
        divisor = gcd(*cross)
        line = tuple(c // divisor for c in cross)
        meeting.setdefault(max(line, tuple(-c for c in line)), set()).update((i, j))
    return 2 * (1 + sum(len(planes) - 1 for planes in meeting.values()))


@pytest.mark.parametrize("offset", [0, 1990, 10**6])
def test_grids_and_lattice_points_with_a_bias(offset):
    rng = np.random.default_rng(0)
    grid = np.array(list(product(range(6), repeat=2)))
    lattice = np.unique(rng.integers(0, 30, size=(50, 2)), axis=0)
    for points in (grid, lattice):
        rows = np.column_stack([points + offset, np.ones(len(points), dtype=int)])
        assert len(enumerate_patterns(rows.astype(float))) == rank_three_count(rows)


@pytest.mark.parametrize(("d", "regions"), [(2, 6), (3, 32), (4, 370), (5, 11292)])
def test_resonance_arrangement(d, regions):
    X = np.array([row for row in product([0.0, 1.0], repeat=d) if any(row)])
    patterns = enumerate_patterns(X)
    assert len(patterns) == regions
    assert_sound(patterns, X)


@pytest.mark.parametrize("low", [-1.0, 0.0])
@pytest.mark.parametrize(("d", "functions"), [(1, 4), (2, 14), (3, 104), (4, 1882), (5, 94572)])
def test_threshold_functions(low, d, functions):
    X = np.array([(*row, 1.0) for row in product([low, 1.0], repeat=d)])
    assert len(enumerate_patterns(X)) == functions


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6])
def test_reflection_arrangements(d):
    unit = np.eye(d)
    differences = [unit[i] - unit[j] for i, j in combinations(range(d), 2)]
    sums = [unit[i] + unit[j] for i, j in combinations(range(d), 2)]
    assert len(enumerate_patterns(unit)) == 2**d
    assert len(enumerate_patterns(np.array([*unit, *differences]))) == factorial(d + 1)
    assert len(enumerate_patterns(np.array([*unit, *differences, *sums]))) == 2**d * factorial(d)


def test_toy_of_five_points():
    X = np.column_stack([[-1.0, -5.0, 2.0, 0.0, 3.0], np.ones(5)])
    patterns = enumerate_patterns(X)
    order = np.argsort(X[:, 0])
    steps = [(np.arange(5) < k) for k in range(5)]
    expected = {tuple((step ^ flip).tolist()) for step in steps for flip in (False, True)}
    assert {tuple(row) for row in patterns.to_dense()[:, order].tolist()} == expected


def test_points_on_a_line_far_from_the_origin():
    times = 1.6e9 + 1e-3 * np.arange(200)
    X = np.column_stack([times, np.ones(200)])
    patterns = enumerate_patterns(X)
    assert len(patterns) == 400
    assert_sound(patterns, X)


@pytest.mark.parametrize("d", [3, 5])
def test_moment_curve_is_in_general_position(d):
    X = np.vander(np.arange(1.0, 16.0), d)
    assert len(enumerate_patterns(X)) == count_patterns(15, d)


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((1, 1)),
        np.zeros((4, 3)),
        np.array([[1e-300]]),
        np.array([[0.0, 2.0]]),
        np.array([[1e300, -1e300]]),
    ],
)
def test_single_and_zero_rows(X):
    patterns = enumerate_patterns(X)
    assert len(patterns) == (2 if X.any() else 1)
    assert_sound(patterns, X)


@pytest.fixture(params=[0, 1], ids=["generic", "lattice"])
def data(request):
    rng = np.random.default_rng(3)
    if request.param:
        return rng.integers(-2, 3, size=(14, 4)).astype(float)
    return rng.standard_normal((14, 4))


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scaling_rows_and_columns(data, scale):
    expected = rows_of(enumerate_patterns(data))
    rng = np.random.default_rng(0)
    for X in (
        scale * data,
        data * scale ** rng.uniform(-1, 1, size=(14, 1)),
        data * np.array([scale, 1.0, 1.0 / scale, 3.0]),
    ):
        patterns = enumerate_patterns(X)
        assert rows_of(patterns) == expected
        assert_sound(patterns, X)


def test_permuting_and_repeating_rows_and_appending_zero_rows(data):
    patterns = enumerate_patterns(data)
    index = np.random.default_rng(0).permutation(np.r_[np.arange(14), [2, 2, 5]])
    assert enumerate_patterns(data[index]) == patterns.restricted_to(index)
    padded = enumerate_patterns(np.vstack([data, np.zeros(4)]))
    assert padded.restricted_to(np.arange(14)) == patterns
    assert padded.to_dense()[:, -1].all()


def test_opposite_and_multiple_rows(data):
    X = np.vstack([data, -3.0 * data, 0.1 * data])
    dense = enumerate_patterns(X).to_dense()
    n = len(data)
    used = data.any(axis=1)
    assert {tuple(row) for row in dense[:, :n].tolist()} == rows_of(enumerate_patterns(data))
    assert (dense[:, :n] != dense[:, n : 2 * n])[:, used].all()
    assert (dense[:, :n] == dense[:, 2 * n :]).all()


def test_invertible_maps_of_the_columns(data):
    change = np.array([[1.0, 2, 0, 0], [0, 1, 0, 4], [0, 1, 1, 0], [1, 0, 0, 1]])
    assert abs(np.linalg.det(change)) > 0.5
    assert rows_of(enumerate_patterns(data @ change)) == rows_of(enumerate_patterns(data))
    repeated = np.column_stack([data, data @ np.ones(4), np.zeros(14)])
    assert rows_of(enumerate_patterns(repeated)) == rows_of(enumerate_patterns(data))


def test_counts_beyond_float64_are_a_budget_error_too():
    X = np.random.default_rng(0).normal(size=(1100, 1100))
    with pytest.raises(PatternBudgetError, match="10\\^331"):
        enumerate_patterns(X, max_patterns=10)


def test_budget_error_says_count_memory_and_alternatives():
    X = np.random.default_rng(0).standard_normal((200, 6))
    with pytest.raises(
        PatternBudgetError, match=r"5,\d{3},\d{3},\d{3} activation patterns.*GB.*sample_patterns"
    ):
        enumerate_patterns(X)
    with pytest.raises(PatternBudgetError, match=r"10\^\d+ activation"):
        enumerate_patterns(np.random.default_rng(0).standard_normal((500, 40)))
    with pytest.raises(PatternBudgetError, match="max_patterns=9"):
        enumerate_patterns(np.column_stack([np.arange(5.0), np.ones(5)]), max_patterns=9)


def test_unresolvable_data_are_an_error_not_a_wrong_list():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    X = np.vstack([X, X + 1e-12 * rng.standard_normal(X.shape)])
    with pytest.raises(RuntimeError, match="too nearly"):
        enumerate_patterns(X)


@pytest.mark.parametrize("twist", 10.0 ** np.arange(-16.0, -12.0, 0.125))
def test_nearly_parallel_rows_are_told_apart_or_merged_or_an_error(twist):
    angles = np.array([0.0, 0.5, 1.1, 2.0, 2.0 + twist])
    X = np.column_stack([np.cos(angles), np.sin(angles)])
    try:
        found = len(enumerate_patterns(X))
    except RuntimeError:
        return
    assert found == 10 or (found == 8 and twist < 2e-14)


@pytest.mark.parametrize(
    "X", [np.ones(3), np.ones((0, 2)), np.ones((2, 0)), np.array([[np.nan]]), np.ones((1, 1, 1))]
)
def test_rejects(X):
    with pytest.raises(ValueError, match="X must be"):
        enumerate_patterns(X)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(100, 4), (30, 6), (1000, 3), (16, 16)])
def test_large_general_position(n, d):
    X = np.random.default_rng(n).standard_normal((n, d))
    assert len(enumerate_patterns(X)) == count_patterns(n, d)


@pytest.mark.slow
def test_resonance_arrangement_of_dimension_six():
    X = np.array([row for row in product([0.0, 1.0], repeat=6) if any(row)])
    assert len(enumerate_patterns(X, max_patterns=10**8)) == 1_066_044
