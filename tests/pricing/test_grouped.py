"""Branch and bound for grouped gains against exact arcs, cells, closed forms and identities."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from convexnn.patterns import enumerate_patterns
from convexnn.pricing.branch_and_bound import support_bounds
from convexnn.pricing.grouped import grouped_bounds, grouped_maxima


def gain(rows, values, size, offsets, linear, U):
    """``G`` at the columns of U, group by group."""
    G = linear @ U
    for g, offset in enumerate(offsets):
        highest = np.maximum((rows[g * size : (g + 1) * size] @ U).max(axis=0), 0.0)
        G[offset : offset + values.shape[1]] += values[g][:, None] * highest
    return G


def problem(rng, n, d, size, q, columns):
    """Rows of one of several kinds, and the rest."""
    rows = rng.normal(size=(n * size, d))
    kind, half = rng.integers(7), n * size // 2
    if kind == 1 and half:
        rows[half : 2 * half] = rows[:half]
    elif kind == 2 and half:
        rows[half : 2 * half] = -rows[:half]
    elif kind == 3 and d > 1:
        rows[:, -1] = 2 * rows[:, 0]
    elif kind == 4:
        rows = np.round(rows)
    elif kind == 5:
        rows[: half + 1] = 0.0
    elif kind == 6:
        rows = rng.normal(size=(n * size, 1)) * rng.normal(size=d)
    values = rng.normal(size=(n, q)) * (rng.random((n, 1)) < 0.9)
    offsets = rng.integers(columns - q + 1, size=n)
    return rows, values, offsets, rng.normal(size=(columns, d)) * rng.integers(2)


def boundaries(rows, size):
    """Normals of the hyperplanes on which a group's highest row may change."""
    normals = list(rows)
    for begin in range(0, len(rows), size):
        normals += [rows[i] - rows[j] for i, j in itertools.combinations(range(begin, begin + size), 2)]
    return np.array(normals)


def linear_piece(rows, values, size, offsets, linear, inside):
    """The matrix of G on the cell of a point."""
    A = linear.copy()
    for g, offset in enumerate(offsets):
        group = rows[g * size : (g + 1) * size]
        heights = group @ inside
        if heights.max() > 0:
            A[offset : offset + values.shape[1]] += np.outer(values[g], group[heights.argmax()])
    return A


def largest_on_arcs(rows, values, size, offsets, linear):
    """H in the plane: between two neighbouring boundaries ``|A u|^2`` is a sinusoid of twice the angle."""
    normals = boundaries(rows, size)
    normals = normals[np.linalg.norm(normals, axis=1) > 1e-12]
    angles = np.arctan2(normals[:, 1], normals[:, 0]) + np.pi / 2
    ends = np.unique(np.concatenate([[0.0], angles % np.pi, angles % np.pi + np.pi]))
    largest = 0.0
    for low, high in itertools.pairwise([*ends, ends[0] + 2 * np.pi]):
        middle = 0.5 * (low + high)
        A = linear_piece(rows, values, size, offsets, linear, np.array([np.cos(middle), np.sin(middle)]))
        top = np.linalg.svd(A)[2][0]
        candidates = [low, high]
        angle = np.arctan2(top[1], top[0])
        candidates += [a for a in angle + np.pi * np.arange(-3, 6) if low <= a <= high]
        for a in candidates:
            largest = max(largest, float(np.linalg.norm(A @ [np.cos(a), np.sin(a)])))
    return largest


@pytest.mark.parametrize("seed", range(60))
def test_bounds_meet_at_the_largest_in_the_plane(seed):
    rng = np.random.default_rng(seed)
    size, q = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    columns = q + int(rng.integers(3))
    rows, values, offsets, linear = problem(rng, int(rng.integers(1, 12)), 2, size, q, columns)
    found = grouped_bounds(rows, values, size=size, offsets=offsets, linear=linear, tol=1e-7)
    expected = largest_on_arcs(rows, values, size, offsets, linear)
    assert found.complete
    assert found.upper >= expected * (1 - 1e-13)
    assert found.lower <= expected * (1 + 1e-13)
    assert found.upper == pytest.approx(expected, rel=2e-7, abs=1e-10)
    if found.lower > 0:
        G = gain(rows, values, size, offsets, linear, found.weights[:, None])[:, 0]
        assert np.linalg.norm(found.weights) == pytest.approx(1)
        assert np.linalg.norm(G) == pytest.approx(found.lower)
        assert found.sign == (np.sign(G[0]) if columns == 1 else 1.0)


@pytest.mark.parametrize("seed", range(30))
def test_max_pooling_agrees_with_the_projections_of_all_cells(seed):
    rng = np.random.default_rng(seed)
    d, size = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    rows, values, offsets, linear = problem(rng, 5 if d < 4 else 3, d, size, 1, 1)
    normals = boundaries(rows, size)
    expected = 0.0
    for pattern in enumerate_patterns(normals).to_dense():
        sides = np.where(pattern, 1.0, -1.0)[:, None] * normals
        inside = inner_point(sides)
        A = linear_piece(rows, values, size, offsets, linear, inside)[0]
        for g in (A, -A):
            expected = max(expected, nnls(sides.T, -g)[1])
    found = grouped_bounds(rows, values, size=size, linear=linear)
    assert found.complete
    assert found.upper >= expected * (1 - 1e-9)
    assert found.upper == pytest.approx(expected, rel=2e-6, abs=1e-10)
    assert found.lower == pytest.approx(expected, rel=2e-6, abs=1e-10)


def inner_point(sides):
    """A point with ``sides . u > 0`` for all rows that are not zero: the least norm with all at least one."""
    used = sides[np.linalg.norm(sides, axis=1) > 1e-9]
    if not len(used):
        return np.ones(sides.shape[1])
    _, distance = nnls(np.vstack([used.T, np.ones(len(used))]), np.append(np.zeros(used.shape[1]), 1.0))
    weights, _ = nnls(np.vstack([used.T, np.ones(len(used))]), np.append(np.zeros(used.shape[1]), 1.0))
    assert distance > 1e-9
    return used.T @ weights


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    row_scale=st.sampled_from([1e-6, 1.0, 1e6]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_no_point_of_the_ball_exceeds_the_upper_bound(seed, row_scale, scale):
    rng = np.random.default_rng(seed)
    d, size, q = int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(1, 4))
    columns = q + int(rng.integers(4))
    rows, values, offsets, linear = problem(rng, int(rng.integers(1, 25)), d, size, q, columns)
    rows, values, linear = row_scale * rows, scale * values, row_scale * scale * linear
    found = grouped_bounds(rows, values, size=size, offsets=offsets, linear=linear, tol=1e-3)
    U = [rng.normal(size=(d, 300)), rows[rows.any(axis=1)].T, found.weights[:, None]]
    pieces = (linear_piece(rows, values, size, offsets, linear, u) for u in rng.normal(size=(100, d)))
    tops = np.array([np.linalg.svd(A)[2][0] for A in pieces]).T
    U = np.hstack([*U, tops, -tops])
    U = U[:, U.any(axis=0)]
    U /= np.linalg.norm(U, axis=0)
    lengths = np.linalg.norm(gain(rows, values, size, offsets, linear, U), axis=0)
    assert found.complete
    assert lengths.max(initial=0.0) <= found.upper
    assert found.lower <= found.upper
    assert found.upper <= 1.001 * found.lower + 1e-9 * row_scale * scale
    _, values = grouped_maxima(rows, values, size=size, offsets=offsets, linear=linear)
    assert np.abs(values[0]) <= found.upper


@pytest.mark.parametrize("seed", range(10))
def test_groups_of_one_row_and_one_entry_are_ordinary_gains(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 80)), int(rng.integers(1, 5))
    rows, values, _, linear = problem(rng, n, d, 1, 1, 1)
    found = grouped_bounds(rows, values, linear=linear, tol=1e-7)
    expected = support_bounds(rows, values[:, 0], linear=linear[0])
    assert found.lower == pytest.approx(expected.lower, rel=1e-6, abs=1e-10)
    assert found.upper == pytest.approx(expected.upper, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_outputs_that_are_multiples_of_each_other(seed):
    rng = np.random.default_rng(seed)
    X, theta, multiples = rng.normal(size=(40, 3)), rng.normal(size=40), rng.normal(size=4)
    found = grouped_bounds(X, np.outer(theta, multiples))
    expected = np.linalg.norm(multiples) * support_bounds(X, theta).lower
    assert found.upper == pytest.approx(expected, rel=2e-6)
    assert found.lower == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_entries_of_different_coordinates_do_not_add_up(seed):
    # |G|^2 = h_1(v)^2 + h_2(w)^2 with |v|^2 + |w|^2 = 1 is at most the larger of H_1^2 and H_2^2.
    rng = np.random.default_rng(seed)
    first, second, theta = rng.normal(size=(15, 2)), rng.normal(size=(15, 2)), rng.normal(size=30)
    rows = np.block([[first, np.zeros((15, 2))], [np.zeros((15, 2)), second]])
    found = grouped_bounds(rows, theta, offsets=np.repeat([0, 1], 15))
    expected = max(support_bounds(first, theta[:15]).lower, support_bounds(second, theta[15:]).lower)
    assert found.upper == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("shape", [(1, 4), (5, 3), (2, 6)])
def test_a_linear_gain_is_largest_at_the_first_singular_vector(shape):
    linear = np.random.default_rng(0).normal(size=shape)
    found = grouped_bounds(np.zeros((1, shape[1])), np.ones((1, 1)), linear=linear)
    expected = np.linalg.svd(linear)[1][0]
    assert found.complete
    assert expected * (1 - 1e-12) <= found.upper <= expected * (1 + 2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_opposite_rows_are_sums_of_two(seed):
    rng = np.random.default_rng(seed)
    X, values, offsets = rng.normal(size=(20, 3)), rng.normal(size=(20, 2)), rng.integers(2, size=20)
    grouped = grouped_bounds(np.stack([X, -X], axis=1).reshape(40, 3), values, size=2, offsets=offsets)
    summed = grouped_bounds(np.vstack([X, -X]), np.tile(values, (2, 1)), offsets=np.tile(offsets, 2))
    assert grouped.upper == pytest.approx(summed.upper, rel=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_order_repetition_and_zero_rows_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    groups, values, offsets = (
        rng.normal(size=(12, 3, 3)),
        rng.normal(size=(12, 2)),
        rng.integers(3, size=12),
    )
    plain = grouped_bounds(groups.reshape(36, 3), values, size=3, offsets=offsets, n_columns=4)
    padded = np.concatenate([groups[:, [2, 0, 1]], groups[:, :1], np.zeros((12, 1, 3))], axis=1)
    order = rng.permutation(24) % 12
    found = grouped_bounds(
        padded[order].reshape(120, 3), 0.5 * values[order], size=5, offsets=offsets[order], n_columns=4
    )
    assert found.upper == pytest.approx(plain.upper, rel=2e-6)
    assert found.lower == pytest.approx(plain.lower, rel=2e-6)


@pytest.mark.parametrize("seed", range(8))
def test_upper_bound_holds_in_exact_arithmetic(seed):
    rng = np.random.default_rng(seed)
    rows, size = rng.integers(-3, 4, size=(12, 3)), 1 + seed % 2
    values, offsets = rng.integers(-3, 4, size=(12 // size, 2)), rng.integers(2, size=12 // size)
    found = grouped_bounds(rows.astype(float), values.astype(float), size=size, offsets=offsets, n_columns=3)
    square = Fraction(found.upper) ** 2
    for u in itertools.product(range(-4, 5), repeat=3):
        heights = [max(0, *(int(x @ u) for x in rows[g * size : (g + 1) * size])) for g in range(len(values))]
        G = [0, 0, 0]
        for height, value, offset in zip(heights, values, offsets, strict=True):
            G[offset] += int(value[0]) * height
            G[offset + 1] += int(value[1]) * height
        assert sum(entry**2 for entry in G) <= square * sum(v * v for v in u)


def vector_problem():
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 4)), rng.normal(size=(120, 2)), rng.integers(4, size=120)


def test_threshold_spares_work_and_stays_valid():
    rows, values, offsets = vector_problem()
    tight = grouped_bounds(rows, values, offsets=offsets)
    loose = grouped_bounds(rows, values, offsets=offsets, threshold=1.3 * tight.lower)
    assert loose.complete
    assert loose.n_nodes < tight.n_nodes
    assert tight.lower <= loose.upper <= 1.3 * tight.lower * (1 + 1e-12)


def test_a_limit_of_time_leaves_a_valid_bound():
    rng = np.random.default_rng(0)
    rows, values = rng.normal(size=(300, 8)), rng.normal(size=(300, 3))
    short = grouped_bounds(rows, values, time_limit=0.2)
    U = rng.normal(size=(8, 20000))
    lengths = np.linalg.norm(values.T @ np.maximum(rows @ (U / np.linalg.norm(U, axis=0)), 0.0), axis=0)
    assert not short.complete
    assert lengths.max() <= short.upper < np.inf
    assert short.lower <= short.upper


def test_stopping_above_a_value_returns_different_points_above_it():
    rows, values, offsets = vector_problem()
    exact = grouped_bounds(rows, values, offsets=offsets)
    level = 0.7 * exact.lower
    found = grouped_bounds(rows, values, offsets=offsets, threshold=level, stop_above=level)
    lengths = np.linalg.norm(gain(rows, values, 1, offsets, np.zeros((5, 4)), found.others.T), axis=0)
    assert found.lower > level
    assert len(lengths) > 0
    assert (lengths > level * (1 - 1e-12)).all()
    assert exact.lower <= found.upper
    products = found.others @ found.others.T
    assert (products[~np.eye(len(products), dtype=bool)] < 1 - 1e-10).all()


def test_starts_are_used_and_more_than_fourteen_dimensions_are_not_searched():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 15))
    rows = np.vstack([rows, np.zeros((20, 15))])
    rows[3:] = rng.normal(size=(20, 15))
    found = grouped_bounds(rows, rng.normal(size=(23, 2)))
    assert not found.complete
    assert found.n_nodes == 0
    assert 0 < found.lower < found.upper < np.inf
    start = rng.normal(size=(15, 1))
    weights, values = grouped_maxima(np.zeros((1, 15)), [[1.0]], linear=start.T, starts=start)
    assert values[0] == pytest.approx(np.linalg.norm(start))
    assert np.abs(weights[:, 0] @ start[:, 0]) == pytest.approx(np.linalg.norm(start))


def test_local_maxima_are_gains_in_falling_order_and_seldom_miss_the_largest():
    rows, values, offsets = vector_problem()
    weights, lengths = grouped_maxima(rows, values, offsets=offsets)
    expected = np.linalg.norm(gain(rows, values, 1, offsets, np.zeros((5, 4)), weights), axis=0)
    np.testing.assert_allclose(lengths, expected)
    np.testing.assert_allclose(np.linalg.norm(weights, axis=0), 1.0)
    assert (np.diff(lengths) <= 0).all()
    assert lengths[0] == pytest.approx(grouped_bounds(rows, values, offsets=offsets).lower, rel=1e-3)


def test_nothing_to_gain():
    for found in (
        grouped_bounds(np.ones((4, 2)), np.zeros((2, 3)), size=2),
        grouped_bounds(np.zeros((4, 2)), np.ones((2, 3)), size=2),
        grouped_bounds(np.empty((0, 2)), np.empty((0, 1)), n_columns=2),
    ):
        assert found.complete
        assert found.lower == 0.0
        assert found.upper <= 1e-12


def test_shapes_must_fit():
    rows = np.ones((4, 2))
    with pytest.raises(ValueError, match="as many rows as groups times their size"):
        grouped_bounds(rows, np.ones((3, 1)), size=2)
    with pytest.raises(ValueError, match="larger `n_columns`"):
        grouped_bounds(rows, np.ones((4, 1)), offsets=np.arange(4), n_columns=2)
    with pytest.raises(ValueError, match="one row for each column"):
        grouped_bounds(rows, np.ones((4, 1)), n_columns=2, linear=np.ones((1, 2)))
