"""What a solver must offer to be used through `solve`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.exceptions import UnsupportedProgramError
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram, Loss
from convexnn_solvers.result import Status

__all__ = ["Backend", "Candidate", "Solver"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a solver claims; nothing in it is believed before it is measured.

    Attributes
    ----------
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)
    dual : ndarray of shape (n, K) or None
        Of the sign of ``-gradient``.
    stopped : Status
        Why the solver stopped: `CONVERGED` if by its own test, else a limit or `FAILED`.
    n_iter : int
    message : str
    """

    blocks: FloatArray
    intercept: FloatArray
    dual: FloatArray | None
    stopped: Status
    n_iter: int
    message: str


class Solver(ABC):
    """What solvers of all kinds of programs have in common.

    Parameters
    ----------
    variant : str
        What follows the colon in the solver's name, ``"ECOS"`` in ``"cvxpy:ECOS"``; usually empty.

    Attributes
    ----------
    name : str
    modules : tuple of str
        Modules that must be installed.
    limits_time : bool
        Whether it heeds a time limit.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    limits_time: ClassVar[bool] = True

    def __init__(self, variant: str = "") -> None:
        if variant and not self.takes_variant():
            raise UnsupportedProgramError(
                f"The solver {self.name!r} has no variants; got {variant!r} after the colon."
            )
        self.variant = variant

    @property
    def label(self) -> str:
        """Name with the variant, as given to the functions that solve."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @classmethod
    def takes_variant(cls) -> bool:
        """Whether ``"name:variant"`` has a meaning."""
        return False

    @classmethod
    def missing(cls) -> list[str]:
        """Modules this solver needs that are not installed."""
        return [module for module in cls.modules if find_spec(module) is None]

    def check_limits(self, options: SolveOptions) -> None:
        """Raise `UnsupportedProgramError` for a time limit that this solver does not heed."""
        if options.time_limit is not None and not self.limits_time:
            raise UnsupportedProgramError(
                f"The solver {self.name!r} cannot be limited in time. Drop time_limit, limit max_iter "
                "instead, or use solver='clarabel'."
            )


class Backend(Solver):
    """A solver for `ConvexProgram`.

    Attributes
    ----------
    losses : frozenset of str or None
        Names of the losses it takes; None where `takes` looks at what they are.
    wanted : str
        The kind of losses that it takes, for messages.
    chooses_blocks : bool
        Whether it finds the blocks that matter by itself, so that it is always given the whole program.
    shares_work : bool
        Whether it shares work between threads of its own, so that BLAS must not.
    """

    losses: ClassVar[frozenset[str] | None] = None
    wanted: ClassVar[str] = "losses with an epigraph in cones"
    chooses_blocks: ClassVar[bool] = False
    shares_work: ClassVar[bool] = False

    def check(self, program: ConvexProgram, options: SolveOptions) -> None:
        """Raise `UnsupportedProgramError` for a loss or an option that this solver does not take."""
        if not self.takes(program.loss):
            wanted = self.wanted if self.losses is None else sorted(self.losses)
            raise UnsupportedProgramError(
                f"The solver {self.name!r} does not take the loss {program.loss.name!r}. It takes {wanted}. "
                "Use solver='auto', which chooses one that fits."
            )
        self.check_limits(options)

    def takes(self, loss: Loss) -> bool:
        """Whether the solver works with a loss: one of its `losses`, or of any with an epigraph."""
        return loss.has_epigraph if self.losses is None else loss.name in self.losses

    @abstractmethod
    def run(
        self,
        program: ConvexProgram,
        options: SolveOptions,
        start: tuple[FloatArray, FloatArray] | None = None,
    ) -> Candidate:
        """Solve the program.

        Parameters
        ----------
        program : ConvexProgram
        options : SolveOptions
        start : tuple of arrays (S, K, P, d) and (K,), optional
            A feasible point to start from; solvers that cannot use one ignore it.

        Raises
        ------
        BackendError
            If the solver stops without a usable point.
        """
