"""Branch and bound against enumeration of cells by other means, exact values and brute force."""

import itertools
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from convexnn.patterns import enumerate_patterns
from convexnn.pricing import best_first
from convexnn.pricing.branch_and_bound import _Faces, cone_operations, support_bounds


def value(X, t, linear, u):
    return float(linear @ u + t @ np.maximum(X @ u, 0.0))


def largest_over_cells(X, t, linear):
    """H from the projection of every cell's gradient on its cone, by non-negative least squares."""
    largest = 0.0
    for pattern in enumerate_patterns(X).to_dense():
        signs = np.where(pattern, 1.0, -1.0)
        gradient = linear + (t * pattern) @ X
        for g in (gradient, -gradient):
            _, distance = nnls((signs[:, None] * X).T, -g)
            largest = max(largest, distance)
    return largest


def degenerate(rng, n, d):
    """Rows of one of several kinds: general, repeated, opposite, dependent, on a grid, with zeros."""
    X = rng.normal(size=(n, d))
    kind = rng.integers(6)
    half = n // 2
    if kind == 1 and half:
        X[half : 2 * half] = X[:half]
    elif kind == 2 and half:
        X[half : 2 * half] = -X[:half]
    elif kind == 3 and d > 1:
        X[:, -1] = 2 * X[:, 0]
    elif kind == 4:
        X = np.round(X)
    elif kind == 5:
        X[: half + 1] = 0.0
    return X


@pytest.mark.parametrize("seed", range(40))
def test_bounds_meet_at_the_largest_over_all_cells(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 12)), int(rng.integers(1, 4))
    X, t = degenerate(rng, n, d), rng.normal(size=n) * (rng.random(n) < 0.9)
    linear = rng.normal(size=d) * rng.integers(2)
    found = support_bounds(X, t, linear=linear)
    expected = largest_over_cells(X, t, linear)
    assert found.complete
    assert found.lower == pytest.approx(expected, rel=2e-6, abs=1e-12)
    assert found.upper == pytest.approx(expected, rel=2e-6, abs=1e-11)
    assert found.upper >= expected * (1 - 1e-12)
    if found.lower > 0:
        assert np.linalg.norm(found.weights) == pytest.approx(1)
        assert abs(value(X, t, linear, found.weights)) == pytest.approx(found.lower)
        assert np.sign(value(X, t, linear, found.weights)) == found.sign


def test_two_rows_in_the_plane():
    # h = max(u_1, 0) - max(u_2, 0): 1 at (1, 0); -h: 1 at (0, 1), and a ridge along neither.
    found = support_bounds(np.eye(2), np.array([1.0, -1.0]))
    assert found.lower == pytest.approx(1.0)
    both = support_bounds(np.eye(2), np.array([3.0, 4.0]))
    assert both.lower == pytest.approx(5.0)
    assert 5.0 <= both.upper <= 5.0 * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-8, 1e-3, 1.0, 1e5]))
@example(seed=45071, scale=1e-8)
def test_no_point_of_the_ball_exceeds_the_upper_bound(seed, scale):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 30)), int(rng.integers(1, 6))
    X, t = scale * degenerate(rng, n, d), rng.normal(size=n)
    found = support_bounds(X, t, tol=1e-4)
    U = np.vstack([rng.normal(size=(300, d)), X[X.any(axis=1)], (t[:, None] * X).sum(axis=0, keepdims=True)])
    U = U[U.any(axis=1)]
    U /= np.linalg.norm(U, axis=1)[:, None]
    assert np.abs(t @ np.maximum(X @ U.T, 0.0)).max(initial=0.0) <= found.upper
    assert found.lower <= found.upper


@pytest.mark.parametrize("seed", range(10))
def test_upper_bound_holds_in_exact_arithmetic(seed):
    rng = np.random.default_rng(seed)
    X, t = rng.integers(-3, 4, size=(9, 3)).astype(float), rng.integers(-3, 4, size=9).astype(float)
    square = Fraction(support_bounds(X, t).upper) ** 2
    for u in itertools.product(range(-4, 5), repeat=3):
        h = sum(
            int(a) * max(0, sum(int(x) * v for x, v in zip(row, u, strict=True)))
            for a, row in zip(t, X, strict=True)
        )
        assert Fraction(h) ** 2 <= square * sum(v * v for v in u)


@pytest.mark.parametrize("seed", range(15))
def test_bias_without_norm_agrees_with_a_search_over_biases(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    slopes = degenerate(rng, n, 2)
    t = rng.normal(size=n)
    t -= t.mean()
    X = np.column_stack([slopes, np.ones(n)])
    found = support_bounds(X, t, penalized=np.array([True, True, False]))
    angles = np.linspace(0, 2 * np.pi, 4001)
    w = np.column_stack([np.cos(angles), np.sin(angles)])
    kinks = -(slopes @ w.T)
    best = max(np.abs(t @ np.maximum(slopes @ w.T + kinks[j], 0.0)).max() for j in range(n))
    assert best <= found.upper
    assert found.upper == pytest.approx(best, rel=1e-4, abs=1e-12)
    assert np.linalg.norm(found.weights[:2]) == pytest.approx(1) or found.lower == 0
    assert abs(value(X, t, np.zeros(3), found.weights)) == pytest.approx(found.lower, abs=1e-12)


def test_threshold_spares_work_and_stays_valid():
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(60, 4)), rng.normal(size=60)
    tight = support_bounds(X, t)
    loose = support_bounds(X, t, threshold=1.5 * tight.lower)
    assert loose.n_nodes < tight.n_nodes
    assert tight.lower <= loose.upper <= 1.5 * tight.lower


def test_a_limit_of_time_leaves_a_valid_bound():
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(80, 7)), rng.normal(size=80)
    short = support_bounds(X, t, time_limit=0.05)
    assert not short.complete
    U = rng.normal(size=(20000, 7))
    U /= np.linalg.norm(U, axis=1)[:, None]
    assert np.abs(t @ np.maximum(X @ U.T, 0.0)).max() <= short.upper < np.inf
    assert short.lower <= short.upper


def test_stopping_above_a_value_returns_points_above_it():
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(40, 4)), rng.normal(size=40)
    exact = support_bounds(X, t)
    level = 0.5 * exact.lower
    found = support_bounds(X, t, threshold=level, stop_above=level)
    assert found.lower > level
    assert len(found.others)
    heights = np.abs(t @ np.maximum(X @ found.others.T, 0.0))
    assert (heights > level * (1 - 1e-12)).all()
    assert exact.lower <= found.upper


def test_nothing_to_gain():
    zero = support_bounds(np.ones((3, 2)), np.zeros(3))
    assert (zero.lower, zero.upper, zero.complete) == (0.0, 0.0, True)
    assert support_bounds(np.zeros((3, 2)), np.ones(3)).upper <= 1e-12


def test_a_bias_without_norm_needs_a_balanced_t_and_a_constant_column():
    X = np.column_stack([np.arange(4.0), np.ones(4)])
    free = np.array([True, False])
    with pytest.raises(ValueError, match="must sum to zero"):
        support_bounds(X, np.ones(4), penalized=free)
    with pytest.raises(ValueError, match="must be constant"):
        support_bounds(X[:, ::-1], np.array([1.0, -1.0, 0.0, 0.0]), penalized=free)


@pytest.mark.parametrize(("n", "most"), [(200, 512), (50_000, 24)])
def test_few_cones_are_visited_between_looks_at_the_clock(monkeypatch, n, most):
    # A cone of many rows takes long, so that a limit of time holds only if rounds have few of them.
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(n, 5)), rng.normal(size=n)
    ticks = itertools.count()
    monkeypatch.setattr(best_first, "time", SimpleNamespace(perf_counter=lambda: 10.0 * next(ticks)))
    search = best_first.BestFirst(_Faces(X, t, np.zeros(5), None), 0.0, 1e-7, 1e6)
    assert not search.run(np.inf, deadline=5.0)
    assert 1 <= search.n_visited <= most
    assert search.n_visited * cone_operations(n, 5) < 1e8
    # What is left covers everything, so that the bound holds.
    assert search.upper >= max(abs(value(X, t, np.zeros(5), u)) for u in np.vstack([np.eye(5), -np.eye(5)]))
