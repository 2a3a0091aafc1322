"""``convexnn fit``: train a network on a file and say how far from optimal it is."""

import argparse
import math
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from convexnn.activations import ACTIVATIONS
from convexnn.cli._data import Table, choose_task, read_table
from convexnn.cli._errors import CommandError
from convexnn.cli._output import library_versions, write_json
from convexnn.estimators import ConvexMLPClassifier, ConvexMLPRegressor
from convexnn.losses import LOSSES
from convexnn.patterns.witnesses import ResolutionError
from convexnn_solvers import SolverError
from convexnn_solvers.result import relative_gap

__all__ = [
    "Fit",
    "add_command",
    "add_data_options",
    "add_model_options",
    "add_solver_options",
    "check_writable",
    "data_report",
    "read_task",
    "save_model",
    "train",
]

Estimator = ConvexMLPRegressor | ConvexMLPClassifier
AnyEstimator = TypeVar("AnyEstimator", bound=BaseEstimator)


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the main parser."""
    parser = commands.add_parser(
        "fit",
        help="train a network on a file",
        description="Train a two-layer network on a CSV, Parquet or NPZ file and print its objective, a "
        "lower bound and scores. The objective is a sum over samples: F = sum_i loss(f(x_i), y_i) + "
        "alpha/2 * (sum of squared weights).",
        epilog="Exit code: 0 converged, 1 not converged, 2 wrong command or data.",
    )
    parser.add_argument("data", metavar="DATA", help=".csv or .parquet table, or .npz archive with X and y")
    add_data_options(parser.add_argument_group("data"))
    model = parser.add_argument_group("model")
    model.add_argument("--alpha", type=float, default=1.0, help="regularisation strength (default: 1.0)")
    add_model_options(model)
    add_solver_options(parser.add_argument_group("solver"))
    output = parser.add_argument_group("output")
    output.add_argument("--model", metavar="FILE", help="write the trained model there, for joblib.load")
    output.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': print it alone)")
    parser.set_defaults(command=_run)


def add_data_options(group: Any) -> None:
    """Add what says which data are used and how."""
    group.add_argument("--target", metavar="COLUMN", help="target column of a table (default: the last)")
    group.add_argument(
        "--task",
        choices=["auto", "regression", "classification"],
        default="auto",
        help="auto: classification for text and for whole numbers of at most 20 distinct values",
    )
    group.add_argument("--standardize", action="store_true", help="scale features to mean 0 and deviation 1")
    group.add_argument(
        "--test-size",
        type=fraction,
        metavar="FRACTION",
        help="share of the samples held out for a test score",
    )


def add_model_options(group: Any) -> None:
    """Add what says which networks are trained; the strength of regularisation is left to the command."""
    losses = sorted(name for name, loss in LOSSES.items() if not loss.needs_several_outputs)
    group.add_argument(
        "--loss", choices=losses, help="default: squared_error for regression, log_loss for classification"
    )
    group.add_argument("--activation", choices=sorted(ACTIVATIONS), default="relu", help="default: relu")
    group.add_argument(
        "--patterns",
        type=_patterns,
        default="auto",
        metavar="{auto,exact,NUMBER}",
        help="activation patterns: all of them, or so many sampled ones (default: auto)",
    )
    group.add_argument(
        "--multi-output",
        choices=["shared", "separate"],
        default="shared",
        help="whether a neuron feeds all outputs, as of several classes, or one each (default: shared)",
    )
    group.add_argument(
        "--hidden-bias",
        choices=["penalized", "free", "none"],
        default="penalized",
        help="whether hidden units have a bias, and whether it is penalised (default: penalized)",
    )
    group.add_argument("--no-intercept", action="store_true", help="leave the output intercept out")


def add_solver_options(group: Any) -> None:
    """Add tolerance, limits and seed."""
    group.add_argument(
        "--solver", default="auto", metavar="NAME", help="see 'convexnn solvers' (default: auto)"
    )
    group.add_argument("--tol", type=float, default=1e-4, help="wanted relative gap (default: 1e-4)")
    group.add_argument("--max-iter", type=int, metavar="NUMBER", help="iteration limit")
    group.add_argument("--time-limit", type=float, metavar="SECONDS", help="time limit of the solver")
    group.add_argument("--seed", type=int, default=0, help="for sampled patterns and the split (default: 0)")


def _patterns(text: str) -> str | int:
    if text in ("auto", "exact"):
        return text
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be 'auto', 'exact' or a positive number, got {text!r}")


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, got {text!r}")
    return value


@dataclass(frozen=True, eq=False)
class Fit(Generic[AnyEstimator]):
    """A trained estimator, the model that users get, and what was measured."""

    estimator: AnyEstimator
    model: AnyEstimator | Pipeline
    scores: dict[str, float]
    seconds: float


def _run(options: argparse.Namespace) -> int:
    table, task = read_task(options)
    check_writable(options.model, options.json)
    fit = train(_estimator(task, options), table, task, options)
    report = _report(fit, table, task, options)
    if options.model is not None:
        save_model(fit.model, options.model)
    if options.json is not None:
        write_json(report, options.json)
    if options.json != "-":
        print(_summary(report, options))
    return 0 if fit.estimator.result_.converged else 1


def read_task(options: argparse.Namespace) -> tuple[Table, str]:
    """Read the table and settle whether to regress or to classify."""
    table = read_table(options.data, options.target)
    task = choose_task(options.task, table.y)
    if task == "regression" and table.y.dtype.kind not in "biuf":
        raise CommandError(f"Regression needs a numeric target. Got {table.target!r} otherwise.")
    return table, task


def check_writable(*destinations: str | None) -> None:
    """Raise before the work is done rather than after it."""
    for destination in destinations:
        if destination in (None, "-"):
            continue
        path = Path(str(destination))
        if path.is_dir() or not path.parent.is_dir():
            raise CommandError(f"Cannot write {str(path)!r}. Give a file name in a folder that exists.")


def save_model(model: Any, destination: str) -> None:
    """Write a model for ``joblib.load``."""
    try:
        joblib.dump(model, destination)
    except OSError as error:
        raise CommandError(f"Cannot write {destination!r}: {error.strerror}.") from error


def train(estimator: AnyEstimator, table: Table, task: str, options: argparse.Namespace) -> Fit[AnyEstimator]:
    """Fit an estimator, after scaling if asked for, and score it on the samples and on held-out ones.

    Raises
    ------
    CommandError
        If the data or options have no meaning.
    """
    model = (
        Pipeline([("scale", StandardScaler()), ("network", estimator)]) if options.standardize else estimator
    )
    began = time.perf_counter()
    try:
        X, X_test, y, y_test = split(table, task, options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(X, y)
    except (ValueError, SolverError, ResolutionError) as error:
        raise CommandError(str(error)) from error
    seconds = time.perf_counter() - began
    for warning in caught:
        print(f"convexnn: {warning.category.__name__}: {warning.message}", file=sys.stderr)
    scores = {"train": float(model.score(X, y))}
    if X_test is not None:
        scores["test"] = float(model.score(X_test, y_test))
    return Fit(estimator, model, scores, seconds)


def _estimator(task: str, options: argparse.Namespace) -> Estimator:
    kind = ConvexMLPClassifier if task == "classification" else ConvexMLPRegressor
    default = "log_loss" if task == "classification" else "squared_error"
    return kind(
        options.alpha,
        loss=options.loss or default,
        activation=options.activation,
        patterns=options.patterns,
        multi_output=options.multi_output,
        hidden_bias=options.hidden_bias,
        fit_intercept=not options.no_intercept,
        solver=options.solver,
        tol=options.tol,
        max_iter=options.max_iter,
        time_limit=options.time_limit,
        random_state=options.seed,
    )


def split(table: Table, task: str, options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    if options.test_size is None:
        return table.samples, None, table.y, None
    X, X_test, y, y_test = train_test_split(
        table.samples,
        table.y,
        test_size=options.test_size,
        random_state=options.seed,
        stratify=table.y if task == "classification" else None,
    )
    return X, X_test, y, y_test


def _report(fit: Fit[Estimator], table: Table, task: str, options: argparse.Namespace) -> dict[str, Any]:
    estimator = fit.estimator
    return {
        "objective": estimator.objective_,
        "dual_objective": estimator.dual_objective_,
        "relative_gap": relative_gap(estimator.objective_, estimator.dual_objective_),
        "gap_scope": estimator.gap_scope_,
        "converged": estimator.result_.converged,
        "status": estimator.result_.status.name,
        "n_iter": estimator.n_iter_,
        "n_patterns": len(estimator.patterns_),
        "n_neurons": estimator.n_neurons_,
        "seconds": fit.seconds,
        "scores": fit.scores,
        "score": "accuracy" if task == "classification" else "R^2",
        "data": data_report(table, options),
        "task": task,
        "parameters": estimator.get_params(),
        "versions": library_versions(),
    }


def data_report(table: Table, options: argparse.Namespace) -> dict[str, Any]:
    """Say what the data were and how they were used."""
    return {
        "file": str(options.data),
        "n_samples": len(table.y),
        "features": table.features,
        "target": table.target,
        "test_size": options.test_size,
        "standardize": options.standardize,
    }


def _summary(report: dict[str, Any], options: argparse.Namespace) -> str:
    data, scores = report["data"], report["scores"]
    bounded = "every network" if report["gap_scope"] == "global" else "networks with these patterns"
    score = ", ".join(f"{part} {value:.4f}" for part, value in scores.items())
    lines = {
        "data": f"{data['file']}: {data['n_samples']} samples, {len(data['features'])} features, "
        f"{report['task']} of {data['target']!r}",
        "objective": f"{report['objective']:.8g}",
        "lower bound": f"{report['dual_objective']:.8g} (scope {report['gap_scope']}: {bounded})",
        "relative gap": f"{report['relative_gap']:.2g} ({report['status'].lower()}, tol {options.tol:.2g})",
        "network": f"{report['n_neurons']} neurons, from {report['n_patterns']} patterns",
        report["score"]: score,
        "seconds": f"{report['seconds']:.2f}",
    }
    if options.model is not None:
        lines["model"] = options.model
    return "\n".join(f"{name:<14}{value}" for name, value in lines.items())
