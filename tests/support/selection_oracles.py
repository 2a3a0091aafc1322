"""Max-pooled layers, their selections and cones by loops over samples and patches, slow and simple."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from pattern_oracles import _is_cell
from program_cases import DEGENERACIES, degenerate_rows

Array = NDArray[np.float64]

KINDS = [*DEGENERACIES, "equal patches", "zero patch", "equal samples", "opposite patches", "scaled patches"]


def draw_patches(
    rng: np.random.Generator, n: int, positions: int, d: int, kinds: list[str], *, integers: bool = False
) -> Array:
    """Rows of shape (n K, d), spoiled in the given ways; small integers have many ties."""
    shape = (n * positions, d)
    rows = rng.integers(-2, 3, size=shape).astype(float) if integers else rng.normal(size=shape)
    rows = degenerate_rows(rows, rng, [kind for kind in kinds if kind in DEGENERACIES])
    patches = rows.reshape(n, positions, d)
    for kind in kinds:
        i, j = rng.integers(n, size=2)
        k, m = rng.integers(positions, size=2)
        if kind == "equal patches":
            patches[i, k] = patches[i, m]
        elif kind == "zero patch":
            patches[i, k] = 0.0
        elif kind == "equal samples":
            patches[i] = patches[j]
        elif kind == "opposite patches":
            patches[i, k] = -patches[i, m]
        elif kind == "scaled patches":
            patches[i, k] = 2.0 * patches[i, m]
    return patches.reshape(shape)


def max_pooled(rows: Array, positions: int, u: Array) -> Array:
    """``max_k max(x_ik . u, 0)`` of each sample."""
    return np.array([max(0.0, *(x @ u for x in patches)) for patches in rows.reshape(-1, positions, len(u))])


def cone_rows(rows: Array, positions: int, selection: NDArray[np.bool_]) -> Array:
    """Rows of the cone of a selection, in the order of the patches."""
    cone = []
    for patches, bits in zip(
        rows.reshape(-1, positions, rows.shape[1]), selection.reshape(-1, positions), strict=True
    ):
        taken = next((patch for patch, bit in zip(patches, bits, strict=True) if bit), None)
        for patch, bit in zip(patches, bits, strict=True):
            if taken is None:
                cone.append(-patch)
            else:
                cone.append(patch if bit else taken - patch)
    return np.array(cone)


def unit_rows(rows: Array) -> Array:
    """Rows scaled to unit length, zero rows as they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def linear_map(rows: Array, positions: int, selection: NDArray[np.bool_]) -> Array:
    """``A`` of a selection: the patches taken, zero where there is none."""
    layer = np.zeros((len(rows) // positions, rows.shape[1]))
    for r, bit in enumerate(selection):
        if bit:
            layer[r // positions] = rows[r]
    return layer


def _is_first(patches: Array, k: int) -> bool:
    """Whether patch `k` is not zero and no earlier one is equal."""
    return bool(patches[k].any()) and not any((patches[k] == earlier).all() for earlier in patches[:k])


def brute_force_selections(rows: Array, positions: int) -> set[tuple[bool, ...]]:
    """Try every choice of every sample by a linear program."""
    samples = rows.reshape(-1, positions, rows.shape[1])
    options = [[-1, *(k for k in range(positions) if _is_first(patches, k))] for patches in samples]
    found = set()
    for choice in product(*options):
        selection = np.array(choice)[:, None] == np.arange(positions)
        cone = cone_rows(rows, positions, selection)
        cone = cone[cone.any(axis=1)]
        if not len(cone) or _is_cell(cone):
            found.add(tuple(selection.ravel().tolist()))
    return found
