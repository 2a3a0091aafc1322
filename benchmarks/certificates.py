"""Certificates of networks of all kinds beside the optimum: bounds must enclose it in every case.

``python benchmarks/certificates.py --save`` trains small networks with this package, scikit-learn and torch,
draws some at random, certifies them, and computes the optimum of each problem twice: by column generation,
and by Clarabel on the whole program over all listed patterns. It counts

- bounds above the optimum and optima above the objective (there must be none);
- networks of ``patterns="exact"`` that are not certified to 1e-6 (none);
- such networks for which, one neuron removed, no witness improves what is left (none).
"""

import argparse
import datetime
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, TwoLayerNetwork, certify, enumerate_patterns
from convexnn.activations import get_activation
from convexnn.exceptions import PatternCountWarning
from convexnn.losses import get_loss
from convexnn.problem import NetworkKind, Problem, TrainingData, augment
from convexnn.programs import two_layer_program
from convexnn.training import TrainingOptions
from convexnn.training.proved_search import prove
from convexnn_solvers import solve
from convexnn_solvers.clock import Clock

Array = NDArray[np.float64]
RESULTS = Path(__file__).parent / "results" / "certificates.md"
# Both optima are that accurate; objectives and bounds may cross by so much and no more.
CROSSING = 1e-7
CERTIFIED = 1e-6


@dataclass(frozen=True, eq=False)
class Audited:
    """A network to certify, and the problem it is a point of.

    Attributes
    ----------
    network : object
        As `certify` takes it.
    y : ndarray of shape (n,)
        Targets or labels.
    targets : ndarray of shape (n,)
        Labels as -1 and +1.
    loss, hidden_bias, fit_intercept
        Of the problem.
    said : dict
        What `certify` has to be told.
    """

    network: Any
    y: Array
    targets: Array
    loss: str
    hidden_bias: str
    fit_intercept: bool
    said: dict[str, Any]


def own_regressor(patterns: str | int) -> Callable[..., Audited]:
    """Train this package's regressor."""

    def make(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
        loss = ("squared_error", "huber")[rng.integers(2)]
        bias, intercept = (("penalized", True), ("penalized", False), ("free", True), ("none", False))[
            rng.integers(4)
        ]
        model = ConvexMLPRegressor(
            alpha,
            loss=loss,
            patterns=patterns,
            hidden_bias=bias,
            fit_intercept=intercept,
            tol=2e-7,
            random_state=0,
        )
        return Audited(model.fit(X, y), y, y, loss, bias, intercept, {})

    return make


def own_classifier(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
    """Train this package's classifier."""
    loss = ("log_loss", "squared_hinge")[rng.integers(2)]
    labels = (y > np.median(y)).astype(int)
    model = ConvexMLPClassifier(alpha, loss=loss, patterns="exact", tol=2e-7).fit(X, labels)
    return Audited(model, labels, 2.0 * labels - 1, loss, "penalized", True, {})


def mlp_regressor(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
    """Train scikit-learn's regressor."""
    model = MLPRegressor(
        hidden_layer_sizes=(20,),
        alpha=alpha,
        solver="lbfgs",
        max_iter=2000,
        random_state=int(rng.integers(99)),
    )
    return Audited(model.fit(X, y), y, y, "squared_error", "free", True, {})


def mlp_classifier(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
    """Train scikit-learn's classifier."""
    labels = (y > np.median(y)).astype(int)
    model = MLPClassifier(
        hidden_layer_sizes=(20,),
        alpha=alpha,
        solver="lbfgs",
        max_iter=2000,
        random_state=int(rng.integers(99)),
    )
    return Audited(model.fit(X, labels), labels, 2.0 * labels - 1, "log_loss", "free", True, {})


def torch_network(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
    """Train a torch network for 500 steps of Adam, all weights decayed."""
    import torch

    torch.manual_seed(int(rng.integers(99)))
    inputs, targets = torch.tensor(X), torch.tensor(y)[:, None]
    first, last = torch.nn.Linear(X.shape[1], 20), torch.nn.Linear(20, 1, bias=False)
    network = torch.nn.Sequential(first, torch.nn.ReLU(), last).double()
    step = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(500):
        step.zero_grad()
        squares = sum((weights**2).sum() for weights in network.parameters())
        (0.5 * ((network(inputs) - targets) ** 2).sum() + 0.5 * alpha * squares).backward()
        step.step()
    return Audited(network, y, y, "squared_error", "penalized", False, {"alpha": alpha})


def drawn_network(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
    """Draw a network at random."""
    d, m = X.shape[1], 4
    weights = rng.normal(size=(d, m)), rng.normal(size=m), 0.3 * rng.normal(size=(m, 1)), rng.normal(size=1)
    network = TwoLayerNetwork(*weights, hidden_bias="free")
    return Audited(network, y, y, "huber", "free", True, {"alpha": alpha, "loss": "huber"})


def drawn_arrays(rng: np.random.Generator, X: Array, y: Array, alpha: float) -> Audited:
    """Draw plain arrays at random, without any bias."""
    y = np.where(y > np.median(y), 1.0, -1.0)
    arrays = rng.normal(size=(X.shape[1], 4)), 0.3 * rng.normal(size=4)
    return Audited(arrays, y, y, "log_loss", "none", False, {"alpha": alpha, "loss": "log_loss"})


KINDS: dict[str, Callable[..., Audited]] = {
    'ConvexMLPRegressor, patterns="exact"': own_regressor("exact"),
    'ConvexMLPClassifier, patterns="exact"': own_classifier,
    "ConvexMLPRegressor, patterns=8": own_regressor(8),
    "MLPRegressor, L-BFGS": mlp_regressor,
    "MLPClassifier, L-BFGS": mlp_classifier,
    "torch.nn.Sequential, Adam": torch_network,
    "TwoLayerNetwork, random": drawn_network,
    "arrays, random": drawn_arrays,
}


@dataclass(frozen=True)
class Outcome:
    """Figures of one certificate.

    Attributes
    ----------
    above_optimum, below_optimum : float
        How far the bound is above the optimum and the objective below it, relative; at most 0 is right.
    optimum_range : float
        Relative difference of the two optima.
    gap, suboptimality : float
        Certified and true.
    improved : bool or None
        Whether a witness improves the network with one neuron removed, where that was tried.
    """

    kind: str
    above_optimum: float
    below_optimum: float
    optimum_range: float
    gap: float
    suboptimality: float
    seconds: float
    witness: bool
    improved: bool | None


def optima(audited: Audited, X: Array, alpha: float) -> tuple[float, float]:
    """Return the optimum by column generation and that of the whole program, all patterns listed."""
    bias, intercept, loss = audited.hidden_bias, audited.fit_intercept, get_loss(audited.loss)
    data = TrainingData(X, audited.targets.reshape(-1, 1), np.ones(len(X)), loss)
    problem = Problem.of(data, NetworkKind(get_activation("relu"), bias, intercept), alpha)
    generated = prove(problem, TrainingOptions(tol=CROSSING), Clock())
    whole = two_layer_program(
        X,
        data.targets,
        enumerate_patterns(augment(X, bias)),
        alpha=alpha,
        loss=loss,
        hidden_bias=bias,
        fit_intercept=intercept,
    )
    return generated.result.objective, solve(whole, solver="clarabel", tol=CROSSING).objective


def removed(network: TwoLayerNetwork, j: int) -> TwoLayerNetwork:
    """Return a network without neuron j."""
    return replace(
        network,
        hidden_weights=np.delete(network.hidden_weights, j, axis=1),
        hidden_biases=np.delete(network.hidden_biases, j),
        output_weights=np.delete(network.output_weights, j, axis=0),
    )


def outcome(kind: str, seed: int) -> Outcome:
    """Make, certify and compare one network."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(8, 21)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d))
    y = np.abs(X @ rng.normal(size=d)) + X @ rng.normal(size=d) + 0.2 * rng.normal(size=n)
    alpha = float(10 ** rng.uniform(-1.5, 0.3))
    audited = KINDS[kind](rng, X, y, alpha)
    began = time.perf_counter()
    found = certify(audited.network, X, audited.y, **audited.said)
    seconds = time.perf_counter() - began
    generated, listed = optima(audited, X, alpha)
    optimum = min(generated, listed)
    improved = None
    if "exact" in kind and audited.network.n_neurons_:
        network = audited.network.network_
        less = certify(
            removed(network, int(rng.integers(network.n_neurons))),
            X,
            audited.targets if network.classes is None else audited.y,
            alpha=alpha,
            loss=audited.loss,
            fit_intercept=audited.fit_intercept,
        )
        improved = less.witness is not None and less.witness.objective < less.objective
    return Outcome(
        kind,
        found.lower_bound / optimum - 1,
        1 - found.objective / optimum,
        abs(generated - listed) / optimum,
        found.relative_gap,
        found.objective / optimum - 1,
        seconds,
        found.witness is not None,
        improved,
    )


def outcomes(count: int) -> Iterator[Outcome]:
    """Yield so many outcomes, one kind after the other; torch's only where it is installed."""
    kinds = [*KINDS]
    try:
        import torch  # noqa: F401
    except ImportError:
        kinds.remove("torch.nn.Sequential, Adam")
        print("torch is not installed; its networks are left out.")
    for seed in range(count):
        with warnings.catch_warnings():
            # Networks that are not fully trained, or of few patterns, are as good a test.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", PatternCountWarning)
            yield outcome(kinds[seed % len(kinds)], seed)


def table(found: list[Outcome]) -> list[str]:
    """Return a row for each kind."""
    lines = [
        "| network | number | bound above optimum | objective below optimum | certified gap, median (worst) "
        "| true suboptimality, median | bound below optimum, worst | witness found | seconds, median |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(each.kind for each in found):
        own = [each for each in found if each.kind == kind]
        gaps, times = [each.gap for each in own], [each.seconds for each in own]
        lines.append(
            f"| {kind} | {len(own)} | {sum(each.above_optimum > CROSSING for each in own)} | "
            f"{sum(each.below_optimum > CROSSING for each in own)} | {np.median(gaps):.1e} "
            f"({max(gaps):.1e}) | {max(0.0, float(np.median([each.suboptimality for each in own]))):.1e} | "
            f"{max(-each.above_optimum for each in own):.1e} | {sum(each.witness for each in own)} | "
            f"{np.median(times):.2f} |"
        )
    return lines


def summary(found: list[Outcome]) -> list[str]:
    """Return the counts of violations."""
    exact = [each for each in found if "exact" in each.kind]
    tried = [each for each in exact if each.improved is not None]
    return [
        f"- bounds above the optimum by more than {CROSSING:g}: "
        f"{sum(e.above_optimum > CROSSING for e in found)} of {len(found)} (largest "
        f"{max(e.above_optimum for e in found):.1e})",
        f"- objectives below the optimum by more than {CROSSING:g}: "
        f"{sum(e.below_optimum > CROSSING for e in found)} of {len(found)} (largest "
        f"{max(e.below_optimum for e in found):.1e})",
        f"- largest relative difference of the two optima: {max(e.optimum_range for e in found):.1e}",
        f'- networks of patterns="exact" not certified to {CERTIFIED:g}: '
        f"{sum(e.gap > CERTIFIED for e in exact)} of {len(exact)}",
        f"- of these, one neuron removed, without a witness that improves the rest: "
        f"{sum(not e.improved for e in tried)} of {len(tried)}",
    ]


def main() -> None:
    """Certify, print and perhaps store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    found = list(outcomes(options.networks))
    lines = [
        f"# Certificates of networks of all kinds, {datetime.date.today().isoformat()}",
        "",
        "Small random problems (8 to 20 samples, 1 to 3 columns, without the ones); certificates at their "
        "defaults. Figures are relative to the optimum.",
        "",
        *summary(found),
        "",
        *table(found),
    ]
    print("\n".join(lines))
    if options.save:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
