"""The constrained program, its value and its violation from the raw data, whatever the solver said."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from benchmark_utils.problems import Problem
from benchopt import BaseObjective

from convexnn import PatternSet
from convexnn.programs import two_layer_program
from convexnn_solvers import ConvexProgram, solve

_OPTIMA = Path(os.environ.get("CONVEXNN_BENCH_OPTIMA", Path(__file__).parents[1] / "results" / "optima.json"))
_ACCURACY = 1e-10


class Objective(BaseObjective):
    """``1/2 |sum_i D_i X (v_i - w_i) - y|^2 + alpha sum_i (|v_i| + |w_i|)``, with or without cones.

    Points are first projected on their cones; the value reported is ``(F - best) / best`` of the result,
    with the best value known from this package's native solver at a relative gap of 1e-10.
    """

    name = "program"
    url = "benchmarks/convex_programs"
    parameters: ClassVar = {"program": ["relu", "gated"]}
    min_benchopt_version = "1.7"

    def set_data(self, name: str, X: np.ndarray, y: np.ndarray, gates: np.ndarray, alpha: float) -> None:
        """Build the problem and look up its optimum."""
        self.problem = Problem(name, X, y, gates, alpha, self.program)
        self.masks = self.problem.masks
        self.optimum = _optimum(self.problem)

    def get_objective(self) -> dict[str, Problem]:
        """Return what solvers get."""
        return {"problem": self.problem}

    def get_one_result(self) -> dict[str, Any]:
        """Return the zero point."""
        return {
            "point": {},
            "seconds": 0.0,
            "n_runs": 1,
            "capped": False,
            "last": True,
            "failure": "",
            "setting": "",
            "solver": "",
            "rung": 0,
            "versions": "",
        }

    def evaluate_result(self, point: dict[str, np.ndarray], **how: Any) -> dict[str, Any]:
        """Measure a point: blocks (signs, P, d) of the program, or a network's (U (d, m), a (m,))."""
        kind = "network" if "hidden" in point else "program"
        violation = 0.0
        repaired = 0.0
        if kind == "network":
            objective = self._network(point["hidden"], point["output"])
        else:
            shape = (self.problem.signs, *self.problem.gates.shape)
            blocks = point.get("blocks", np.zeros(shape)).reshape(shape)
            violation = self._violation(blocks)
            if violation > 0:
                blocks = _program(self.problem).design.project(blocks)
            repaired = self._violation(blocks)
            objective = self._program_value(blocks)
        found = {
            "value": (objective - self.optimum["best"]) / self.optimum["best"],
            "objective": objective,
            "kind": kind,
            "violation": violation,
            "violation_repaired": repaired,
            "best_known": self.optimum["best"],
            "lower_bound": self.optimum["bound"],
            "active": self.optimum["active"],
            **how,
        }
        self._note(found)
        return found

    def _note(self, found: dict[str, Any]) -> None:
        """Append the figures to the file that `measure.py` reads, so that a broken run keeps its rows."""
        if "CONVEXNN_BENCH_JOURNAL" in os.environ and found["rung"] > 0:
            row = {"problem": self.problem.name, "program": self.problem.program, **found}
            with open(os.environ["CONVEXNN_BENCH_JOURNAL"], "a") as journal:
                journal.write(json.dumps(row) + "\n")

    def _program_value(self, blocks: np.ndarray) -> float:
        """Return the objective, with ``D_i X u_i`` written out."""
        outputs = np.zeros(len(self.problem.X))
        for sign, part in zip((1.0, -1.0), blocks, strict=False):
            for used in np.flatnonzero(part.any(axis=1)):
                outputs += sign * self.masks[used] * (self.problem.X @ part[used])
        fit = 0.5 * float(np.sum((outputs - self.problem.y) ** 2))
        return fit + self.problem.alpha * float(np.linalg.norm(blocks, axis=-1).sum())

    def _violation(self, blocks: np.ndarray) -> float:
        """Return the largest ``-e_r x_r.v / (|x_r| max |v|)``, at least 0."""
        largest = np.linalg.norm(blocks, axis=-1).max()
        if self.problem.program == "gated" or largest == 0:
            return 0.0
        X, deepest = self.problem.X, 0.0
        lengths = np.linalg.norm(X, axis=1)
        for part in blocks:
            for used in np.flatnonzero(part.any(axis=1)):
                inside = np.where(self.masks[used], 1.0, -1.0) * (X @ part[used]) / lengths
                deepest = min(deepest, float(inside.min()))
        return -deepest / float(largest)

    def _network(self, hidden: np.ndarray, output: np.ndarray) -> float:
        """Return the training objective of a relu network without biases of its own."""
        outputs = np.maximum(self.problem.X @ hidden, 0) @ output
        weights = float(np.sum(hidden**2) + np.sum(output**2))
        return 0.5 * float(np.sum((outputs - self.problem.y) ** 2)) + 0.5 * self.problem.alpha * weights


def _program(problem: Problem) -> ConvexProgram:
    return two_layer_program(
        problem.X,
        problem.y,
        PatternSet.from_weights(problem.X, problem.gates),
        alpha=problem.alpha,
        activation="relu" if problem.program == "relu" else "gated_relu",
        hidden_bias="none",
        fit_intercept=False,
    )


def _optimum(problem: Problem) -> dict[str, float]:
    """Return the best value known with its lower bound; solve for it where none is stored."""
    known = json.loads(_OPTIMA.read_text()) if _OPTIMA.exists() else {}
    data = (problem.X, problem.y, problem.masks)
    text = f"{problem.program} {problem.alpha} " + " ".join(str(array.shape) for array in data)
    rounded = b"".join(np.round(array.astype(np.float64), 6).tobytes() for array in data)
    key = hashlib.sha256(text.encode() + rounded).hexdigest()[:16]
    if key not in known:
        result = solve(_program(problem), solver="native", tol=_ACCURACY)
        active = int((np.linalg.norm(result.blocks, axis=-1) > 0).sum())
        known[key] = {"best": result.objective, "bound": result.dual_objective, "active": active}
        _OPTIMA.parent.mkdir(parents=True, exist_ok=True)
        _OPTIMA.write_text(json.dumps(known, indent=1) + "\n")
    found: dict[str, float] = known[key]
    return found
