"""What can go wrong between a program and a solver."""


class SolverError(Exception):
    """Base class of the errors raised by this package."""


class SolverNotFoundError(SolverError, ValueError):
    """No solver of that name is known; the text lists the known ones."""


class SolverNotInstalledError(SolverError, ImportError):
    """The solver is known but its package is not installed; the text gives the pip line."""


class UnsupportedProgramError(SolverError, ValueError):
    """The solver cannot take this program or option; the text says which ones can."""


class BackendError(SolverError, RuntimeError):
    """The solver stopped with an error of its own; `solve` turns it into ``Status.FAILED``."""
