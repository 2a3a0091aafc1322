"""How kernels are compiled: cached on disk, without the interpreter lock, IEEE division."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba on first use and cache the machine code on disk."""
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast(Callable[P, R], compiled)


def reordering_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, with leave to reorder sums, so that short ones use wide registers."""
    compiled = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
    )(function)
    return cast(Callable[P, R], compiled)
