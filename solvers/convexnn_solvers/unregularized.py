"""Programs without regularisation: the dual asks for exact equalities, and targets may be interpolated.

With ``alpha = 0`` a dual point must be orthogonal to all features, ``[A_1 ... A_P]' theta = 0``, as
differences of points of the cones are all of the space; otherwise it bounds nothing, for weights may be of
any size. A point in float64 is orthogonal to rounding only. But with a basis ``B`` of the features' span, on
the samples where it is not zero, an exactly orthogonal point lies within ``|B' theta| / sigma_min(B)`` of it
(the least-norm correction), and the least dual value within that distance is a bound. Features that are
dependent to rounding might span more, so that their exact rank is computed. Else only the zero point is left:
its value is the sum of the losses' infima.
"""

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
# Share of the largest coordinate within which one counts as zero, where zero is an end of the domain.
_NEAR_END = 1e-7
# Shares by which points are shrunk: from a few roundings to where nothing is left.
_SHRINKAGES = tuple(2.0**exponent for exponent in range(-46, 0))
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

    Coordinates that are zero at an end of the conjugate's domain, and those of weight zero, stay zero; the
    others take the least correction.

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
    theta = _with_exact_zeros(program, theta)
    scale, _ = best_scale(program, theta, 1.0)
    theta = scale * theta
    reach = np.zeros_like(theta)
    for k in range(theta.shape[1]):
        free = theta[:, k] != 0
        columns = _independent_columns(program, free, clock) if free.any() else None
        distance = None if columns is None else _corrected(columns, theta[:, k], free)
        if distance is None:
            return trivial
        reach[free, k] = distance
    inside = _into_interior(program, theta, reach)
    value = -_largest_conjugate(program, inside, reach)
    return (inside, value) if value > trivial[1] else trivial


def interpolated(
    program: ConvexProgram, blocks: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Change blocks in use and the intercept so that outputs are the targets of all samples that count.

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
    counts = program.sample_weight > 0
    residual = np.where(counts[:, None], program.targets - program.outputs(blocks, intercept), 0.0)
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
            return counts * (outputs + float(program.fit_intercept * change[-1]))

        def adjoint(dual: FloatArray, design: Design = design) -> FloatArray:
            dual = counts * dual
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


def _with_exact_zeros(program: ConvexProgram, theta: FloatArray) -> FloatArray:
    """Put coordinates on zero that are close to it where it is an end of the domain."""
    step = _NEAR_END * np.abs(theta).max(initial=0.0)
    at_end = np.zeros(theta.shape, dtype=np.bool_)
    for side in (step, -step):
        beyond = np.full(theta.shape, side)
        at_end |= program.loss.project_dual(-beyond, program.targets, program.sample_weight) != -beyond
    return np.where(at_end & (np.abs(theta) <= step), 0.0, theta)


def _independent_columns(program: ConvexProgram, rows: BoolArray, clock: Clock) -> FloatArray | None:
    """Columns on some samples that span those of the features and the intercept there, exactly.

    None if they span all outputs, or if that is not certain or would take too long.
    """
    n, n_features = int(rows.sum()), program.design.n_blocks * program.design.n_features
    if float(n) * min(n, n_features) * n_features > min(_MOST_OPERATIONS, _SPEED * clock.left):
        return None
    columns = program.design.features().toarray()[rows]
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


def _corrected(columns: FloatArray, theta: FloatArray, free: BoolArray) -> float | None:
    """Make the free coordinates orthogonal to the columns, in place; how far an exactly orthogonal point is.

    None if the columns may be dependent.
    """
    n, m = columns.shape
    if m == 0:
        return 0.0
    Q, R = linalg.qr(columns, mode="economic")
    # Backward error of the factorisation (Higham, "Accuracy and stability of numerical algorithms", 19.4).
    error = n * m * _EPS * float(np.linalg.norm(columns))
    least = float(linalg.svdvals(R).min()) - error
    if least <= error:
        return None
    for _ in range(_N_CORRECTIONS):
        theta[free] -= Q @ linalg.solve_triangular(R, columns.T @ theta[free], trans="T")
    # Scaling the point rounds it once more.
    rounding = 2 * (n + 1) * _EPS * (np.abs(columns).T @ np.abs(theta[free]))
    left: float = np.linalg.norm(np.abs(columns.T @ theta[free]) + rounding) / least
    return float(left * (1 + _SLACK))


def _into_interior(program: ConvexProgram, theta: FloatArray, reach: FloatArray) -> FloatArray:
    """Shrink a point until all within `reach` of it are in the conjugate's domain; orthogonal it stays."""
    for shrinkage in (0.0, *_SHRINKAGES):
        shrunk = (1.0 - shrinkage) * theta
        ends = [-(shrunk + side) for side in (-reach, reach)]
        projected = [program.loss.project_dual(z, program.targets, program.sample_weight) for z in ends]
        if all(np.array_equal(z, p) for z, p in zip(ends, projected, strict=True)):
            return shrunk
    return theta


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
