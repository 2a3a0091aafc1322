"""A process that runs one method on request, in the interpreter that has what the method needs.

Started as ``python worker.py DESCRIPTOR METHOD`` by `bridge.py`, with a pipe's end as descriptor. It answers

- ``("check",)`` with the names of the modules that are missing,
- ``("load", problem, options)`` with None, once the method is warm and the problem in the method's format,
- ``("run", setting)`` with ``(seconds, result, versions)`` or with a text that says what went wrong.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmark_utils.problems import Problem, distinct_gates, planted


def tiny(program: str) -> Problem:
    """Return a small problem on which kernels are compiled and libraries loaded."""
    X, y = planted(30, 4, seed=0)
    return Problem("tiny", X, y, distinct_gates(X, 12, seed=0), 0.1, program)


def versions(modules: tuple[str, ...]) -> str:
    """Return the versions of the distributions that the modules come from."""
    owners = importlib.metadata.packages_distributions()
    names = sorted({owners.get(module, [module])[0] for module in modules} & _distributions())
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in [*names, "numpy"])


def _distributions() -> set[str]:
    return {found.name for found in importlib.metadata.distributions()}


class Worker:
    """State between requests."""

    def __init__(self, method: str) -> None:
        self.method = importlib.import_module(f"benchmark_utils.methods.{method}")
        self.warm: set[tuple[str, str]] = set()
        self.ready: Any = None
        self.options: dict[str, Any] = {}

    def check(self) -> list[str]:
        """Return the modules that cannot be found."""
        return [name for name in self.method.MODULES if importlib.util.find_spec(name) is None]

    def load(self, problem: Problem, options: dict[str, Any]) -> None:
        """Warm up once for each program and set of options, then prepare the problem."""
        self.options = options
        key = (problem.program, repr(options))
        if key not in self.warm:
            small = tiny(problem.program)
            setting = self.method.ladder(small, options)[0]
            self.method.solve(self.method.prepare(small, options), setting, options)
            self.warm.add(key)
        self.ready = self.method.prepare(problem, options)
        if hasattr(self.method, "warm_up"):
            self.method.warm_up(self.ready, options)

    def run(self, setting: Any) -> tuple[float, dict[str, Any], str]:
        """Solve and time."""
        began = time.perf_counter()
        result = self.method.solve(self.ready, setting, self.options)
        seconds = time.perf_counter() - began
        result = {name: np.asarray(value, dtype=np.float64) for name, value in result.items()}
        return seconds, result, versions(self.method.MODULES)


def main() -> None:
    """Serve requests until the pipe is closed."""
    pipe = Connection(int(sys.argv[1]))
    # What libraries print must not reach the benchmark's own output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    worker = Worker(sys.argv[2])
    while True:
        try:
            request, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(getattr(worker, request)(*arguments))
        except Exception as error:
            traceback.print_exc()
            pipe.send(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
