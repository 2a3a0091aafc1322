"""Programs whose primal and dual optimum are chosen first, so that their value is known exactly."""

import numpy as np
import pytest
from scipy.optimize import nnls

from convexnn.losses import AbsoluteError, Huber, SquaredError
from convexnn.patterns import enumerate_patterns
from convexnn.problem import augment
from convexnn_solvers import Status, solve
from program_cases import LAYERS, Case, some_patterns

BACKENDS = ["native", "clarabel", "ecos", "scs", "cvxpy"]


def priced(case, theta):
    """Largest ``|theta.A u|`` over the unit weights of all cones, and its maximiser's place and direction."""
    data = augment(case.X, case.hidden_bias)
    best = (0.0, 0, 0, np.zeros(data.shape[1]))
    for i, pattern in enumerate(case.patterns.to_dense()):
        slopes = np.where(pattern, case.activation.on, case.activation.off)
        g = data.T @ (slopes * theta)
        rows = np.where(pattern, 1.0, -1.0)[:, None] * data
        rows = rows[rows.any(axis=1)]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for s, sign in enumerate((1.0, -1.0)[: 1 if case.activation.gated else 2]):
            u = sign * g if case.activation.gated else sign * g + rows.T @ nnls(rows.T, -sign * g)[0]
            if np.linalg.norm(u) > best[0]:
                best = (float(np.linalg.norm(u)), s, i, u / np.linalg.norm(u))
    return best


def planted(seed, *, loss, activation, hidden_bias, fit_intercept, n_outputs=1, n=10, d=2, weights=True):
    """Draw theta, put a neuron where its constraint is active, and choose targets for which both are optimal.

    The KKT conditions are ``theta = -s loss'(f, y)``, ``max theta.A u = alpha`` attained at the neurons,
    and ``sum theta = 0`` with an intercept.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    weight = rng.uniform(0.5, 2.0, n) if weights else np.ones(n)
    patterns = some_patterns(X, hidden_bias, rng, 20)
    case = Case(
        X,
        np.zeros((n, n_outputs)),
        patterns,
        1.0,
        loss,
        LAYERS[activation],
        hidden_bias,
        fit_intercept,
        weight,
    )
    theta = dual_point(loss, rng, (n, n_outputs), weight, fit_intercept)
    prices = [priced(case, column) for column in theta.T]
    alpha = max(price for price, *_ in prices)
    if isinstance(loss, SquaredError):
        # No slope is special, so that each output has a scale of its own and an active neuron.
        theta = theta * [alpha / price for price, *_ in prices]
    blocks = np.zeros((1 if case.activation.gated else 2, n_outputs, len(patterns), patterns.n_features))
    size = 0.0
    for k, (_, s, i, u) in enumerate(prices):
        length = rng.uniform(0.5, 2.0)
        blocks[s, k, i] = length * u
        size += length
    intercept = rng.normal(size=n_outputs) * fit_intercept
    program = case.but(alpha=alpha).program()
    outputs = program.outputs(blocks, intercept)
    y, value = targets_of(loss, outputs, theta, weight)
    return case.but(alpha=alpha, y=y), theta, value + alpha * size


def dual_point(loss, rng, shape, weight, fit_intercept):
    if isinstance(loss, AbsoluteError):
        # Half of the samples are fitted badly, the others exactly; opposite pairs sum to zero.
        theta = np.concatenate([np.ones(3), -np.ones(3), [0.3, -0.3, 0.6, -0.6]])
        return rng.permutation(theta)[:, None]
    theta = rng.normal(size=shape)
    if isinstance(loss, Huber):
        theta[:6] = loss.delta * np.array([1.0, 1, 1, -1, -1, -1])[:, None]
        theta[6:] = 0.9 * loss.delta * rng.uniform(-0.5, 0.5, size=theta[6:].shape)
        theta[6:] -= theta[6:].mean(axis=0)
        return theta
    return theta - theta.mean(axis=0) if fit_intercept else theta


def targets_of(loss, outputs, theta, weight):
    """Targets at which `theta` is the negative gradient at `outputs`, and the value of the loss there."""
    slope = theta / weight[:, None]
    if isinstance(loss, SquaredError):
        return outputs + slope, float((weight[:, None] * slope**2).sum() / 2)
    if isinstance(loss, Huber):
        # A slope of delta is that of any residual beyond it: here of three times delta.
        beyond = np.abs(slope) >= loss.delta * (1 - 1e-12)
        residual = np.where(beyond, 3.0 * slope, slope)
        values = np.where(beyond, loss.delta * np.abs(residual) - loss.delta**2 / 2, residual**2 / 2)
        return outputs + residual, float((weight[:, None] * values).sum())
    residual = np.where(np.abs(theta) == 1, 2.0 * theta, 0.0)
    return outputs + residual, float(np.abs(residual).sum())


MODES = [
    ("relu", "none", False),
    ("relu", "penalized", True),
    ("leaky_relu", "penalized", False),
    ("absolute_value", "none", True),
    ("gated_relu", "penalized", True),
]


@pytest.mark.parametrize("solver", ["native", "clarabel"])
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("activation", "hidden_bias", "fit_intercept"), MODES)
def test_planted_optimum_of_squared_error(activation, hidden_bias, fit_intercept, seed, n_outputs, solver):
    case, theta, optimum = planted(
        seed,
        loss=SquaredError(),
        activation=activation,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n_outputs=n_outputs,
    )
    program = case.program()
    result = solve(program, solver=solver, tol=1e-9)
    assert result.status is Status.CONVERGED, result.message
    assert result.objective == pytest.approx(optimum, rel=1e-8)
    assert result.dual_objective == pytest.approx(optimum, rel=1e-8)
    # The dual point is unique with a strictly convex loss, and so are the outputs.
    np.testing.assert_allclose(result.dual_point, theta, atol=1e-4 * np.abs(theta).max())
    np.testing.assert_allclose(
        program.outputs(result.blocks, result.intercept),
        case.y - theta / case.sample_weight[:, None],
        atol=1e-3,
    )


@pytest.mark.parametrize("solver", BACKENDS)
@pytest.mark.parametrize("loss", [SquaredError(), Huber(1.5), AbsoluteError()], ids=lambda loss: loss.name)
def test_planted_optimum_by_every_backend(loss, solver):
    if solver == "native" and not loss.is_smooth:
        pytest.skip("the native solver is for smooth losses")
    if solver != "native":
        pytest.importorskip(solver)
    case, _, optimum = planted(
        9, loss=loss, activation="relu", hidden_bias="penalized", fit_intercept=True, weights=False
    )
    result = solve(case.program(), solver=solver, tol=1e-6)
    assert result.status is Status.CONVERGED, result.message
    assert result.objective == pytest.approx(optimum, rel=1e-6)
    assert result.dual_objective == pytest.approx(optimum, rel=1e-6)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
def test_two_opposite_neurons(activation):
    """Samples in opposite pairs with equal theta: a unit and its opposite are active together."""
    rng = np.random.default_rng(5)
    half = rng.normal(size=(4, 2))
    X = np.vstack([half, -half])
    theta = np.tile(rng.normal(size=4), 2)
    patterns = enumerate_patterns(X)
    case = Case(
        X, np.zeros((8, 1)), patterns, 1.0, SquaredError(), LAYERS[activation], "none", False, np.ones(8)
    )
    alpha, s, i, u = priced(case, theta)
    program = case.but(alpha=alpha).program()
    opposite = int(np.flatnonzero((patterns.to_dense() == ~patterns.to_dense()[i]).all(axis=1))[0])
    blocks = program.zeros()
    blocks[s, 0, i], blocks[s, 0, opposite] = 1.5 * u, -0.5 * u
    assert program.design.violation(blocks) <= 1e-12
    outputs = program.outputs(blocks, np.zeros(1))
    optimum = 0.5 * float(theta @ theta) + 2.0 * alpha
    result = solve(case.but(alpha=alpha, y=outputs + theta[:, None]).program(), tol=1e-9)
    assert result.objective == pytest.approx(optimum, rel=1e-8)
    assert result.dual_objective == pytest.approx(optimum, rel=1e-8)


@pytest.mark.parametrize(
    ("solver", "working_set"), [("native", True), ("clarabel", True), ("clarabel", False)]
)
def test_planted_optimum_among_many_blocks(solver, working_set):
    rng = np.random.default_rng(6)
    X = rng.normal(size=(15, 3))
    patterns = enumerate_patterns(X)
    assert len(patterns) > 150
    case = Case(
        X, np.zeros((15, 1)), patterns, 1.0, SquaredError(), LAYERS["relu"], "none", False, np.ones(15)
    )
    theta = rng.normal(size=15)
    alpha, s, i, u = priced(case, theta)
    program = case.but(alpha=alpha).program()
    blocks = program.zeros()
    blocks[s, 0, i] = 3.0 * u
    y = program.outputs(blocks, np.zeros(1)) + theta[:, None]
    result = solve(case.but(alpha=alpha, y=y).program(), solver=solver, tol=1e-8, working_set=working_set)
    optimum = 0.5 * float(theta @ theta) + 3.0 * alpha
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(optimum, rel=1e-8)
    # The maximiser is unique; cells that share it on their facets may share the weight.
    np.testing.assert_allclose(result.blocks[s, 0].sum(axis=0), 3.0 * u, atol=1e-3)
    assert np.abs(result.blocks[1 - s]).max() <= 1e-3
