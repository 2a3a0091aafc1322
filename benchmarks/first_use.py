"""What a first use costs: import over scikit-learn and numba, first fit with and without compiled kernels.

Run with ``python benchmarks/first_use.py``; every figure is of a fresh process.
"""

import os
import statistics
import subprocess
import sys
import tempfile

IMPORTS = """
import time
import sklearn.base, sklearn.utils.validation, sklearn.neural_network, numba
began = time.perf_counter()
import convexnn
print(time.perf_counter() - began)
"""

FIT = """
import time
began = time.perf_counter()
import numpy as np
from convexnn import ConvexMLPRegressor
rng = np.random.default_rng(0)
X = rng.standard_normal((100, 5))
ConvexMLPRegressor(random_state=0).fit(X, np.sin(X[:, 0]) + X[:, 1])
print(time.perf_counter() - began)
"""


def seconds(code: str, cache: str) -> float:
    """Run `code` in a fresh interpreter and return the number it prints."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as cache:
        first = seconds(FIT, cache)
        second = statistics.median(seconds(FIT, cache) for _ in range(5))
        added = statistics.median(seconds(IMPORTS, cache) for _ in range(9))
    print(f"first fit on 100 x 5 with an empty kernel cache: {first:.2f} s")
    print(f"first fit in later processes: {second:.2f} s")
    print(f"import convexnn after scikit-learn and numba: {added:.3f} s")


if __name__ == "__main__":
    main()
