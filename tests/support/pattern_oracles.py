"""Independent ways to find or count the cells of a central arrangement, slow and simple."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog


def region_count(X: NDArray[np.float64]) -> int:
    """Count the cells by Whitney's theorem: sum (-1)^(|B| - rank B) over all sets B of non-zero rows."""
    rows = X[X.any(axis=1)]
    total = 1
    for size in range(1, len(rows) + 1):
        subsets = rows[np.array(list(combinations(range(len(rows)), size)))]
        total += int(((-1) ** (size - np.linalg.matrix_rank(subsets))).sum())
    return total


def _is_cell(rows: NDArray[np.float64]) -> bool:
    """Whether some u has ``rows @ u > 0``: maximise t subject to ``rows @ u >= t, t <= 1, |u| <= 1``."""
    n, d = rows.shape
    bounds = [(-1.0, 1.0)] * d + [(None, 1.0)]
    result = linprog(
        np.append(np.zeros(d), -1.0),
        A_ub=np.hstack([-rows, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        bounds=bounds,
    )
    if result.status != 0:
        raise RuntimeError(result.message)
    return bool(-result.fun > 1e-7)


def brute_force_patterns(X: NDArray[np.float64]) -> set[tuple[bool, ...]]:
    """Try both signs of each row in turn by a linear program and keep the prefixes that have an interior."""
    prefixes: list[tuple[bool, ...]] = [()]
    for i, row in enumerate(X):
        if not row.any():
            prefixes = [(*prefix, True) for prefix in prefixes]
            continue
        used = [k for k in range(i + 1) if X[k].any()]
        grown = [(*prefix, bit) for prefix in prefixes for bit in (False, True)]
        prefixes = [
            p for p in grown if _is_cell(X[used] * np.where([p[k] for k in used], 1.0, -1.0)[:, None])
        ]
    return set(prefixes)
