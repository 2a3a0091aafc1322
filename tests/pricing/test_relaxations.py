"""Relaxations bound the largest gain from above; dense search and exact values bound it from below."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.patterns import enumerate_patterns
from convexnn.pricing.bounds import gain
from convexnn.pricing.local_ascent import local_maxima
from convexnn.pricing.relaxations import closed_form, semidefinite
from program_cases import DEGENERACIES, degenerate_rows
from restatement import restated_support

METHODS = [closed_form, semidefinite]


def draw(seed, n, d, free, *, with_linear=False, kinds=(), scale=1.0):
    rng = np.random.default_rng(seed)
    X = degenerate_rows(rng.normal(size=(n, d)), rng, list(kinds)) * scale
    t = rng.normal(size=n)
    linear = rng.normal(size=d) * scale if with_linear else None
    if not free:
        return X, t, linear, None
    t = np.round(t * 2**20) / 2**20
    t[0] -= t.sum()
    penalized = np.append(np.ones(d, dtype=bool), False)
    linear = None if linear is None else np.append(linear, 0.0)
    return np.column_stack([X, np.ones(n)]), t, linear, penalized


def unit_vectors(rng, d, m, penalized):
    U = rng.normal(size=(d, m))
    return U / np.linalg.norm(U if penalized is None else U[penalized], axis=0)


def exact_support(X, t, penalized):
    """Largest gain over all cells, each by a cone program."""
    n_penalized = X.shape[1] if penalized is None else int(penalized.sum())
    best = 0.0
    for pattern in enumerate_patterns(X).to_dense():
        for sign in (1.0, -1.0):
            best = max(
                best, restated_support(X, pattern, sign * X.T @ (pattern * t), n_penalized=n_penalized)
            )
    return best


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 14),
    d=st.integers(1, 4),
    free=st.booleans(),
    with_linear=st.booleans(),
    kinds=st.lists(st.sampled_from(DEGENERACIES), max_size=3),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_upper_bounds_hold_at_random_and_at_locally_best_neurons(seed, n, d, free, with_linear, kinds, scale):
    X, t, linear, penalized = draw(seed, n, d, free, with_linear=with_linear, kinds=kinds, scale=scale)
    rng = np.random.default_rng(seed + 1)
    U = unit_vectors(rng, X.shape[1], 400, penalized)
    if free:
        U[-1] = -np.take_along_axis(X[:, :-1] @ U[:-1], rng.integers(n, size=(1, 400)), axis=0)[0]
    best, _ = local_maxima(X, t, linear=linear, penalized=penalized, n_starts=60, seed=seed)
    values = np.abs(gain(X, t, linear, np.hstack([U, best])))
    rounding = 1e-13 * np.abs(t) @ np.linalg.norm(X, axis=1)
    for method in METHODS:
        found = method(X, t, linear=linear, penalized=penalized)
        assert found.complete
        assert found.upper >= values.max() - rounding
        assert found.upper >= found.lower
        value = gain(X, t, linear, found.weights[:, None])[0]
        assert value == pytest.approx(found.sign * found.lower, rel=1e-9, abs=1e-300)
        norm = np.linalg.norm(found.weights if penalized is None else found.weights[penalized])
        assert norm == pytest.approx(1.0) or not found.weights.any()


@pytest.mark.parametrize("free", [False, True])
def test_semidefinite_bound_is_between_the_exact_value_and_the_closed_form(seed, free):
    X, t, _, penalized = draw(seed, 7, 2, free)
    exact = exact_support(X, t, penalized)
    loose, tight = (method(X, t, penalized=penalized) for method in METHODS)
    assert exact * (1 - 1e-7) <= tight.upper <= loose.upper
    assert tight.lower <= exact * (1 + 1e-7)
    assert tight.upper <= 1.4 * exact


def test_all_sign_vectors_bound_nonnegative_terms(seed):
    # Without negative terms and with symmetric rows the maximum is that over sign vectors.
    rng = np.random.default_rng(seed)
    X, t = rng.normal(size=(8, 3)), rng.uniform(0.1, 1.0, 8)
    both = np.vstack([X, -X])
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 8)).reshape(8, -1)
    exact = np.linalg.norm(X.T @ (t[:, None] * signs), axis=0).max()
    found = semidefinite(both, np.concatenate([t, t]))
    assert exact * (1 - 1e-12) <= found.upper <= exact * np.sqrt(np.pi / 2)


@pytest.mark.parametrize("method", METHODS)
def test_single_row_is_exact(method):
    X, t = np.array([[3.0, 4.0]]), np.array([2.0])
    found = method(X, t)
    assert found.upper == pytest.approx(10.0, rel=1e-6)
    assert found.lower == pytest.approx(10.0)
    np.testing.assert_allclose(found.weights, [0.6, 0.8])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("free", [False, True])
def test_a_time_limit_leaves_a_valid_bound(method, free):
    X, t, _, penalized = draw(6, 40, 3, free)
    found = method(X, t, penalized=penalized, time_limit=0.0)
    assert not found.complete
    _, gains = local_maxima(X, t, penalized=penalized)
    assert found.upper >= np.abs(gains).max()


def test_bounds_at_or_below_the_threshold_are_left_alone():
    X, t, _, _ = draw(0, 30, 3, False)
    loose = closed_form(X, t)
    assert semidefinite(X, t, threshold=loose.upper * 1.001).upper >= loose.upper * (1 - 1e-12)
    assert semidefinite(X, t).upper < loose.upper


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_gain(method):
    for t in (np.zeros(3), np.zeros(0)):
        found = method(np.ones((len(t), 2)), t)
        assert (found.lower, found.complete) == (0.0, True)
        assert 0 <= found.upper < 1e-12


def test_only_a_column_of_ones_may_be_free():
    X, t = np.ones((3, 2)), np.array([1.0, -1.0, 0.0])
    with pytest.raises(ValueError, match="last coordinate"):
        closed_form(X, t, penalized=np.array([False, True]))
    with pytest.raises(ValueError, match="last coordinate"):
        closed_form(2 * X, t, penalized=np.array([True, False]))


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_closed_forms_of_all_kinks_come_together(offset):
    X, t, _, penalized = draw(1, 100, 4, True)
    X = X + np.where(penalized, offset, 0.0)
    found = closed_form(X, t, penalized=penalized)
    # One by one: without a bias, in the rows seen from each row with a concave kink.
    singly = [
        closed_form(X[:, :-1] - X[j, :-1], sign * t).upper
        for sign in (1.0, -1.0)
        for j in np.flatnonzero(sign * t < 0)
    ]
    assert found.complete
    assert len(singly) > 90
    assert found.n_nodes < 10
    assert found.lower <= found.upper <= max(singly) * (1 + 1e-6)


@pytest.mark.parametrize("free", [False, True])
def test_ascents_stop_at_the_limit_of_time(free):
    X, t, _, penalized = draw(2, 50, 4, free)
    started, values = local_maxima(X, t, penalized=penalized, n_starts=8, time_limit=0.0)
    _, best = local_maxima(X, t, penalized=penalized, n_starts=8)
    assert np.abs(values).max() < np.abs(best).max()
    np.testing.assert_allclose(values, gain(X, t, None, started), rtol=1e-12)
