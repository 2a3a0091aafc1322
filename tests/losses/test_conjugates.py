"""Conjugates against brute-force suprema and the Fenchel-Young inequality; projections on their domain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from convexnn.losses import AbsoluteError, Hinge, Huber, LogLoss, Softmax, SquaredError, SquaredHinge
from loss_cases import ALL_LOSSES, ELEMENTWISE, draw_data

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-8, 1e-2, 1.0, 1e2, 1e8])
ONE = np.ones(1)

INSIDE = {
    "squared_error": [-3.0, 0.0, 0.7, 20.0],
    "huber": [-0.2, 0.0, 0.24],
    "absolute_error": [-0.9, 0.0, 0.4],
    "log_loss": [0.05, 0.5, 0.93],
    "hinge": [0.05, 0.5, 0.93],
    "squared_hinge": [0.05, 0.5, 3.0],
}


def elementwise_points(loss, targets):
    for y in targets:
        for p in INSIDE[loss.name]:
            yield y, (-y * p if loss.task == "classification" else p)


@pytest.mark.parametrize("loss", ELEMENTWISE, ids=repr)
def test_conjugate_is_the_supremum_found_by_search(loss):
    targets = [-1.0, 1.0] if loss.task == "classification" else [-2.0, 0.0, 1.5]
    for y, z in elementwise_points(loss, targets):
        target = np.array([[y]])

        def negated(f, z=z, target=target):
            return loss.value(np.array([[f]]), target, ONE) - z * f

        grid = np.linspace(-40, 40, 801)
        best = grid[np.argmin([negated(f) for f in grid])]
        found = minimize_scalar(negated, bounds=(best - 0.2, best + 0.2), options={"xatol": 1e-11})
        supremum = -min(found.fun, negated(best))
        assert loss.conjugate(np.array([[z]]), target, ONE) == pytest.approx(supremum, rel=1e-8, abs=1e-8)


def test_softmax_conjugate_is_the_supremum_found_by_search():
    rng = np.random.default_rng(0)
    for _ in range(10):
        y = np.eye(4)[[rng.integers(4)]]
        z = rng.dirichlet(np.ones(4))[None] - y

        def negated(f, y=y, z=z):
            f = f[None]
            return Softmax().value(f, y, ONE) - np.sum(z * f), (Softmax().gradient(f, y, ONE) - z)[0]

        found = minimize(negated, np.zeros(4), jac=True, tol=1e-10)
        assert Softmax().conjugate(z, y, ONE) == pytest.approx(-found.fun, abs=1e-9)


OUTSIDE = [
    (SquaredError(), None),
    (Huber(0.25), 0.25),
    (AbsoluteError(), 1.0),
    (LogLoss(), 1.0),
    (Hinge(), 1.0),
    (SquaredHinge(), None),
]


@pytest.mark.parametrize(("loss", "edge"), OUTSIDE, ids=repr)
@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_conjugate_is_infinite_exactly_outside_the_domain(loss, edge, y):
    target = np.array([[y]])
    sign = -y if loss.task == "classification" else 1.0
    if edge is not None:
        assert math.isfinite(loss.conjugate(np.array([[sign * edge]]), target, ONE))
        assert loss.conjugate(np.array([[sign * np.nextafter(edge, 2)]]), target, ONE) == math.inf
    else:
        assert math.isfinite(loss.conjugate(np.array([[sign * 1e6]]), target, ONE))
    if loss.task == "classification":
        assert math.isfinite(loss.conjugate(np.zeros((1, 1)), target, ONE))
        assert loss.conjugate(np.array([[-sign * 5e-324]]), target, ONE) == math.inf


@pytest.mark.parametrize("z", [[0.1, 0.0, 0.0], [-1.5, 1.5, 0.0], [0.0, 1e-300, -1e-300], [math.nan, 0, 0]])
def test_softmax_conjugate_is_infinite_off_the_simplex(z):
    assert Softmax().conjugate(np.array([z]), np.array([[1.0, 0.0, 0.0]]), ONE) == math.inf


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_conjugate_of_zero_is_minus_the_infimum_of_the_loss(loss):
    _, y, s = draw_data(loss, np.random.default_rng(1))
    assert loss.conjugate(np.zeros_like(y), y, s) == 0


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, scale=scales)
def test_fenchel_young_is_an_equality_at_the_gradient(loss, seed, scale):
    f, y, s = draw_data(loss, np.random.default_rng(seed), scale=scale)
    s[0] = 0.0
    z = loss.gradient(f, y, s)
    value, conjugate = loss.value(f, y, s), loss.conjugate(z, y, s)
    size = value + abs(conjugate) + np.sum(np.abs(z * f))
    assert value + conjugate == pytest.approx(np.sum(z * f), abs=1e-13 * size)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, scale=scales, spread=scales)
def test_fenchel_young_holds_between_any_pair(loss, seed, scale, spread):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, scale=scale)
    z = loss.project_dual(spread * rng.normal(size=f.shape), y, s)
    value, conjugate = loss.value(f, y, s), loss.conjugate(z, y, s)
    size = value + abs(conjugate) + np.sum(np.abs(z * f)) + s.sum()
    assert value + conjugate >= np.sum(z * f) - 1e-13 * size


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, spread=scales, weight=st.sampled_from([1e-8, 1.0, 1e8]), t=st.floats(0, 1))
def test_projection_lands_in_the_domain_and_stays_there_when_shrunk(loss, seed, spread, weight, t):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng)
    s *= weight
    s[:2] = 0.0
    z = loss.project_dual(weight * spread * rng.normal(size=f.shape), y, s)
    assert not z[:2].any()
    assert math.isfinite(loss.conjugate(z, y, s))
    assert math.isfinite(loss.conjugate(t * z, y, s))
    np.testing.assert_array_equal(loss.project_dual(z, y, s), z)
    np.testing.assert_array_equal(loss.project_dual(t * z, y, s), t * z)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, spread=st.sampled_from([0.1, 1.0, 10.0]))
def test_projection_is_the_nearest_point(loss, seed, spread):
    # P is the projection of x on a convex set exactly when <x - P, q - P> <= 0 for all q in the set.
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, n_samples=3)
    x = spread * rng.normal(size=f.shape)
    z = loss.project_dual(x, y, s)
    for _ in range(5):
        other = loss.project_dual(s[:, None] * spread * rng.normal(size=f.shape), y, s)
        products = np.sum((x - z) * (other - z), axis=1)
        assert (products <= 1e-12 * s * (1 + spread) ** 2).all()


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_gradients_are_left_alone_by_the_projection(loss):
    for seed in range(20):
        f, y, s = draw_data(loss, np.random.default_rng(seed), scale=10.0 ** (seed % 5))
        z = loss.gradient(f, y, s)
        np.testing.assert_array_equal(loss.project_dual(z, y, s), z)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_samples_of_weight_zero_must_have_a_dual_of_zero(loss):
    f, y, s = draw_data(loss, np.random.default_rng(2), n_samples=3)
    s[1] = 0.0
    z = loss.gradient(f, y, s)
    rest = [0, 2]
    assert loss.conjugate(z, y, s) == pytest.approx(loss.conjugate(z[rest], y[rest], s[rest]), rel=1e-13)
    z[1, 0] = -1e-300 * np.sign(y[1, 0] + 0.5)
    assert loss.conjugate(z, y, s) == math.inf


def test_softmax_projection_of_known_points():
    y = np.zeros((3, 3))
    x = np.array([[0.5, 0.5, 0.5], [2.0, 0.0, 0.0], [0.9, 0.3, -5.0]])
    expected = [[1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0.8, 0.2, 0]]
    np.testing.assert_allclose(Softmax().project_dual(x, y, np.ones(3)), expected, atol=1e-15)


def test_softmax_projection_does_not_see_a_common_shift():
    x = np.random.default_rng(3).integers(-1000, 1000, size=(20, 5)) / 1024
    y, one = np.zeros((20, 5)), np.ones(20)
    expected = Softmax().project_dual(x, y, one)
    np.testing.assert_allclose(Softmax().project_dual(x + 2.0**30, y, one), expected, atol=1e-15)


def test_softmax_conjugate_allows_for_the_rounding_of_sums_only():
    y, tiny = np.array([[0.5, 0.25, 0.25]]), np.finfo(float).eps
    assert math.isfinite(Softmax().conjugate(np.array([[0.0, 0.0, 20 * tiny]]), y, ONE))
    assert Softmax().conjugate(np.array([[0.0, 0.0, 40 * tiny]]), y, ONE) == math.inf


def test_projection_survives_weights_near_the_underflow_limit():
    y, s = np.array([[1.0, 0.0, 0.0]] * 3), np.full(3, 1e-310)
    z = np.array([[1e10, -1e10, 0.0], [-0.5e-310, 0.33e-310, 0.1e-310], [0.0, 0.0, 0.0]])
    assert math.isfinite(Softmax().conjugate(Softmax().project_dual(z, y, s), y, s))
