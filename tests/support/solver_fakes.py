"""Backends that misbehave, and the entry points under which a test can register them."""

from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np

from convexnn._typing import FloatArray
from convexnn_solvers import Backend, BackendError, Candidate, ConvexProgram, Status
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.registry import ENTRY_POINT_GROUP

Start = tuple[FloatArray, FloatArray] | None
EVERY_LOSS = frozenset(
    {"squared_error", "huber", "absolute_error", "log_loss", "softmax", "hinge", "squared_hinge"}
)


class Lying(Backend):
    """Reports success with a random point, mostly outside of the cones."""

    name: ClassVar[str] = "lying"
    losses: ClassVar[frozenset[str]] = EVERY_LOSS

    def run(self, program: ConvexProgram, options: SolveOptions, start: Start = None) -> Candidate:
        """Claim an optimum."""
        rng = np.random.default_rng(0)
        blocks = rng.normal(size=program.block_shape)
        dual = 100.0 * rng.normal(size=program.targets.shape)
        return Candidate(blocks, np.ones(program.n_outputs), dual, Status.CONVERGED, 7, "optimal, surely")


class Undefined(Backend):
    """Reports success with a point that is not a number."""

    name: ClassVar[str] = "undefined"
    losses: ClassVar[frozenset[str]] = EVERY_LOSS

    def run(self, program: ConvexProgram, options: SolveOptions, start: Start = None) -> Candidate:
        """Claim an optimum."""
        blocks = np.full(program.block_shape, np.nan)
        return Candidate(blocks, np.zeros(program.n_outputs), None, Status.CONVERGED, 1, "optimal")


class Raising(Backend):
    """Breaks down."""

    name: ClassVar[str] = "raising"
    losses: ClassVar[frozenset[str]] = EVERY_LOSS

    def run(self, program: ConvexProgram, options: SolveOptions, start: Start = None) -> Candidate:
        """Raise."""
        raise BackendError("out of luck")


class Interrupted(Backend):
    """Is stopped from the keyboard."""

    name: ClassVar[str] = "interrupted"
    losses: ClassVar[frozenset[str]] = EVERY_LOSS

    def run(self, program: ConvexProgram, options: SolveOptions, start: Start = None) -> Candidate:
        """Raise."""
        raise KeyboardInterrupt


class Modest(Backend):
    """Returns zero and says that it failed."""

    name: ClassVar[str] = "modest"
    losses: ClassVar[frozenset[str]] = frozenset({"squared_error"})
    limits_time: ClassVar[bool] = False

    def run(self, program: ConvexProgram, options: SolveOptions, start: Start = None) -> Candidate:
        """Return zero."""
        zero = np.zeros(program.n_outputs)
        return Candidate(program.zeros(), zero, None, Status.FAILED, 0, "infeasible")


FAKES: list[type[Backend]] = [Lying, Undefined, Raising, Interrupted, Modest]


def entry_points() -> dict[str, EntryPoint]:
    """Entry points of the fakes, by name."""
    return {
        fake.name: EntryPoint(fake.name, f"solver_fakes:{fake.__name__}", ENTRY_POINT_GROUP) for fake in FAKES
    }
