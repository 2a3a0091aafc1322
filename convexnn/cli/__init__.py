"""The command line ``convexnn``: train on a file, certify a model, choose a strength, list solvers.

Exit codes: 0 if everything converged, 1 if a fit or a certificate is above its tolerance, 2 for a wrong
command or data.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from convexnn import __version__
from convexnn.cli import _certify, _demo, _fit, _path, _solvers
from convexnn.cli._errors import CommandError
from convexnn.exceptions import MissingExtraError

__all__ = ["main"]

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process unless given.

    Returns
    -------
    int
        Exit code: 0 converged, 1 not converged, 2 wrong command or data.

    Raises
    ------
    SystemExit
        From argparse: code 0 after ``--help`` and ``--version``, 2 for arguments that it cannot parse.
    """
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (CommandError, MissingExtraError) as error:
        print(f"convexnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convexnn",
        description="Train two-layer ReLU networks by convex optimisation, with bounds on how good they are.",
        epilog="Exit code: 0 converged, 1 not converged, 2 wrong command or data.",
    )
    parser.add_argument("--version", action="version", version=f"convexnn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (_fit, _certify, _path, _solvers, _demo):
        module.add_command(commands)
    return parser
