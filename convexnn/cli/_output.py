"""Tables for people and JSON for programs."""

import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convexnn.cli._errors import CommandError
from convexnn.exceptions import MissingExtraError

__all__ = ["library_versions", "new_table", "print_table", "require_rich", "write_json"]

_PLAIN_WIDTH = 100
_COMFORTABLE = 100


def require_rich() -> None:
    """Raise MissingExtraError if tables cannot be printed, before the work for them is done."""
    if find_spec("rich") is None:
        raise MissingExtraError("rich", "cli", "Printing tables")


def new_console() -> Any:
    """A console on the present standard output, of fixed width where that is no terminal."""
    require_rich()
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def new_table(console: Any, columns: Mapping[str, str], title: str | None = None) -> Any:
    """An empty table without frame; `columns` maps headers to "left" or "right"."""
    from rich import box
    from rich.table import Table

    padding = (0, 1) if console.width >= _COMFORTABLE else (0, 0)
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=padding, title=title, title_justify="left", pad_edge=False
    )
    for header, justify in columns.items():
        table.add_column(header, justify=justify, no_wrap=True, vertical="bottom")  # type: ignore[arg-type]
    return table
