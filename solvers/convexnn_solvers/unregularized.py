"""Programs without regularisation: the dual asks for exact equalities, and targets may be interpolated.

With ``alpha = 0`` a dual point must be orthogonal to all features, ``[A_1 ... A_P]' theta = 0``, as
differences of points of the cones are all of the space; otherwise it bounds nothing, for weights may be of
any size. A point in float64 is orthogonal to rounding only. But with a basis ``B`` of the span an exactly
orthogonal point lies within ``|B' theta| / sigma_min(B)`` of it (the least-norm correction), and the least
dual value within that distance is a bound. Features that are dependent to rounding might span more, so that
their exact rank is computed. Else only the zero point is left: its value is the sum of the losses' infima.
"""

import math
from fractions import Fraction

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, lsmr

from convexnn_solvers._typing import BoolArray, FloatArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual_ray import best_scale
from convexnn_solvers.exact_rank import rank_modulo_prime
from convexnn_solvers.program import ConvexProgram, Design

__all__ = ["interpolated", "orthogonal_bound"]

_EPS = float(np.finfo(np.float64).eps)
# Share of the largest coordinate within which one counts as being at an end of the conjugate's domain.
_NEAR_END = 1e-7
# Relative distance from the span of others below which a column is dependent, or not known to be independent.
_DEPENDENT = 1e-10
# Corrections: the second one takes off what rounding left of the first.
_N_CORRECTIONS = 2
# Relative, for the rounding of a distance itself.
_SLACK = 1e-6
# Operations that find independent columns: at most, some seconds, and a second.
_MOST_OPERATIONS, _SPEED = 2e9, 2e8


def orthogonal_bound(program: ConvexProgram, theta: FloatArray, clock: Clock) -> tuple[FloatArray, float]:
    """Return a dual point that is orthogonal to the features but for rounding, and a proved bound.

    Coordinates at an end of the conjugate's domain, and those of weight zero, stay there; the others take the
    least correction.

    Parameters
    ----------
    program : ConvexProgram
        With ``alpha = 0``.
    theta : ndarray of shape (n, K)
        In the domain of the conjugate.
    clock : Clock
        If it leaves too little time the zero point is returned.

    Returns
    -------
    theta : ndarray of shape (n, K)
    value : float
        Below the optimum, rounding included; a little below the dual value of `theta`.
    """
    zero = np.zeros_like(theta)
    trivial = zero, -program.loss.conjugate(zero, program.targets, program.sample_weight)
    columns = _independent_columns(program, clock)
    if columns is None or not theta.any():
        return trivial
    theta, movable = _snapped(program, theta)
    reach = _corrected(columns, theta, movable)
    scale, _ = best_scale(program, theta, 1.0)
    if scale < 1.0:
        theta = scale * theta
        reach = _corrected(columns, theta, movable)
    if reach is None:
        return trivial
    value = -_largest_conjugate(program, theta, np.where(movable, reach, 0.0))
    return (theta, value) if value > trivial[1] else trivial


def interpolated(
    program: ConvexProgram, blocks: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Change blocks in use and the intercept so that the outputs are the targets, as far as they can be.

    The change is that of least norm, by an iterative method on the design (Fong and Saunders, "LSMR: an
    iterative algorithm for sparse least-squares problems", SIAM J. Sci. Comput. 33, 2011). What lay well
    inside its cone stays there if the change is small.

    Parameters
    ----------
    program : ConvexProgram
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)

    Returns
    -------
    blocks : ndarray of shape (S, K, P, d)
    intercept : ndarray of shape (K,)
    """
    blocks, intercept = blocks.copy(), intercept.copy()
    residual = program.targets - program.outputs(blocks, intercept)
    n = len(residual)
    for k in range(program.n_outputs):
        used = np.flatnonzero(blocks[:, k].any(axis=(0, 2)))
        if used.size == 0:
            continue
        design = program.design.restrict(used)
        shape = (1, used.size, design.n_features)

        def forward(
            change: FloatArray, design: Design = design, shape: tuple[int, ...] = shape
        ) -> FloatArray:
            outputs: FloatArray = design.forward(change[:-1].reshape(shape))[:, 0]
            return outputs + float(program.fit_intercept * change[-1])

        def adjoint(dual: FloatArray, design: Design = design) -> FloatArray:
            sums: FloatArray = np.append(design.adjoint(dual[:, None]), program.fit_intercept * dual.sum())
            return sums

        operator = LinearOperator((n, used.size * design.n_features + 1), matvec=forward, rmatvec=adjoint)
        change = lsmr(operator, residual[:, k], atol=_EPS, btol=_EPS, conlim=0.0, maxiter=4 * n)[0]
        intercept[k] += change[-1]
        # Each sign that is in use takes its share, the negative one with the opposite sign.
        active = np.asarray(blocks[:, k, used].any(axis=2), dtype=np.float64)
        shares = active / active.sum(axis=0) * np.array([[1.0], [-1.0]])[: len(active)]
        blocks[:, k, used] += shares[:, :, None] * change[:-1].reshape(shape)
    return blocks, intercept


def _independent_columns(program: ConvexProgram, clock: Clock) -> FloatArray | None:
    """Columns of norms about one that span those of the features and the intercept's ones, exactly.

    None if they span all outputs, or if that is not certain or would take too long.
    """
    n, n_features = program.design.n_samples, program.design.n_blocks * program.design.n_features
    operations = float(n) * min(n, n_features) * n_features
    if operations > min(_MOST_OPERATIONS, _SPEED * clock.left):
        return None
    columns = program.design.features().toarray()
    if program.fit_intercept:
        columns = np.hstack([columns, np.ones((n, 1))])
    columns = np.unique(columns[:, columns.any(axis=0)], axis=1)
    # Powers of two change no digit.
    columns = np.ldexp(columns, -np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1])
    if columns.size == 0:
        return np.zeros((n, 0))
    _, R, order = linalg.qr(columns, mode="economic", pivoting=True)
    lengths = np.abs(R.diagonal())
    rank = int((lengths > _DEPENDENT * lengths[0]).sum())
    if rank == n or rank_modulo_prime(columns) != rank:
        return None
    return np.asarray(columns[:, order[:rank]])


def _corrected(columns: FloatArray, theta: FloatArray, movable: BoolArray) -> FloatArray | None:
    """Make all outputs' points orthogonal, in place, and return the distances of `_correct`, shape (K,)."""
    distances = [_correct(columns, theta[:, k], movable[:, k]) for k in range(theta.shape[1])]
    known = [distance for distance in distances if distance is not None]
    return np.array(known) if len(known) == len(distances) else None


def _correct(columns: FloatArray, theta: FloatArray, free: BoolArray) -> float | None:
    """Make one output's point orthogonal, in place; how far an exactly orthogonal one is at most.

    None if the columns may be dependent on the free coordinates, unless the others make them orthogonal.
    """
    fixed = ~columns[free].any(axis=0)
    if not all(_is_orthogonal(column, theta) for column in columns[:, fixed].T):
        return None
    columns = columns[:, ~fixed]
    n, m = columns[free].shape
    if n < m:
        return None
    if m == 0:
        return 0.0
    Q, R = linalg.qr(columns[free], mode="economic")
    # Backward error of the factorisation (Higham, "Accuracy and stability of numerical algorithms", 19.4).
    error = n * m * _EPS * float(np.linalg.norm(columns))
    least = float(linalg.svdvals(R).min()) - error
    if least <= error:
        return None
    for _ in range(_N_CORRECTIONS):
        theta[free] -= Q @ linalg.solve_triangular(R, columns.T @ theta, trans="T")
    rounding = 2 * len(theta) * _EPS * (np.abs(columns).T @ np.abs(theta))
    left: float = np.linalg.norm(np.abs(columns.T @ theta) + rounding) / least
    return float(left * (1 + _SLACK))


def _is_orthogonal(column: FloatArray, theta: FloatArray) -> bool:
    """Whether the product of two vectors is exactly zero, by arithmetic in fractions where it may be."""
    products = column * theta
    if math.fsum(products) != 0:
        return False
    terms = np.flatnonzero(column)
    return sum(Fraction(float(column[i])) * Fraction(float(theta[i])) for i in terms) == 0


def _largest_conjugate(program: ConvexProgram, theta: FloatArray, reach: FloatArray) -> float:
    """Upper bound of the conjugate at all points whose entries are within `reach` of those of ``-theta``.

    A sample's conjugate is convex, so that it is at most the mean of its values with one entry moved all the
    way, K times as far; infinite outside the domain.
    """
    loss, targets, weight = program.loss, program.targets, program.sample_weight
    n_outputs = theta.shape[1]
    total = size = 0.0
    for i in np.flatnonzero(weight > 0):
        row = slice(i, i + 1)

        def conjugate(z: FloatArray, row: slice = row) -> float:
            return loss.conjugate(z, targets[row], weight[row])

        at = conjugate(-theta[row])
        total += at
        size += abs(at) + float(np.abs(theta[i] * targets[i]).sum())
        for k in np.flatnonzero(reach[i]):
            ends = []
            for side in (-n_outputs, n_outputs):
                z = -theta[row]
                z[0, k] += side * reach[i, k]
                ends.append(conjugate(z))
            total += max(max(ends) - at, 0.0) / n_outputs
    return total + 4 * _EPS * len(weight) * size


def _snapped(program: ConvexProgram, theta: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Put coordinates close to an end of the domain on it; also which ones are not at an end."""
    step = _NEAR_END * np.abs(theta).max(initial=0.0)
    movable = np.ones(theta.shape, dtype=np.bool_)
    for direction in (step, -step):
        moved = theta + direction
        clipped = -program.loss.project_dual(-moved, program.targets, program.sample_weight)
        at_end = clipped != moved
        theta = np.where(at_end, clipped, theta)
        movable &= ~at_end
    return theta, movable
