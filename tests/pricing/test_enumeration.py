from fractions import Fraction
from itertools import product

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convexnn.exceptions import PatternBudgetError
from convexnn.patterns import enumerate_patterns
from convexnn.pricing.enumeration import enumerate_support

small_entries = st.integers(-2, 2).map(float)


def gain_at(u, X, t, linear):
    return linear @ u + t @ np.maximum(X @ u, 0.0)


def exact_gain(u, X, t):
    """``sum_i t_i max(x_i . u, 0)`` without rounding."""
    u = [Fraction(value) for value in u.tolist()]
    products = [sum(Fraction(x) * w for x, w in zip(row, u, strict=True)) for row in X.tolist()]
    return sum(Fraction(term) * max(Fraction(0), z) for term, z in zip(t.tolist(), products, strict=True))


def assert_attained(bounds, X, t, linear, penalized):
    """The lower bound is the gain of the weights, which are feasible."""
    value = gain_at(bounds.weights, X, t, linear)
    assert abs(value) == pytest.approx(bounds.lower, rel=1e-9, abs=1e-12)
    assert value * bounds.sign >= -1e-12
    assert np.linalg.norm(bounds.weights[penalized]) <= 1 + 1e-12
    assert bounds.lower <= bounds.upper


def maximum_by_conic_programs(X, t, linear, penalized):
    """Maximise ``+-h`` over every sign pattern, a cell or not, as a second-order cone program."""
    u = cp.Variable(X.shape[1])
    signs, gradient = cp.Parameter(len(X)), cp.Parameter(X.shape[1])
    program = cp.Problem(
        cp.Maximize(gradient @ u),
        [cp.multiply(signs, X @ u) >= 0, cp.norm(u[np.flatnonzero(penalized)]) <= 1],
    )
    best = 0.0
    for pattern in product([1.0, -1.0], repeat=len(X)):
        signs.value = np.array(pattern)
        active = signs.value > 0
        for side in (1.0, -1.0):
            gradient.value = side * (linear + t[active] @ X[active])
            best = max(best, float(program.solve(solver=cp.CLARABEL)))
    return best


def case(seed, n, d, *, free=False, with_linear=False):
    rng = np.random.default_rng(seed)
    X, t, linear = rng.standard_normal((n, d)), rng.standard_normal(n), np.zeros(d + free)
    penalized = np.ones(d + free, dtype=bool)
    if with_linear:
        linear[:d] = rng.standard_normal(d)
    if free:
        X, t, penalized[-1] = np.column_stack([X, np.ones(n)]), t - t.mean(), False
    return X, t, linear, penalized


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("n", "d"), [(1, 2), (4, 1), (5, 2), (6, 3)])
def test_agrees_with_conic_programs_over_all_sign_patterns(n, d, free):
    if free and n == 1:
        n = 2
    X, t, linear, penalized = case(n, n, d, free=free, with_linear=True)
    bounds = enumerate_support(X, t, linear=linear, penalized=penalized)
    expected = maximum_by_conic_programs(X, t, linear, penalized)
    assert bounds.complete
    assert bounds.upper == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert bounds.lower == pytest.approx(bounds.upper, rel=1e-9)
    assert_attained(bounds, X, t, linear, penalized)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("seed", "n", "d"), [(0, 12, 2), (1, 15, 3), (2, 10, 4), (3, 70, 2)])
def test_both_sides_meet_and_no_random_neuron_gains_more(seed, n, d, free):
    X, t, linear, penalized = case(seed, n, d, free=free)
    bounds = enumerate_support(X, t, penalized=penalized)
    assert bounds.upper <= bounds.lower * (1 + 1e-9)
    assert_attained(bounds, X, t, linear, penalized)
    rng = np.random.default_rng(0)
    U = rng.standard_normal((20_000, X.shape[1]))
    U /= np.linalg.norm(U[:, penalized], axis=1)[:, None]
    gains = U @ linear + np.maximum(U @ X.T, 0.0) @ t
    assert np.abs(gains).max() <= bounds.upper


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 3)), elements=small_entries),
    st.lists(st.integers(-2, 2), min_size=6, max_size=6),
    st.booleans(),
    st.sampled_from([1.0, 0.1]),
)
def test_degenerate_rows_and_ties(rows, terms, free, unit):
    rows, (n, d) = unit * rows, rows.shape
    t, penalized = np.array(terms[:n], dtype=float), np.ones(d + free, dtype=bool)
    X, linear = rows, np.zeros(d + free)
    if free:
        t[0] -= t.sum()
        X, penalized[-1] = np.column_stack([rows, np.ones(n)]), False
    bounds = enumerate_support(X, t, penalized=penalized)
    assert_attained(bounds, X, t, linear, penalized)
    assert bounds.upper <= bounds.lower + 1e-9
    used = enumerate_patterns(X)
    for side in (1.0, -1.0):
        G = side * (used.to_dense() * t) @ X
        for u in np.vstack([G, used.generators]):
            size = np.linalg.norm(u[penalized])
            if size > 0:
                assert abs(exact_gain(u, X, t)) <= Fraction(bounds.upper) * Fraction(size * (1 + 1e-14))


def test_in_the_plane_against_a_fine_circle():
    rng = np.random.default_rng(5)
    for _ in range(5):
        X, t, linear = rng.standard_normal((9, 2)), rng.standard_normal(9), rng.standard_normal(2)
        angles = np.linspace(0, 2 * np.pi, 200_001)
        U = np.stack([np.cos(angles), np.sin(angles)])
        largest = np.abs(linear @ U + t @ np.maximum(X @ U, 0.0)).max()
        bounds = enumerate_support(X, t, linear=linear)
        assert largest <= bounds.upper
        assert bounds.upper == pytest.approx(largest, rel=1e-4)


def test_exact_maximum_is_never_above_the_upper_bound():
    # One row: H = |t| |x|, here numbers whose product is exact; orthogonal rows: H^2 = sum of squares.
    for exponent in (-30, 0, 30):
        X, t = np.ldexp(np.array([[3.0, 4.0]]), exponent), np.array([1.5])
        bounds = enumerate_support(X, t)
        assert bounds.upper >= 7.5 * 2.0**exponent
        assert bounds.upper == pytest.approx(7.5 * 2.0**exponent, rel=1e-12)
    bounds = enumerate_support(np.eye(5), np.array([1.0, 1.0, 1.0, 1.0, -1.0]))
    assert bounds.upper >= 2.0
    assert bounds.upper == pytest.approx(2.0, rel=1e-11)


@pytest.mark.parametrize(("seed", "n", "d"), [(0, 9, 2), (1, 9, 3), (2, 30, 2), (3, 14, 4)])
def test_the_gain_in_exact_arithmetic_is_not_above_the_upper_bound(seed, n, d):
    X, t, _, _ = case(seed, n, d)
    bounds = enumerate_support(X, t)
    u = [Fraction(value) for value in bounds.weights.tolist()]
    total = Fraction(0)
    for row, term in zip(X.tolist(), t.tolist(), strict=True):
        total += Fraction(term) * max(Fraction(0), sum(Fraction(x) * w for x, w in zip(row, u, strict=True)))
    assert total**2 <= Fraction(bounds.upper) ** 2 * sum(w * w for w in u)


def test_cells_thinner_than_rounding_are_bounded():
    # The second row differs from the first in the last bit: between the two there is a cell that no list has.
    X = np.array([[1.0, 1.0], [1.0, np.nextafter(1.0, 2.0)], [1.0, -1.0]])
    t = np.array([1.0, -1.0, 1e-16])
    assert len(enumerate_patterns(X)) == 4
    u = np.array([-1.0, 1.0]) / np.sqrt(2.0)
    u[1] = np.nextafter(u[1], 0.0)
    bounds = enumerate_support(X, t)
    assert abs(gain_at(u, X, t, np.zeros(2))) <= bounds.upper
    assert bounds.upper <= 1e-12


def test_pushing_rows_and_terms_by_rounding_stays_below_the_bound():
    X, t, _, _ = case(8, 8, 3)
    upper = enumerate_support(X, t).upper
    rng = np.random.default_rng(1)
    for _ in range(20):
        near = X * (1 + np.finfo(float).eps * rng.integers(-1, 2, X.shape))
        assert enumerate_support(near, t).lower <= upper


def test_equal_rows_can_be_merged_and_row_scales_moved_to_terms():
    X, t, _, _ = case(4, 9, 3)
    expected = enumerate_support(X, t).lower
    doubled = enumerate_support(np.vstack([X, X[:4]]), np.concatenate([t[:4] - 7.0, t[4:], np.full(4, 7.0)]))
    assert doubled.lower == pytest.approx(expected, rel=1e-9)
    scale = np.random.default_rng(0).uniform(0.01, 100.0, 9)
    moved = enumerate_support(X * scale[:, None], t / scale)
    assert moved.lower == pytest.approx(expected, rel=1e-9)
    # (z)+ = z + (-z)+: opposite rows, with the difference in the linear part.
    opposite = enumerate_support(-X, t, linear=X.T @ t)
    assert opposite.lower == pytest.approx(expected, rel=1e-9)
    assert opposite.upper == pytest.approx(expected, rel=1e-9)


def test_a_free_bias_ignores_where_the_features_are():
    X, t, _, penalized = case(6, 12, 2, free=True)
    expected = enumerate_support(X, t, penalized=penalized)
    moved = X + np.array([1000.0, -2000.0, 0.0])
    assert enumerate_support(moved, t, penalized=penalized).upper == pytest.approx(expected.upper, rel=1e-8)


def test_threshold_leaves_bounds_below_it_loose_but_valid():
    X, t, _, _ = case(3, 30, 3)
    tight = enumerate_support(X, t)
    loose = enumerate_support(X, t, threshold=1.5 * tight.upper)
    assert tight.lower <= loose.upper <= 1.5 * tight.upper * (1 + 1e-12)
    assert enumerate_support(X, t, threshold=0.9 * tight.lower).upper == pytest.approx(tight.upper, rel=1e-10)


@pytest.mark.parametrize("free", [False, True])
def test_time_limit_gives_a_valid_bound(free):
    X, t, linear, penalized = case(7, 40, 3, free=free)
    full = enumerate_support(X, t, penalized=penalized)
    cut = enumerate_support(X, t, penalized=penalized, time_limit=0.0)
    assert full.complete
    assert not cut.complete
    assert cut.n_nodes < full.n_nodes
    assert cut.upper >= full.lower
    assert_attained(cut, X, t, linear, penalized)


@pytest.mark.parametrize(
    ("X", "t"),
    [
        (np.zeros((3, 2)), np.ones(3)),
        (np.eye(3), np.zeros(3)),
        (np.ones((4, 1)), np.array([1.0, -1.0, 2.0, -2.0])),
    ],
)
def test_nothing_to_gain(X, t):
    bounds = enumerate_support(X, t)
    assert bounds.lower == 0.0
    assert 0.0 <= bounds.upper <= 1e-12
    with_linear = enumerate_support(X, t, linear=np.arange(1.0, X.shape[1] + 1))
    size = np.linalg.norm(np.arange(1.0, X.shape[1] + 1))
    assert with_linear.upper >= size * (1 - 1e-15)
    assert with_linear.upper == pytest.approx(size, rel=1e-11)


def test_a_free_bias_without_features_or_terms():
    penalized = np.array([True, False])
    X = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert enumerate_support(X, np.array([1.0, -1.0]), penalized=penalized).upper <= 1e-12
    linear = enumerate_support(X, np.zeros(2), penalized=penalized, linear=np.array([2.0, 0.0]))
    assert linear.upper == pytest.approx(2.0)


def test_rejects():
    X, t, _, _ = case(0, 20, 5)
    with pytest.raises(PatternBudgetError):
        enumerate_support(X, t, max_patterns=100)
    X, t, _, penalized = case(0, 6, 2, free=True)
    with pytest.raises(ValueError, match="sums to zero"):
        enumerate_support(X, t + 1, penalized=penalized)
    with pytest.raises(ValueError, match="no bias"):
        enumerate_support(X, t, penalized=penalized, linear=np.ones(3))


@pytest.mark.slow
def test_many_cells():
    X, t, linear, penalized = case(9, 100, 4)
    bounds = enumerate_support(X, t)
    assert bounds.n_nodes == 323_600
    assert bounds.upper <= bounds.lower * (1 + 1e-9)
    assert_attained(bounds, X, t, linear, penalized)
