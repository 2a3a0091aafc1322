"""Solvers of combination weights beside one another, on the predictions of real sub-models.

``python benchmarks/ensembles/weights.py`` reads MNIST from the folder in ``CONVEXNN_DATA``
(``images/mnist.npz``), trains a two-layer network with dropout on 48000 images, draws 100 sub-models and
solves for their weights on the other 12000, 120000 rows, with every solver that can run here. ``--save``
writes ``results/ensemble_weights.md``.
"""

import argparse
import datetime
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from accuracy import TRAINING, load
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from convexnn.ensembles import DropoutMLPClassifier
from convexnn.ensembles.dense import DenseSubModels
from convexnn_solvers import NonnegativeProgram, available_solvers, solve_nonnegative, solve_nonnegative_path

RESULTS = Path(__file__).parent.parent / "results" / "ensemble_weights.md"
PROGRAMS: dict[str, dict[str, float | bool]] = {
    "w >= 0": {},
    "w >= 0, sum 1": {"sum_to_one": True},
    "w >= 0, ridge 1": {"ridge": 1.0},
}


def predictions() -> tuple[np.ndarray, np.ndarray]:
    """Return class probabilities of 100 sub-models, one column each, and one-hot targets."""
    split = load("mnist", 0)
    if split is None:
        raise SystemExit("MNIST is not in CONVEXNN_DATA.")
    train, held_out, y_train, y_held_out = train_test_split(
        *split[:2], test_size=0.2, stratify=split[1], random_state=0
    )
    units, n_epochs = TRAINING["mnist"]
    base = DropoutMLPClassifier(units, max_iter=n_epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        base.fit(train, y_train)
    submodels = DenseSubModels.draw(base, 100, 0.5, np.random.default_rng(0))
    matrix = np.column_stack([outputs.ravel() for outputs in submodels.outputs(held_out)])
    return matrix.astype(np.float64), np.eye(10)[y_held_out].ravel()


def names() -> list[str]:
    """Return the solvers that can run here, CVXPY with those of its own that solve these programs."""
    variants = [f"cvxpy:{name}" for name in ("ECOS", "OSQP", "SCS")]
    return [name for name in available_solvers("nonnegative") if name != "cvxpy"] + ["cvxpy", *variants]


def table(program: NonnegativeProgram, repeats: int = 5) -> list[str]:
    """Return a row for each solver: residual, distance from the others, seconds of a solve and of a path."""
    reduced = program.reduced()
    reference = solve_nonnegative(program, solver="nnls")
    prefixes = [reduced.leading(k) for k in range(1, program.n_weights + 1)]
    rows = []
    for name in names():
        result = solve_nonnegative(program, solver=name)
        seconds = [solve_nonnegative(reduced, solver=name).time for _ in range(repeats)]
        began = time.perf_counter()
        path = solve_nonnegative_path(prefixes, solver=name)
        path_seconds = time.perf_counter() - began
        worst = max(step.optimality for step in path)
        rows.append(
            f"{name} | {result.status.name} | {result.solver_optimality:.1e} | {result.optimality:.1e} "
            f"| {result.n_active} "
            f"| {abs(result.objective / reference.objective - 1):.1e} "
            f"| {np.abs(result.weights - reference.weights).max():.1e} "
            f"| {1e3 * median(seconds):.1f} | {path_seconds:.2f} | {worst:.1e} |"
        )
    return rows


def main() -> None:
    """Measure, print and with ``--save`` write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    matrix, targets = predictions()
    lines = [
        "| weights | solver | status | its residual | residual | non-zero | objective off nnls's "
        "| weights off nnls's | ms | 100 prefixes, s | largest residual of them |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for name, settings in PROGRAMS.items():
        program = NonnegativeProgram(matrix, targets, **settings)
        began = time.perf_counter()
        program.reduced()
        reduction = time.perf_counter() - began
        ratio = solve_nonnegative(program).objective / program.objective(program.uniform())
        notes.append(f"{name}: objective {ratio:.4f} of uniform weights', reduction {reduction:.2f} s")
        lines += [f"| {name} | {row}" for row in table(program)]
    packages = ("numpy", "scipy", "osqp", "clarabel", "cvxpy")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    text = f"""# Solvers of combination weights

{datetime.date.today()}, Python {platform.python_version()}, {versions}.
100 sub-models of a network trained on MNIST with dropout 0.5, their class probabilities of 12000 held-out
images: {matrix.shape[0]} rows, condition of the columns {np.linalg.cond(matrix):.0f}. Residuals of the
optimality conditions are recomputed from the data, relative; tol is 1e-8. "Its residual" is that of the
solver's own answer, before the active-set steps that all answers get. Milliseconds are of the reduced
program, 101 rows, medians of 5, those steps included. Prefixes are the programs of the first 1, 2, ... 100
sub-models.
{"; ".join(notes)}.

{chr(10).join(lines)}
"""
    print(text)
    if options.save:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
