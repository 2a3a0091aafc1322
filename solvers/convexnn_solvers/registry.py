"""Which solvers exist and which can run here.

There are two kinds of programs: ``"group"``, those of `solve`, and ``"nonnegative"``, those of
`solve_nonnegative`. Built-in solvers are listed in a table and imported on first use. Other distributions add
theirs through the entry-point groups ``convexnn.solvers`` and ``convexnn.solvers.nonnegative``: the entry's
name is the solver's name, its value a `Backend` or a `NonnegativeBackend` class.
"""

import math
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeAlias, overload

from convexnn_solvers.backends.base import Backend, Solver
from convexnn_solvers.exceptions import (
    SolverNotFoundError,
    SolverNotInstalledError,
    UnsupportedProgramError,
)
from convexnn_solvers.nonnegative.backends.base import NonnegativeBackend
from convexnn_solvers.program import ConvexProgram

__all__ = ["Kind", "automatic", "available_solvers", "get_backend", "known_solvers"]

Kind: TypeAlias = Literal["group", "nonnegative"]

ENTRY_POINT_GROUP = "convexnn.solvers"
ENTRY_POINT_GROUPS: dict[Kind, str] = {
    "group": ENTRY_POINT_GROUP,
    "nonnegative": f"{ENTRY_POINT_GROUP}.nonnegative",
}

_BUILT_IN = {
    "clarabel": "convexnn_solvers.backends.clarabel_:Clarabel",
    "cvxpy": "convexnn_solvers.backends.cvxpy_:Cvxpy",
    "ecos": "convexnn_solvers.backends.ecos_:Ecos",
    "native": "convexnn_solvers.backends.native_:Native",
    "scs": "convexnn_solvers.backends.scs_:Scs",
}
_BUILT_IN_NONNEGATIVE = {
    "clarabel": "convexnn_solvers.nonnegative.backends.clarabel_:Clarabel",
    "cvxpy": "convexnn_solvers.nonnegative.backends.cvxpy_:Cvxpy",
    "nnls": "convexnn_solvers.nonnegative.backends.nnls_:Nnls",
    "osqp": "convexnn_solvers.nonnegative.backends.osqp_:Osqp",
}
_TABLES: dict[Kind, dict[str, str]] = {"group": _BUILT_IN, "nonnegative": _BUILT_IN_NONNEGATIVE}
_TAKES: dict[Kind, tuple[str, str]] = {
    "group": ("programs with a norm for each block", "solve"),
    "nonnegative": ("non-negative least squares", "solve_nonnegative"),
}


@cache
def _plugins() -> dict[str, EntryPoint]:
    return _find_plugins("group")


@cache
def _nonnegative_plugins() -> dict[str, EntryPoint]:
    return _find_plugins("nonnegative")


def _plugins_of(kind: Kind) -> dict[str, EntryPoint]:
    return _plugins() if kind == "group" else _nonnegative_plugins()


def _find_plugins(kind: Kind) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUPS[kind]):
        if entry.name in _TABLES[kind] or entry.name in found:
            warnings.warn(
                f"The solver {entry.name!r} of {entry.value!r} is ignored: the name is taken.",
                RuntimeWarning,
                stacklevel=5,
            )
            continue
        found[entry.name] = entry
    return found


def known_solvers(kind: Kind = "group") -> list[str]:
    """Names of all solvers for a kind of program, installed or not, sorted."""
    return sorted([*_TABLES[kind], *_plugins_of(kind)])


def _load(name: str, kind: Kind) -> type[Solver]:
    if name in _TABLES[kind]:
        module, _, attribute = _TABLES[kind][name].partition(":")
        backend: type[Solver] = getattr(import_module(module), attribute)
        return backend
    loaded: type[Solver] = _plugins_of(kind)[name].load()
    return loaded


def available_solvers(kind: Kind = "group") -> list[str]:
    """Names of the solvers that can run here, sorted.

    A plug-in that cannot be loaded is left out with a `RuntimeWarning` that gives its error.

    Parameters
    ----------
    kind : {"group", "nonnegative"}
        For `solve` or for `solve_nonnegative`.

    Returns
    -------
    list of str
    """
    available = []
    for name in known_solvers(kind):
        try:
            backend = _load(name, kind)
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


@overload
def get_backend(solver: str, kind: Literal["group"] = "group") -> Backend: ...


@overload
def get_backend(solver: str, kind: Literal["nonnegative"]) -> NonnegativeBackend: ...


def get_backend(solver: str, kind: Kind = "group") -> Solver:
    """Return a new backend for a solver's name.

    Parameters
    ----------
    solver : str
        A known name, or ``"cvxpy:NAME"`` for a solver that CVXPY has installed.
    kind : {"group", "nonnegative"}
        What it shall solve.

    Returns
    -------
    Backend or NonnegativeBackend

    Raises
    ------
    SolverNotFoundError
        If the name is unknown.
    UnsupportedProgramError
        If a solver of that name is known for the other kind only.
    SolverNotInstalledError
        If its package is missing; the message has the pip line.
    """
    name, _, variant = solver.partition(":")
    if name not in known_solvers(kind):
        raise _unknown(solver, name, kind)
    try:
        backend = _load(name, kind)
    except (ImportError, AttributeError) as error:
        raise SolverNotInstalledError(
            f"The solver {solver!r} of another distribution cannot be loaded: {error}. "
            "Install or update that distribution."
        ) from error
    missing = backend.missing()
    if missing:
        built_in = name in _TABLES[kind]
        advice = f'pip install "convexnn[{name}]"' if built_in else f"pip install {' '.join(missing)}"
        raise SolverNotInstalledError(
            f"The solver {solver!r} needs {', '.join(missing)}, not installed here. "
            f"Try: {advice}. Available now: {available_solvers(kind)}."
        )
    return backend(variant)


def _unknown(solver: str, name: str, kind: Kind) -> SolverNotFoundError | UnsupportedProgramError:
    """Return the error for a name that is not one of this kind."""
    known = ", ".join(map(repr, known_solvers(kind)))
    for other, (programs, function) in _TAKES.items():
        if other != kind and name in known_solvers(other):
            return UnsupportedProgramError(
                f"The solver {solver!r} takes {programs} ({function}). "
                f"For {_TAKES[kind][0]} use 'auto', {known}."
            )
    return SolverNotFoundError(
        f"Unknown solver {solver!r}. Known: 'auto', {known} and 'cvxpy:NAME' for a solver installed in CVXPY."
    )
