"""Default fits beside single runs of scikit-learn's MLP by L-BFGS, which minimises the same objective.

``python benchmarks/against_perceptrons.py --alphas 1 10`` reads the data sets in the folder ``CONVEXNN_DATA``
(files ``regression/NAME.npz`` and ``classification/NAME.npz`` with ``X`` and ``y``): all with three or more
classes, and those with two classes or a real target of at most ``--most-rows`` samples. Inputs and real
targets are standardised. With a free hidden bias ``n_samples`` times the loss of a converged MLP is our ``F``
at the same alpha.

- MLP: width 100, ``tol=1e-7``, at most 5,000 iterations, ``--runs`` seeds; its best objective and the median
  of its seconds count;
- ours: `ConvexMLPClassifier` and `ConvexMLPRegressor` with default parameters but ``hidden_bias``.

Both use the threads that the environment gives them (``OMP_NUM_THREADS``, ``OPENBLAS_NUM_THREADS``,
``NUMBA_NUM_THREADS``), one after the other in this process. Runs are appended to a CSV file, and those that
are there already are skipped; the table is written anew from all of them.
"""

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler, scale

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor

RESULTS = Path(__file__).parent / "results"
CASE = ["data", "n", "d", "classes", "alpha"]
# Relative excess over the best MLP that counts as none, and the slowest that nine of ten sets may be.
NO_EXCESS, SLOW = 1e-4, 3.0


def load(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return standardised inputs, labels or a standardised target, and the number of classes, 0 for that."""
    with np.load(path) as stored:
        X, y = StandardScaler().fit_transform(stored["X"].astype(float)), stored["y"]
    if path.parent.name == "regression":
        return X, scale(y.astype(float)), 0
    return X, y, len(np.unique(y))


def chosen(folder: Path, names: list[str], most_rows: int) -> Iterator[Path]:
    """Yield the files of the data sets named, or of all that the module's text describes."""
    for path in sorted([*folder.glob("classification/*.npz"), *folder.glob("regression/*.npz")]):
        if names:
            if path.stem in names:
                yield path
            continue
        X, _, n_classes = load(path)
        if n_classes > 2 or len(X) <= most_rows:
            yield path


def run(method: str, path: Path, alpha: float, seed: int, hidden_bias: str) -> dict[str, object]:
    """Fit once; returns objective and seconds."""
    X, y, n_classes = load(path)
    if method == "mlp":
        kind = MLPClassifier if n_classes else MLPRegressor
        limits = {"hidden_layer_sizes": 100, "tol": 1e-7, "max_iter": 5000, "max_fun": 10**7}
        model = kind(solver="lbfgs", alpha=alpha, random_state=seed, **limits)
    else:
        convex = ConvexMLPClassifier if n_classes else ConvexMLPRegressor
        model = convex(alpha, hidden_bias=hidden_bias, random_state=seed)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    seconds = time.perf_counter() - begin
    objective = len(X) * model.loss_ if method == "mlp" else model.objective_
    case = dict(zip(CASE, (path.stem, *X.shape, n_classes, alpha), strict=True))
    return {**case, "method": method, "seed": seed, "objective": objective, "seconds": seconds}


def table(runs: pd.DataFrame) -> str:
    """Return one row for each case and what they come to, as Markdown."""
    cases = runs.groupby([*CASE, "method"], sort=False)
    found = pd.concat([cases["objective"].min(), cases["seconds"].median()], axis=1)
    found = found.unstack("method").dropna()
    rows = found.index.to_frame(index=False)
    for name, figure in (("F", "objective"), ("seconds", "seconds")):
        for method, label in (("mlp", "MLP"), ("ours", "ours")):
            rows[f"{name} {label}"] = found[figure, method].to_numpy()
    rows["excess"] = rows["F ours"] / rows["F MLP"] - 1
    rows["ratio"] = ratio = rows["seconds ours"] / rows["seconds MLP"]
    above = int((rows["excess"] > NO_EXCESS).sum())
    summary = (
        f"Above the best MLP by more than {NO_EXCESS:g}: {above} of {len(rows)}. "
        f"Seconds in those of one MLP: median {ratio.median():.2f}, largest {ratio.max():.2f}, "
        f"above {SLOW:g}: {int((ratio > SLOW).sum())}."
    )
    return rows.to_markdown(index=False, floatfmt=".4g") + "\n\n" + summary + "\n"


def main() -> None:
    """Run what is not done yet and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=[], help="names of data sets, instead of all")
    parser.add_argument("--alphas", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--runs", type=int, default=10, help="of the MLP")
    parser.add_argument("--fits", type=int, default=1, help="of ours")
    parser.add_argument("--hidden-bias", choices=["free", "penalized"], default="free")
    parser.add_argument("--most-rows", type=int, default=5000)
    parser.add_argument("--csv", type=Path, default=RESULTS / "against_perceptrons.csv")
    parser.add_argument("--table", type=Path, default=RESULTS / "against_perceptrons.md")
    options = parser.parse_args()
    keys = ["data", "alpha", "method", "seed"]
    done = pd.read_csv(options.csv) if options.csv.exists() else pd.DataFrame(columns=keys)
    known = set(done[keys].itertuples(index=False, name=None))
    warm = False
    for path in chosen(Path(os.environ["CONVEXNN_DATA"]), options.data, options.most_rows):
        for alpha in options.alphas:
            wanted = [*(("ours", s) for s in range(options.fits)), *(("mlp", s) for s in range(options.runs))]
            for method, seed in wanted:
                if (path.stem, alpha, method, seed) in known:
                    continue
                if method == "ours" and not warm:
                    for example in (path.parents[1] / "classification" / "iris.npz", path):
                        run("ours", example, alpha, 0, options.hidden_bias)
                    warm = True
                row = run(method, path, alpha, seed, options.hidden_bias)
                print(" ".join(map(str, row.values())), flush=True)
                pd.DataFrame([row]).to_csv(
                    options.csv, mode="a", header=not options.csv.exists(), index=False
                )
    options.table.write_text(table(pd.read_csv(options.csv)))
    print(options.table.read_text())


if __name__ == "__main__":
    main()
