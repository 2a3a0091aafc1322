"""``convexnn solvers``: which solvers exist and which can run here."""

import argparse
from typing import Any

from convexnn.cli._output import print_table, require_rich, write_json
from convexnn.losses import LOSSES
from convexnn_solvers import SolverNotInstalledError, available_solvers
from convexnn_solvers.registry import Kind, get_backend, known_solvers

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the main parser."""
    parser = commands.add_parser(
        "solvers",
        help="list the known solvers",
        description="List the known solvers, whether they can run here, and what they take.",
    )
    parser.add_argument("--json", metavar="FILE", help="write the list as JSON ('-': print it and no table)")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    if options.json != "-":
        require_rich()
    solvers, nonnegative = _describe_all("group"), _describe_all("nonnegative")
    for solver in solvers:
        # They are unknown until the solver is installed.
        backend = get_backend(solver["name"]) if solver["available"] else None
        solver["losses"] = sorted(name for name, loss in LOSSES.items() if backend and backend.takes(loss))
    if options.json is not None:
        write_json({"solvers": solvers, "nonnegative": nonnegative}, options.json)
    if options.json != "-":
        print_table(
            {"solver": "left", "status": "left", "takes": "left"},
            [
                [[s["name"], s["install"] or "available", _losses(s["losses"])] for s in solvers],
                [[s["name"], s["install"] or "available", "non-negative least squares"] for s in nonnegative],
            ],
            "solver='auto' is native and then clarabel for smooth losses, clarabel for the others, and nnls "
            "and then clarabel for non-negative least squares; 'cvxpy:NAME' is any solver that CVXPY has "
            "installed.",
        )
    return 0


def _describe_all(kind: Kind) -> list[dict[str, Any]]:
    usable = set(available_solvers(kind))
    return [_describe(name, kind, name in usable) for name in known_solvers(kind)]


def _describe(name: str, kind: Kind, usable: bool) -> dict[str, Any]:
    """Return whether a solver can run here, and the way to install it if not."""
    install = None
    if not usable:
        try:
            get_backend(name, kind)
        except SolverNotInstalledError:
            install = f'pip install "convexnn[{name}]"'
        except (ImportError, AttributeError) as error:
            install = f"cannot be loaded: {error}"
    return {"name": name, "available": usable, "install": install}


def _losses(names: list[str]) -> str:
    lines = [", ".join(names[i : i + 4]) for i in range(0, len(names), 4)]
    return ",\n".join(lines)
