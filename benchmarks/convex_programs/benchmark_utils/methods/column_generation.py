"""Column generation in its plain form: blocks and cone rows enter as they are violated, Clarabel solves.

Each round solves the program over a few blocks, of whose cones only the rows violated so far are there,
repairs the point by projection, bounds the optimum by pricing all blocks exactly, and adds rows and blocks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from benchmark_utils.problems import Problem

MODULES = ("convexnn", "clarabel")
_FIRST = 20
_ADDED = 40
_FEASIBLE = 1e-9
_NEGLIGIBLE = 1e-4
_ROWS_AT_ONCE = 200
_MAX_ROUNDS = 500
_Rows = dict[tuple[int, int], set[int]]


@dataclass
class _Block:
    """A sign and a pattern with the cone rows found violated."""

    sign: int
    pattern: int
    rows: set[int]


def ladder(_problem: Problem, _options: dict[str, Any]) -> list[float]:
    """Relative duality gaps."""
    return [1e-3, 1e-6]


def prepare(problem: Problem, _options: dict[str, Any]) -> tuple[Problem, Any, Any]:
    """List the patterns; their cones are projected on by this package."""
    from convexnn import PatternSet
    from convexnn.programs import two_layer_program

    patterns = PatternSet.from_weights(problem.X, problem.gates)
    activation = "relu" if problem.program == "relu" else "gated_relu"

    def fresh() -> Any:
        return two_layer_program(
            problem.X,
            problem.y,
            patterns,
            alpha=problem.alpha,
            activation=activation,
            hidden_bias="none",
            fit_intercept=False,
        ).design

    return problem, problem.masks, fresh


def solve(
    prepared: tuple[Problem, Any, Any], setting: float, _options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Generate columns and rows until the gap of the repaired point is at most `setting`."""
    problem, masks, fresh = prepared
    design = fresh()
    blocks: list[_Block] = []
    rows: _Rows = {}
    best = np.zeros((problem.signs, *problem.gates.shape))
    value, bound = problem.objective_at_zero, -np.inf
    theta = problem.y
    complete = True
    for _ in range(_MAX_ROUNDS):
        if complete:
            prices = _prices(problem, design, theta)
            bound = max(bound, _bound(problem, theta, prices.max()))
            _enter(problem, blocks, rows, prices, _ADDED if blocks else _FIRST)
        if value - bound <= setting * value:
            break
        weights = _master(problem, masks, blocks, 1e-2 * setting)
        theta = problem.y - _outputs(problem, masks, blocks, weights)
        complete = _add_rows(problem, masks, blocks, weights)
        point = np.zeros_like(best)
        for block, part in zip(blocks, weights, strict=True):
            point[block.sign, block.pattern] = part
        point = design.project(point)
        repaired = np.array([point[block.sign, block.pattern] for block in blocks])
        outputs = _outputs(problem, masks, blocks, repaired)
        reached = (
            0.5 * np.sum((outputs - problem.y) ** 2) + problem.alpha * np.linalg.norm(point, axis=-1).sum()
        )
        if reached < value:
            best, value = point, float(reached)
        if complete:
            norms = np.linalg.norm(weights, axis=1)
            kept = norms > _NEGLIGIBLE * norms.max()
            blocks = [block for block, keep in zip(blocks, kept, strict=True) if keep]
    return {"blocks": best}


def _prices(problem: Problem, design: Any, theta: np.ndarray) -> np.ndarray:
    """Norms of the gradients' projections on the cones, exact where above alpha; (signs, P)."""
    gradients = design.adjoint(theta[:, None])[0]
    both = np.stack([gradients, -gradients])[: problem.signs]
    prices: np.ndarray = design.support(both, problem.alpha)
    return prices


def _bound(problem: Problem, theta: np.ndarray, largest: float) -> float:
    """Value of the dual at the best feasible multiple of `theta`."""
    size = float(theta @ theta)
    scale = min(problem.alpha / largest, float(theta @ problem.y) / size)
    return scale * float(theta @ problem.y) - 0.5 * scale**2 * size


def _enter(problem: Problem, blocks: list[_Block], rows: _Rows, prices: np.ndarray, most: int) -> None:
    """Add the most violated blocks, with the rows of their cones that were found before."""
    known = {(block.sign, block.pattern) for block in blocks}
    for flat in np.argsort(-prices, axis=None)[: most + len(known)]:
        sign, pattern = (int(index) for index in np.unravel_index(flat, prices.shape))
        if prices[sign, pattern] <= problem.alpha or most == 0:
            return
        if (sign, pattern) not in known:
            blocks.append(_Block(sign, pattern, rows.setdefault((sign, pattern), set())))
            most -= 1


def _outputs(problem: Problem, masks: np.ndarray, blocks: list[_Block], weights: np.ndarray) -> np.ndarray:
    signs = np.array([1.0 - 2.0 * block.sign for block in blocks])
    values = masks[[block.pattern for block in blocks]] * (weights @ problem.X.T)
    outputs: np.ndarray = signs @ values
    return outputs


def _add_rows(problem: Problem, masks: np.ndarray, blocks: list[_Block], weights: np.ndarray) -> bool:
    """Add the rows violated most in each block; return whether there were none."""
    if problem.program == "gated":
        return True
    complete = True
    lengths = np.linalg.norm(problem.X, axis=1)
    largest = np.linalg.norm(weights, axis=1).max()
    for block, part in zip(blocks, weights, strict=True):
        inside = np.where(masks[block.pattern], 1.0, -1.0) * (problem.X @ part) / lengths
        deepest = np.argsort(inside)[:_ROWS_AT_ONCE]
        new = {int(row) for row in deepest if inside[row] < -_FEASIBLE * largest} - block.rows
        block.rows |= new
        complete &= not new
    return complete


def _master(problem: Problem, masks: np.ndarray, blocks: list[_Block], accuracy: float) -> np.ndarray:
    """Minimise ``1/2 |r|^2 + alpha sum t``; ``sum_b +-D X u_b - r = y``, ``|u_b| <= t_b`` and the rows."""
    import clarabel

    X, n, d, count = problem.X, *problem.X.shape, len(blocks)
    features = [(1.0 - 2.0 * block.sign) * masks[block.pattern][:, None] * X for block in blocks]
    fit = sparse.hstack([np.hstack(features), sparse.csc_matrix((n, count)), -sparse.identity(n)])
    rows = [np.array(sorted(block.rows), dtype=np.intp) for block in blocks]
    cones = [
        -np.where(masks[block.pattern][own], 1.0, -1.0)[:, None] * X[own]
        for block, own in zip(blocks, rows, strict=True)
    ]
    inside = sparse.block_diag(cones)
    inside = sparse.hstack([inside, sparse.csc_matrix((inside.shape[0], count + n))])
    order = np.concatenate([np.r_[count * d + b, b * d : (b + 1) * d] for b in range(count)])
    norms = -sparse.identity(count * (d + 1) + n, format="csr")[order]
    quadratic = sparse.diags(np.r_[np.zeros(count * (d + 1)), np.ones(n)], format="csc")
    linear = np.r_[np.zeros(count * d), np.full(count, problem.alpha), np.zeros(n)]
    kinds = [clarabel.ZeroConeT(n), clarabel.NonnegativeConeT(inside.shape[0])]
    kinds += [clarabel.SecondOrderConeT(d + 1)] * count
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.direct_solve_method = "qdldl"
    settings.tol_gap_rel = settings.tol_gap_abs = settings.tol_feas = min(1e-6, accuracy)
    matrix = sparse.vstack([fit, inside, norms], format="csc")
    right = np.r_[problem.y, np.zeros(matrix.shape[0] - n)]
    solution = clarabel.DefaultSolver(quadratic, linear, matrix, right, kinds, settings).solve()
    return np.asarray(solution.x)[: count * d].reshape(count, d)
