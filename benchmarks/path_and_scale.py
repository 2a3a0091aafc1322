"""What large problems cost beside plain gradients, and a path beside its hardest point.

``python benchmarks/path_and_scale.py large`` solves problem f to a gap of 1e-3 and times 200 full gradients
beside it; ``huge`` solves problem h to 1e-2; ``path`` follows 30 strengths on problem d. Each part runs in a
process of its own, which reports its peak memory. ``--save`` writes ``results/path_and_scale.md``.
"""

import argparse
import datetime
import importlib.util
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convexnn import PatternSet, convex_path
from convexnn.programs import two_layer_program
from convexnn_solvers import ConvexProgram, SolveResult, solve
from convexnn_solvers.threads import single_blas_thread

BENCHMARK = Path(__file__).parent / "convex_programs"
DATASETS = {"d": "breast_cancer", "f": "planted_large", "h": "planted_huge"}
GRADIENTS = 200


def data(letter: str) -> dict[str, Any]:
    """Return a problem of the benchmark."""
    sys.path.insert(0, str(BENCHMARK))
    path = BENCHMARK / "datasets" / f"{DATASETS[letter]}.py"
    spec = importlib.util.spec_from_file_location(letter, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Dataset().get_data()


def program(letter: str, activation: str = "relu") -> ConvexProgram:
    """Return its convex program."""
    problem = data(letter)
    return two_layer_program(
        problem["X"],
        problem["y"],
        PatternSet.from_weights(problem["X"], problem["gates"]),
        alpha=problem["alpha"],
        activation=activation,
        hidden_bias="none",
        fit_intercept=False,
    )


def warm_up() -> None:
    """Compile the kernels on a small problem."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 4)), rng.standard_normal(40)
    patterns = PatternSet.from_weights(X, rng.standard_normal((20, 4)))
    for activation in ("relu", "gated_relu"):
        small = two_layer_program(
            X, y, patterns, alpha=0.1, activation=activation, hidden_bias="none", fit_intercept=False
        )
        solve(small, solver="native")
        gradient_seconds(small, 2)


def gradient_seconds(task: ConvexProgram, count: int) -> float:
    """Seconds of `count` full gradients: outputs of all blocks, none of them zero, and the adjoint."""
    design = task.design
    weights = np.random.default_rng(0).standard_normal((1, design.n_blocks, design.n_features))
    # As inside a solve: threads of BLAS and of the design would get in each other's way.
    with single_blas_thread():
        began = time.perf_counter()
        for _ in range(count):
            design.adjoint(design.forward(weights) - task.targets)
        return time.perf_counter() - began


def described(name: str, result: SolveResult, seconds: float) -> str:
    """One line about a solve."""
    active = int((np.linalg.norm(result.blocks, axis=-1) > 0).sum())
    return (
        f"- {name}: {seconds:.2f} s to a relative gap of {result.relative_gap:.1e}, {active} active blocks, "
        f"{result.n_iter} Newton steps, {result.message} ({result.status.name})"
    )


def solved(letter: str, activation: str, tol: float) -> tuple[ConvexProgram, SolveResult, float]:
    """Solve a problem and time it."""
    task = program(letter, activation)
    began = time.perf_counter()
    result = solve(task, solver="native", tol=tol)
    return task, result, time.perf_counter() - began


def large(activation: str) -> list[str]:
    """Problem f to 1e-3, and 200 gradients after it."""
    task, result, seconds = solved("f", activation, 1e-3)
    beside = gradient_seconds(task, GRADIENTS)
    return [
        described(f"f, {activation}", result, seconds),
        f"- {GRADIENTS} full gradients: {beside:.2f} s; the solve took {seconds / beside:.2f} times that",
    ]


def huge(activation: str) -> list[str]:
    """Problem h to 1e-2, with the number of gradients that take as long."""
    task, result, seconds = solved("h", activation, 1e-2)
    one = gradient_seconds(task, 3) / 3
    return [
        described(f"h, {activation}", result, seconds),
        f"- one full gradient: {one:.2f} s; the solve took as long as {seconds / one:.1f}",
    ]


def path(activation: str) -> list[str]:
    """Thirty strengths on problem d beside the slowest of them solved on its own."""
    problem = data("d")
    patterns = PatternSet.from_weights(problem["X"], problem["gates"])
    began = time.perf_counter()
    followed = convex_path(
        problem["X"],
        problem["y"],
        patterns,
        activation=activation,
        hidden_bias="none",
        fit_intercept=False,
        solver="native",
    )
    whole = time.perf_counter() - began
    single = []
    for alpha in followed.alphas:
        task = two_layer_program(
            problem["X"],
            problem["y"],
            patterns,
            alpha=float(alpha),
            activation=activation,
            hidden_bias="none",
            fit_intercept=False,
        )
        single.append(solve(task, solver="native", tol=1e-4).time)
    hardest = int(np.argmax(single))
    return [
        f"- path of {len(followed)} on d, {activation}: {whole:.2f} s, largest relative gap "
        f"{followed.relative_gaps.max():.1e}",
        f"- hardest point on its own, alpha={followed.alphas[hardest]:.3g}: {single[hardest]:.2f} s; path "
        f"took {whole / single[hardest]:.2f} times that; all points on their own: {sum(single):.2f} s",
    ]


PARTS: dict[str, Callable[[str], list[str]]] = {"large": large, "huge": huge, "path": path}


def _measured(part: str, activation: str) -> list[str]:
    """Run a part in this process, which does nothing else."""
    warm_up()
    lines = PARTS[part](activation)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    return [*lines, f"- peak memory of the process: {peak:.2f} GB"]


def main() -> None:
    """Run the parts asked for, each in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=[*PARTS], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--activations", nargs="+", default=["relu"], choices=["relu", "gated_relu"])
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    lines = [f"# Large problems and paths, {datetime.date.today().isoformat()}", ""]
    context = multiprocessing.get_context("spawn")
    for part in options.parts:
        for activation in options.activations:
            with context.Pool(1) as pool:
                found = pool.apply(_measured, (part, activation))
            print("\n".join(found), flush=True)
            lines += [*found, ""]
    if options.save:
        (Path(__file__).parent / "results" / "path_and_scale.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
