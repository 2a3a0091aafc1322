"""Test accuracy and cost of convex convolutional classifiers beside other networks.

``python benchmarks/convolution/accuracy.py digits mnist cifar`` runs these data sets, no name all of them:

- digits of scikit-learn, 1437 to train and 360 to test;
- MNIST, the first 5000 training images and all 10000 test images;
- CIFAR-10, airplane against automobile, the first 2000 training images and all 2000 test images.

The last two are read from the folder in ``CONVEXNN_DATA`` (``images/mnist.npz`` and
``images/cifar10-airplane-automobile.npz`` with ``X_train``, ``y_train``, ``X_test``, ``y_test``) and left out
where they are not. Methods: `ConvexCNNClassifier` with each pooling, a torch network of the same geometry,
pooling and number of filters trained by Adam on the same objective, `ConvexMLPClassifier`, and
scikit-learn's `MLPClassifier`. Each fit has a process of its own. ``--save`` writes
``results/convolution.md`` after each row, and keeps earlier ones of other data and methods.
"""

import argparse
import datetime
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from convexnn import ConvexCNNClassifier, ConvexMLPClassifier
from convexnn.activations import get_activation
from convexnn.networks import ConvNetwork
from convexnn.patches import PatchGeometry

sys.path.insert(0, str(Path(__file__).parent.parent))
from exact import apart, peak_memory

Array = NDArray[np.float64]
Split = tuple[Array, NDArray[Any], Array, NDArray[Any]]
RESULTS = Path(__file__).parent.parent / "results" / "convolution.md"
HEAD = (
    "| data | method | alpha | seconds | test accuracy | train accuracy | objective | relative gap | filters "
    "| weights | GB |"
)
# Of the torch network beside a fit that found none.
UNKNOWN_FILTERS = 100
TOL, EPOCHS, BATCH, LEARNING_RATE = 1e-3, 50, 100, 3e-3


@dataclass(frozen=True)
class Setting:
    """A convolutional network.

    Attributes
    ----------
    pooling : str
    alpha : float
    kernel_size, stride : int
    """

    pooling: str
    alpha: float
    kernel_size: int
    stride: int

    def describe(self) -> str:
        """Return a short name."""
        return f"{self.pooling}, {self.kernel_size}x{self.kernel_size} stride {self.stride}"


@dataclass(frozen=True)
class Case:
    """A data set and what is trained on it.

    Attributes
    ----------
    image_shape : tuple of int
    convolutions : tuple of Setting
    dense_alpha : float
        Of the dense networks.
    """

    image_shape: tuple[int, ...]
    convolutions: tuple[Setting, ...]
    dense_alpha: float


CASES = {
    "digits": Case((8, 8, 1), (Setting("average", 0.1, 3, 1), Setting("weighted", 0.3, 3, 1)), 0.1),
    "mnist": Case((28, 28, 1), (Setting("average", 1.0, 7, 7), Setting("weighted", 1.0, 7, 7)), 1.0),
    "cifar": Case((32, 32, 3), (Setting("average", 1.0, 5, 3), Setting("weighted", 3.0, 8, 4)), 10.0),
}


def load(name: str) -> Split | None:
    """Return training and test data in [0, 1], None where they are not there."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        first, second, y_first, y_second = train_test_split(
            X / 16, y, test_size=360, stratify=y, random_state=0
        )
        return first, y_first, second, y_second
    file, count = {"mnist": ("mnist", 5000), "cifar": ("cifar10-airplane-automobile", 2000)}[name]
    path = Path(os.environ.get("CONVEXNN_DATA", "")) / "images" / f"{file}.npz"
    if not path.exists():
        return None
    arrays = np.load(path)
    train, test = (arrays[key] / 255.0 for key in ("X_train", "X_test"))
    if name == "cifar":  # stored plane by plane
        train, test = (X.reshape(-1, 3, 1024).transpose(0, 2, 1).reshape(-1, 3072) for X in (train, test))
    return train[:count], arrays["y_train"][:count], test, arrays["y_test"]


def own(name: str, setting: Setting | None, time_limit: float) -> dict[str, Any]:
    """Train a network of this package, dense without a setting."""
    case = CASES[name]
    shared: dict[str, Any] = {"tol": TOL, "time_limit": time_limit, "random_state": 0}
    if setting is None:
        method, alpha, model = (
            "ConvexMLP",
            case.dense_alpha,
            ConvexMLPClassifier(case.dense_alpha, **shared),
        )
    else:
        method, alpha = f"ConvexCNN, {setting.describe()}", setting.alpha
        model = ConvexCNNClassifier(
            alpha,
            image_shape=case.image_shape,
            kernel_size=setting.kernel_size,
            stride=setting.stride,
            pooling=setting.pooling,
            **shared,
        )
    found = fitted(name, method, alpha, model)
    return found | {
        "objective": model.objective_,
        "gap": model.dual_gap_ / model.objective_,
        "scope": model.gap_scope_,
        "filters": model.n_neurons_,
        "weights": sum(weights.size for weights in (*model.coefs_, *model.intercepts_)),
    }


def scikit_learn(name: str) -> dict[str, Any]:
    """Train scikit-learn's network with a hundred neurons and what it does by default."""
    alpha = CASES[name].dense_alpha
    model = MLPClassifier((100,), alpha=alpha, random_state=0)
    found = fitted(name, "MLPClassifier(100)", alpha, model)
    weights = sum(weights.size for weights in (*model.coefs_, *model.intercepts_))
    return found | {"filters": 100, "weights": weights}


def fitted(name: str, method: str, alpha: float, model: Any) -> dict[str, Any]:
    """Fit a classifier and return what all of them have to show; compilation is not counted."""
    X, y, X_test, y_test = load(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        some = np.sort(np.unique(y, return_index=True)[1])
        chosen = np.union1d(some, np.arange(60))
        short = {"max_iter": 3} | ({"time_limit": 5.0} if hasattr(model, "time_limit") else {})
        type(model)(**model.get_params() | short).fit(X[chosen], y[chosen])
        began = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - began
    return {
        "method": method,
        "alpha": alpha,
        "seconds": seconds,
        "test": model.score(X_test, y_test),
        "train": model.score(X, y),
        "GB": peak_memory(),
    }


def torch_network(name: str, setting: Setting, n_filters: int) -> dict[str, Any]:
    """Train a torch network of the same form by Adam with a falling rate on the same objective."""
    import torch

    X, y, X_test, y_test = load(name)
    classes = np.unique(y)
    n_outputs = 1 if len(classes) == 2 else len(classes)
    start = initial_network(CASES[name], setting, n_filters, n_outputs)
    module = start.to_torch(torch.float32)
    images = torch.tensor(start.geometry.channels_first(X), dtype=torch.float32)
    labels = torch.tensor(np.searchsorted(classes, y))
    filters, last = module[0], module[-1]
    step = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
    n_steps = EPOCHS * -(-len(X) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step, n_steps)
    penalized = [*module.parameters()][:-1]  # all but the biases of the outputs
    torch.manual_seed(0)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(X)).split(BATCH):
            step.zero_grad()
            hidden = torch.relu(filters(images[batch])).flatten(2)
            outputs = last(hidden.flatten(1) if setting.pooling == "weighted" else hidden.sum(dim=2))
            if n_outputs == 1:
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    outputs[:, 0], labels[batch].float()
                )
            else:
                loss = torch.nn.functional.cross_entropy(outputs, labels[batch])
            squares = sum((weights**2).sum() for weights in penalized)
            (loss + 0.5 * setting.alpha / len(X) * squares).backward()
            step.step()
            schedule.step()
    seconds = time.perf_counter() - began
    network, factor = ConvNetwork.from_torch(module.double(), CASES[name].image_shape)
    network = replace(network, classes=tuple(classes.tolist()))

    def accuracy(data: Array, wanted: NDArray[Any]) -> float:
        outputs = network.outputs(data)
        best = (outputs[:, 0] > 0).astype(int) if n_outputs == 1 else outputs.argmax(axis=1)
        return float(np.mean(classes[best] == wanted))

    return {
        "method": f"torch CNN, {setting.describe()}",
        "alpha": setting.alpha,
        "seconds": seconds,
        "test": accuracy(X_test, y_test),
        "train": accuracy(X, y),
        "objective": network.objective(X, y, alpha=factor * setting.alpha, loss="log_loss"),
        "filters": n_filters,
        "weights": sum(weights.numel() for weights in module.parameters()),
        "GB": peak_memory(),
    }


def initial_network(case: Case, setting: Setting, n_filters: int, n_outputs: int) -> ConvNetwork:
    """Draw a network with the variances of He et al. (2015) in the first layer and small output weights."""
    rng = np.random.default_rng(0)
    geometry = PatchGeometry.of(case.image_shape, setting.kernel_size, setting.stride, "valid")
    positions = geometry.n_positions
    shape = (n_filters, positions, n_outputs) if setting.pooling == "weighted" else (n_filters, n_outputs)
    return ConvNetwork(
        geometry,
        np.sqrt(2 / geometry.patch_size) * rng.standard_normal((geometry.patch_size, n_filters)),
        np.zeros(n_filters),
        rng.standard_normal(shape) / np.sqrt(n_filters * positions),
        np.zeros(n_outputs),
        pooling=setting.pooling,
        activation=get_activation("relu"),
    )


def measured(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what each method gave on a data set; a fit that does not end is stopped."""
    case = CASES[name]

    def convex(setting: Setting | None, method: str, alpha: float) -> dict[str, Any]:
        """Train a network of this package, or say how that failed: the other rows shall not be lost."""
        why = f"did not end in {options.patience:.0f} s"
        try:
            found = apart(own, name, setting, options.time_limit, seconds=options.patience)
        except Exception as error:
            found, why = None, f"{type(error).__name__}: {error}"
        return found or {"method": method, "alpha": alpha, "failure": why}

    for setting in case.convolutions:
        if setting.pooling in options.poolings:
            found = convex(setting, f"ConvexCNN, {setting.describe()}", setting.alpha)
            yield found
            yield apart(torch_network, name, setting, found.get("filters") or UNKNOWN_FILTERS)
    if "dense" in options.poolings:
        yield convex(None, "ConvexMLP", case.dense_alpha)
        yield apart(scikit_learn, name)


def row(name: str, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    if "failure" in found:
        return f"| {name} | {found['method']} | {found['alpha']:g} | {found['failure']} | | | | | | | |"
    gap = f"{found['gap']:.1e} ({found['scope']})" if "gap" in found else ""
    objective = f"{found['objective']:.2f}" if "objective" in found else ""
    return (
        f"| {name} | {found['method']} | {found['alpha']:g} | {found['seconds']:.1f} | {found['test']:.4f} | "
        f"{found['train']:.4f} | {objective} | {gap} | {found['filters']} | {found['weights']:,} | "
        f"{found['GB']:.2f} |"
    )


def introduction(options: argparse.Namespace) -> list[str]:
    """Return what stands above the table."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "torch"))
    return [
        "# Convolutional classifiers",
        "",
        f"{datetime.date.today().isoformat()}, {options.threads} threads, Python "
        f"{platform.python_version()}, {packages}. digits: 1437 train, 360 test; mnist: first 5000 train, "
        "10000 test; cifar: airplane against automobile, first 2000 train, 2000 test; entries in [0, 1]. Log "
        f"loss. This package: tol {TOL:g}, time limit {options.time_limit:g} s a fit. torch: Adam, {EPOCHS} "
        f"epochs of batches of {BATCH}, rate {LEARNING_RATE:g} falling to zero, float32, as many filters as "
        "beside it.",
        "",
        HEAD,
        "|" + "---|" * (HEAD.count("|") - 1),
    ]


def save(head: list[str], new: list[str]) -> None:
    """Write the table with new rows, and those of earlier runs on other data or with other methods."""
    old = RESULTS.read_text().splitlines()[len(head) :] if RESULTS.exists() else []
    table = {tuple(line.split(" | ")[:2]): line for line in (*old, *new)}
    names = [*CASES]
    lines = sorted(table.values(), key=lambda line: names.index(line.split(" | ")[0][2:]))
    RESULTS.write_text("\n".join([*head, *lines, ""]))


def main() -> None:
    """Run the data sets asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="*", default=[*CASES], help=f"of {', '.join(CASES)}")
    parser.add_argument("--poolings", nargs="+", default=["average", "weighted", "dense"])
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--patience", type=float, default=300.0, help="seconds after which a fit is stopped")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(options.threads)  # read by the processes of the fits
    head, rows = introduction(options), []
    print("\n".join(head), flush=True)
    for name in options.data:
        if load(name) is None:
            print(f"{name} is not in the folder CONVEXNN_DATA; left out.")
            continue
        for found in measured(name, options):
            rows.append(row(name, found))
            print(rows[-1], flush=True)
            if options.save:
                save(head, rows)


if __name__ == "__main__":
    main()
