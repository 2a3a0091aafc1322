"""Cone data and solve time of direct Clarabel against the same program through CVXPY with Clarabel.

Run with ``python benchmarks/direct_against_cvxpy.py``; prints seconds and ratios of one run, both in float64.
"""

import argparse
import statistics
import time

import numpy as np

from convexnn import sample_patterns
from convexnn.problem import augment
from convexnn.programs import two_layer_program
from convexnn_solvers import ConvexProgram, solve
from convexnn_solvers.conic.assemble import assemble


def planted(n: int, d: int, n_patterns: int, alpha: float, seed: int = 0) -> ConvexProgram:
    """Squared error on five planted neurons with 10% noise; `d` counts the column of ones."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d - 1))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    data = augment(X, "penalized")
    teacher = np.maximum(data @ rng.standard_normal((d, 5)), 0) @ rng.choice([-1.0, 1.0], 5)
    y = teacher + 0.1 * teacher.std() * rng.standard_normal(n)
    patterns = sample_patterns(data, n_patterns, random_state=seed)
    return two_layer_program(X, y, patterns, alpha=alpha, fit_intercept=False)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    solve(planted(20, 3, 10, 0.1), solver="clarabel")  # compiles the kernels
    solve(planted(20, 3, 10, 0.1), solver="cvxpy")

    program = planted(200, 10, 500, 2.0)
    build = []
    for _ in range(repeats):
        began = time.perf_counter()
        form = assemble(program).form
        build.append(time.perf_counter() - began)
    print(
        f"cone data of n=200, d=10, 500 patterns: {statistics.median(build):.2f} s, {form.matrix.nnz} entries"
    )

    for working_set in (False, True):
        seconds: dict[str, list[float]] = {"clarabel": [], "cvxpy": []}
        for _ in range(repeats):
            for solver, times in seconds.items():
                result = solve(program, solver=solver, working_set=working_set)
                times.append(result.time)
                if not result.converged:
                    raise SystemExit(f"{solver}: {result!r}")
        direct, modelled = (statistics.median(times) for times in seconds.values())
        kind = "working sets" if working_set else "whole program"
        print(f"{kind}: direct {direct:.2f} s, CVXPY {modelled:.2f} s, ratio {direct / modelled:.2f}")


if __name__ == "__main__":
    main()
