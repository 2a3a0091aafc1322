"""``convexnn path``: train along a path of regularisation strengths and choose one by cross-validation."""

import argparse
import math
from typing import Any, Literal

import numpy as np

from convexnn.cli._data import Table
from convexnn.cli._fit import (
    Fit,
    add_data_options,
    add_model_options,
    add_solver_options,
    check_writable,
    data_report,
    read_task,
    save_model,
    train,
)
from convexnn.cli._output import library_versions, print_table, require_rich, write_json
from convexnn.estimators import ConvexMLPClassifierCV, ConvexMLPRegressorCV

__all__ = ["add_command"]

Estimator = ConvexMLPRegressorCV | ConvexMLPClassifierCV


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the main parser."""
    parser = commands.add_parser(
        "path",
        help="train for many regularisation strengths and choose one",
        description="Train two-layer networks for descending regularisation strengths on a CSV, Parquet or "
        "NPZ file, print the objective and a lower bound for each, and choose one by cross-validation.",
        epilog="Exit code: 0 all of the path converged, 1 not all, 2 wrong command or data.",
    )
    parser.add_argument("data", metavar="DATA", help=".csv or .parquet table, or .npz archive with X and y")
    add_data_options(parser.add_argument_group("data"))
    _add_path_options(parser.add_argument_group("path"))
    add_model_options(parser.add_argument_group("model"))
    add_solver_options(parser.add_argument_group("solver"))
    output = parser.add_argument_group("output")
    output.add_argument("--model", metavar="FILE", help="write the chosen model there, for joblib.load")
    output.add_argument("--json", metavar="FILE", help="write the path as JSON ('-': print it alone)")
    parser.set_defaults(command=_run)


def _add_path_options(group: Any) -> None:
    group.add_argument(
        "--n-alphas", type=_count, default=30, metavar="NUMBER", help="how many strengths (default: 30)"
    )
    group.add_argument(
        "--eps",
        type=float,
        default=1e-3,
        help="smallest strength divided by the largest, which leaves no neuron (default: 1e-3)",
    )
    group.add_argument(
        "--alphas",
        type=_numbers,
        metavar="A,B,...",
        help="the strengths themselves, separated by commas, instead of a number of them",
    )
    group.add_argument("--cv", type=int, default=5, metavar="FOLDS", help="number of folds (default: 5)")
    group.add_argument("--scoring", metavar="NAME", help="scikit-learn's name (default: minus the mean loss)")
    group.add_argument("--jobs", type=int, metavar="NUMBER", help="folds worked on at once (default: 1)")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return int(text)


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(0 <= number < math.inf for number in numbers):
        raise argparse.ArgumentTypeError(
            f"must be numbers that are not negative, separated by commas, got {text!r}"
        )
    return numbers


def _run(options: argparse.Namespace) -> int:
    if options.json != "-":
        require_rich()
    table, task = read_task(options)
    check_writable(options.model, options.json)
    fit = train(_estimator(task, options), table, task, options)
    report = _report(fit, table, task, options)
    if options.model is not None:
        save_model(fit.model, options.model)
    if options.json is not None:
        write_json(report, options.json)
    if options.json != "-":
        _print(report, options)
    return 0 if report["converged"] else 1


def _estimator(task: str, options: argparse.Namespace) -> Estimator:
    kind = ConvexMLPClassifierCV if task == "classification" else ConvexMLPRegressorCV
    default = "log_loss" if task == "classification" else "squared_error"
    return kind(
        alphas=options.alphas or options.n_alphas,
        eps=options.eps,
        loss=options.loss or default,
        activation=options.activation,
        patterns=options.patterns,
        multi_output=options.multi_output,
        hidden_bias=options.hidden_bias,
        fit_intercept=not options.no_intercept,
        cv=options.cv,
        scoring=options.scoring,
        solver=options.solver,
        tol=options.tol,
        max_iter=options.max_iter,
        time_limit=options.time_limit,
        random_state=options.seed,
        n_jobs=options.jobs,
    )


def _report(fit: Fit[Estimator], table: Table, task: str, options: argparse.Namespace) -> dict[str, Any]:
    estimator = fit.estimator
    return {
        "alpha": estimator.alpha_,
        "cv_score": estimator.best_score_,
        "converged": estimator.path_.converged and bool(np.isfinite(estimator.scores_).all()),
        "gap_scope": estimator.gap_scope_,
        "n_patterns": len(estimator.patterns_),
        "path": _points(estimator),
        "alphas_left": estimator.path_.alphas_left.tolist(),
        "seconds": fit.seconds,
        "scores": fit.scores,
        "score": "accuracy" if task == "classification" else "R^2",
        "data": data_report(table, options),
        "task": task,
        "parameters": estimator.get_params(),
        "versions": library_versions(),
    }


def _points(estimator: Estimator) -> list[dict[str, Any]]:
    """Return what is known of each strength: the network of all samples, and the scores of the folds."""
    path = estimator.path_
    return [
        {
            "alpha": alpha,
            "objective": result.objective,
            "dual_objective": result.dual_objective,
            "relative_gap": result.relative_gap,
            "status": result.status.name,
            "n_iter": result.n_iter,
            "n_neurons": network.n_neurons,
            "cv_score": float(scores.mean()),
            "cv_scores": scores.tolist(),
        }
        for alpha, result, network, scores in zip(
            path.alphas.tolist(), path.results, path.networks, estimator.scores_, strict=True
        )
    ]


def _print(report: dict[str, Any], options: argparse.Namespace) -> None:
    rows = [
        [
            "*" if point["alpha"] == report["alpha"] else "",
            f"{point['alpha']:.4g}",
            f"{point['objective']:.8g}",
            f"{point['dual_objective']:.8g}",
            f"{point['relative_gap']:.1e}",
            str(point["n_neurons"]),
            f"{point['cv_score']:.4g}",
            point["status"].lower(),
        ]
        for point in report["path"]
    ]
    headers = ["", "alpha", "objective", "lower bound", "gap", "neurons", "score", "status"]
    columns: dict[str, Literal["left", "right"]] = {
        header: "left" if header in ("", "status") else "right" for header in headers
    }
    score = ", ".join(f"{part} {value:.4f}" for part, value in report["scores"].items())
    closing = f"* chosen by {options.cv} folds; {report['score']} {score}; {report['seconds']:.2f} s."
    if report["alphas_left"]:
        closing += f" Time was up before {len(report['alphas_left'])} more alphas."
    if options.model is not None:
        closing += f" Model: {options.model}."
    print_table(columns, [rows], closing)
