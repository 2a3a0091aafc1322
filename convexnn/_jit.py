"""How kernels are compiled: without the interpreter lock, with IEEE division, the machine code kept on disk.

numba files the machine code of a kernel under the text of its source file, although the kernels it calls and
the constants it reads are compiled into it whatever file they are in. `_KernelCache` files it under all of
these. It looks for a folder when a kernel is first called, and a folder that cannot be made, read or written
costs the time to compile and nothing else.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from hashlib import sha256
from importlib.metadata import version
from types import CodeType, ModuleType
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.sigutils import normalize_signature

# What counters begin with that are arguments of other kernels: numba takes the value of a literal for a type,
# and would compile these once more.
ZERO = cast(int, np.intp(0))

# What LLVM may do with floating-point sums: regroup them, fuse products with them, ignore the sign of zero.
_REORDERING = {"reassoc", "contract", "nsz"}

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba on first use and keep the machine code on disk."""
    return _compiled(function)


def reordering_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile as `kernel` does, with leave to reorder sums, so that short ones use wide registers."""
    return _compiled(function, fastmath=_REORDERING)


def inlined_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` a part of the reordering kernels that call it.

    A small kernel with one caller is then compiled once; otherwise it is compiled by itself too.
    """
    return _compiled(function, fastmath=_REORDERING, inline="always")


def _compiled(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    compiled = numba.njit(nogil=True, error_model="numpy", **options)(function)
    # Caches are private to numba; should it rename this one, each process compiles its kernels.
    if hasattr(compiled, "_cache"):
        compiled._cache = _KernelCache(compiled)
    return cast(Callable[P, R], compiled)


class _KernelCache:
    """Machine code of one kernel on disk, in the folders that numba uses and in its format.

    Parameters
    ----------
    dispatcher : numba.core.dispatcher.Dispatcher
        The kernel.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    @cached_property
    def _files(self) -> Any:
        """The files of this kernel; raises RuntimeError where no folder can be written."""
        files = FunctionCache(self._dispatcher.py_func)
        if not hasattr(files, "_cache_file"):
            raise RuntimeError(f"numba {numba.__version__} keeps machine code in an unknown way")
        # Files of other versions are left alone: several may share a folder.
        name = f"{files._impl.filename_base}-{_versions()}"
        stamp = files._impl.locator.get_source_stamp(), compiled_contents(self._dispatcher)
        files._cache_file = IndexDataCacheFile(files.cache_path, name, stamp)
        return files

    @property
    def cache_path(self) -> str:
        """Folder of the files."""
        return str(self._files.cache_path)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for types of arguments, None if it is not on disk."""
        with _at_worst_in_memory():
            files = self._files
            try:
                found = files.load_overload(sig, target_context)
                # Two processes may have given their files one name.
                return found if found and found.signature.args == normalize_signature(sig)[0] else None
            except OSError:
                raise
            except Exception:
                # A damaged file, which may raise anything, is written anew once it is not listed.
                files.flush()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the machine code for types of arguments."""
        with _at_worst_in_memory():
            self._files.save_overload(sig, data)

    def flush(self) -> None:
        """Forget what is on disk."""
        with _at_worst_in_memory():
            self._files.flush()


@contextmanager
def _at_worst_in_memory() -> Iterator[None]:
    """Go on without the disk, whatever is wrong with it, and say so once."""
    try:
        yield
    except Exception as error:
        if not _told:
            _told.append(error)
            warnings.warn(
                "Compiled kernels cannot be kept on disk, so that each process takes some seconds to compile "
                f"its own ({error}). Set the environment variable NUMBA_CACHE_DIR to a folder that can be "
                "written to.",
                RuntimeWarning,
                stacklevel=2,
            )


_told: list[Exception] = []


@cache
def _versions() -> str:
    return f"{version('convexnn')}-numba-{numba.__version__}"


def compiled_contents(dispatcher: Any) -> str:
    """Return a hash of all that is compiled into a kernel: code, constants, options, called kernels' too."""
    reached, digest = [dispatcher], sha256()
    for reached_one in reached:
        function = reached_one.py_func
        options = {
            name: sorted(value) if isinstance(value, set) else value
            for name, value in reached_one.targetoptions.items()
        }
        digest.update(repr(sorted(options.items())).encode())
        # Named tuples are compiled to positions.
        fields = [getattr(kind, "_fields", None) for kind in function.__annotations__.values()]
        digest.update(repr(fields).encode())
        for code in _nested(function.__code__):
            digest.update(code.co_code)
            constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
            digest.update(repr((code.co_names, constants)).encode())
            for name in code.co_names:
                value = function.__globals__.get(name)
                if hasattr(value, "py_func"):
                    if value not in reached:
                        reached.append(value)
                elif not isinstance(value, ModuleType):
                    digest.update(repr(value).encode())
    return digest.hexdigest()


def _nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and those of the functions within."""
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _nested(value)
