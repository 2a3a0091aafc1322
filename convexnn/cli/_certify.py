"""``convexnn certify``: bound how far a trained model is from the best network of any width."""

import argparse
import pickle
import time
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline

from convexnn.certificates import Certificate
from convexnn.certificates.certify import certify
from convexnn.certificates.pricing_methods import METHODS
from convexnn.cli._data import Table, read_table
from convexnn.cli._errors import CommandError
from convexnn.cli._fit import check_writable, fraction, split
from convexnn.cli._output import library_versions, write_json
from convexnn.patterns.witnesses import ResolutionError

__all__ = ["add_command"]

_UNREADABLE = (OSError, ValueError, LookupError, EOFError, AttributeError, ImportError, pickle.PickleError)


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the main parser."""
    parser = commands.add_parser(
        "certify",
        help="bound how far a trained model is from the best network",
        description="Bound how far the training objective of a model is from that of the best network of "
        "any width. The data must be those that the model was trained on.",
        epilog="Exit code: 0 the relative gap is at most --tol, 1 it is not, 2 wrong command or data.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="file of 'convexnn fit --model', or of joblib.dump of an estimator; loading runs code "
        "from it, so only use files that you trust",
    )
    parser.add_argument("data", metavar="DATA", help=".csv or .parquet table, or .npz archive with X and y")
    data = parser.add_argument_group("data")
    data.add_argument("--target", metavar="COLUMN", help="target column of a table (default: the last)")
    data.add_argument(
        "--test-size", type=fraction, metavar="FRACTION", help="share of the samples that fit held out"
    )
    data.add_argument("--seed", type=int, default=0, help="of the split, as in fit (default: 0)")
    search = parser.add_argument_group("search")
    search.add_argument("--method", choices=METHODS, default="auto", help="how gains are bounded")
    search.add_argument("--tol", type=float, default=1e-4, help="wanted relative gap (default: 1e-4)")
    search.add_argument("--time-limit", type=float, metavar="SECONDS", help="time limit of the search")
    search.add_argument(
        "--no-refine", action="store_true", help="use the dual point of the model only, without training"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", metavar="FILE", help="write the result as JSON ('-': print it alone)")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    check_writable(options.json)
    model = _load(options.model)
    table = read_table(options.data, options.target)
    began = time.perf_counter()
    try:
        certificate = _certified(model, table, options)
    except (TypeError, ValueError, ResolutionError) as error:
        raise CommandError(str(error)) from error
    seconds = time.perf_counter() - began
    if options.json is not None:
        write_json(_report(certificate, table, seconds, options), options.json)
    if options.json != "-":
        print(_summary(certificate, table, seconds, options))
    return 0 if certificate.is_optimal(options.tol) else 1


def _load(path: str) -> Any:
    if not Path(path).is_file():
        raise CommandError(f"No file {path!r}. Check the path.")
    try:
        return joblib.load(path)
    except _UNREADABLE as error:
        raise CommandError(f"Cannot read {path!r} as a model: {error}") from error


def _certified(model: Any, table: Table, options: argparse.Namespace) -> Certificate:
    if not isinstance(model, BaseEstimator):
        raise CommandError(f"The file {options.model!r} must hold an estimator. Got {type(model).__name__}.")
    task = "classification" if is_classifier(model) else "regression"
    X, _, y, _ = split(table, task, options)
    if isinstance(model, Pipeline):
        X = model[:-1].transform(X)
        model = model[-1]
    return certify(
        model,
        X,
        y,
        method=options.method,
        refine=not options.no_refine,
        tol=options.tol,
        time_limit=options.time_limit,
    )


def _report(
    certificate: Certificate, table: Table, seconds: float, options: argparse.Namespace
) -> dict[str, Any]:
    witness = certificate.witness
    return {
        "objective": certificate.objective,
        "lower_bound": certificate.lower_bound,
        "gap": certificate.gap,
        "relative_gap": certificate.relative_gap,
        "scope": certificate.scope,
        "optimal": certificate.is_optimal(options.tol),
        "tol": options.tol,
        "method": certificate.method,
        "complete": certificate.complete,
        "witness_objective": None if witness is None else witness.objective,
        "message": certificate.message,
        "seconds": seconds,
        "model": str(options.model),
        "data": {
            "file": str(options.data),
            "n_samples": len(table.y),
            "features": table.features,
            "target": table.target,
            "test_size": options.test_size,
        },
        "versions": library_versions(),
    }


def _summary(certificate: Certificate, table: Table, seconds: float, options: argparse.Namespace) -> str:
    verdict = "optimal to this" if certificate.is_optimal(options.tol) else "not proved"
    lines = {
        "model": str(options.model),
        "data": f"{options.data}: {len(table.y)} samples, {len(table.features)} features",
        "objective": f"{certificate.objective:.8g}",
        "lower bound": f"{certificate.lower_bound:.8g} (scope {certificate.scope}: every network)",
        "relative gap": f"{certificate.relative_gap:.2g} ({verdict}, tol {options.tol:.2g})",
        "method": certificate.method,
        "seconds": f"{seconds:.2f}",
    }
    if certificate.witness is not None:
        lines["witness"] = f"one more neuron gives {certificate.witness.objective:.8g}"
    if certificate.message:
        lines["note"] = certificate.message
    return "\n".join(f"{name:<14}{value}" for name, value in lines.items())
