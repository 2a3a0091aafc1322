"""Solvers by name: which ones exist, which can run here.

Built-in solvers are listed in a table and imported on first use. Other distributions add theirs through the
entry-point group ``convexnn.solvers``: the entry's name is the solver's name, its value a `Backend` class.
"""

import math
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from convexnn_solvers.backends.base import Backend
from convexnn_solvers.exceptions import SolverNotFoundError, SolverNotInstalledError
from convexnn_solvers.program import ConvexProgram

__all__ = ["automatic", "available_solvers", "get_backend", "known_solvers"]

ENTRY_POINT_GROUP = "convexnn.solvers"

_BUILT_IN = {
    "clarabel": "convexnn_solvers.backends.clarabel_:Clarabel",
    "cvxpy": "convexnn_solvers.backends.cvxpy_:Cvxpy",
    "ecos": "convexnn_solvers.backends.ecos_:Ecos",
    "native": "convexnn_solvers.backends.native_:Native",
    "scs": "convexnn_solvers.backends.scs_:Scs",
}


@cache
def _plugins() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in _BUILT_IN or entry.name in found:
            warnings.warn(
                f"The solver {entry.name!r} of {entry.value!r} is ignored: the name is taken.",
                RuntimeWarning,
                stacklevel=4,
            )
            continue
        found[entry.name] = entry
    return found


def known_solvers() -> list[str]:
    """Names of all solvers, installed or not, sorted."""
    return sorted([*_BUILT_IN, *_plugins()])


def _load(name: str) -> type[Backend]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        backend: type[Backend] = getattr(import_module(module), attribute)
        return backend
    loaded: type[Backend] = _plugins()[name].load()
    return loaded


def available_solvers() -> list[str]:
    """Names of the solvers that can run here, sorted.

    A plug-in that cannot be loaded is left out with a `RuntimeWarning` that gives its error.
    """
    available = []
    for name in known_solvers():
        try:
            backend = _load(name)
        except (ImportError, AttributeError) as error:
            warnings.warn(f"The solver {name!r} cannot be loaded: {error}", RuntimeWarning, stacklevel=2)
            continue
        if not backend.missing():
            available.append(name)
    return available


def automatic(program: ConvexProgram) -> list[str]:
    """Names of the solvers that ``"auto"`` tries one after another.

    The native one where it can, for smooth losses and positive alpha; then Clarabel.
    """
    smooth = math.isfinite(program.loss.smoothness) and program.alpha > 0
    return ["native", "clarabel"] if smooth else ["clarabel"]


def get_backend(solver: str) -> Backend:
    """Return a new backend for a solver's name.

    Parameters
    ----------
    solver : str
        A known name, or ``"cvxpy:NAME"`` for a solver that CVXPY has installed.

    Returns
    -------
    Backend

    Raises
    ------
    SolverNotFoundError
        If the name is unknown.
    SolverNotInstalledError
        If its package is missing; the message has the pip line.
    """
    name, _, variant = solver.partition(":")
    if name not in known_solvers():
        raise SolverNotFoundError(
            f"Unknown solver {solver!r}. Known: 'auto', {', '.join(map(repr, known_solvers()))} and "
            "'cvxpy:NAME' for a solver installed in CVXPY."
        )
    try:
        backend = _load(name)
    except (ImportError, AttributeError) as error:
        raise SolverNotInstalledError(
            f"The solver {solver!r} of another distribution cannot be loaded: {error}. "
            "Install or update that distribution."
        ) from error
    missing = backend.missing()
    if missing:
        advice = (
            f'pip install "convexnn[{name}]"' if name in _BUILT_IN else f"pip install {' '.join(missing)}"
        )
        raise SolverNotInstalledError(
            f"The solver {solver!r} needs {', '.join(missing)}, not installed here. "
            f"Try: {advice}. Available now: {available_solvers()}."
        )
    return backend(variant)
