"""matplotlib, imported on use."""

from importlib import import_module
from typing import Any

from convexnn.exceptions import MissingExtraError

__all__ = ["import_pyplot"]


def import_pyplot() -> Any:
    """Return the module matplotlib.pyplot; raises MissingExtraError where it is not installed."""
    try:
        return import_module("matplotlib.pyplot")
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "plot", "Plotting") from error
