"""How long a cone solver is out of reach: its set-up and its single steps know no limit of time."""

from dataclasses import replace

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.backends.base import Candidate
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.program import ConvexProgram
from convexnn_solvers.result import Status

__all__ = ["reserving", "setup_seconds", "step_seconds"]

# Seconds for each stored entry of the constraints: ordering and first factorisation took Clarabel 0.8 to 2.9
# millionths on 7e4 to 4e6 entries, on one core of a busy machine.
_PER_ENTRY = 2e-6
# Seconds for each operation of a factorisation, from the same programs, and for each entry that it reads.
_PER_OPERATION, _PER_READING = 2e-9, 2e-7


def _n_entries(program: ConvexProgram) -> float:
    """Entries of the features, and of cones in the coordinates ``(v - w, w)``, if none is zero."""
    _, n_layers, n_blocks, d = program.block_shape
    cones = 3 if program.design.constrained else 0
    fed = 1 if program.directions is None else program.n_outputs
    return float(n_layers) * n_blocks * d * (fed * program.design.n_samples + cones * _n_rows(program))


def _n_rows(program: ConvexProgram) -> int:
    """Rows of a block's cone, those of one sample at least."""
    return program.design.n_samples * int(getattr(program.design, "positions", 1))


def setup_seconds(program: ConvexProgram) -> float:
    """Seconds, rather too many, from a program to the first step of a cone solver."""
    return _PER_ENTRY * _n_entries(program)


def step_seconds(program: ConvexProgram) -> float:
    """Seconds of one interior-point step: samples couple blocks and outputs, cones only a block's weights."""
    _, n_layers, n_blocks, d = program.block_shape
    n, n_weights = program.design.n_samples, n_blocks * d
    operations = n_layers * program.n_outputs * float(n) * n_weights * min(n, n_weights)
    return _PER_OPERATION * operations + _PER_READING * _n_entries(program)


def reserving(
    program: ConvexProgram,
    options: SolveOptions,
    start: tuple[FloatArray, FloatArray] | None,
    *,
    blind: float,
    before: float = 0.0,
) -> SolveOptions | Candidate:
    """Return options for a solver that is called after so many seconds and does not see the clock for some.

    If not even these are left it is the start, at the limit of time.
    """
    left = options.time_limit
    if left is None or before + blind <= left:
        return replace(options, reserve=options.reserve + blind)
    blocks, intercept = start if start is not None else (program.zeros(), np.zeros(program.n_outputs))
    message = f"no solver begun: its set-up would take about {before + blind:.2g} s, {left:.2g} s are left"
    return Candidate(blocks, intercept, None, Status.TIME_LIMIT, 0, message)
