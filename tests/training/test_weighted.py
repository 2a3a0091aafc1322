"""Training with weighted pooling against grids of filters, dense networks and formulas written out."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convexnn import ConvexMLPRegressor
from convexnn.activations import ACTIVATIONS, get_activation, leaky_relu
from convexnn.losses import get_loss
from convexnn.patches import PatchGeometry
from convexnn.problem import NetworkKind, Problem, TrainingData
from convexnn.training import TrainingOptions
from convexnn.training.weighted import search
from convexnn.training.weighted.search import train_weighted
from convexnn_solvers import Status
from restatement import loss_of


def trained(
    patches,
    targets,
    alpha,
    *,
    loss="squared_error",
    activation="relu",
    weight=None,
    fit_intercept=True,
    previous=None,
    **options,
):
    """Train on signals whose patches are given, without a bias beside those that they bring."""
    targets = np.asarray(targets, dtype=float).reshape(len(patches), -1)
    weight = np.ones(len(patches)) if weight is None else weight
    n, n_positions, d = patches.shape
    data = TrainingData(patches.reshape(n, n_positions * d), targets, weight, get_loss(loss))
    geometry = PatchGeometry.of((n_positions * d, 1), d, d, "valid")
    kind = NetworkKind(get_activation(activation), "none", fit_intercept, geometry, "weighted")
    chosen = TrainingOptions(random_state=0, **options)
    return train_weighted(Problem.of(data, kind, alpha), chosen, chosen.clock(), previous)


def draw(seed, n=30, n_positions=6, d=3):
    """Patches with a bias and targets of a planted network with noise."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(n, n_positions, d))
    patches[:, :, -1] = 1.0
    layer = np.maximum(patches @ rng.normal(size=(d, 3)), 0)
    targets = (layer * rng.normal(size=(n_positions, 3))).sum(axis=(1, 2))
    return patches, targets + 0.1 * targets.std() * rng.normal(size=n)


def largest_alpha(patches, targets):
    """A value of the order of the least alpha that leaves no neurons."""
    return np.linalg.norm(np.einsum("i,ikd->kd", targets - targets.mean(), patches), 2)


def objective(fit, patches, targets, alpha, phi, loss):
    """F, written out sample by sample and neuron by neuron."""
    total = 0.0
    for patch, target in zip(patches, np.reshape(targets, (len(patches), -1)), strict=True):
        output = fit.network.output_biases.copy()
        for u, a in zip(fit.network.hidden_weights.T, fit.network.output_weights, strict=True):
            for x, amounts in zip(patch, a, strict=True):
                output += phi(float(x @ u)) * amounts
        total += loss(output, target)
    return total + 0.5 * alpha * (
        np.sum(fit.network.hidden_weights**2) + np.sum(fit.network.output_weights**2)
    )


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "absolute_error", "hinge"])
@pytest.mark.parametrize(
    "activation",
    ["relu", *(pytest.param(name, marks=pytest.mark.slow) for name in ("leaky_relu", "absolute_value"))],
)
def test_a_dense_grid_of_filters_is_not_better_and_not_below_the_bound(loss, activation):
    rng = np.random.default_rng([len(loss), len(activation)])
    n, n_positions = int(rng.integers(3, 7)), int(rng.integers(1, 4))
    patches = rng.normal(size=(n, n_positions, 2))
    y = rng.normal(size=n)
    targets = y if get_loss(loss).task == "regression" else np.where(y > 0, 1.0, -1.0)
    alpha = float(rng.uniform(0.05, 0.5))
    phi = ACTIVATIONS[activation]
    angles = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    filters = np.stack([np.cos(angles), np.sin(angles)])
    layer = phi(patches @ filters)
    amounts = cp.Variable((n_positions, len(angles)))
    outputs = cp.sum([layer[:, k] @ amounts[k] for k in range(n_positions)])
    fit = cp.sum(loss_of(loss, cp.reshape(outputs, (n, 1), order="C"), targets[:, None], 1.0))
    grid = cp.Problem(cp.Minimize(fit + alpha * cp.sum(cp.norm(amounts, axis=0))))
    grid.solve(solver="CLARABEL")
    found = trained(patches, targets, alpha, loss=loss, activation=activation, fit_intercept=False, tol=1e-6)
    assert found.result.objective <= grid.value + 1e-6
    assert found.result.dual_objective <= grid.value + 1e-6
    assert found.result.relative_gap <= 1e-6
    assert found.scope == "global"
    if loss == "squared_error":
        # The residual of the grid's solution is a dual point; gains between two angles are bounded by slopes.
        theta = targets - outputs.value
        fine = np.linspace(0, 2 * np.pi, 100_000)
        gains = np.einsum("i,ikm->km", theta, phi(patches @ np.stack([np.cos(fine), np.sin(fine)])))
        steepest = np.abs(theta) @ np.linalg.norm(patches, axis=2).sum(axis=1)
        largest = np.linalg.norm(gains, axis=0).max() + steepest * fine[1] / 2
        theta *= min(1.0, alpha / largest)
        assert found.result.objective >= theta @ targets - 0.5 * theta @ theta


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
def test_with_one_position_it_is_the_dense_network(activation):
    patches, targets = draw(len(activation), n=25, n_positions=1, d=3)
    alpha = 0.1 * largest_alpha(patches, targets)
    found = trained(patches, targets, alpha, activation=activation, tol=1e-6)
    dense = ConvexMLPRegressor(alpha, patterns="exact", activation=activation, hidden_bias="none", tol=1e-6)
    dense.fit(patches[:, 0], targets)
    assert found.result.objective == pytest.approx(dense.objective_, rel=2e-6)
    assert found.result.dual_objective == pytest.approx(dense.dual_objective_, rel=2e-6)


@pytest.mark.parametrize("share", [0.2, 0.02])
def test_planted_networks_are_certified(share, seed):
    patches, targets = draw(seed)
    found = trained(patches, targets, share * largest_alpha(patches, targets), tol=1e-3)
    assert found.result.status is Status.CONVERGED
    assert found.result.relative_gap <= 1e-3
    assert found.result.dual_objective <= found.result.objective


@pytest.mark.parametrize("loss", ["huber", "squared_hinge", "log_loss"])
def test_the_objective_is_that_of_the_weights(loss):
    losses = {
        "huber": lambda f, y: np.sum(np.where(abs(f - y) < 1, 0.5 * (f - y) ** 2, abs(f - y) - 0.5)),
        "squared_hinge": lambda f, y: np.sum(np.maximum(0, 1 - y * f) ** 2),
        "log_loss": lambda f, y: np.sum(np.log1p(np.exp(-y * f))),
    }
    patches, targets = draw(4, n=12, n_positions=3)
    if loss != "huber":
        targets = np.where(targets > np.median(targets), 1.0, -1.0)
    targets = np.stack([targets, targets[::-1]], axis=1)
    found = trained(patches, targets, 0.3, loss=loss, activation=leaky_relu(0.2), tol=1e-4)
    value = objective(found, patches, targets, 0.3, lambda t: t if t > 0 else 0.2 * t, losses[loss])
    assert found.result.objective == pytest.approx(value, rel=1e-12)
    assert found.scope == "patterns"
    balanced = np.linalg.norm(found.network.output_weights, axis=(1, 2))
    assert np.linalg.norm(found.network.hidden_weights, axis=0) == pytest.approx(balanced, rel=1e-12)
    assert (np.count_nonzero(found.network.output_weights.any(axis=1), axis=1) == 1).all()


def test_several_outputs_are_trained_as_if_alone():
    patches, first = draw(0, n=20, n_positions=3)
    targets = np.stack([first, np.roll(first, 3)], axis=1)
    alpha = 0.1 * largest_alpha(patches, first)
    both = trained(patches, targets, alpha, tol=1e-6).result
    alone = [trained(patches, target, alpha, tol=1e-6).result for target in targets.T]
    assert both.objective == pytest.approx(sum(result.objective for result in alone), rel=2e-6)
    assert both.dual_objective <= sum(result.objective for result in alone)


def test_descents_in_torch_stay_above_the_bound():
    torch = pytest.importorskip("torch")
    patches, targets = draw(1, n=20, n_positions=4)
    alpha = 0.05 * largest_alpha(patches, targets)
    found = trained(patches, targets, alpha, tol=1e-4)
    generator = torch.Generator().manual_seed(0)
    X, y = torch.tensor(patches), torch.tensor(targets)
    restarts, width = 8, 8
    shapes = [(restarts, width, 3), (restarts, width, 4), (restarts, 1)]
    parameters = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    for parameter in parameters:
        parameter.requires_grad_()
    U, A, c = parameters
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    lowest = np.inf
    for _ in range(300):
        optimizer.zero_grad()
        layer = torch.relu(torch.einsum("ikd,rmd->rmik", X, U))
        outputs = torch.einsum("rmik,rmk->ri", layer, A) + c
        values = 0.5 * ((outputs - y) ** 2).sum(1) + 0.5 * alpha * ((U**2).sum((1, 2)) + (A**2).sum((1, 2)))
        lowest = min(lowest, values.min().item())
        values.sum().backward()
        optimizer.step()
    assert lowest >= found.result.dual_objective
    assert found.result.objective <= lowest * (1 + 1e-4)


@settings(max_examples=25)
@given(st.data())
def test_degenerate_data_give_a_network_and_a_bound(data):
    n, n_positions, d = (data.draw(st.integers(1, m)) for m in (5, 3, 3))
    entries = st.sampled_from([-2.0, -1.0, 0.0, 0.0, 1.0, 1e-3])
    patches = np.array(
        data.draw(st.lists(entries, min_size=n * n_positions * d, max_size=n * n_positions * d))
    )
    patches = patches.reshape(n, n_positions, d)
    targets = np.array(data.draw(st.lists(entries, min_size=n, max_size=n)))
    weight = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=n, max_size=n)))
    assume(weight.any())  # nothing to fit otherwise, which estimators refuse
    alpha = data.draw(st.sampled_from([1e-3, 0.1, 10.0]))
    intercept = data.draw(st.booleans())
    found = trained(
        patches, targets, alpha, weight=weight, fit_intercept=intercept, tol=1e-3, time_limit=20.0
    )
    layer = np.maximum(patches @ found.network.hidden_weights, 0)
    outputs = np.einsum("ikm,mk->i", layer, found.network.output_weights[:, :, 0])
    outputs += found.network.output_biases[0]
    penalty = np.sum(found.network.hidden_weights**2) + np.sum(found.network.output_weights**2)
    value = 0.5 * weight @ (outputs - targets) ** 2 + 0.5 * alpha * penalty
    assert found.result.objective == pytest.approx(value, rel=1e-10, abs=1e-12)
    assert found.result.dual_objective <= value + 1e-10
    assert value - found.result.dual_objective <= 1e-3 * value + 1e-9


def test_a_large_alpha_leaves_the_constant():
    patches, targets = draw(0, n=15, n_positions=2)
    found = trained(patches, targets, 1e3 * largest_alpha(patches, targets))
    assert found.network.hidden_weights.shape == (3, 0)
    assert found.network.output_weights.shape == (0, 2, 1)
    assert found.network.output_biases == pytest.approx([targets.mean()])
    assert found.result.status is Status.CONVERGED
    assert found.violation == 0


def test_filters_of_many_weights_have_a_bound_that_holds():
    patches, targets = draw(2, n=40, n_positions=3, d=8)
    found = trained(patches, targets, 0.1 * largest_alpha(patches, targets))
    assert found.result.status is Status.INACCURATE
    assert " 0 cones" in found.result.message
    assert 0 < found.result.dual_objective < found.result.objective
    assert found.violation <= 1e-3


def test_a_limit_of_time_leaves_a_network_and_a_bound():
    patches, targets = draw(3, n=300, n_positions=9, d=5)
    alpha = 0.02 * largest_alpha(patches, targets)
    found = trained(patches, targets, alpha, time_limit=0.5, tol=1e-8)
    assert found.result.status is Status.TIME_LIMIT
    assert 0 < found.result.dual_objective < found.result.objective
    constant = 0.5 * np.sum((targets - targets.mean()) ** 2)
    assert found.result.objective < constant


def test_an_interrupt_keeps_the_best_network(monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "slide", interrupted)
    patches, targets = draw(3, n=20)
    found = trained(patches, targets, 0.1 * largest_alpha(patches, targets))
    assert found.result.status is Status.INTERRUPTED
    assert found.result.dual_objective <= found.result.objective < 0.5 * np.sum(targets**2)


def test_a_previous_network_is_never_beaten_by_the_answer():
    patches, targets = draw(5, n=20, n_positions=3)
    alpha = 0.05 * largest_alpha(patches, targets)
    before = trained(patches, targets, alpha, tol=1e-7)
    again = trained(patches, targets, alpha, tol=1e-2, previous=before.network)
    assert again.result.objective <= before.result.objective * (1 + 1e-12)


def test_the_same_seed_gives_the_same_network():
    patches, targets = draw(6, n=20, n_positions=3)
    fits = [trained(patches, targets, 1.0) for _ in range(2)]
    assert fits[0].network == fits[1].network
    assert fits[0].result.dual_objective == fits[1].result.dual_objective


def test_wrong_input_is_refused():
    patches, targets = draw(0, n=5)
    with pytest.raises(ValueError, match="positive alpha"):
        trained(patches, targets, 0.0)
    with pytest.raises(ValueError, match="gated"):
        trained(patches, targets, 1.0, activation="gated_relu")


def test_a_network_without_neurons_is_certified_where_it_is_optimal():
    """Two positions of one patch gain ``|theta| |x| sqrt(2)`` = 8 together, less than alpha."""
    found = trained(
        np.full((3, 2, 2), -2.0),
        np.full(3, -2.0),
        10.0,
        weight=np.array([0.0, 0.0, 1.0]),
        fit_intercept=False,
        tol=1e-3,
    )
    assert found.result.objective == pytest.approx(2.0)
    assert found.result.dual_objective == pytest.approx(2.0, rel=1e-9)
    assert found.network.n_neurons == 0
