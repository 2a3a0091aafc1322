"""Values and gradients against formulas written out, scikit-learn, finite differences and identities."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import hinge_loss, log_loss

from convexnn.losses import (
    LOSSES,
    AbsoluteError,
    Hinge,
    Huber,
    LogLoss,
    Loss,
    Softmax,
    SquaredHinge,
    get_loss,
)
from convexnn_solvers.curvature import Curvature
from loss_cases import ALL_LOSSES, ELEMENTWISE, SMOOTH, draw_data

seeds = st.integers(0, 2**32 - 1)


def written_out(loss: Loss, f: float, y: float) -> float:
    r = abs(f - y)
    delta = getattr(loss, "delta", math.nan)
    formulas = {
        "squared_error": lambda: r**2 / 2,
        "huber": lambda: r**2 / 2 if r <= delta else delta * r - delta**2 / 2,
        "absolute_error": lambda: r,
        "log_loss": lambda: math.log(1 + math.exp(-y * f)),
        "hinge": lambda: max(0.0, 1 - y * f),
        "squared_hinge": lambda: max(0.0, 1 - y * f) ** 2,
    }
    return formulas[loss.name]()


@pytest.mark.parametrize("loss", ELEMENTWISE, ids=repr)
def test_value_is_the_weighted_sum_of_the_formula(loss):
    f, y, s = draw_data(loss, np.random.default_rng(0))
    expected = math.fsum(
        s[i] * written_out(loss, f[i, k], y[i, k]) for i in range(len(f)) for k in range(f.shape[1])
    )
    assert loss.value(f, y, s) == pytest.approx(expected, rel=1e-13)


def test_softmax_value_is_the_weighted_sum_of_the_formula():
    f, y, s = draw_data(Softmax(), np.random.default_rng(1))
    expected = math.fsum(
        weight * (math.log(sum(map(math.exp, row))) - row[int(one_hot.argmax())])
        for weight, row, one_hot in zip(s, f, y, strict=True)
    )
    assert Softmax().value(f, y, s) == pytest.approx(expected, rel=1e-13)


def test_classification_losses_agree_with_scikit_learn():
    f, y, s = draw_data(LogLoss(), np.random.default_rng(2), n_outputs=1)
    probability = 1 / (1 + np.exp(-f[:, 0]))
    expected = log_loss(y[:, 0], probability, sample_weight=s, normalize=False)
    assert LogLoss().value(f, y, s) == pytest.approx(expected, rel=1e-12)
    expected = s.sum() * hinge_loss(y[:, 0], f[:, 0], sample_weight=s)
    assert Hinge().value(f, y, s) == pytest.approx(expected, rel=1e-12)


def test_softmax_of_two_classes_is_the_logistic_loss_of_the_difference():
    f, y, s = draw_data(Softmax(), np.random.default_rng(3), n_outputs=2)
    difference, sign = f[:, [1]] - f[:, [0]], y[:, [1]] - y[:, [0]]
    assert Softmax().value(f, y, s) == pytest.approx(LogLoss().value(difference, sign, s), rel=1e-13)
    np.testing.assert_allclose(
        Softmax().gradient(f, y, s)[:, [1]], LogLoss().gradient(difference, sign, s), rtol=1e-12
    )


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds)
def test_gradient_is_the_slope_away_from_kinks(loss, seed):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, n_samples=4)
    direction = rng.normal(size=f.shape)
    h = 1e-6
    kinks = {"absolute_error": f - y, "hinge": 1 - y * f}
    if loss.name in kinks and (np.abs(kinks[loss.name]) < 10 * h * np.abs(direction)).any():
        return
    slope = (loss.value(f + h * direction, y, s) - loss.value(f - h * direction, y, s)) / (2 * h)
    assert np.sum(loss.gradient(f, y, s) * direction) == pytest.approx(slope, rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, scale=st.sampled_from([1e-8, 1.0, 1e3, 1e8]))
def test_gradient_is_a_subgradient(loss, seed, scale):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, scale=scale)
    g = draw_data(loss, rng, scale=scale)[0]
    tangent = loss.value(f, y, s) + np.sum(loss.gradient(f, y, s) * (g - f))
    value = loss.value(g, y, s)
    assert value >= tangent - 1e-12 * (abs(value) + loss.value(f, y, s))


def test_subgradients_at_kinks_are_zero():
    y = np.array([[1.0, -1.0]])
    for loss in (Hinge(), AbsoluteError()):
        assert not loss.gradient(y, y, np.ones(1)).any()


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
@settings(deadline=None)
@given(seed=seeds, t=st.floats(0, 1))
def test_value_is_convex(loss, seed, t):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, scale=3.0)
    g = draw_data(loss, rng, scale=3.0)[0]
    between = loss.value(t * f + (1 - t) * g, y, s)
    assert between <= (t * loss.value(f, y, s) + (1 - t) * loss.value(g, y, s)) * (1 + 1e-12)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_integer_weights_are_repetitions_and_zero_weights_are_absence(loss):
    f, y, _ = draw_data(loss, np.random.default_rng(4), n_samples=6)
    counts = np.array([0, 1, 2, 3, 0, 5])
    weights, ones = counts.astype(float), np.ones(counts.sum())
    many_f, many_y = np.repeat(f, counts, axis=0), np.repeat(y, counts, axis=0)
    assert loss.value(f, y, weights) == pytest.approx(loss.value(many_f, many_y, ones), rel=1e-13)
    gradient = loss.gradient(f, y, weights)
    summed = np.zeros_like(f)
    np.add.at(summed, np.repeat(np.arange(6), counts), loss.gradient(many_f, many_y, ones))
    np.testing.assert_allclose(gradient, summed, rtol=1e-13, atol=0)
    dual = 0.5 * gradient
    spread = np.repeat(dual / np.maximum(counts, 1)[:, None], counts, axis=0)
    assert loss.conjugate(dual, y, weights) == pytest.approx(loss.conjugate(spread, many_y, ones), rel=1e-12)
    np.testing.assert_allclose(
        loss.optimal_intercept(f, y, weights),
        loss.optimal_intercept(many_f, many_y, ones),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
@settings(deadline=None)
@given(seed=seeds, scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_smoothness_is_a_lipschitz_constant_of_the_gradient(loss, seed, scale):
    rng = np.random.default_rng(seed)
    f, y, _ = draw_data(loss, rng, n_samples=1)
    g = f + scale * rng.normal(size=f.shape)
    one = np.ones(1)
    change = np.linalg.norm(loss.gradient(g, y, one) - loss.gradient(f, y, one))
    assert change <= loss.smoothness * np.linalg.norm(g - f) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("loss", "at"),
    [(loss, [[0.0]]) for loss in SMOOTH if loss.name != "softmax"] + [(Softmax(), [[0.0, 0.0]])],
    ids=repr,
)
def test_smoothness_is_attained(loss, at):
    f = np.array(at)
    y = np.array([[1.0, 0.0]]) if loss.name == "softmax" else np.ones_like(f)
    if loss.name == "huber":
        y *= 0.5 * loss.delta
    step = 1e-4 * np.array([1.0, -1.0])[: f.shape[1]] / math.sqrt(f.shape[1])
    one = np.ones(1)
    change = np.linalg.norm(loss.gradient(f + step, y, one) - loss.gradient(f - step, y, one))
    assert change == pytest.approx(loss.smoothness * 2e-4, rel=1e-6)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_smooth_is_what_has_a_finite_constant(loss):
    assert loss.is_smooth == (loss.name not in {"absolute_error", "hinge"})


@pytest.mark.parametrize("loss", [LogLoss(), Softmax(), Hinge(), SquaredHinge()], ids=repr)
def test_huge_outputs_neither_overflow_nor_lose_the_loss(loss):
    right = np.array([[1e6, -1e6]])
    y = np.array([[1.0, 0.0]]) if loss.name == "softmax" else np.array([[1.0, -1.0]])
    one = np.ones(1)
    assert loss.value(right, y, one) == 0
    assert not loss.gradient(right, y, one).any()
    expected = {"log_loss": 2e6, "softmax": 2e6, "hinge": 2e6 + 2, "squared_hinge": 2 * (1e6 + 1) ** 2}
    assert loss.value(-right, y, one) == pytest.approx(expected[loss.name], rel=1e-15)
    assert np.isfinite(loss.gradient(-right, y, one)).all()


def test_tiny_softmax_losses_keep_their_digits():
    f, y, one = np.array([[50.0, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]), np.ones(1)
    assert Softmax().value(f, y, one) == pytest.approx(2 * math.exp(-50), rel=1e-12)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=repr)
def test_losses_are_values(loss):
    copy = pickle.loads(pickle.dumps(loss))
    assert copy == loss
    assert hash(copy) == hash(loss)
    assert repr(loss).startswith(type(loss).__name__ + "(")


def test_huber_losses_differ_by_delta():
    assert Huber(0.5) != Huber()
    assert Huber(1.0) == get_loss("huber")
    assert repr(Huber(0.5)) == "Huber(delta=0.5)"


def test_names_are_keys_of_the_table():
    assert {name: loss.name for name, loss in LOSSES.items()} == {name: name for name in LOSSES}
    assert {loss.name for loss in ALL_LOSSES} == set(LOSSES)


@pytest.mark.parametrize("delta", [0.0, -1.0, math.inf, math.nan])
def test_huber_refuses_a_delta_without_meaning(delta):
    with pytest.raises(ValueError, match=r"delta .* must be positive and finite"):
        Huber(delta)


@pytest.mark.parametrize("loss", SMOOTH, ids=repr)
@settings(deadline=None)
@given(seed=seeds)
def test_curvature_is_the_slope_of_the_gradient_and_at_most_the_smoothness(loss, seed):
    rng = np.random.default_rng(seed)
    f, y, s = draw_data(loss, rng, n_samples=5)
    direction, h = rng.normal(size=f.shape), 1e-6
    kinks = {"huber": np.abs(f - y) - getattr(loss, "delta", 0.0), "squared_hinge": 1 - y * f}
    if loss.name in kinks and (np.abs(kinks[loss.name]) < 10 * h * np.abs(direction)).any():
        return
    curvature = Curvature(*loss.curvature(f, y, s)).matrices()
    slope = (loss.gradient(f + h * direction, y, s) - loss.gradient(f - h * direction, y, s)) / (2 * h)
    np.testing.assert_allclose(np.einsum("nkl,nl->nk", curvature, direction), slope, rtol=1e-6, atol=1e-7)
    eigenvalues = np.linalg.eigvalsh(curvature)
    assert (eigenvalues >= -1e-14 * s[:, None]).all()
    assert (eigenvalues <= loss.smoothness * s[:, None] * (1 + 1e-12)).all()


@pytest.mark.parametrize("loss", [Hinge(), AbsoluteError()], ids=repr)
def test_losses_with_kinks_have_no_curvature(loss):
    f, y, s = draw_data(loss, np.random.default_rng(5))
    with pytest.raises(TypeError):
        loss.curvature(f, y, s)
