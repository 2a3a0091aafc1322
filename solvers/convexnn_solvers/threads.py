"""Sharing work between threads, without getting in the way of those of the linear algebra library.

Threads of BLAS wait busily for more work, which takes the processor from threads of our own for longer than
most of our work lasts. So a solve that shares its work here gives BLAS one thread, see `single_blas_thread`.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import Any

import numba
from threadpoolctl import ThreadpoolController

from convexnn_solvers._typing import FloatArray

__all__ = ["in_parts", "single_blas_thread", "sum_of_parts", "worker_threads"]

# Operations that take about a millisecond, some ten times what handing them to a thread costs.
_WORTH_A_THREAD = 1e6
# Parts of one piece of work: a multiple of usual numbers of cores; more would be too small for products.
_MOST_PARTS = 8


def _number_of_parts(n_items: int, operations: float) -> int:
    """Return a power of two that doubles as the work grows eightfold: products of small parts are slow."""
    worth = int(4 * operations / _WORTH_A_THREAD)
    return max(1, min(_MOST_PARTS, n_items, 1 << ((max(worth, 1).bit_length() - 1) // 3)))


def _slices(n_items: int, n_parts: int) -> list[slice]:
    """Return slices of about the same length; in integers, since most calls are for little work."""
    ends = [n_items * part // n_parts for part in range(n_parts + 1)]
    return [slice(low, high) for low, high in pairwise(ends)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(int(numba.config.NUMBA_NUM_THREADS))


# Threads do not survive a fork, a pool that believes in them would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_parts(work: Callable[[slice], None], n_items: int, operations: float) -> None:
    """Call `work` on slices that cover ``0 .. n_items``, shared between threads if there is enough to do.

    The slices depend on the work alone and not on the number of threads, and so does all rounding.

    Parameters
    ----------
    work : callable
        Releases the interpreter lock for most of its time; calls must not depend on each other.
    n_items : int
    operations : float
        Arithmetic operations of all items together, roughly.
    """
    n_parts = _number_of_parts(n_items, operations)
    if n_parts == 1:
        work(slice(0, n_items))
        return
    parts = _slices(n_items, n_parts)

    def several(share: slice) -> None:
        for part in parts[share]:
            work(part)

    own, *shares = _slices(n_parts, min(numba.get_num_threads(), n_parts))
    others = [_pool().submit(several, share) for share in shares]
    try:
        several(own)
    finally:
        wait(others)
    for other in others:
        other.result()


def sum_of_parts(work: Callable[[slice], FloatArray], n_items: int, operations: float) -> FloatArray:
    """Add up what `work` returns for the slices of `in_parts`, in their order.

    Parameters
    ----------
    work, n_items, operations
        As in `in_parts`; there is at least one item.

    Returns
    -------
    ndarray
    """
    parts: dict[int, FloatArray] = {}

    def keep(part: slice) -> None:
        parts[part.start] = work(part)

    in_parts(keep, n_items, operations)
    first, *others = (parts[start] for start in sorted(parts))
    for other in others:
        first += other
    return first


@contextmanager
def worker_threads(most: int | None) -> Iterator[None]:
    """Share work between at most so many threads inside a ``with`` block, all that numba has for None."""
    before = numba.get_num_threads()
    try:
        if most is not None:
            numba.set_num_threads(max(1, min(most, before)))
        yield
    finally:
        numba.set_num_threads(before)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _SingleBlasThread:
    """One thread of BLAS for as long as anyone in the process wants it; then as many as there were before."""

    def __init__(self) -> None:
        self._lock, self._wanted = Lock(), 0
        self._limit: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> None:
        with self._lock:
            if self._wanted == 0:
                self._limit = _controller().limit(limits=1, user_api="blas")
                self._limit.__enter__()
            self._wanted += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0:
                self._limit.__exit__(None, None, None)


_SINGLE_BLAS_THREAD = _SingleBlasThread()


def single_blas_thread() -> AbstractContextManager[object]:
    """Give BLAS one thread inside a ``with`` block; blocks of several threads may overlap."""
    return _SINGLE_BLAS_THREAD
