"""The parts of training with weighted pooling: gradients, descents, bounds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad

from convexnn.activations import Activation, get_activation, leaky_relu
from convexnn.losses import encode_targets, get_loss
from convexnn.training.weighted.ascent import refined, searched
from convexnn.training.weighted.bounds import branched, relaxed
from convexnn.training.weighted.kinks import kink_subspace
from convexnn.training.weighted.neurons import WeightedNeurons, WeightedProblem
from convexnn.training.weighted.sliding import slide
from convexnn_solvers.clock import Clock


def problem_of(rng, *, n=20, n_positions=4, d=3, q=1, loss="squared_error", activation="relu"):
    targets = rng.normal(size=(n, q))
    if get_loss(loss).task == "classification":
        targets = np.where(targets > 0, 1.0, -1.0)
    if loss == "softmax":
        targets = encode_targets(get_loss(loss), rng.integers(0, q, n), q)
    patches = rng.normal(size=(n, n_positions, d))
    weight = rng.uniform(0.5, 2.0, n)
    return WeightedProblem(patches, targets, weight, get_loss(loss), 0.3, get_activation(activation), True)


def neurons_of(rng, problem, m=5):
    q = problem.targets.shape[1]
    _, n_positions, d = problem.patches.shape
    return WeightedNeurons(
        rng.normal(size=(m, d)), rng.normal(size=(m, n_positions)), np.arange(m) % q, rng.normal(size=q)
    )


@pytest.mark.parametrize(("loss", "q"), [("squared_error", 1), ("log_loss", 2), ("softmax", 3)])
@pytest.mark.parametrize("activation", ["relu", leaky_relu(0.2), "absolute_value"])
@pytest.mark.parametrize("width", [0.0, 0.4])
def test_gradients_are_those_of_finite_differences(loss, q, activation, width):
    rng = np.random.default_rng(q)
    problem = problem_of(rng, q=q, loss=loss, activation=activation)
    neurons = neurons_of(rng, problem)
    sizes = [neurons.weights.size, neurons.weights.size + neurons.amounts.size]

    def parts(x):
        weights, amounts, intercept = np.split(x, sizes)
        moved = WeightedNeurons(
            weights.reshape(neurons.weights.shape),
            amounts.reshape(neurons.amounts.shape),
            neurons.outputs,
            intercept,
        )
        return problem.value_and_gradient(moved, np.full(len(neurons), width))

    x = np.concatenate([neurons.weights.ravel(), neurons.amounts.ravel(), neurons.intercept])
    error = check_grad(
        lambda z: parts(z)[0], lambda z: np.concatenate([g.ravel() for g in parts(z)[1:]]), x, epsilon=1e-7
    )
    assert error <= 1e-4 * np.linalg.norm(parts(x)[1])
    if width == 0:
        assert parts(x)[0] == pytest.approx(problem.value(neurons), rel=1e-12)


def test_rounding_kinks_off_never_lowers_the_activation():
    rng = np.random.default_rng(0)
    problem = problem_of(rng, activation=Activation("relu"))
    weights = rng.normal(size=(4, 3))
    exact, _ = problem.rounded(slice(None), weights, np.zeros(4))
    rounded, slopes = problem.rounded(slice(None), weights, np.full(4, 0.5))
    assert (rounded >= exact).all()
    assert (rounded <= exact + 0.25 * 0.5 * problem.lengths).all()
    assert ((slopes >= 0) & (slopes <= 1)).all()


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "hinge", "absolute_error"])
def test_descents_never_rise(loss, seed):
    rng = np.random.default_rng(seed)
    problem = problem_of(rng, loss=loss)
    neurons = neurons_of(rng, problem, 8)
    neurons.weights[1] = neurons.weights[0] * 1.01
    before = problem.value(neurons)
    after = slide(problem, neurons, (0.1, 0.01), Clock())
    assert problem.value(after) < before
    assert problem.value(slide(problem, after, (0.01,), Clock(0.0))) <= problem.value(after) * (1 + 2e-13)


def test_descents_end_on_kinks():
    # One patch pulls the filter down to its kink, where the objective has a minimum along it.
    rng = np.random.default_rng(1)
    problem = problem_of(rng, n=40, n_positions=2, d=2)
    neurons = slide(problem, neurons_of(rng, problem, 6), (0.3, 0.1, 0.03, 0.01, 1e-3), Clock())
    directions = neurons.directions()
    distances = np.abs(problem.rows @ directions.T).min(axis=0) / problem.lengths.max()
    assert distances.min() <= 1e-14


def test_a_subspace_has_the_nearest_kinks_and_one_dimension_left():
    rows = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1e-3, 1.0], [0.0, 0.0, 0.0]])
    weights, lengths = np.array([1e-4, 1e-5, 1.0]), np.linalg.norm(rows, axis=1)
    every = np.ones(4, dtype=bool)
    projection = kink_subspace(rows, lengths, weights, every, 1e-3)
    np.testing.assert_allclose(projection, np.diag([0.0, 0.0, 1.0]), atol=1e-15)
    only = kink_subspace(rows, lengths, weights, np.array([True, False, True, True]), 1e-3)
    np.testing.assert_allclose(only, np.diag([0.0, 1.0, 1.0]), atol=1e-15)
    assert np.trace(kink_subspace(rows, lengths, weights, every, 10.0)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "activation",
    [leaky_relu(0.3), *(pytest.param(name, marks=pytest.mark.slow) for name in ("relu", "absolute_value"))],
)
def test_bounds_are_in_order(activation, seed):
    rng = np.random.default_rng(seed)
    problem = problem_of(rng, q=2, activation=activation)
    theta = rng.normal(size=(20, 2))
    unit = rng.normal(size=(3000, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    layer = problem.activation(problem.patches @ unit.T)
    gains = np.linalg.norm(np.einsum("iq,ikm->qkm", theta, layer), axis=1)
    found = searched(
        problem,
        theta,
        0.0,
        unit[:20],
        unit[5:10],
        unit[:5],
        np.arange(5) % 2,
        n_starts=20,
        seed=0,
        at_most=5,
        clock=Clock(),
    )
    exact = branched(problem, theta, 0.0, tol=1e-3, stop_above=np.inf, clock=Clock())
    loose = relaxed(problem, theta, clock=Clock())
    quick = relaxed(problem, theta, clock=Clock(0.0))
    assert exact.complete
    assert gains.max() <= exact.largest * (1 + 1e-12)
    assert found.largest <= exact.largest * (1 + 1e-12)
    assert found.largest >= exact.largest * (1 - 1.1e-3)
    assert found.largest <= loose <= quick
    # The bounds are not idle: they are below the sum of all terms.
    assert quick <= np.abs(theta).sum() * problem.lengths.max() * np.sqrt(4)


def test_refinement_never_lowers_a_gain_and_ends_at_maxima_on_kinks():
    rng = np.random.default_rng(3)
    problem = problem_of(rng, d=2)
    theta = rng.normal(size=20)
    start = rng.normal(size=(10, 2))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    end = refined(problem, theta, start)

    def gains(directions):
        return np.linalg.norm(
            np.einsum("i,ikm->km", theta, problem.activation(problem.patches @ directions.T)), axis=0
        )

    assert (gains(end) >= gains(start)).all()
    for angle in (1e-6, -1e-6):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert (gains(end @ turn.T) <= gains(end) * (1 + 1e-9)).all()


def test_patches_that_are_not_stacked_are_refused():
    problem = problem_of(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shape \(n, K, d\)"):
        replace(problem, patches=problem.patches[:, 0])
