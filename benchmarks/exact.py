"""Training to the optimum over all patterns: seconds, certified gaps, and how far other ways get.

``python benchmarks/exact.py planted real`` runs parts of it, no name all of them:

- ``planted``: column generation with branch and bound on planted neurons, to a certified gap of 1e-6;
- ``real``: the same on data sets with few columns, stopped after a time limit;
- ``adaptive``: how often patterns found by descent reach the certified optimum of small problems;
- ``bounds``: how tight a bound branch and bound proves in a given time, as rows and columns grow;
- ``cvxpy``: the largest problem that the whole program, written in CVXPY, allows.

Data sets are read from the folder in ``CONVEXNN_DATA`` (files ``regression/NAME.npz`` and
``classification/NAME.npz`` with ``X`` and ``y``); those that are not there are left out. Each case runs in a
process of its own, which warms up first and reports its peak memory. ``--save`` writes each part's section of
``results/exact.md`` anew.
"""

import argparse
import datetime
import multiprocessing
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from convexnn import count_patterns, enumerate_patterns
from convexnn.activations import get_activation
from convexnn.losses import get_loss
from convexnn.pricing.branch_and_bound import support_bounds
from convexnn.problem import NetworkKind, Problem, TrainingData
from convexnn.training import Fit, TrainingOptions, local_search, proved_search

sys.path.insert(0, str(Path(__file__).parent / "convex_programs"))
from benchmark_utils.problems import planted, standardised

Array = NDArray[np.float64]
Result = TypeVar("Result")
RESULTS = Path(__file__).parent / "results" / "exact.md"
FRACTIONS = (0.3, 0.03, 0.003)
SIZES = ((100, 4), (200, 4), (1000, 3), (100, 5), (200, 5), (300, 5), (100, 6), (50, 8))
REAL = ("iris-0", "iris-1", "iris-2", "blood", "balance-scale", "yacht")
GRID = tuple((n, d) for d in (4, 5, 6, 7, 8, 10) for n in (50, 100, 200, 300))
BIASES = (("penalized", True), ("penalized", False), ("free", True), ("none", True), ("none", False))


def training_data(X: Array, y: Array, loss: str = "squared_error") -> TrainingData:
    """Return unit weights and one output."""
    return TrainingData(X, y.reshape(len(y), 1), np.ones(len(y)), get_loss(loss))


def network_kind(bias: str = "none", intercept: bool = False) -> NetworkKind:
    """Return ReLU networks; by default the column of ones is one more feature and nothing else is added."""
    return NetworkKind(get_activation("relu"), bias, intercept)


def exact_fit(data: TrainingData, kind: NetworkKind, alpha: float, **options: Any) -> Fit:
    """Train to the optimum over all patterns."""
    chosen = TrainingOptions(**options)
    return proved_search.prove(Problem.of(data, kind, alpha), chosen, chosen.clock())


def adaptive_fit(data: TrainingData, kind: NetworkKind, alpha: float, **options: Any) -> Fit:
    """Train on adaptive patterns."""
    chosen = TrainingOptions(**options)
    return local_search.adapt(Problem.of(data, kind, alpha), chosen, chosen.clock())


def alpha_max(X: Array, y: Array) -> float:
    """Return the least alpha that leaves no neuron, for squared error without intercept."""
    return support_bounds(X, y, tol=1e-6, time_limit=20.0).lower


def warm_up() -> None:
    """Compile the kernels on a small problem."""
    X, y = planted(30, 3, seed=1)
    exact_fit(training_data(X, y), network_kind(), 0.1, tol=1e-6)
    adaptive_fit(training_data(X, y), network_kind(), 0.1, random_state=0)


def peak_memory() -> float:
    """Return the peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)


def apart(run: Callable[..., Result], *arguments: Any, seconds: float | None = None) -> Result | None:
    """Call a function in a fresh process, which ends with it; None if it takes longer than `seconds`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(run, arguments).get(seconds)
        except multiprocessing.TimeoutError:
            return None


def cells(X: Array) -> int:
    """Return the formula's count for the hyperplanes that differ; fewer cells exist in special position."""
    rows = X[X.any(axis=1)]
    leading = rows[np.arange(len(rows)), (rows != 0).argmax(axis=1)]
    distinct = np.unique(np.round(rows / leading[:, None], 9), axis=0)
    return count_patterns(len(distinct), int(np.linalg.matrix_rank(X)))


def table(head: str, rows: Iterator[str]) -> list[str]:
    """Return a table, and print its rows as they come."""
    lines = [head, re.sub(r"[^|]+", "---", head)]
    print(head, flush=True)
    for row in rows:
        print(row, flush=True)
        lines.append(row)
    return lines


TRAINED_HEAD = (
    "| data | n | d | cells (formula) | alpha / alpha_max | alpha | seconds | objective | relative gap | "
    "neurons | programs | message | GB |"
)


def trained(
    name: str, X: Array, y: Array, alpha: float, fraction: float, tol: float, time_limit: float
) -> str:
    """Train and return a row; the objective is that of the network's weights."""
    warm_up()
    data, kind = training_data(X, y), network_kind()
    began = time.perf_counter()
    fit = exact_fit(data, kind, alpha, tol=tol, time_limit=time_limit)
    seconds = time.perf_counter() - began
    network, objective = fit.network, fit.objective
    bound = fit.result.dual_objective
    gap = max(0.0, objective - bound) / objective
    stopped = "" if gap <= tol else f", bound {bound + 0.0:.9g} ({fit.result.status.name})"
    return (
        f"| {name} | {X.shape[0]} | {X.shape[1]} | {cells(X):,} | {fraction} | {alpha:.6g} | {seconds:.2f} | "
        f"{objective:.9g}{stopped} | {gap:.1e} | {network.n_neurons} | {fit.n_rounds} | "
        f"{fit.result.message} | {peak_memory():.2f} |"
    )


def strengths(X: Array, y: Array, options: argparse.Namespace) -> Iterator[tuple[float, float]]:
    """Yield fractions of the largest alpha, and alphas."""
    largest = apart(alpha_max, X, y)
    for fraction in options.fractions:
        yield fraction, fraction * largest


def planted_part(options: argparse.Namespace) -> list[str]:
    """Train to a certified gap on planted neurons."""

    def rows() -> Iterator[str]:
        for n, d in options.sizes:
            X, y = planted(n, d, seed=0)
            for fraction, alpha in strengths(X, y, options):
                yield apart(trained, "planted", X, y, alpha, fraction, options.tol, options.limit)

    return [
        "## Planted neurons",
        "",
        "Five planted neurons, noise of a tenth; squared error, penalised hidden bias (d counts the column "
        f"of ones), no intercept; wanted gap {options.tol:g}, limit {options.limit:g} s. The gap is over "
        "networks of every width.",
        "",
        *table(TRAINED_HEAD, rows()),
    ]


def real(name: str) -> tuple[Array, Array] | None:
    """Return a data set, standardised with a column of ones; classes as targets -1 and +1."""
    base, _, chosen = name.partition("-") if name.startswith("iris-") else (name, "", "")
    folder = Path(os.environ.get("CONVEXNN_DATA", "."))
    for task in ("regression", "classification"):
        path = folder / task / f"{base}.npz"
        if path.exists():
            with np.load(path) as stored:
                X, y = standardised(stored["X"].astype(float)), stored["y"]
            if task == "regression":
                return X, (y - y.mean()) / y.std()
            positive = int(chosen) if chosen else int(y.max())
            return X, np.where(y == positive, 1.0, -1.0)
    return None


def real_part(options: argparse.Namespace) -> list[str]:
    """Train on data sets with few columns."""

    def rows() -> Iterator[str]:
        for name in options.names:
            found = real(name)
            if found is None:
                print(f"{name} is not in the folder CONVEXNN_DATA and is left out.", flush=True)
                continue
            for fraction, alpha in strengths(*found, options):
                yield apart(trained, name, *found, alpha, fraction, options.tol, options.real_limit)

    return [
        "## Data sets with few columns",
        "",
        "Columns standardised, squared error, penalised hidden bias (d counts the column of ones), no "
        "intercept. Classes are regressed on: +1 for the class named (iris) or the last one (blood, "
        f"balance-scale), -1 for the others; real targets are standardised. Wanted gap {options.tol:g}, "
        f"limit {options.real_limit:g} s; where it was reached the bound is the best one proved by then. "
        "Repeated and proportional rows make one hyperplane; the formula counts cells for those that differ "
        "and the rank.",
        "",
        *table(TRAINED_HEAD, rows()),
    ]


def small_instance(seed: int) -> tuple[TrainingData, NetworkKind, float, str]:
    """Draw 10 to 40 samples with 2 to 4 columns, as the hidden layer sees them, a loss, biases and alpha."""
    rng = np.random.default_rng(seed)
    loss = ("squared_error", "log_loss")[seed % 2]
    bias, intercept = BIASES[seed // 2 % len(BIASES)]
    n, d = int(rng.integers(10, 41)), int(rng.integers(2, 5)) - (bias != "none")
    X = rng.standard_normal((n, d))
    seen = X if bias == "none" else np.c_[X, np.ones(n)]
    outputs = np.maximum(seen @ rng.standard_normal((seen.shape[1], 5)), 0) @ rng.choice([-1.0, 1.0], 5)
    y = outputs + 0.1 * outputs.std() * rng.standard_normal(n)
    if loss == "log_loss":
        y = np.where(y > np.median(y), 1.0, -1.0)
    alpha = float(10 ** rng.uniform(-2.5, -0.5)) * n / 4
    return training_data(X, y, loss), network_kind(bias, intercept), alpha, loss


def agreement(first: int, last: int) -> list[tuple[str, str, float, float, float, float]]:
    """Loss, biases, excess over the certified bound, certified gap, and both times of some instances."""
    warm_up()
    found = []
    for seed in range(first, last):
        data, kind, alpha, loss = small_instance(seed)
        began = time.perf_counter()
        exact = exact_fit(data, kind, alpha, tol=1e-6)
        middle = time.perf_counter()
        rough = adaptive_fit(data, kind, alpha, random_state=seed)
        ended = time.perf_counter()
        best, reached = exact.objective, rough.objective
        gap = (best - exact.result.dual_objective) / best
        biases = f"{kind.hidden_bias}, {'intercept' if kind.fit_intercept else 'no intercept'}"
        found.append((loss, biases, reached / best - 1, gap, middle - began, ended - middle))
    return found


def adaptive_part(options: argparse.Namespace) -> list[str]:
    """Compare adaptive patterns with the certified optimum."""
    found = apart(agreement, 0, options.instances)
    excess, gaps = np.array([row[2] for row in found]), np.array([row[3] for row in found])

    def rows() -> Iterator[str]:
        groups = [*dict.fromkeys((row[0], row[1]) for row in found), ("all", "")]
        for loss, biases in groups:
            kept = np.array([loss == "all" or (row[0], row[1]) == (loss, biases) for row in found])
            times = np.array([row[4:] for row in found])[kept]
            yield (
                f"| {loss} | {biases} | {kept.sum()} | {np.mean(excess[kept] <= 1e-4):.1%} | "
                f"{np.mean(excess[kept] <= 1e-3):.1%} | {excess[kept].max():.1e} | "
                f"{np.median(times[:, 0]):.3f} | {np.median(times[:, 1]):.3f} |"
            )

    head = (
        "| loss | biases | problems | within 1e-4 | within 1e-3 | worst | exact, median seconds | adaptive |"
    )
    return [
        "## Adaptive patterns beside the optimum",
        "",
        f"{len(found)} random problems, n from 10 to 40, 2 to 4 columns (that of ones counted), at default "
        "tolerance (1e-4) and one seed; objectives relative to the exact network's, whose certified gap is "
        f"at most {gaps.max():.1e}.",
        "",
        *table(head, rows()),
    ]


def bounded(n: int, d: int, seconds: float) -> str:
    """Train adaptively, then bound the optimum by one search at the dual point; return a row."""
    warm_up()
    X, y = planted(n, d, seed=0)
    alpha = 0.03 * alpha_max(X, y)
    fit = adaptive_fit(training_data(X, y), network_kind(), alpha, tol=1e-5, time_limit=10.0, random_state=0)
    objective = fit.objective
    theta = y - fit.network.outputs(X)[:, 0]
    began = time.perf_counter()
    bounds = support_bounds(X, theta, threshold=alpha, tol=1e-7, time_limit=seconds)
    spent = time.perf_counter() - began
    scale = min(float(theta @ y) / float(theta @ theta), alpha / bounds.upper)
    bound = scale * float(theta @ y) - 0.5 * scale**2 * float(theta @ theta)
    state = "" if bounds.complete else " (stopped)"
    return (
        f"| {n} | {d} | {cells(X):.3g} | {spent:.2f}{state} | {bounds.n_nodes:,} | "
        f"{max(0.0, bounds.upper / alpha - 1):.1e} | {max(0.0, bounds.lower / alpha - 1):.1e} | "
        f"{(objective - bound) / objective:.1e} |"
    )


def bounds_part(options: argparse.Namespace) -> list[str]:
    """Bound the largest price without listing cells."""
    head = (
        "| n | d | cells (formula) | seconds | cones | largest price / alpha - 1, at most | at least | "
        "certified relative gap |"
    )
    return [
        "## Branch and bound at one dual point",
        "",
        "Planted neurons, alpha = 0.03 alpha_max. Patterns adapted for at most 10 s (not counted) give a "
        "network, its residuals the dual point; one search over all patterns bounds the largest price there, "
        f"stopped after {options.search:g} s. The gap is of that network over networks of every width.",
        "",
        *table(head, (apart(bounded, n, d, options.search) for n, d in options.grid)),
    ]


def whole_program(n: int, d: int, fraction: float) -> tuple[int, float, float, float, float, str]:
    """Patterns, seconds to list, to model and to solve, objective, and CVXPY's verdict."""
    import cvxpy as cp

    X, y = planted(n, d, seed=0)
    alpha = fraction * alpha_max(X, y)
    enumerate_patterns(planted(10, 3, seed=1)[0])
    began = time.perf_counter()
    masks = enumerate_patterns(X, max_patterns=10**7).to_dense().T.astype(float)
    listed = time.perf_counter()
    V, W = cp.Variable((d, masks.shape[1])), cp.Variable((d, masks.shape[1]))
    outputs = cp.sum(cp.multiply(masks, X @ (V - W)), axis=1)
    norms = cp.sum(cp.norm(V, axis=0)) + cp.sum(cp.norm(W, axis=0))
    problem = cp.Problem(
        cp.Minimize(0.5 * cp.sum_squares(outputs - y) + alpha * norms),
        [cp.multiply(2 * masks - 1, X @ V) >= 0, cp.multiply(2 * masks - 1, X @ W) >= 0],
    )
    problem.solve(solver="CLARABEL")
    ended = time.perf_counter()
    inside = float(problem.solver_stats.solve_time or 0.0)
    return (
        masks.shape[1],
        listed - began,
        ended - listed - inside,
        inside,
        float(problem.value),
        problem.status,
    )


def whole_row(n: int, d: int, fraction: float, tol: float, seconds: float) -> tuple[str, bool]:
    """Return a row of the whole program beside column generation, and whether the former ended in time."""
    X, y = planted(n, d, seed=0)
    ours = apart(trained, "planted", X, y, fraction * apart(alpha_max, X, y), fraction, tol, seconds)
    own = [field.strip() for field in ours.split("|")[7:9]]
    began = time.perf_counter()
    found = apart(whole_program, n, d, fraction, seconds=seconds)
    if found is None:
        count = count_patterns(n, d)
        return f"| {n} | {d} | {count:,} | stopped after {seconds:g} | | | {own[0]} | {own[1]} |", False
    count, listed, modelled, inside, value, status = found
    total = time.perf_counter() - began
    row = (
        f"| {n} | {d} | {count:,} | {total:.1f} ({listed:.2f} + {modelled:.1f} + {inside:.1f}) | "
        f"{value:.9g} | {status} | {own[0]} | {own[1]} |"
    )
    return row, status == "optimal"


def cvxpy_part(options: argparse.Namespace) -> list[str]:
    """Grow n until CVXPY no longer ends in time."""

    def rows() -> Iterator[str]:
        for d in options.columns:
            for n in options.rows:
                row, ended = whole_row(n, d, 0.03, options.tol, options.cap)
                yield row
                if not ended:
                    break

    head = (
        "| n | d | patterns | CVXPY, seconds (list + model + solve) | objective | status | ours, seconds | "
        "ours, objective |"
    )
    return [
        "## The whole program through CVXPY",
        "",
        "All patterns listed by this package, the program written densely in CVXPY as in Pilanci and Ergen's "
        "paper, Clarabel at its own tolerances (1e-8); planted neurons, alpha = 0.03 alpha_max. n grows "
        f"until a case takes more than {options.cap:g} s; the total includes starting the process, nothing "
        "is extrapolated. "
        f"Ours: column generation to a certified gap of {options.tol:g}, warm, the start not counted.",
        "",
        *table(head, rows()),
    ]


PARTS = {
    "planted": planted_part,
    "real": real_part,
    "adaptive": adaptive_part,
    "bounds": bounds_part,
    "cvxpy": cvxpy_part,
}


def store(sections: dict[str, list[str]]) -> None:
    """Replace these sections of the file and keep the others."""
    old = RESULTS.read_text().split("\n## ")[1:] if RESULTS.exists() else []
    kept = {text.split("\n")[0]: "## " + text.rstrip() for text in old}
    kept |= {lines[0][3:]: "\n".join(lines) for lines in sections.values()}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    head = f"# Training to the optimum over all patterns\n\n{datetime.date.today().isoformat()}, {machine}."
    RESULTS.write_text("\n\n".join([head, *kept.values()]) + "\n")


def pair(text: str) -> tuple[int, int]:
    """Read ``100,4``."""
    n, d = text.split(",")
    return int(n), int(d)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", default=[*PARTS], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--fractions", nargs="+", type=float, default=FRACTIONS, help="of alpha_max")
    parser.add_argument("--tol", type=float, default=1e-6, help="certified relative gap wanted")
    parser.add_argument("--sizes", nargs="+", type=pair, default=SIZES, help="planted: pairs n,d")
    parser.add_argument("--limit", type=float, default=100.0, help="planted: seconds")
    parser.add_argument("--names", nargs="+", default=REAL, help="real: data sets")
    parser.add_argument("--real-limit", type=float, default=60.0, help="real: seconds")
    parser.add_argument("--instances", type=int, default=200, help="adaptive: problems")
    parser.add_argument("--grid", nargs="+", type=pair, default=GRID, help="bounds: pairs n,d")
    parser.add_argument("--search", type=float, default=15.0, help="bounds: seconds")
    parser.add_argument("--columns", nargs="+", type=int, default=(3, 4), help="cvxpy: d")
    parser.add_argument("--rows", nargs="+", type=int, default=(10, 20, 30, 40, 60, 80, 100, 150, 200))
    parser.add_argument("--cap", type=float, default=200.0, help="cvxpy: seconds")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    for part in options.parts:
        section = PARTS[part](options)
        if options.save:
            store({part: section})


if __name__ == "__main__":
    main()
