"""``convexnn demo``: the convex program beside scikit-learn's MLP, on real data and on the same objective."""

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from convexnn._typing import FloatArray
from convexnn.cli._output import library_versions, print_table, require_rich, write_json
from convexnn.estimators import ConvexMLPClassifier, ConvexMLPRegressor
from convexnn.networks import TwoLayerNetwork
from convexnn_solvers.result import relative_gap

__all__ = ["DemoRow", "DemoSettings", "add_command", "run_demo"]

_LOSS = {"classification": "log_loss", "regression": "squared_error"}

_CLOSING = """\
Both methods minimise the same function F: the sum over the training samples of the loss (log loss for \
breast cancer and wine, half the squared error for diabetes) plus alpha/2 times the sum of squared weights. \
It is {n_samples} times the training loss that scikit-learn reports for the same alpha.

No network within the scope has an F below the lower bound; the relative gap is what F exceeds it by, as a \
share of F. Scope "global": every network of any width, so that the bound holds for the MLP too. Scope \
"patterns": the networks whose hidden units switch on and off as those that were found do (and feed the \
classes of wine in the same directions); whether others do better stays open, and the MLP is another one.

A smaller F is a better optimum, not a promise of a better test score (accuracy or R^2). An asterisk marks a \
run that stopped before it converged."""


@dataclass(frozen=True)
class DemoSettings:
    """Sizes of the demonstration.

    Attributes
    ----------
    n_train : int
        Training samples of each data set; the others are for testing.
    n_hidden : int
        Hidden units of the MLP.
    tol : float
        Wanted relative gap of the convex fits.
    mlp_iterations : int
        Iteration limit of the MLP.
    """

    n_train: int = 150
    n_hidden: int = 100
    tol: float = 1e-4
    mlp_iterations: int = 5000


@dataclass(frozen=True)
class DemoRow:
    """One method on one data set; `objective` is F, a sum over samples, for both methods.

    An MLP has the bound of the convex fit where that is for every network, else none.
    """

    data: str
    task: str
    n_samples: int
    n_features: int
    alpha: float
    method: Literal["convexnn", "MLP"]
    objective: float
    lower_bound: float | None
    scope: str
    relative_gap: float | None
    n_neurons: int
    test_score: float
    seconds: float
    converged: bool


@dataclass(frozen=True, eq=False)
class _Case:
    """A data set, split and standardised, with the strength of the regularisation."""

    name: str
    task: str
    alpha: float
    exact: bool
    X: FloatArray
    y: NDArray[Any]
    X_test: FloatArray
    y_test: NDArray[Any]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the main parser."""
    parser = commands.add_parser(
        "demo",
        help="train on real data beside scikit-learn's MLP",
        description="Train on the breast cancer, wine and diabetes data that ship with scikit-learn, and "
        "print objectives, lower bounds and test scores beside those of scikit-learn's MLP, trained on the "
        "same objective.",
        epilog="Exit code: 0 if all convex fits converged, else 1.",
    )
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON ('-': print it and no table)")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    if options.json != "-":
        require_rich()
    settings = DemoSettings()
    rows = run_demo(settings)
    if options.json is not None:
        content = {"rows": [asdict(row) for row in rows], "settings": asdict(settings)}
        write_json(content | {"versions": library_versions()}, options.json)
    if options.json != "-":
        _print(rows, settings)
    return 0 if all(row.converged for row in rows if row.method == "convexnn") else 1


def run_demo(settings: DemoSettings) -> list[DemoRow]:
    """Train both methods on each data set, with a line of progress for each on standard error.

    Returns
    -------
    list of DemoRow
        For each data set a row of the convex program and one of the MLP.
    """
    print("compiling, on first use only ...", end=" ", flush=True, file=sys.stderr)
    _compile_kernels()
    print("done", file=sys.stderr)
    rows = []
    for case in _cases(settings):
        print(f"{case.name}: training on {len(case.X)} samples ...", end=" ", flush=True, file=sys.stderr)
        pair = _compare(case, settings)
        rows += pair
        print(f"{sum(row.seconds for row in pair):.1f} s", file=sys.stderr)
    return rows


def _compile_kernels() -> None:
    """Fit something small, so that compiling on first use does not count in the times of the table."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), np.arange(40) % 3
    for patterns in ("exact", "auto"):
        columns = X if patterns == "auto" else X[:, :1]
        ConvexMLPRegressor(patterns=patterns, hidden_bias="free", random_state=0).fit(columns, y)
    for labels in (y, y > 0):
        ConvexMLPClassifier(hidden_bias="free", random_state=0).fit(X, labels)


def _cases(settings: DemoSettings) -> list[_Case]:
    cancer, wine, diabetes = load_breast_cancer(), load_wine(), load_diabetes()
    bmi = [diabetes.feature_names.index("bmi")]
    return [
        _split("breast cancer", "classification", 1.0, cancer.data, cancer.target, settings),
        _split("wine", "classification", 1.0, wine.data, wine.target, settings),
        _split("diabetes", "regression", 5.0, diabetes.data, diabetes.target, settings),
        _split(
            "diabetes bmi", "regression", 0.1, diabetes.data[:, bmi], diabetes.target, settings, exact=True
        ),
    ]


def _split(
    name: str,
    task: str,
    alpha: float,
    X: FloatArray,
    y: NDArray[Any],
    settings: DemoSettings,
    exact: bool = False,
) -> _Case:
    """Split at random with a fixed seed; standardise by the training part, targets of regression too."""
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=settings.n_train, random_state=0, stratify=y if task == "classification" else None
    )
    scaler = StandardScaler().fit(X)
    if task == "regression":
        center, scale = y.mean(), y.std()
        y, y_test = (y - center) / scale, (y_test - center) / scale
    return _Case(name, task, alpha, exact, scaler.transform(X), y, scaler.transform(X_test), y_test)


def _compare(case: _Case, settings: DemoSettings) -> list[DemoRow]:
    mlp, mlp_converged, mlp_seconds = _train_mlp(case, settings)
    network = TwoLayerNetwork.from_sklearn(mlp)
    began = time.perf_counter()
    estimator = _train_convex(case, settings)
    seconds = time.perf_counter() - began
    objective = network.objective(case.X, case.y, alpha=case.alpha, loss=_LOSS[case.task])
    bound = estimator.dual_objective_
    for_every_network = estimator.gap_scope_ == "global"
    common: dict[str, Any] = {
        "data": case.name,
        "task": case.task,
        "n_samples": len(case.X),
        "n_features": case.X.shape[1],
        "alpha": case.alpha,
    }
    return [
        DemoRow(
            method="convexnn",
            objective=estimator.objective_,
            lower_bound=bound,
            scope=estimator.gap_scope_,
            relative_gap=relative_gap(estimator.objective_, bound),
            n_neurons=estimator.n_neurons_,
            test_score=float(estimator.score(case.X_test, case.y_test)),
            seconds=seconds,
            converged=estimator.result_.converged,
            **common,
        ),
        DemoRow(
            method="MLP",
            objective=objective,
            lower_bound=bound if for_every_network else None,
            scope="global" if for_every_network else "",
            relative_gap=relative_gap(objective, bound) if for_every_network else None,
            n_neurons=network.n_neurons,
            test_score=float(mlp.score(case.X_test, case.y_test)),
            seconds=mlp_seconds,
            converged=mlp_converged,
            **common,
        ),
    ]


def _train_mlp(case: _Case, settings: DemoSettings) -> tuple[Any, bool, float]:
    """Return a fitted MLP, whether its descent converged, and its seconds."""
    kind = MLPClassifier if case.task == "classification" else MLPRegressor
    mlp = kind(
        hidden_layer_sizes=(settings.n_hidden,),
        alpha=case.alpha,
        solver="lbfgs",
        tol=1e-6,
        max_iter=settings.mlp_iterations,
        max_fun=10 * settings.mlp_iterations,
        random_state=0,
    )
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        mlp.fit(case.X, case.y)
    seconds = time.perf_counter() - began
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return mlp, converged, seconds


def _train_convex(case: _Case, settings: DemoSettings) -> ConvexMLPClassifier | ConvexMLPRegressor:
    """Over all patterns where asked for, else as by default."""
    kind = ConvexMLPClassifier if case.task == "classification" else ConvexMLPRegressor
    estimator = kind(
        case.alpha,
        loss=_LOSS[case.task],
        patterns="exact" if case.exact else "auto",
        hidden_bias="free",
        tol=settings.tol,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the table and the exit code say so
        return estimator.fit(case.X, case.y)


def _print(rows: Sequence[DemoRow], settings: DemoSettings) -> None:
    columns: dict[str, Literal["left", "right"]] = {
        "data set": "left",
        "method": "left",
        "F": "right",
        "lower\nbound": "right",
        "scope": "left",
        "rel.\ngap": "right",
        "hidden\nunits": "right",
        "test\nscore": "right",
        "time\n[s]": "right",
    }
    groups = [[_cells(row) for row in rows[i : i + 2]] for i in range(0, len(rows), 2)]
    print_table(columns, groups, _CLOSING.format(n_samples=settings.n_train))


def _cells(row: DemoRow) -> list[str]:
    detail = f"d={row.n_features} alpha={row.alpha:g}"
    return [
        row.data if row.method == "convexnn" else detail,
        row.method + ("" if row.converged else "*"),
        f"{row.objective:#.6g}",
        "" if row.lower_bound is None else f"{row.lower_bound:#.6g}",
        row.scope,
        "" if row.relative_gap is None else f"{row.relative_gap:.0e}",
        f"{row.n_neurons}",
        f"{row.test_score:.3f}",
        f"{row.seconds:.1f}",
    ]
