"""``convexnn solvers``: which solvers exist and which can run here."""

import argparse
from typing import Any

from convexnn.cli._output import print_table, require_rich, write_json
from convexnn.losses import LOSSES
from convexnn_solvers import SolverNotInstalledError, available_solvers
from convexnn_solvers.registry import get_backend, known_solvers

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
    usable = set(available_solvers())
    solvers = [_describe(name, name in usable) for name in known_solvers()]
    if options.json is not None:
        write_json({"solvers": solvers}, options.json)
    if options.json != "-":
        print_table(
            {"solver": "left", "status": "left", "takes": "left"},
            [[[s["name"], s["install"] or "available", _losses(s["losses"])] for s in solvers]],
            "solver='auto' is native and then clarabel for smooth losses, clarabel for the others; "
            "'cvxpy:NAME' is any solver that CVXPY has installed.",
        )
    return 0


def _describe(name: str, usable: bool) -> dict[str, Any]:
    """Return what a solver takes, which is unknown until it is installed, and the way to install it."""
    losses: list[str] = []
    install = None
    try:
        backend = get_backend(name)
        losses = sorted(loss.name for loss in LOSSES.values() if backend.takes(loss))
    except SolverNotInstalledError:
        install = f'pip install "convexnn[{name}]"'
    return {"name": name, "available": usable, "install": install, "losses": losses}


def _losses(names: list[str]) -> str:
    lines = [", ".join(names[i : i + 4]) for i in range(0, len(names), 4)]
    return ",\n".join(lines)
