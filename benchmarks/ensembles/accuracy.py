"""Uniform against optimised combinations of dropout sub-models on test data.

``python benchmarks/ensembles/accuracy.py digits mnist cifar`` runs these data sets, no name all of them:

- digits of scikit-learn, 1437 to train and 360 to test;
- MNIST, 60000 to train and 10000 to test;
- CIFAR-10, airplane against automobile, 10000 to train and 2000 to test.

The last two are read from the folder in ``CONVEXNN_DATA`` (``images/mnist.npz`` and
``images/cifar10-airplane-automobile.npz`` with ``X_train``, ``y_train``, ``X_test``, ``y_test``) and left out
where they are not. For each seed a fifth of the training data is set aside, a two-layer network is trained on
the rest, with dropout by PyTorch and without by scikit-learn, 100 sub-models are drawn from it by masks over
its hidden units, and their weights are chosen on what was set aside. Nothing is chosen on test data. Since
the fifth could have trained the network instead, one that has seen all training data is measured too. Rows
go to ``results/ensembles.csv``; ``--table`` only writes ``results/ensembles.md`` and its picture from them.
"""

import argparse
import datetime
import os
import platform
import time
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_rel
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from convexnn import DropoutEnsembleClassifier, TwoLayerNetwork
from convexnn.ensembles import submodel_curve

Array = NDArray[np.float32]
Split = tuple[Array, NDArray[Any], Array, NDArray[Any]]
FOLDER = Path(__file__).parent.parent / "results"
ROWS = FOLDER / "ensembles.csv"
SIZES = [1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100]
# Hidden units and passes over the data.
TRAINING = {"digits": (256, 100), "mnist": (256, 15), "cifar": (256, 30)}
# Of training and of the masks. A network trained without dropout is thinned mildly and as much as the other.
BASES = {"dropout": (0.5, (0.5,)), "no dropout": (0.0, (0.2, 0.5))}
COMBINATIONS: dict[str, dict[str, Any]] = {"w >= 0": {}, "w >= 0, sum 1": {"sum_to_one": True}}


def load(name: str, seed: int) -> Split | None:
    """Return training and test data in [0, 1], None where they are not there."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        data = (X / 16).astype(np.float32)
        train, test, y_train, y_test = train_test_split(data, y, test_size=360, stratify=y, random_state=seed)
        return train, y_train, test, y_test
    file = {"mnist": "mnist", "cifar": "cifar10-airplane-automobile"}[name]
    path = Path(os.environ.get("CONVEXNN_DATA", "")) / "images" / f"{file}.npz"
    if not path.exists():
        return None
    arrays = np.load(path)
    train, test = ((arrays[key] / 255.0).astype(np.float32) for key in ("X_train", "X_test"))
    return train, arrays["y_train"], test, arrays["y_test"]


def trained(X: Array, y: NDArray[Any], dropout: float, units: int, n_passes: int, seed: int) -> MLPClassifier:
    """Train a network by Adam in batches of 200, with dropout by PyTorch, without by scikit-learn."""
    if dropout == 0:
        base = MLPClassifier(units, max_iter=n_passes, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is part of the setting
            return base.fit(X, y)
    import torch

    torch.manual_seed(seed)
    classes, indices = np.unique(y, return_inverse=True)
    data, labels = torch.from_numpy(X), torch.from_numpy(indices)
    first, last = torch.nn.Linear(X.shape[1], units), torch.nn.Linear(units, len(classes))
    module = torch.nn.Sequential(first, torch.nn.ReLU(), torch.nn.Dropout(dropout), last)
    adam = torch.optim.Adam(module.parameters())
    for _ in range(n_passes):
        for rows in torch.randperm(len(X)).split(200):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(module(data[rows]), labels[rows]).backward()
            adam.step()
    network = TwoLayerNetwork.from_torch(torch.nn.Sequential(first, torch.nn.ReLU(), last))
    return replace(network, classes=tuple(classes.tolist())).to_sklearn()


def measure(name: str, seed: int) -> list[dict[str, Any]]:
    """Train both bases of a seed and combine their sub-models in every way."""
    split = load(name, seed)
    assert split is not None
    X, y, X_test, y_test = split
    train, held_out, y_train, y_held_out = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    rows = []
    for base_name, (dropout, rates) in BASES.items():
        on_all = trained(X, y, dropout, *TRAINING[name], seed).score(X_test, y_test)
        began = time.perf_counter()
        base = trained(train, y_train, dropout, *TRAINING[name], seed)
        training_seconds = time.perf_counter() - began
        for rate in rates:
            for combination, options in COMBINATIONS.items():
                ensemble = DropoutEnsembleClassifier(
                    FrozenEstimator(base), max(SIZES), dropout=rate, random_state=seed, **options
                )
                began = time.perf_counter()
                ensemble.fit(held_out, y_held_out)
                seconds = time.perf_counter() - began
                curve = submodel_curve(ensemble, X_test, y_test, sizes=SIZES)
                rows += [
                    {
                        "data": name,
                        "base": base_name,
                        "mask rate": rate,
                        "combination": combination,
                        "seed": seed,
                        "sub-models": size,
                        "base on all": on_all,
                        "base accuracy": curve.base_score,
                        "uniform": curve.uniform_scores[k],
                        "optimised": curve.optimised_scores[k],
                        "non-zero": curve.n_active[k],
                        "optimality": curve.optimality[k],
                        "objective ratio": ensemble.objective_ / ensemble.uniform_objective_,
                        "training seconds": training_seconds,
                        "weights seconds": seconds,
                    }
                    for k, size in enumerate(curve.sizes)
                ]
                last = rows[-1]
                print(
                    f"{name} seed {seed} {base_name} masks {rate} {combination}: "
                    f"base {last['base accuracy']:.4f} uniform {last['uniform']:.4f} "
                    f"optimised {last['optimised']:.4f} ({last['non-zero']} weights, "
                    f"{training_seconds:.0f} + {seconds:.1f} s)",
                    flush=True,
                )
    return rows


KEY = ["data", "base", "mask rate", "combination"]


def save(rows: list[dict[str, Any]]) -> None:
    """Add rows, in place of older ones of the same setting and seed."""
    new = pd.DataFrame(rows)
    if ROWS.exists():
        key = [*KEY, "seed", "sub-models"]
        new = pd.concat([pd.read_csv(ROWS), new]).drop_duplicates(key, keep="last")
    new.sort_values([*KEY, "seed", "sub-models"]).to_csv(ROWS, index=False, float_format="%.6g")


def table() -> str:
    """Return the Markdown table of all sub-models, and of how many of them are needed."""
    rows = pd.read_csv(ROWS)
    lines = [
        "| data | base | masks | weights | base on all | base | uniform | optimised "
        "| optimised - uniform | p | optimised - base | p | optimised - base on all | p | non-zero "
        "| objective over uniform's |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, group in rows[rows["sub-models"] == max(SIZES)].groupby(KEY, sort=False):
        name, base, rate, combination = key
        on_all, whole, uniform, optimised = (
            100 * group[column] for column in ("base on all", "base accuracy", "uniform", "optimised")
        )
        cells = [f"{c.mean():.2f} ± {c.std():.2f}" for c in (on_all, whole, uniform, optimised)]
        for other in (uniform, whole, on_all):
            difference = optimised - other
            p = ttest_rel(optimised, other).pvalue if difference.std() > 0 else float("nan")
            cells += [f"{difference.mean():+.3f} ± {difference.std():.3f}", f"{p:.2g}"]
        cells += [f"{group['non-zero'].mean():.0f}", f"{group['objective ratio'].mean():.3f}"]
        lines.append(f"| {name} | {base} | {rate} | {combination} | {' | '.join(cells)} |")
    return "\n".join(lines)


def sizes_table() -> str:
    """Return the Markdown table of mean test accuracy against the number of sub-models."""
    rows = pd.read_csv(ROWS)
    shown = [1, 3, 10, 30, 100]
    lines = [
        "| data | base | masks | weights | " + " | ".join(str(size) for size in shown) + " |",
        "|---|---|---|---|" + "---|" * len(shown),
    ]
    for key, group in rows.groupby(KEY, sort=False):
        name, base, rate, combination = key
        means = 100 * group.groupby("sub-models")[["uniform", "optimised"]].mean()
        if combination == next(iter(COMBINATIONS)):
            cells = " | ".join(f"{means.loc[size, 'uniform']:.2f}" for size in shown)
            lines.append(f"| {name} | {base} | {rate} | uniform | {cells} |")
        cells = " | ".join(f"{means.loc[size, 'optimised']:.2f}" for size in shown)
        lines.append(f"| {name} | {base} | {rate} | {combination} | {cells} |")
    return "\n".join(lines)


def picture() -> None:
    """Draw test accuracy against the number of sub-models, one panel for each data set and base."""
    from matplotlib import pyplot

    rows = pd.read_csv(ROWS)
    rows = rows[rows["combination"] == next(iter(COMBINATIONS))]
    names, bases = (
        list(dict.fromkeys(rows["data"])),
        [(b, r) for b, (_, rates) in BASES.items() for r in rates],
    )
    figure, axes = pyplot.subplots(
        len(names),
        len(bases),
        figsize=(3.4 * len(bases), 2.6 * len(names)),
        squeeze=False,
        layout="constrained",
    )
    for line, name in zip(axes, names, strict=True):
        for ax, (base, rate) in zip(line, bases, strict=True):
            part = rows[(rows["data"] == name) & (rows["base"] == base) & (rows["mask rate"] == rate)]
            for column in ("uniform", "optimised"):
                scores = 100 * part.groupby("sub-models")[column].agg(["mean", "std"])
                ax.plot(scores.index, scores["mean"], label=column)
                ax.fill_between(
                    scores.index, scores["mean"] - scores["std"], scores["mean"] + scores["std"], alpha=0.2
                )
            ax.axhline(100 * part["base accuracy"].mean(), color="0.5", linestyle=":", label="base network")
            ax.set_title(f"{name}, {base}, masks {rate}", fontsize="small")
            ax.set_xscale("log")
    axes[0, 0].legend(fontsize="small")
    figure.supxlabel("sub-models")
    figure.supylabel("test accuracy in %")
    figure.savefig(FOLDER / "ensembles.png", dpi=80)


def write() -> None:
    """Write the table and the picture from all rows."""
    versions = f"numpy {version('numpy')}, scikit-learn {version('scikit-learn')}"
    n_seeds = pd.read_csv(ROWS).groupby("data")["seed"].nunique()
    training = "; ".join(f"{name}: {units} hidden units, {n} passes" for name, (units, n) in TRAINING.items())
    text = f"""# Combinations of dropout sub-models

{datetime.date.today()}, Python {platform.python_version()}, {versions}. Seeds: {n_seeds.to_dict()}. Base:
two-layer network, {training}; trained by Adam on four fifths of the training data, with dropout 0.5 by
PyTorch or without by scikit-learn (mnist and cifar: with the same settings by a trainer that was part of
this package once); "base on all" has seen the last fifth too. Sub-models: random subsets of its hidden units
("masks": the share left out). Weights: least squares on the remaining fifth; "objective over uniform's" is
there. Test accuracies in percent, mean ± standard deviation over the seeds, of 100 sub-models; p of a paired
t-test over seeds, not corrected for the number of rows. A seed is a split, an initial network and the masks
(MNIST and CIFAR: the test set is the same for all).

{table()}

Mean test accuracy against the number of sub-models:

{sizes_table()}

![Test accuracy against the number of sub-models](ensembles.png)
"""
    (FOLDER / "ensembles.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="*", help="digits, mnist, cifar; all of them unless given")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="only write the table and the picture")
    options = parser.parse_args()
    if not options.table:
        for name in options.data or list(TRAINING):
            if load(name, 0) is None:
                print(f"{name}: not in CONVEXNN_DATA")
                continue
            for seed in range(options.seeds):
                save(measure(name, seed))
    write()
    picture()


if __name__ == "__main__":
    main()
