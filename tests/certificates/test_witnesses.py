"""Witnesses improve a network in exact arithmetic, as bounds hold in it."""

from fractions import Fraction

import numpy as np
import pytest

from convexnn import TwoLayerNetwork, certify


def exact_objective(network, X, y, alpha, loss):
    """F of a ReLU network with one output, without rounding."""
    hidden, biases, amounts = (
        [[Fraction(value) for value in row] for row in np.atleast_2d(array).tolist()]
        for array in (network.hidden_weights.T, network.hidden_biases, network.output_weights.T)
    )
    (biases,), (amounts,), total = biases, amounts, Fraction(0)
    for sample, value in zip(X.tolist(), y.tolist(), strict=True):
        x, target = [Fraction(entry) for entry in sample], Fraction(value)
        output = Fraction(network.output_biases[0])
        for u, bias, amount in zip(hidden, biases, amounts, strict=True):
            output += amount * max(Fraction(0), sum((v * w for v, w in zip(x, u, strict=True)), bias))
        if loss == "squared_error":
            total += (output - target) ** 2 / 2
        else:
            total += (
                abs(output - target) if loss == "absolute_error" else max(Fraction(0), 1 - output * target)
            )
    penalised = [*amounts, *(value for u in hidden for value in u)]
    if network.hidden_bias == "penalized":
        penalised += biases
    return total + Fraction(alpha) / 2 * sum(value**2 for value in penalised)


def witness_of(network, X, y, alpha, loss="squared_error"):
    return certify(network, X, y, alpha=alpha, loss=loss, method="closed_form", refine=False).witness


def drawn(seed):
    """A random network on data of all magnitudes."""
    rng = np.random.default_rng(seed)
    n, d, m = int(rng.integers(2, 8)), int(rng.integers(1, 4)), int(rng.integers(0, 4))
    X = rng.normal(size=(n, d))
    X = [X, X + 10.0 ** rng.integers(0, 14), X * 10.0 ** rng.integers(-6, 6, size=(n, d))][seed % 3]
    loss = ["squared_error", "absolute_error", "hinge"][seed // 3 % 3]
    y = rng.choice([-1.0, 1.0], n) if loss == "hinge" else rng.normal(size=n)
    hidden_bias = ["penalized", "free", "none"][seed // 9 % 3]
    network = TwoLayerNetwork(
        rng.normal(size=(d, m)) / np.abs(X).max(),
        np.zeros(m) if hidden_bias == "none" else rng.normal(size=m),
        rng.normal(size=(m, 1)),
        rng.normal(size=1),
        hidden_bias=hidden_bias,
    )
    return network, X, y, float(10.0 ** rng.integers(-4, 2)), loss


def nearly_interpolating(seed, offset):
    """A network close to all points, moved so far that its outputs are differences of large numbers."""
    rng = np.random.default_rng(seed)
    X, y, U, b = rng.normal(size=(5, 2)), rng.normal(size=5), rng.normal(size=(2, 8)), rng.normal(size=8)
    amounts = np.linalg.lstsq(np.maximum(X @ U + b, 0.0), y, rcond=None)[0]
    X, y = X + offset, y + 1e-4 * rng.normal(size=5)
    network = TwoLayerNetwork(
        U, b - offset * U.sum(axis=0), amounts[:, None], np.zeros(1), hidden_bias="free"
    )
    return network, X, y, 1e-6, "squared_error"


def n_named(cases):
    named = 0
    for network, X, y, alpha, loss in cases:
        witness = witness_of(network, X, y, alpha, loss)
        if witness is not None:
            named += 1
            before = exact_objective(network, X, y, alpha, loss)
            assert exact_objective(witness.network, X, y, alpha, loss) < before
    return named


def test_witnesses_of_random_networks():
    assert n_named(map(drawn, range(54))) > 40


@pytest.mark.parametrize("offset", [1.0, 1e6, 1e10, 1e11])
def test_witnesses_of_networks_that_rounding_blurs(offset):
    named = n_named(nearly_interpolating(seed, offset) for seed in range(20))
    assert named > 10 or offset > 1e6
