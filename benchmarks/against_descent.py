"""Adaptive patterns against restarts of L-BFGS, Adam and momentum descent on the same objective.

``python benchmarks/against_descent.py --data planted-200-10 airfoil pima`` reads data sets from the folder in
``CONVEXNN_DATA`` (files ``regression/NAME.npz`` and ``classification/NAME.npz`` with ``X`` and ``y``);
``planted-N-D`` and ``diabetes``, ``breast-cancer-sklearn``, ``digits-3-8`` need no folder. Inputs and real
targets are standardised, classes are -1 and +1.

Everyone minimises ``F`` with a penalised hidden bias and an intercept, squared error or logistic loss, for
``alpha`` at given fractions of the least value that leaves no neuron. Every method's objective is recomputed
from its weights by one function. Budgets, all on one core and in float64:

- L-BFGS: scipy's, width 100, ten restarts of at most ``--iterations`` iterations;
- Adam and momentum (Nesterov, 0.9): full gradients, width 100, ten restarts in one batch of ``--steps`` steps
  with a cosine schedule down to zero, at the best of four step sizes in pilots of a quarter of the length;
- each method stops at ``--cap`` seconds and keeps what it has;
- ours: `convexnn.training.local_search.adapt` at its defaults, with the same cap.

Rows are appended to a CSV file, and cases that are there already are skipped; the table is written anew from
all rows each time.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
RESULTS = Path(__file__).parent / "results"
METHODS = ("ours", "lbfgs", "adam", "momentum")
FIELDS = ("data", "n", "d", "fraction", "alpha", "method", "objective", "seconds", "detail")
WIDTH = 100
STEP_SIZES = {"adam": (1e-3, 3e-3, 1e-2, 3e-2), "momentum": (3e-3, 1e-2, 3e-2, 1e-1)}
SETS = {
    "small": [
        *("planted-50-5", "planted-200-10", "planted-1000-20", "diabetes", "breast-cancer-sklearn"),
        *("digits-3-8", "autompg", "yacht", "stock", "energy-heating", "concrete", "pima", "blood"),
        *("ionosphere", "statlog-heart", "breast-cancer-wisc-diag", "monks-1", "monks-2", "monks-3"),
        *("mammographic", "musk-1", "planning", "vertebral-column-2clases", "breast-cancer-wisc-prog"),
    ],
    "large": [
        *("airfoil", "abalone-rings", "gas-ethanol", "kin8nm", "pol"),
        *("bank", "ringnorm", "spambase", "chess-krvkp"),
    ],
}


@dataclass(frozen=True, eq=False)
class Case:
    """One objective: inputs with a column of ones, targets, and which loss."""

    name: str
    X: Array
    y: Array
    classes: bool
    fraction: float
    alpha: float

    def loss(self, f: Array) -> Array:
        """Losses of outputs (n, R), summed over the samples."""
        y = self.y[:, None]
        total: Array = (np.logaddexp(0.0, -y * f) if self.classes else 0.5 * (f - y) ** 2).sum(axis=0)
        return total

    def slope(self, f: Array) -> Array:
        """Return derivatives of the losses in the outputs."""
        y = self.y[:, None]
        derivative: Array = -y * expit(-y * f) if self.classes else f - y
        return derivative

    def objective(self, U: Array, a: Array, c: float) -> float:
        """``F`` of one network with hidden weights (d, m), output weights (m,) and intercept."""
        f = np.maximum(self.X @ U, 0.0) @ a + c
        penalty = 0.5 * self.alpha * float((U**2).sum() + (a**2).sum())
        return float(self.loss(f[:, None])[0]) + penalty


def load(name: str) -> tuple[Array, Array, bool]:
    """Return inputs without the column of ones, targets, and whether they are classes."""
    if name.startswith("planted-"):
        n, d = (int(part) for part in name.split("-")[1:])
        rng = np.random.default_rng(n + d)
        X = rng.standard_normal((n, d - 1))
        outputs = np.maximum(np.c_[X, np.ones(n)] @ rng.standard_normal((d, 5)), 0) @ rng.choice([-1.0, 1], 5)
        return X, outputs + 0.1 * outputs.std() * rng.standard_normal(n), False
    if name in ("diabetes", "breast-cancer-sklearn", "digits-3-8"):
        from sklearn import datasets

        source = {"diabetes": "load_diabetes", "breast-cancer-sklearn": "load_breast_cancer"}
        X, y = getattr(datasets, source.get(name, "load_digits"))(return_X_y=True)
        if name == "digits-3-8":
            X, y = X[(y == 3) | (y == 8)], y[(y == 3) | (y == 8)]
        return X, y, name != "diabetes"
    folder = Path(os.environ["CONVEXNN_DATA"])
    for task in ("regression", "classification"):
        path = folder / task / f"{name}.npz"
        if path.exists():
            with np.load(path) as stored:
                return stored["X"].astype(float), stored["y"], task == "classification"
    raise SystemExit(f"There is no data set {name!r} in {folder}.")


def cases(name: str, fractions: list[float]) -> Iterator[Case]:
    """Yield the standardised data with each strength."""
    X, labels, classes = load(name)
    X = X - X.mean(axis=0)
    X = X[:, X.std(axis=0) > 1e-12]
    X = np.c_[X / X.std(axis=0), np.ones(len(X))]
    y = np.where(labels == np.unique(labels)[1], 1.0, -1.0) if classes else (labels - labels.mean())
    y = y if classes else y / y.std()
    largest = alpha_max(Case(name, X, y, classes, 1.0, 0.0))
    for fraction in fractions:
        yield Case(name, X, y, classes, fraction, fraction * largest)


def alpha_max(case: Case) -> float:
    """Largest ``|theta . relu(X u)| / |u|`` at the best constant, by ascent from 500 random starts."""
    share = (case.y > 0).mean()
    constant = np.log(share / (1 - share)) if case.classes else case.y.mean()
    theta = -case.slope(np.full((len(case.y), 1), constant))[:, 0]
    U = np.random.default_rng(0).standard_normal((case.X.shape[1], 500))
    best = 0.0
    for sign in (1.0, -1.0):
        V = U
        for _ in range(100):
            active = case.X @ V > 0
            best = max(
                best, float((sign * theta @ (active * (case.X @ V)) / np.linalg.norm(V, axis=0)).max())
            )
            V = case.X.T @ (active * (sign * theta)[:, None])
            V = np.where(V.any(axis=0), V / np.maximum(np.linalg.norm(V, axis=0), 1e-300), U)
    return best


class Batch:
    """``F`` and its gradient for R networks of width m at once; arrays (d, R m), (R m,) and (R,)."""

    def __init__(self, case: Case, restarts: int) -> None:
        self.case, self.restarts = case, restarts

    def start(self, seed: int) -> list[Array]:
        """Draw weights as scikit-learn's MLPRegressor does."""
        rng, d, total = np.random.default_rng(seed), self.case.X.shape[1], self.restarts * WIDTH
        hidden, output = np.sqrt(6 / (d - 1 + WIDTH)), np.sqrt(6 / (WIDTH + 1))
        return [
            rng.uniform(-hidden, hidden, (d, total)),
            rng.uniform(-output, output, total),
            rng.uniform(-output, output, self.restarts),
        ]

    def gradient(self, U: Array, a: Array, c: Array) -> tuple[Array, list[Array]]:
        """Return the objectives (R,) and the gradients."""
        case, n, restarts = self.case, len(self.case.y), self.restarts
        hidden = case.X @ U
        np.maximum(hidden, 0.0, out=hidden)
        layers = hidden.reshape(n, restarts, WIDTH)
        f = np.einsum("nrm,rm->nr", layers, a.reshape(restarts, WIDTH)) + c
        slope = case.slope(f)
        to_output = np.einsum("nrm,nr->rm", layers, slope).ravel() + case.alpha * a
        back = (layers > 0) * slope[:, :, None]
        to_hidden = (case.X.T @ back.reshape(n, -1)) * a + case.alpha * U
        squares = ((U**2).sum(axis=0) + a**2).reshape(restarts, WIDTH).sum(axis=1)
        return case.loss(f) + 0.5 * case.alpha * squares, [to_hidden, to_output, slope.sum(axis=0)]

    def best(self, parameters: list[Array]) -> float:
        """Least objective of the batch, recomputed one network at a time."""
        U, a, c = parameters
        parts = [slice(r * WIDTH, (r + 1) * WIDTH) for r in range(self.restarts)]
        return min(self.case.objective(U[:, p], a[p], float(c[r])) for r, p in enumerate(parts))


def run_lbfgs(case: Case, options: argparse.Namespace) -> tuple[float, str]:
    """Restart after restart; returns the best objective and how many restarts ran how long."""
    batch, d, began = Batch(case, 1), case.X.shape[1], time.perf_counter()
    sizes = [d * WIDTH, (d + 1) * WIDTH]

    def unpacked(x: Array) -> list[Array]:
        U, a, c = np.split(x, sizes)
        return [U.reshape(d, WIDTH), a, c]

    def value(x: Array) -> tuple[float, Array]:
        values, gradient = batch.gradient(*unpacked(x))
        return float(values[0]), np.concatenate([part.ravel() for part in gradient])

    def watch(x: Array) -> None:
        nonlocal latest
        latest = x
        if time.perf_counter() - began > options.cap:
            raise StopIteration

    best, iterations, done = np.inf, 0, 0
    for seed in range(options.restarts):
        latest = np.concatenate([part.ravel() for part in batch.start(seed)])
        settings = {"maxiter": options.iterations, "maxfun": 2 * options.iterations}
        found = minimize(value, latest, jac=True, method="L-BFGS-B", callback=watch, options=settings)
        best, iterations, done = min(best, batch.best(unpacked(found.x))), iterations + found.nit, done + 1
        if time.perf_counter() - began > options.cap:
            break
    return best, f"{done} restarts, {iterations} iterations"


def run_batched(case: Case, options: argparse.Namespace, rule: str) -> tuple[float, str]:
    """Pilots with each step size, then the batch; returns the best objective and the step size."""
    began = time.perf_counter()
    pilots = {}
    for size in STEP_SIZES[rule]:
        pilots[size] = descend(case, 1, size, rule, steps=options.steps // 4, until=began + options.cap / 8)[
            0
        ]
    size = min(pilots, key=lambda step: (not np.isfinite(pilots[step]), pilots[step]))
    best, done = descend(case, options.restarts, size, rule, steps=options.steps, until=began + options.cap)
    return best, f"step size {size:g}, {done} steps"


def descend(
    case: Case, restarts: int, size: float, rule: str, *, steps: int, until: float
) -> tuple[float, int]:
    """Full-gradient descent with a cosine schedule; momentum steps are divided by the number of samples."""
    batch = Batch(case, restarts)
    parameters = batch.start(0)
    first = [np.zeros_like(part) for part in parameters]
    second = [np.zeros_like(part) for part in parameters]
    done = 0
    for step in range(1, steps + 1):
        rate = size * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps))
        _, gradient = batch.gradient(*parameters)
        for k, g in enumerate(gradient):
            if rule == "adam":
                first[k] += 0.1 * (g - first[k])
                second[k] += 0.001 * (g**2 - second[k])
                size_of_steps = np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8
                parameters[k] -= rate * first[k] / (1 - 0.9**step) / size_of_steps
            else:
                first[k] = 0.9 * first[k] - rate * g / len(case.y)
                parameters[k] += 0.9 * first[k] - rate * g / len(case.y)
        done = step
        if time.perf_counter() > until or not np.isfinite(parameters[0][0, 0]):
            break
    with np.errstate(all="ignore"):
        return batch.best(parameters), done


def run_ours(case: Case, options: argparse.Namespace) -> tuple[float, str]:
    """`adapt` at its defaults; the objective is recomputed from the network's weights."""
    from convexnn.activations import get_activation
    from convexnn.losses import get_loss
    from convexnn.problem import NetworkKind, Problem, TrainingData
    from convexnn.training import TrainingOptions
    from convexnn.training.local_search import adapt
    from convexnn_solvers import Clock

    loss = get_loss("log_loss" if case.classes else "squared_error")
    data = TrainingData(case.X[:, :-1], case.y[:, None], np.ones(len(case.y)), loss)
    kind, chosen = NetworkKind(get_activation("relu"), "penalized", True), TrainingOptions(random_state=0)
    fit = adapt(Problem.of(data, kind, case.alpha), chosen, Clock(options.cap))
    network = fit.network
    U = np.vstack([network.hidden_weights, network.hidden_biases])
    objective = case.objective(U, network.output_weights[:, 0], float(network.output_biases[0]))
    detail = f"{fit.result.status.name}, {fit.n_rounds} rounds, {network.n_neurons} neurons"
    return objective, f"{detail}, violation {fit.violation:.1e}, gap {fit.result.relative_gap:.1e}"


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read what is done."""
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def measure(case: Case, method: str, options: argparse.Namespace) -> dict[str, str]:
    """Run one method on one case."""
    runs: dict[str, Callable[[], tuple[float, str]]] = {
        "ours": lambda: run_ours(case, options),
        "lbfgs": lambda: run_lbfgs(case, options),
        "adam": lambda: run_batched(case, options, "adam"),
        "momentum": lambda: run_batched(case, options, "momentum"),
    }
    began = time.perf_counter()
    with threadpool_limits(1):
        objective, detail = runs[method]()
    seconds = time.perf_counter() - began
    n, d = case.X.shape
    values = (case.name, n, d, case.fraction, f"{case.alpha:.10g}", method)
    return dict(zip(FIELDS, map(str, (*values, f"{objective:.10g}", f"{seconds:.4g}", detail)), strict=True))


def table(rows: list[dict[str, str]]) -> str:
    """Markdown table of all cases, with a count of the wins."""
    found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in rows:
        found.setdefault((row["data"], row["fraction"]), {})[row["method"]] = row
    lines = [
        "| data | n | d | fraction | ours | L-BFGS | Adam | momentum | (ours - best) / best | s ours | "
        "s L-BFGS | not above | not slower |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    wins, faster, complete = 0, 0, 0
    for (name, fraction), methods in found.items():
        cells = [methods.get(method, {}).get("objective", "") for method in METHODS]
        some = next(iter(methods.values()))
        line = [name, some["n"], some["d"], fraction, *cells]
        others = [float(methods[m]["objective"]) for m in METHODS[1:] if m in methods]
        if "ours" in methods and others:
            excess = float(cells[0]) / min(others) - 1
            seconds = [float(methods[m]["seconds"]) if m in methods else np.nan for m in ("ours", "lbfgs")]
            good, quick = excess <= 1e-4, seconds[0] <= seconds[1]
            wins, faster, complete = wins + good, faster + quick, complete + 1
            line += [
                f"{excess:+.1e}",
                *(f"{s:.3g}" for s in seconds),
                *(("NO", "yes")[v] for v in (good, quick)),
            ]
        lines.append("| " + " | ".join(line) + " |")
    summary = f"Not above the best of the others (1e-4 relative): {wins} of {complete}. "
    return "\n".join(
        [*lines, "", summary + f"Not slower than ten L-BFGS restarts: {faster} of {complete}.", ""]
    )


def warm_up() -> None:
    """Compile the kernels on small problems."""
    options = argparse.Namespace(cap=60.0)
    for name in ("planted-30-3", "digits-3-8"):
        case = next(cases(name, [0.1]))
        small = Case(case.name, case.X[:40, -4:], case.y[:40], case.classes, 0.1, 0.5)
        run_ours(small, options)


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=[], help="names of data sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=[], help="lists of data sets")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.3, 0.03, 0.003])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=2000, help="of L-BFGS for each restart")
    parser.add_argument("--steps", type=int, default=2000, help="of Adam and momentum")
    parser.add_argument("--cap", type=float, default=300.0, help="seconds for each method and case")
    parser.add_argument("--csv", type=Path, default=RESULTS / "against_descent.csv")
    parser.add_argument("--table", type=Path, default=RESULTS / "against_descent.md")
    options = parser.parse_args()
    done = {(row["data"], row["fraction"], row["method"]) for row in rows_of(options.csv)}
    if "ours" in options.methods:
        warm_up()
    for name in [*options.data, *(name for chosen in options.sets for name in SETS[chosen])]:
        for case in cases(name, options.fractions):
            for method in options.methods:
                if (name, str(case.fraction), method) in done:
                    continue
                row = measure(case, method, options)
                print(" ".join(row.values()), flush=True)
                fresh = not options.csv.exists()
                with options.csv.open("a", newline="") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    if fresh:
                        writer.writeheader()
                    writer.writerow(row)
                done.add((name, str(case.fraction), method))
    text = table(rows_of(options.csv))
    options.table.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
