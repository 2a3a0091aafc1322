"""Sharing work between threads, without getting in the way of those of the linear algebra library.

Threads of BLAS wait busily for more work, which takes the processor from threads of our own for longer than
most of our work lasts. So a solve that shares its work here gives BLAS one thread, see `single_blas_thread`.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise

import numba
import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = ["in_parts", "single_blas_thread"]

_WORTH_A_THREAD = 1e6


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.get_num_threads())


# Threads do not survive a fork, a pool that believes in them would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_parts(work: Callable[[slice], None], n_items: int, operations: float) -> None:
    """Call `work` on slices that cover ``0 .. n_items``, one for each thread if there is enough to do.

    Parameters
    ----------
    work : callable
        Releases the interpreter lock for most of its time; calls must not depend on each other.
    n_items : int
    operations : float
        Arithmetic operations of all items together, roughly.
    """
    n_threads = min(numba.get_num_threads(), n_items, int(operations / _WORTH_A_THREAD))
    if n_threads < 2:
        work(slice(0, n_items))
        return
    ends = np.linspace(0, n_items, n_threads + 1).astype(int).tolist()
    others = [_pool().submit(work, slice(low, high)) for low, high in pairwise(ends[1:])]
    try:
        work(slice(0, ends[1]))
    finally:
        wait(others)
    for other in others:
        other.result()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_blas_thread() -> AbstractContextManager[object]:
    """Give BLAS one thread inside a ``with`` block."""
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited
