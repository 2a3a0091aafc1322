"""Sums, domains, dual values and gains in exact arithmetic: no claim may rest on rounding."""

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convexnn.activations import get_activation
from convexnn.certificates.bounds import AllSamples, bound_from
from convexnn.certificates.exact_dual import check_loss, dual_lower_bound, exact_point
from convexnn.certificates.pricing_methods import Pricing
from convexnn.losses import SquaredError
from convexnn.pricing.local_ascent import local_maxima
from convexnn.problem import NetworkKind, Problem, TrainingData
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import dual_value, into_domain
from program_cases import BIASES, DEGENERACIES, LOSSES, degenerate_rows, draw_targets

CURVATURES = {"squared_error": "1/2", "huber": "1/2", "squared_hinge": "1/4", "absolute_error": 0, "hinge": 0}


def draw_problem(
    seed,
    loss="squared_error",
    *,
    n=9,
    bias=("penalized", True),
    kinds=(),
    n_outputs=1,
    scale=1.0,
    activation="relu",
    alpha=0.3,
):
    rng = np.random.default_rng(seed)
    chosen = LOSSES[loss]
    n_outputs = 3 if loss == "softmax" else n_outputs
    weight = rng.uniform(0.1, 3.0, n)
    weight[rng.integers(n)] *= rng.integers(2)
    X = degenerate_rows(rng.normal(size=(n, 2)), rng, list(kinds)) * scale
    data = TrainingData(X, draw_targets(chosen, rng, n, n_outputs), weight, chosen)
    return Problem.of(data, NetworkKind(get_activation(activation), *bias), alpha), rng


def fractions(values):
    return np.vectorize(Fraction, otypes=[object])(values)


def domain_ends(problem):
    """Exact ends of the domain of each entry of ``z = -theta``."""
    s = fractions(problem.data.weight)[:, None]
    name = problem.loss.name
    infinite = Fraction(10) ** 400
    if name in ("squared_error", "huber", "absolute_error"):
        size = {"squared_error": infinite, "absolute_error": 1}.get(name) or Fraction(problem.loss.delta)
        return -s * size, s * size
    size = infinite if name == "squared_hinge" else 1
    positive = problem.data.targets > 0
    return np.where(positive, -s * size, 0), np.where(positive, 0, s * size)


def exact_value(problem, theta):
    """``D(theta)`` exactly, or to 60 digits where logarithms are needed."""
    total = Fraction(0)
    with localcontext(prec=60):
        for s, row, targets in zip(problem.data.weight, theta, problem.data.targets, strict=True):
            if s == 0:
                assert not row.any()
                continue
            for entry, target in zip(row, targets, strict=True):
                z, y, s_exact = Fraction(-entry), Fraction(target), Fraction(s)
                if problem.loss.name in CURVATURES:
                    total -= z * (Fraction(CURVATURES[problem.loss.name]) * z / s_exact + y)
                    continue
                if problem.loss.name == "softmax":
                    masses = [z / s_exact + y]
                else:
                    masses = [-y * z / s_exact, 1 + y * z / s_exact]
                for p in masses:
                    if p > 0:
                        decimal = Decimal(p.numerator) / Decimal(p.denominator)
                        total -= s_exact * Fraction(decimal * decimal.ln())
    return total


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    loss=st.sampled_from(sorted(LOSSES)),
    n=st.integers(1, 40),
    fit_intercept=st.booleans(),
    size=st.sampled_from([1e-8, 1.0, 1e8]),
    n_outputs=st.integers(1, 3),
)
def test_exact_points_are_in_the_domain_with_sums_of_zero(seed, loss, n, fit_intercept, size, n_outputs):
    problem, rng = draw_problem(seed, loss, n=n, bias=("penalized", fit_intercept), n_outputs=n_outputs)
    guess = into_domain(AllSamples.of(problem), size * rng.normal(size=problem.data.targets.shape))
    theta = exact_point(problem, guess)
    exact = fractions(theta)
    if fit_intercept:
        assert (exact.sum(axis=0) == 0).all()
    if loss == "softmax":
        assert (exact.sum(axis=1) == 0).all()
        mass = -exact + fractions(problem.data.weight)[:, None] * fractions(problem.data.targets)
        assert (mass >= 0).all()
    else:
        low, high = domain_ends(problem)
        assert ((low <= -exact) & (-exact <= high)).all()
    # Rows of softmax guesses sum to zero to rounding of one only.
    atol = 1e-12 * n * np.abs(guess).max(initial=0.0) + 1e-13 * (loss == "softmax")
    np.testing.assert_allclose(theta, guess, rtol=1e-12, atol=atol)
    np.testing.assert_array_equal(exact_point(problem, np.zeros_like(theta)), 0.0)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    loss=st.sampled_from(sorted(LOSSES)),
    size=st.sampled_from([1e-12, 1e-3, 1.0, 1e3]),
    at_end=st.booleans(),
)
def test_dual_values_are_rounded_down_and_hardly(seed, loss, size, at_end):
    problem, rng = draw_problem(seed, loss)
    guess = size * rng.normal(size=problem.data.targets.shape)
    if at_end:
        guess = -problem.loss.project_dual(1e9 * np.sign(guess), problem.data.targets, problem.data.weight)
    theta = exact_point(problem, into_domain(AllSamples.of(problem), guess))
    claimed, exact = dual_lower_bound(problem, theta), exact_value(problem, theta)
    assert Fraction(claimed) <= exact
    scale = np.abs(theta * (1 + np.abs(problem.data.targets))).sum() + abs(float(exact))
    if np.abs(theta).max() < 1e6:
        assert claimed >= float(exact) - 1e-12 * scale * (1 + np.abs(theta).max()) - 1e-300


def exact_gain_holds(problem, theta, weights, alpha):
    """Whether ``|sum_i theta_i phi(x~_i . u)|_2 <= alpha |u|`` for one u, in fractions."""
    X, u = fractions(problem.data.X), fractions(weights)
    d = problem.data.X.shape[1]
    v = X @ u[:d]
    biases = {"none": [Fraction(0)], "penalized": [u[-1]], "free": [-b for b in v]}[problem.kind.hidden_bias]
    norm = (u[:d] ** 2).sum() + (u[-1] ** 2 if problem.kind.hidden_bias == "penalized" else 0)
    phi = problem.kind.activation
    on, off = Fraction(phi.on), Fraction(phi.off)
    for bias in biases:
        layer = np.array([on * t if t >= 0 else off * t for t in v + bias], dtype=object)
        if ((fractions(theta).T @ layer) ** 2).sum() > Fraction(alpha) ** 2 * norm:
            return False
    return True


@settings(max_examples=40)
@example(
    seed=1,
    loss="absolute_error",
    bias=("penalized", True),
    activation="relu",
    kinds=["constant", "constant"],
    scale=1e-4,
    n_outputs=1,
)
@given(
    seed=st.integers(0, 10**6),
    loss=st.sampled_from(sorted(LOSSES)),
    bias=st.sampled_from(BIASES),
    activation=st.sampled_from(["relu", "leaky_relu", "absolute_value"]),
    kinds=st.lists(st.sampled_from(DEGENERACIES), max_size=2),
    scale=st.sampled_from([1e-4, 1.0, 1e5]),
    n_outputs=st.integers(1, 2),
)
def test_dual_points_are_feasible_in_exact_arithmetic(seed, loss, bias, activation, kinds, scale, n_outputs):
    problem, rng = draw_problem(
        seed,
        loss,
        n=7,
        bias=bias,
        kinds=kinds,
        scale=scale,
        activation=activation,
        alpha=0.3 * scale,
        n_outputs=n_outputs,
    )
    guess = rng.normal(size=problem.data.targets.shape)
    bound = bound_from(problem, Pricing(problem), guess, "test", Clock())
    theta = bound.theta
    if theta.any():
        assert Fraction(bound.value) <= exact_value(problem, theta)
    else:
        assert bound.value == 0
    # Hardly less than what a grid of scales gives in floating point.
    samples = AllSamples.of(problem)
    ray = into_domain(samples, guess)
    # Where no neuron has a price, of data that are all alike say, any scale is feasible.
    scales = np.linspace(0, 1, 201) * min(problem.alpha / max(bound.price.upper, 0.01 * problem.alpha), 100.0)
    attainable = max(dual_value(samples, scale * ray) for scale in scales)
    assert bound.value >= attainable - 1e-6 * (np.abs(ray * problem.data.targets).sum() + abs(attainable))
    assert bound.largest_gain <= problem.alpha
    if problem.fit_intercept:
        assert (fractions(theta).sum(axis=0) == 0).all()
    layer = problem.original_layer
    penalized = None if layer.penalized.all() else layer.penalized
    best = [local_maxima(layer.rows, t, penalized=penalized, n_starts=6)[0].T[:4] for t in theta.T]
    candidates = [rng.normal(size=(4, layer.rows.shape[1])), bound.price.neurons, *best]
    for weights in np.vstack(candidates):
        assert exact_gain_holds(problem, theta, weights, problem.alpha)


def test_largest_gain_is_used_up():
    problem, rng = draw_problem(1)
    guess = rng.normal(size=problem.data.targets.shape)
    bound = bound_from(problem, Pricing(problem), guess, "test", Clock())
    assert problem.alpha * (1 - 1e-9) <= bound.largest_gain <= problem.alpha


class OtherError(SquaredError):
    pass


def test_losses_of_unknown_rounding_are_refused():
    problem, _ = draw_problem(0, loss="squared_error")
    check_loss(problem)
    changed = Problem.of(replace(problem.data, loss=OtherError()), problem.kind, problem.alpha)
    with pytest.raises(ValueError, match="OtherError"):
        check_loss(changed)
