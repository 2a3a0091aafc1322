"""Convolutional networks trained to the optimum over all filters: seconds and certified gaps.

``python benchmarks/convolution/certificates.py --save`` trains sum-pooled networks on planted filters,
signals with kernels of 3 and images with kernels of 2 by 2, with ``patterns="exact"``, at fractions of the
least alpha that leaves no filter. Each case has a process of its own, which warms up first.
``results/convolution_certificates.md`` gets the table.
"""

import argparse
import datetime
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from convexnn import ConvexCNNRegressor
from convexnn.patches import PatchGeometry

sys.path.insert(0, str(Path(__file__).parent.parent))
from exact import alpha_max, apart, peak_memory

Array = NDArray[np.float64]
RESULTS = Path(__file__).parent.parent / "results" / "convolution_certificates.md"
FRACTIONS = (0.3, 0.03, 0.003)
# Shape of a sample, kernel, number of samples.
SIZES = (
    ((12, 1), 3, 50),
    ((12, 1), 3, 200),
    ((6, 6, 1), 2, 20),
    ((6, 6, 1), 2, 80),
)
FILTERS, NOISE = 3, 0.1
HEAD = (
    "| data | n | K | rows | d | hidden bias | alpha / alpha_max | alpha | seconds | objective | "
    "relative gap | filters | status | GB |"
)


def planted(shape: tuple[int, ...], kernel: int, n: int) -> tuple[Array, Array]:
    """Return Gaussian samples and what a few filters and noise answer to them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, *shape))
    geometry = PatchGeometry.of(shape, kernel, 1, "valid")
    filters = rng.standard_normal((geometry.patch_size, FILTERS))
    pooled = np.maximum(geometry.rows(X) @ filters, 0).reshape(n, -1, FILTERS).sum(axis=1)
    y = pooled @ rng.choice([-1.0, 1.0], FILTERS)
    return X, y + NOISE * y.std() * rng.standard_normal(n)


def trained(
    shape: tuple[int, ...], kernel: int, n: int, bias: str, fraction: float, options: argparse.Namespace
) -> str:
    """Train and return a row."""
    X, y = planted(shape, kernel, n)
    geometry = PatchGeometry.of(shape, kernel, 1, "valid")
    rows = geometry.rows(X, bias=bias != "none")
    alpha = fraction * alpha_max(rows, np.repeat(y, geometry.n_positions))
    model = ConvexCNNRegressor(
        alpha,
        kernel_size=kernel,
        patterns="exact",
        hidden_bias=bias,
        fit_intercept=False,
        tol=options.tol,
        time_limit=options.time_limit,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[:10], y[:10])  # compiles
        began = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - began
    return (
        f"| {described(shape, kernel)} | {n} | {geometry.n_positions} | {len(rows)} | {rows.shape[1]} | "
        f"{bias} | {fraction:g} | {alpha:.4g} | {seconds:.2f} | {model.objective_:.7g} | "
        f"{model.dual_gap_ / model.objective_:.1e} ({model.gap_scope_}) | {model.n_neurons_} | "
        f"{model.result_.status.name} | {peak_memory():.2f} |"
    )


def described(shape: tuple[int, ...], kernel: int) -> str:
    """Return the extents of a sample and of the kernel."""
    kind, extents = ("signals", "images")[len(shape) - 2], "x".join(map(str, shape[:-1]))
    return f"{kind} {extents}, kernel {'x'.join([str(kernel)] * (len(shape) - 1))}"


def rows(options: argparse.Namespace) -> Iterator[str]:
    """Yield the rows of the table."""
    for shape, kernel, n in SIZES:
        for bias in ("none", "penalized"):
            for fraction in FRACTIONS:
                found = apart(
                    trained, shape, kernel, n, bias, fraction, options, seconds=5 * options.time_limit
                )
                name = described(shape, kernel)
                yield found or f"| {name} | {n} | | | | {bias} | {fraction:g} | | did not end | | | | | |"


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(options.threads)  # read by the processes of the cases
    lines = [
        "# Convolutional networks trained to the optimum over all filters",
        "",
        f"{datetime.date.today().isoformat()}, {options.threads} threads. {FILTERS} planted filters, noise "
        f"of {NOISE:g}; squared error, sum pooling, no intercept; wanted gap {options.tol:g}, limit "
        f"{options.time_limit:g} s. rows = n K, d counts the column of ones; the gap is over networks of "
        "every width.",
        "",
        HEAD,
        "|" + "---|" * (HEAD.count("|") - 1),
    ]
    print("\n".join(lines), flush=True)
    for row in rows(options):
        lines.append(row)
        print(row, flush=True)
        if options.save:
            RESULTS.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
