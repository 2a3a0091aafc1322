"""Listing all cells: cells and bytes per second beside a plain copy in memory, and figures of others.

Run with ``python benchmarks/enumeration.py``; ``--threads 1`` for one thread. A pattern takes 8 bytes for
each 64 samples and its witness 8 for each feature. Times are the best of several runs: memory that a process
touches for the first time can take longer to provide than the cells take to find.
"""

import argparse
import resource
import time
from collections.abc import Callable
from itertools import product

import numba
import numpy as np
from numpy.typing import NDArray

from convexnn.patterns import count_patterns, enumerate_patterns, iterate_patterns
from convexnn.pricing.enumeration import enumerate_support

MOST = 10**9


def best(run: Callable[[], int], repeats: int) -> tuple[int, float]:
    """Return what `run` returns and the least of its times."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        count = run()
        times.append(time.perf_counter() - began)
    return count, min(times)


def gaussian(n: int, d: int) -> NDArray[np.float64]:
    """Return data in general position."""
    return np.random.default_rng(n).standard_normal((n, d))


def cubes(d: int, low: float, *, bias: bool) -> NDArray[np.float64]:
    """Return the non-zero vectors with entries `low` and 1, with a column of ones if asked for."""
    rows = [(*row, 1.0) if bias else row for row in product([low, 1.0], repeat=d)]
    return np.array([row for row in rows if any(row)])


def line(name: str, count: int, seconds: float, size: int) -> None:
    """Print a row of the table: `size` is what one cell takes."""
    rate, bandwidth = count / seconds / 1e6, count * size / seconds / 1e6
    print(f"{name:44s} {count:>12,} {seconds:9.3f} {rate:10.2f} {bandwidth:10.0f}")


def copy_of(size: int) -> None:
    """Print the row of a copy of as many bytes, into memory that is in use already."""
    source, target = np.ones(size // 8), np.ones(size // 8)

    def copy() -> int:
        np.copyto(target, source)
        return size

    _, seconds = best(copy, 5)
    rate = size / seconds / 1e6
    print(f"{'  plain copy of the same bytes':44s} {'':12s} {seconds:9.3f} {'':10s} {rate:10.0f}")


def report(repeats: int) -> None:
    """Measure and print."""
    enumerate_patterns(gaussian(20, 3))
    print(f"{'':44s} {'cells':>12s} {'seconds':>9s} {'million/s':>10s} {'MB/s':>10s}")
    for n, d in [(100, 4), (1000, 3), (100, 5)]:
        X = gaussian(n, d)
        size = 8 * (-(-n // 64) + d)
        count, seconds = best(lambda X=X: len(enumerate_patterns(X, max_patterns=MOST)), repeats)
        assert count == count_patterns(n, d)
        line(f"list, Gaussian n={n} d={d}", count, seconds, size)
        count, seconds = best(lambda X=X: sum(map(len, iterate_patterns(X))), repeats)
        line(f"  in batches, n={n} d={d}", count, seconds, size)
        copy_of(count * size)
    degenerate = [
        ("resonance d=4 (370 regions)", cubes(4, 0.0, bias=False)),
        ("resonance d=5 (11,292 regions)", cubes(5, 0.0, bias=False)),
        ("resonance d=6 (1,066,044 regions)", cubes(6, 0.0, bias=False)),
        ("threshold functions d=5 (94,572)", cubes(5, -1.0, bias=True)),
    ]
    for name, X in degenerate:
        count, seconds = best(lambda X=X: len(enumerate_patterns(X, max_patterns=MOST)), repeats)
        line(name, count, seconds, 8 * (-(-len(X) // 64) + X.shape[1]))
    rng = np.random.default_rng(0)
    X, t = gaussian(100, 4), rng.standard_normal(100)
    bounds = []
    _, seconds = best(lambda: bounds.append(enumerate_support(X, t)) or 0, repeats)
    gap = bounds[0].upper / bounds[0].lower - 1
    print(
        f"largest gain of a neuron, n=100 d=4, both bounds over {bounds[0].n_nodes:,} cells (relative gap "
        f"{gap:.0e}): {seconds:.2f} s"
    )
    print(f"largest memory in use: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


def main() -> None:
    """Print the figures measured here, then those of others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    print(f"{options.threads} threads\n")
    report(options.repeats)
    print(
        "\nPublished by others, on their machines, not measured here:\n"
        "  SageMath, regions() of arrangements: resonance with 32 regions 0.05 s, with 370 1.05 s,\n"
        "  with 11,292 22.7 s (122 s before an optimisation that halves central arrangements)"
    )


if __name__ == "__main__":
    main()
