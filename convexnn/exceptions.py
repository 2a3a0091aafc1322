"""Errors and warnings that are specific to this package, and the import of what may be missing."""

from importlib import import_module
from typing import Any


class PatternBudgetError(ValueError):
    """More activation patterns exist than may be listed; the text gives count, memory and alternatives."""


class PatternCountWarning(UserWarning):
    """Fewer distinct activation patterns exist than were asked for; all of them are returned."""


class MissingExtraError(ImportError):
    """An optional package is not installed; the text gives the pip line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f'Try: pip install "convexnn[{extra}]"'
        )


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Return a module of an optional package; raises MissingExtraError where that is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module.partition(".")[0], extra, purpose) from error
