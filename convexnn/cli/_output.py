"""Tables for people and JSON for programs."""

import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from convexnn.cli._errors import CommandError
from convexnn.exceptions import MissingExtraError

__all__ = ["library_versions", "print_table", "require_rich", "write_json"]

_PLAIN_WIDTH = 100
_REPORTED = ("convexnn", "numpy", "scipy", "scikit-learn", "numba", "clarabel")


def require_rich() -> None:
    """Raise MissingExtraError if tables cannot be printed; to be called before the work for them is done."""
    if find_spec("rich") is None:
        raise MissingExtraError("rich", "cli", "Printing tables")


def print_table(
    columns: Mapping[str, Literal["left", "right"]],
    groups: Sequence[Sequence[Sequence[str]]],
    closing: str = "",
) -> None:
    """Print a table without frame on standard output.

    Parameters
    ----------
    columns : mapping
        Headers, which may have several lines, to the side that their cells are aligned to.
    groups : sequence of groups of rows
        A row has one string for each column; a line separates groups.
    closing : str
        A paragraph below the table.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    padding = 1 if console.width >= _PLAIN_WIDTH else 0
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, padding), pad_edge=False)
    vertical: Literal["top", "bottom"] = "bottom" if any("\n" in header for header in columns) else "top"
    for header, justify in columns.items():
        table.add_column(header, justify=justify, no_wrap=True, vertical=vertical)
    for group in groups:
        for row in group[:-1]:
            table.add_row(*row)
        table.add_row(*group[-1], end_section=True)
    console.print(table)
    if closing:
        console.print()
        console.print(closing)


def write_json(content: Mapping[str, Any], destination: str) -> None:
    """Write a mapping as JSON to a file, or to standard output for "-".

    NaN and infinities, which JSON has no words for, become null.

    Raises
    ------
    CommandError
        If the file cannot be written.
    """
    text = json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"
    if destination == "-":
        sys.stdout.write(text)
        return
    try:
        Path(destination).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"Cannot write {destination!r}: {error.strerror}.") from error


def library_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _REPORTED}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
