"""Solvers of this benchmark: each asks a worker process, which may be killed when time is up.

``CONVEXNN_BENCH_PYTHON_<METHOD>`` names the interpreter of a method that needs an environment of its own;
``CONVEXNN_BENCH_CAP`` the seconds that one run may take; ``CONVEXNN_BENCH_REPEAT`` the seconds within which
a run is repeated.
"""

import os
import subprocess
import sys
import time
from functools import cache
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from benchopt import BaseSolver
from benchopt.stopping_criterion import StoppingCriterion

from benchmark_utils.problems import Problem

__all__ = ["BridgedSolver"]

CAP = float(os.environ.get("CONVEXNN_BENCH_CAP", "120"))
REPEAT_WITHIN = float(os.environ.get("CONVEXNN_BENCH_REPEAT", "10"))
_MAX_REPEATS = 5
_START_UP = 180.0
_LARGEST = 1e8
_TARGET = 1e-6

# Smallest problem on which a method's first run was stopped: larger ones are not tried.
_too_large: dict[tuple[str, str], int] = {}


class _StoppedError(Exception):
    """The worker did not answer in time, or it died."""


class _Remote:
    """A worker process and the pipe to it."""

    def __init__(self, method: str) -> None:
        self.pipe, other = Pipe()
        python = os.environ.get(f"CONVEXNN_BENCH_PYTHON_{method.upper()}", sys.executable)
        script = Path(__file__).with_name("worker.py")
        self.process = subprocess.Popen(
            [python, str(script), str(other.fileno()), method], pass_fds=[other.fileno()]
        )
        other.close()

    def ask(self, *request: Any, timeout: float) -> Any:
        try:
            self.pipe.send(request)
            if self.pipe.poll(timeout):
                return self.pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass
        self.process.kill()
        self.process.wait()
        raise _StoppedError


_remotes: dict[str, _Remote] = {}


def _remote(method: str) -> _Remote:
    """Return the worker of a method, a new one if there is none or it was killed."""
    if method not in _remotes or _remotes[method].process.poll() is not None:
        _remotes[method] = _Remote(method)
    return _remotes[method]


@cache
def _missing(method: str) -> tuple[str, ...]:
    return tuple(_remote(method).ask("check", timeout=_START_UP))


class _Ladder(StoppingCriterion):
    """Stop when the target is reached, the time is up or the settings are used up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def check_convergence(self, curve: list[dict[str, Any]]) -> tuple[bool, float]:
        last = curve[-1]
        reached = last["objective_value"] <= _TARGET and last["objective_kind"] == "program"
        over = last["objective_capped"] or last["objective_failure"] != ""
        return bool(reached or over or last["objective_last"]), 0.0


class BridgedSolver(BaseSolver):
    """A method of ``benchmark_utils/methods``, run with one setting of its ladder after another.

    Class attribute `method` names the module; a solver's benchopt parameters are handed to it as options.
    """

    sampling_strategy = "iteration"
    stopping_criterion = _Ladder(strategy="iteration")
    method: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ("relu", "gated")
    largest: ClassVar[float] = _LARGEST

    def skip(self, problem: Problem) -> tuple[bool, str | None]:
        """Say why this method cannot take the problem."""
        if problem.program not in self.programs:
            return True, f"takes {' and '.join(self.programs)} programs only"
        if problem.size > self.largest:
            return True, f"would need a matrix of {problem.size:.1e} entries"
        try:
            missing = _missing(self.method)
        except _StoppedError:
            return True, "its worker does not start"
        return (True, f"not installed: {', '.join(missing)}") if missing else (False, None)

    def set_objective(self, problem: Problem) -> None:
        """Keep the problem; the worker gets it before the first run."""
        self.problem = problem
        self.loaded = False

    @property
    def _options(self) -> dict[str, Any]:
        return dict(self._parameters)

    def get_next(self, rung: int) -> int:
        """Return the next step of the ladder."""
        return rung + 1

    def pre_run_hook(self, rung: int) -> None:
        """Start the worker and let it prepare, untimed."""
        self.failure = ""
        if rung == 0 or self.loaded:
            return
        self.loaded = True
        try:
            answer = _remote(self.method).ask("load", self.problem, self._options, timeout=_START_UP)
        except _StoppedError:
            answer = "no answer while loading the problem"
        self.failure = answer or ""

    def run(self, rung: int) -> None:
        """Run the setting number `rung`; 0 is the zero point, which costs nothing."""
        from importlib import import_module

        self.seconds: list[float] = [0.0]
        self.result, self.capped, self.versions, self.note = {}, False, "", ""
        ladder = import_module(f"benchmark_utils.methods.{self.method}").ladder(self.problem, self._options)
        self.rung, self.last = rung, rung == len(ladder)
        if rung == 0 or self.failure:
            return
        key = (str(self), self.problem.program)
        if rung == 1 and self.problem.size > _too_large.get(key, 1 << 62):
            self.capped, self.seconds, self.note = True, [CAP], "not run: stopped on a smaller problem"
            return
        self.note = repr(ladder[rung - 1])
        self._measure(ladder[rung - 1])
        if self.capped and rung == 1:
            _too_large[key] = min(self.problem.size, _too_large.get(key, 1 << 62))

    def _measure(self, setting: Any) -> None:
        """Run once, and again as long as the runs together are short."""
        self.seconds = []
        while len(self.seconds) < _MAX_REPEATS:
            began = time.perf_counter()
            try:
                answer = _remote(self.method).ask("run", setting, timeout=CAP)
            except _StoppedError:
                spent = time.perf_counter() - began
                self.capped, self.loaded, self.seconds = spent >= CAP, False, [spent]
                self.failure = "" if self.capped else "the worker died"
                return
            if isinstance(answer, str):
                self.failure, self.seconds = answer, [time.perf_counter() - began]
                return
            seconds, self.result, self.versions = answer
            self.seconds.append(seconds)
            if sum(self.seconds) + seconds > REPEAT_WITHIN:
                return

    def get_result(self) -> dict[str, Any]:
        """Return the point and how it was obtained."""
        return {
            "point": self.result,
            "seconds": float(np.median(self.seconds)),
            "n_runs": len(self.seconds),
            "capped": self.capped,
            "last": self.last,
            "failure": self.failure,
            "setting": self.note,
            "solver": str(self),
            "rung": self.rung,
            "versions": self.versions,
        }
