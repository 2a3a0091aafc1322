"""Full gradients of a pooled program beside the two plain matrix products that they consist of.

``python benchmarks/convolution/products.py --save`` times, for patches of realistic sizes,

- the outputs of all P blocks, ``A_i u_i``, and their gradients ``A_i' theta``, from packed patterns;
- ``(P, d) @ (d, n K)`` and ``(P, n K) @ (n K, d)`` of numpy, with the result or one factor in memory;

and writes ``results/convolution_products.md``. Both count ``4 P n K d`` operations. ``--threads`` sets the
threads of both.
"""

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

CASES = {
    "MNIST 5000, 5x5 stride 2": (5000, 144, 26, (50, 200, 500)),
    "MNIST 5000, 7x7 stride 3": (5000, 64, 50, (50, 500)),
    "digits 1437, 3x3": (1437, 36, 10, (50, 500)),
    "digits 1437, 2x2": (1437, 49, 5, (500,)),
    "CIFAR-10 2000, 5x5x3 stride 2": (2000, 196, 76, (200,)),
    "dense 5000 x 50": (5000, 1, 50, (1000,)),
}
HEAD = (
    "| patches of | n | K | d | P | seconds outputs | gradients | plain outputs | plain gradients | ratio | "
    "GFLOP/s | GFLOP/s plain |"
)
REPEATS = 5


def fastest(run: Callable[[], object]) -> float:
    """Return the least seconds of some repeats, after one that warms up."""
    run()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def measured(name: str, n: int, n_positions: int, d: int, n_patterns: int) -> str:
    """Time one size, with random patches of norm about one."""
    import numpy as np

    from convexnn import PatternSet
    from convexnn.activations import get_activation
    from convexnn.designs import MaskedDesign
    from convexnn.patterns import pack_bits
    from convexnn_solvers.threads import single_blas_thread

    rng = np.random.default_rng(0)
    X = rng.standard_normal((n * n_positions, d)) / np.sqrt(d)
    gates, rows = rng.standard_normal((n_patterns, d)), len(X)
    bits = np.concatenate([pack_bits(gate @ X.T >= 0) for gate in np.split(gates, n_patterns // 10)])
    design = MaskedDesign(
        X, PatternSet(bits, gates, rows), get_activation("relu"), np.ones(d, dtype=bool), n_positions
    )
    every, first = np.arange(n_patterns), np.zeros(n_patterns, dtype=int)
    dual, product, gradients = rng.standard_normal((n, 1)), np.empty((n_patterns, rows)), np.empty_like(gates)
    plain = (
        fastest(lambda: np.matmul(gates, X.T, out=product)),
        fastest(lambda: np.matmul(product, X, out=gradients)),
    )
    with single_blas_thread():  # As inside a solve, which shares the work among threads of its own.
        ours = (
            fastest(lambda: design.block_outputs(every, gates)),
            fastest(lambda: design.block_gradients(every, dual, first)),
        )
    operations = 4e-9 * n_patterns * rows * d
    return (
        f"| {name} | {n} | {n_positions} | {d} | {n_patterns} | {ours[0]:.4f} | {ours[1]:.4f} | "
        f"{plain[0]:.4f} | {plain[1]:.4f} | {sum(ours) / sum(plain):.2f} | {operations / sum(ours):.0f} | "
        f"{operations / sum(plain):.0f} |"
    )


def rows() -> Iterator[str]:
    """Yield the rows of the table."""
    from exact import apart

    for name, (n, n_positions, d, counts) in CASES.items():
        for n_patterns in counts:
            yield apart(measured, name, n, n_positions, d, n_patterns)


def main() -> None:
    """Measure and print, each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    # Read when the libraries are loaded, here and in the processes of the cases.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    from exact import table

    lines = [
        "# Products of pooled programs",
        "",
        f"{datetime.date.today().isoformat()}, {options.threads} threads, float64; the least of {REPEATS} "
        "runs. `ratio`: outputs and gradients of all blocks over the two plain products.",
        "",
        *table(HEAD, rows()),
    ]
    if options.save:
        results = Path(__file__).parent.parent / "results" / "convolution_products.md"
        results.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
