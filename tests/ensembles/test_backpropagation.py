"""Gradients under given masks against finite differences, and Adam against its algorithm restated."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from convexnn.ensembles import DropoutMLPClassifier
from convexnn.ensembles.backpropagation import Backpropagation, Parameters
from convexnn.ensembles.dropout_training import TrainingSettings, train_with_dropout
from convexnn.losses import get_loss


def mean_loss(vector, sizes, kind, data, targets, weight, hidden_factors, input_factors):
    """The loss under given masks, in the words of the definition."""
    p = Parameters(vector, *sizes)
    units = np.maximum(data * input_factors @ p.hidden_weights + p.hidden_biases, 0) * hidden_factors
    f = units @ p.output_weights + p.output_biases
    if kind == "squared_error":
        losses = 0.5 * ((f - targets) ** 2).sum(axis=1)
    elif kind == "logistic":
        losses = np.logaddexp(0, -targets * f)[:, 0]
    else:
        losses = logsumexp(f, axis=1) - (targets * f).sum(axis=1)
    return weight @ losses


@pytest.mark.parametrize("kind", ["squared_error", "logistic", "softmax"])
@pytest.mark.parametrize(("dropout", "input_dropout"), [(0.0, 0.0), (0.5, 0.0), (0.3, 0.2), (0.0, 0.4)])
def test_gradient_against_finite_differences(kind, dropout, input_dropout, seed):
    rng = np.random.default_rng(seed)
    n, sizes = 12, (4, 6, 1 if kind == "logistic" else 3)
    data = rng.normal(size=(n, 4))
    targets = {
        "squared_error": rng.normal(size=(n, 3)),
        "logistic": rng.choice([-1.0, 1.0], size=(n, 1)),
        "softmax": np.eye(3)[rng.integers(3, size=n)],
    }[kind]
    weight = rng.uniform(0.1, 2, n)
    hidden_draws = rng.random((n, 6), dtype=np.float32) if dropout else None
    input_draws = rng.random((n, 4), dtype=np.float32) if input_dropout else None
    hidden_factors = 1.0 if hidden_draws is None else (hidden_draws >= np.float32(dropout)) / (1 - dropout)
    input_factors = (
        1.0 if input_draws is None else (input_draws >= np.float32(input_dropout)) / (1 - input_dropout)
    )
    parameters = Parameters.glorot(*sizes, np.float64, rng)
    loss = get_loss("squared_error" if kind == "squared_error" else "log_loss", sizes[2])
    # Buffers are larger than the batch, as they are for the smaller batches of an epoch.
    step = Backpropagation(parameters, loss, n + 3, dropout, input_dropout)
    value = step(data.copy(), targets, weight, hidden_draws, input_draws)

    def at(vector):
        return mean_loss(vector, sizes, kind, data, targets, weight, hidden_factors, input_factors)

    assert value == pytest.approx(at(parameters.vector), rel=1e-12)
    slopes = np.empty_like(parameters.vector)
    for k in range(len(slopes)):
        shift = np.zeros_like(slopes)
        shift[k] = 1e-6
        slopes[k] = (at(parameters.vector + shift) - at(parameters.vector - shift)) / 2e-6
    np.testing.assert_allclose(step.gradient.vector, slopes, atol=2e-8)


def test_float32_gradient_is_that_of_float64(seed):
    rng = np.random.default_rng(seed)
    data, targets, weight = rng.normal(size=(50, 9)), np.eye(4)[rng.integers(4, size=50)], np.full(50, 0.02)
    draws = [rng.random((50, units), dtype=np.float32) for units in (30, 9)]
    gradients = []
    for dtype in (np.float64, np.float32):
        parameters = Parameters.glorot(9, 30, 4, dtype, np.random.default_rng(seed))
        step = Backpropagation(parameters, get_loss("log_loss", 4), 50, 0.5, 0.2)
        step(data.astype(dtype), targets.astype(dtype), weight.astype(dtype), *draws)
        gradients.append(step.gradient.vector)
    assert gradients[1].dtype == np.float32
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-6)


@given(st.integers(1, 500), st.integers(1, 300))
def test_batches_are_of_nearly_equal_size(n_samples, batch_size):
    settings = TrainingSettings(1, 0.0, 0.0, 0.0, 1.0, batch_size, 1, 0.0, 1, None, 0)
    bounds = settings.batch_bounds(n_samples)
    sizes = [end - begin for begin, end in pairwise(bounds)]
    assert (bounds[0], bounds[-1]) == (0, n_samples)
    assert 1 <= min(sizes) <= max(sizes) <= min(batch_size, min(sizes) + 1)
    assert len(sizes) == -(-n_samples // batch_size)


def adam_by_hand(start, gradient, n_steps, learning_rate):
    """Algorithm 1 of the paper, one entry at a time."""
    entries = [[value, 0.0, 0.0] for value in start]
    for t in range(1, n_steps + 1):
        slopes = gradient(np.array([entry[0] for entry in entries]))
        for entry, g in zip(entries, slopes, strict=True):
            entry[1] = 0.9 * entry[1] + 0.1 * g
            entry[2] = 0.999 * entry[2] + 0.001 * g * g
            m_hat, v_hat = entry[1] / (1 - 0.9**t), entry[2] / (1 - 0.999**t)
            entry[0] -= learning_rate * m_hat / (np.sqrt(v_hat) + 1e-8)
    return np.array([entry[0] for entry in entries])


def test_full_batches_without_dropout_are_adam():
    rng = np.random.default_rng(0)
    data, targets, weight = rng.normal(size=(9, 3)), rng.normal(size=(9, 2)), rng.uniform(0.5, 2, 9)
    sizes, alpha = (3, 5, 2), 0.3
    start = Parameters.glorot(*sizes, np.float64, np.random.default_rng(7)).vector
    penalised = np.arange(start.size) < 3 * 5 + 5 * 2

    def gradient(vector):
        p = Parameters(vector, *sizes)
        before = data @ p.hidden_weights + p.hidden_biases
        errors = (np.maximum(before, 0) @ p.output_weights + p.output_biases - targets) * weight[:, None]
        slopes = (errors @ p.output_weights.T) * (before > 0)
        parts = [data.T @ slopes, np.maximum(before, 0).T @ errors, slopes.sum(axis=0), errors.sum(axis=0)]
        total = np.concatenate([part.ravel() for part in parts])
        return (total + alpha * penalised * vector) / weight.sum()

    settings = TrainingSettings(5, 0.0, 0.0, alpha, 0.05, 9, 30, 0.0, np.inf, None, 0)
    loss = get_loss("squared_error", 2)
    trained = train_with_dropout(data, targets, weight, loss, settings, np.random.default_rng(7))
    by_hand = adam_by_hand(start, gradient, 30, 0.05)
    # The order in which samples enter a sum differs.
    np.testing.assert_allclose(trained.parameters.vector, by_hand, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_full_batches_without_dropout_are_adam_in_torch():
    torch = pytest.importorskip("torch", reason="an independent Adam and gradient")
    rng = np.random.default_rng(0)
    data, labels = rng.normal(size=(60, 4)), rng.integers(3, size=60)
    options = {"dropout": 0.0, "alpha": 0.5, "max_iter": 40, "batch_size": 60}
    model = DropoutMLPClassifier(15, **options, tol=0.0, n_iter_no_change=np.inf, random_state=3)
    model.fit(data, labels)
    p = Parameters.glorot(4, 15, 3, np.float64, np.random.default_rng(3))
    net = torch.nn.Sequential(torch.nn.Linear(4, 15), torch.nn.ReLU(), torch.nn.Linear(15, 3)).double()
    with torch.no_grad():
        net[0].weight[:] = torch.from_numpy(p.hidden_weights.T.copy())
        net[0].bias[:] = torch.from_numpy(p.hidden_biases)
        net[2].weight[:] = torch.from_numpy(p.output_weights.T.copy())
        net[2].bias[:] = torch.from_numpy(p.output_biases)
    groups = [
        {"params": [net[0].weight, net[2].weight], "weight_decay": 0.5 / 60},
        {"params": [net[0].bias, net[2].bias]},
    ]
    optimiser = torch.optim.Adam(groups, lr=1e-3)
    inputs, indices = torch.from_numpy(data), torch.from_numpy(labels)
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), indices).backward()
        optimiser.step()
    np.testing.assert_allclose(model.coefs_[0], net[0].weight.detach().numpy().T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.intercepts_[1], net[2].bias.detach().numpy(), rtol=1e-8, atol=1e-10)
