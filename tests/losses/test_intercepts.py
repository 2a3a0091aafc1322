"""Optimal intercepts: nothing else gives a lower loss, on any scale; exact known cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from convexnn.losses import AbsoluteError, Hinge, Huber, LogLoss, Softmax, SquaredError, SquaredHinge
from loss_cases import ALL_LOSSES, ELEMENTWISE, SMOOTH, draw_data

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-8, 1e-3, 1.0, 1e3, 1e8])
EPS = np.finfo(float).eps


def column(*values):
    return np.array(values, dtype=float)[:, None]


@pytest.mark.parametrize("loss", ELEMENTWISE, ids=repr)
@settings(deadline=None)
@given(seed=seeds, scale=scales, n_samples=st.integers(1, 12))
def test_no_other_intercept_is_better(loss, seed, scale, n_samples):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, n_samples=n_samples, n_outputs=1, scale=scale)
    s[rng.uniform(size=n_samples) < 0.3] = 0.0
    (c,) = loss.optimal_intercept(f, y, s)
    best = loss.value(f + c, y, s)

    def value(shift):
        return loss.value(f + shift, y, s)

    # Rounding of f + c alone moves the loss by this much.
    noise = 4 * EPS * (abs(c) + np.abs(f).max() + np.abs(y).max())
    slack = noise * np.abs(loss.gradient(f + c, y, s)).sum() + 1e-12 * best + noise**2 * s.sum()
    if loss.name == "log_loss":
        slack += 1e-17 * s.sum()
    if not loss.is_smooth:
        slack += noise * s.sum()
    steps = 10.0 ** np.arange(-12, 9)
    others = [*(c + steps * scale), *(c - steps * scale), *(y - f)[:, 0], *(y - f + 1)[:, 0]]
    found = minimize_scalar(value, bounds=(c - 5 * scale - 5, c + 5 * scale + 5))
    assert best <= min(*map(value, others), found.fun) + slack


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
@settings(deadline=None)
@given(seed=seeds, scale=scales)
def test_derivative_vanishes_to_rounding(loss, seed, scale):
    f, y, s = draw_data(loss, np.random.default_rng(seed), n_samples=15, n_outputs=3, scale=scale)
    # Every class occurs, in every output.
    y[:3] = np.eye(3) if loss.name == "softmax" else y[:3]
    if loss.name in {"log_loss", "squared_hinge"}:
        y[0], y[1] = 1.0, -1.0
    c = loss.optimal_intercept(f, y, s)
    derivative = loss.gradient(f + c, y, s).sum(axis=0)
    rounding = EPS * (np.abs(f).max() + np.abs(c).max() + np.abs(y).max())
    assert (np.abs(derivative) <= 8 * s.sum() * (loss.smoothness * rounding + EPS * (1 + rounding))).all()


@settings(deadline=None)
@given(seed=seeds, scale=st.sampled_from([1e-8, 1.0, 30.0, 1e8]), n_classes=st.integers(2, 5))
def test_softmax_intercept_beats_a_general_optimiser(seed, scale, n_classes):
    rng = np.random.default_rng(seed)
    loss = Softmax()
    f, y, s = draw_data(loss, rng, n_samples=12, n_outputs=n_classes, scale=scale)
    s[rng.uniform(size=12) < 0.3] = 0.0
    c = loss.optimal_intercept(f, y, s)
    best = loss.value(f + c, y, s)
    assert abs(c.sum()) <= 1e-12 * (1 + np.abs(c).sum())
    slack = 1e-12 * best + 8 * EPS * s.sum() * (np.abs(f).max() + np.abs(c).max() + 1)

    def value_and_gradient(shift):
        return loss.value(f + shift, y, s), loss.gradient(f + shift, y, s).sum(axis=0)

    for start in (np.zeros(n_classes), c, c + scale * rng.normal(size=n_classes)):
        found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B")
        assert best <= found.fun + slack


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, shift=st.floats(-100, 100))
def test_shifted_outputs_shift_the_intercept_back(loss, seed, shift):
    f, y, s = draw_data(loss, np.random.default_rng(seed))
    before = loss.value(f + loss.optimal_intercept(f, y, s), y, s)
    after = loss.value(f + shift + loss.optimal_intercept(f + shift, y, s), y, s)
    assert after == pytest.approx(before, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@pytest.mark.parametrize("factor", [1e-300, 1e-8, 1e8, 1e300])
def test_only_the_ratio_of_weights_matters(loss, factor):
    f, y, s = draw_data(loss, np.random.default_rng(3))
    expected = loss.optimal_intercept(f, y, s)
    np.testing.assert_allclose(loss.optimal_intercept(f, y, factor * s), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_without_weights_the_intercept_is_zero(loss):
    f, y, s = draw_data(loss, np.random.default_rng(4))
    assert not loss.optimal_intercept(f, y, 0 * s).any()


@pytest.mark.parametrize(
    ("loss", "f", "y", "expected"),
    [
        (SquaredError(), (0, 0, 0), (1, 2, 6), 3.0),
        (AbsoluteError(), (0, 0, 0), (1, 2, 6), 2.0),
        (AbsoluteError(), (0, 0, 0, 0), (1, 2, 6, 9), 4.0),
        (AbsoluteError(), (5,), (1,), -4.0),
        (Huber(), (0, 0), (0, 10), 5.0),
        (Huber(), (0, 0, 0), (0, 0, 30), 0.5),
        (Hinge(), (0, 0), (1, -1), 0.0),
        (Hinge(), (0, 0, 0), (1, 1, -1), 1.0),
        (Hinge(), (10, -10), (1, -1), 0.0),
        (Hinge(), (0, 3), (1, 1), 1.0),
        (Hinge(), (0, 3), (-1, -1), -4.0),
        (SquaredHinge(), (0, 0), (1, -1), 0.0),
        (SquaredHinge(), (0, 0, 0), (1, 1, -1), 1 / 3),
        (SquaredHinge(), (10, 20, -10, -30), (1, 1, -1, -1), 0.0),
        (SquaredHinge(), (0, 3), (1, 1), 1.0),
        (SquaredHinge(), (0, 3), (-1, -1), -4.0),
        (LogLoss(), (0, 0, 0, 0), (1, 1, 1, -1), np.log(3)),
        (LogLoss(), (2, 2, 2, 2), (1, 1, 1, -1), np.log(3) - 2),
    ],
)
def test_known_intercepts(loss, f, y, expected):
    c = loss.optimal_intercept(column(*f), column(*y), np.ones(len(f)))
    np.testing.assert_allclose(c, [expected], rtol=1e-14, atol=1e-15)


def test_softmax_of_constant_outputs_gives_the_log_frequencies():
    y = np.eye(3)[[0, 0, 0, 1, 2, 2]]
    c = Softmax().optimal_intercept(np.full((6, 3), 7.0), y, np.ones(6))
    expected = np.log([3.0, 1.0, 2.0])
    np.testing.assert_allclose(c, expected - expected.mean(), atol=1e-14)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("label", [-1.0, 1.0])
def test_log_loss_with_one_class_saturates(scale, label):
    f = scale * np.random.default_rng(5).normal(size=(9, 1))
    y = np.full((9, 1), label)
    c = LogLoss().optimal_intercept(f, y, np.ones(9))
    assert np.isfinite(c).all()
    assert LogLoss().value(f + c, y, np.ones(9)) <= 9 * np.exp(-39.0)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_softmax_with_absent_classes_saturates_them(scale):
    rng = np.random.default_rng(6)
    f = scale * rng.normal(size=(9, 4))
    y = np.eye(4)[rng.choice([1, 3], 9)]
    c = Softmax().optimal_intercept(f, y, np.ones(9))
    assert np.isfinite(c).all()
    gradient = Softmax().gradient(f + c, y, np.ones(9)).sum(axis=0)
    assert np.abs(gradient).max() <= 9 * 8 * EPS * (1 + np.abs(f).max() + np.abs(c).max())
    pair = Softmax().optimal_intercept(f[:, [1, 3]], y[:, [1, 3]], np.ones(9))
    assert c[1] - c[3] == pytest.approx(pair[0] - pair[1], rel=1e-9)
    alone = Softmax().optimal_intercept(f, np.eye(4)[[2] * 9], np.ones(9))
    assert Softmax().value(f + alone, np.eye(4)[[2] * 9], np.ones(9)) <= 9 * 3 * np.exp(-39.0)
