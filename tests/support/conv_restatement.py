"""Programs of convolutional networks written out once more: patches, layers and cones by loops, then CVXPY.

It shares no code with the package.
"""

import warnings
from itertools import combinations, product

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from restatement import _solve, loss_of
from selection_oracles import brute_force_selections, cone_rows, linear_map, unit_rows

Array = NDArray[np.float64]

SLOPES = {"relu": (1.0, 0.0), "leaky_relu": (1.0, 0.01), "absolute_value": (1.0, -1.0), "linear": (1.0, 1.0)}


def _starts(size: int, kernel: int, stride: int, padding: str) -> range:
    """First index that the kernel covers at each position of one axis; padding makes it negative."""
    if padding == "valid":
        return range(0, size - kernel + 1, stride)
    front = (kernel - 1) // 2
    return range(-front, size - front, stride)


def loop_patches(
    images: Array, kernel: tuple[int, ...], stride: tuple[int, ...], padding: str, *, bias: bool
) -> Array:
    """Patches of images (n, *axes, channels), shape (n, K, d), entry by entry."""
    axes, channels = images.shape[1:-1], images.shape[-1]
    starts = [_starts(*sizes, padding) for sizes in zip(axes, kernel, stride, strict=True)]
    samples = []
    for image in images:
        rows = []
        for corner in product(*starts):
            row = []
            for step in product(*[range(k) for k in kernel]):
                at = tuple(c + s for c, s in zip(corner, step, strict=True))
                if padding == "circular":
                    at = tuple(a % size for a, size in zip(at, axes, strict=True))
                inside = all(0 <= a < size for a, size in zip(at, axes, strict=True))
                row += [image[(*at, c)] if inside else 0.0 for c in range(channels)]
            rows.append([*row, 1.0] if bias else row)
        samples.append(rows)
    return np.array(samples)


def loop_outputs(patches: Array, filters: Array, amounts: Array, c: Array, pooling, activation: str) -> Array:
    """Outputs of a network with filters (m, d) on patches (n, K, d), neuron by neuron.

    Amounts are (m, q) or, for weighted pooling, (m, K, q); outputs (n, q) or, without pooling, (n, K, q).
    """
    on, off = SLOPES[activation]
    n, n_positions, _ = patches.shape
    shape = (n, n_positions, len(c)) if pooling is None else (n, len(c))
    outputs = np.zeros(shape) + c
    for i, sample in enumerate(patches):
        for u, a in zip(filters, amounts, strict=True):
            hidden = [z * (on if z > 0 else off) for z in (float(x @ u) for x in sample)]
            if pooling == "average":
                outputs[i] += sum(hidden) * a
            elif pooling == "max":
                outputs[i] += max(hidden) * a
            else:
                for k, value in enumerate(hidden):
                    if pooling is None:
                        outputs[i, k] += value * a
                    else:
                        outputs[i] += value * a[k]
    return outputs


def loss_sum(name: str, outputs: Array, y: Array, weight: Array, delta: float = 1.0) -> float:
    """Weighted sum of the losses of outputs and encoded targets, both (rows, q)."""
    return float(weight @ loss_of(name, cp.Constant(outputs), y, delta).value)


def loop_objective(network, patches: Array, y: Array, *, alpha: float, loss: str, weight: Array) -> float:
    """F of a convolutional network from its arrays; targets are encoded, (n, q) or (n, K) without pooling."""
    U, b = network.hidden_weights, network.hidden_biases
    has_bias = patches.shape[2] > len(U)
    filters = np.array([[*U[:, j], b[j]] if has_bias else U[:, j] for j in range(U.shape[1])])
    filters = filters.reshape(U.shape[1], patches.shape[2])
    A, pooling = network.output_weights, network.pooling
    outputs = loop_outputs(patches, filters, A, network.output_biases, pooling, network.activation.name)
    rows = outputs.reshape(-1, outputs.shape[-1])
    penalty = sum(float(np.sum(np.square(part))) for part in (U, A))
    if network.hidden_bias == "penalized":
        penalty += float(b @ b)
    elif network.hidden_bias == "none":
        assert not b.any()
    weight = np.repeat(weight, len(rows) // len(patches))
    return loss_sum(loss, rows, y.reshape(rows.shape), weight) + alpha / 2 * penalty


def generic_patterns(rows: Array) -> NDArray[np.bool_]:
    """All patterns of rows in R^2 or R^3 of which, parallel ones apart, any d are independent.

    Every cell has an extreme ray, on which d - 1 rows vanish; next to the ray these take all signs.
    """
    d = rows.shape[1]
    lines: list[tuple[float, ...]] = []
    of_row = []
    for row in rows:
        unit = row / np.linalg.norm(row)
        sign = 1 if unit[np.flatnonzero(np.abs(unit) > 1e-12)[0]] > 0 else -1
        key = tuple(np.round(sign * unit, 10).tolist())
        if key not in lines:
            lines.append(key)
        of_row.append((lines.index(key), sign))
    distinct = np.array(lines)
    found = set()
    for chosen in combinations(range(len(distinct)), d - 1):
        tight = distinct[list(chosen)]
        ray = np.array([-tight[0, 1], tight[0, 0]]) if d == 2 else np.cross(*tight)
        heights = distinct @ (ray / np.linalg.norm(ray))
        for way in (1, -1):
            for signs in product((1, -1), repeat=d - 1):
                cell = np.sign(way * heights)
                cell[list(chosen)] = signs
                assert cell.all()
                found.add(tuple(cell[line] * sign > 0 for line, sign in of_row))
    return np.array(sorted(found))


def _pieces(patches: Array, pooling, activation: str) -> list[tuple[Array, Array]]:
    """Linear map and cone of each piece of the hidden layer's space."""
    n, n_positions, d = patches.shape
    rows = patches.reshape(-1, d)
    if pooling == "max":
        selections = [np.array(bits) for bits in sorted(brute_force_selections(rows, n_positions))]
        return [(linear_map(rows, n_positions, s), cone_rows(rows, n_positions, s)) for s in selections]
    on, off = SLOPES[activation]
    pieces = []
    for pattern in generic_patterns(rows):
        layer = np.where(pattern, on, off)[:, None] * rows
        if pooling == "average":
            pooled = np.zeros((n, d))
            for r, row in enumerate(layer):
                pooled[r // n_positions] += row
            layer = pooled
        pieces.append((layer, np.where(pattern, 1.0, -1.0)[:, None] * rows))
    return pieces


def _minimum(f, y: Array, norms, constraints, *, alpha: float, loss: str, weight: Array) -> float:
    cost = cp.sum(cp.multiply(weight, loss_of(loss, f, y, 1.0))) + alpha * norms
    problem = cp.Problem(cp.Minimize(cost), constraints)
    status = [_solve(problem, solver) for solver in ("CLARABEL", "ECOS") if problem.status != cp.OPTIMAL]
    # Solvers that stop short of the finest tolerance get there with one that the comparison still allows.
    for accuracy in (1e-8, 1e-7):
        if problem.status != cp.OPTIMAL:
            tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), accuracy)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
                problem.solve(solver="CLARABEL", **tolerances)
    assert problem.status == cp.OPTIMAL, status
    return float(problem.value)


def pattern_optimum(
    patches: Array,
    y: Array,
    *,
    pooling,
    activation: str,
    hidden_bias: str,
    fit_intercept: bool,
    alpha: float,
    loss: str,
    weight: Array,
) -> float:
    """Optimum over all patterns (selections of patches for "max") of networks with one output."""
    d = patches.shape[2]
    penalized = d - (hidden_bias == "free")
    pieces = _pieces(patches, pooling, activation)
    V, W = cp.Variable((d, len(pieces))), cp.Variable((d, len(pieces)))
    layers = np.hstack([layer for layer, _ in pieces])
    cones = sparse.block_diag([unit_rows(cone) for _, cone in pieces], format="csr")
    f = layers @ cp.vec(V - W, order="F") + (cp.Variable() if fit_intercept else 0.0)
    constraints = [cones @ cp.vec(V, order="F") >= 0, cones @ cp.vec(W, order="F") >= 0]
    norms = sum(cp.sum(cp.norm(block[:penalized], axis=0)) for block in (V, W))
    targets = y.reshape(-1, 1)
    weight = np.repeat(weight, len(targets) // len(patches))
    f = cp.reshape(f, targets.shape, order="C")
    return _minimum(f, targets, norms, constraints, alpha=alpha, loss=loss, weight=weight)


def nuclear_optimum(
    patches: Array, y: Array, *, fit_intercept: bool, alpha: float, loss: str, weight: Array
) -> float:
    """Optimum of linear filters with weighted pooling and targets (n, q)."""
    _, n_positions, d = patches.shape
    q = y.shape[1]
    Z = cp.Variable((d, n_positions * q))
    outputs = []
    for o in range(q):
        f = cp.Variable() if fit_intercept else 0.0
        for k in range(n_positions):
            f = f + patches[:, k] @ Z[:, k * q + o]
        outputs.append(f)
    f = cp.vstack(outputs).T
    return _minimum(f, y, cp.normNuc(Z), [], alpha=alpha, loss=loss, weight=weight)


def frequency_optimum(
    images: Array, y: Array, *, fit_intercept: bool, alpha: float, loss: str, weight: Array
) -> float:
    """Optimum of circular linear filters as large as the image: a group norm over its frequencies."""
    n, channels = len(images), images.shape[-1]
    axes = images.shape[1:-1]
    n_pixels = int(np.prod(axes))
    w = cp.Variable((n_pixels, channels))
    pixels = list(product(*[range(size) for size in axes]))
    norms = 0.0
    for frequency in pixels:
        angles = np.array(
            [2 * np.pi * sum(f * p / s for f, p, s in zip(frequency, at, axes, strict=True)) for at in pixels]
        )
        wave = np.vstack([np.cos(angles), np.sin(angles)]) / np.sqrt(n_pixels)
        norms = norms + cp.norm(cp.vec(wave @ w, order="C"))
    f = cp.Variable() if fit_intercept else 0.0
    flat = images.reshape(n, n_pixels, channels)
    for c in range(channels):
        f = f + flat[:, :, c] @ w[:, c]
    f = cp.reshape(f, (n, 1), order="C")
    return _minimum(f, y, norms / np.sqrt(n_pixels), [], alpha=alpha, loss=loss, weight=weight)


def grid_optimum(
    patches: Array,
    y: Array,
    directions: Array,
    *,
    activation: str,
    fit_intercept: bool,
    alpha: float,
    loss: str,
    weight: Array,
) -> float:
    """Optimum of weighted pooling over unit filters (m, d): a group lasso, each neuron feeding one output."""
    n = len(patches)
    on, off = SLOPES[activation]
    heights = np.einsum("ikd,md->ikm", patches, directions)
    layer = (np.where(heights > 0, on, off) * heights).reshape(n, -1)
    outputs, norms = [], 0.0
    for _ in range(y.shape[1]):
        amounts = cp.Variable((patches.shape[1], len(directions)))
        f = layer @ cp.vec(amounts, order="C")
        outputs.append(f + cp.Variable() if fit_intercept else f)
        norms = norms + cp.sum(cp.norm(amounts, axis=0))
    f = cp.vstack(outputs).T
    return _minimum(f, y, norms, [], alpha=alpha, loss=loss, weight=weight)
