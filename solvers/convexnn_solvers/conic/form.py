"""The standard conic form and the two rewritings that backends need: scaling and removing the quadratic."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray, IntArray

__all__ = ["Conditioning", "ConicForm", "condition", "without_quadratic"]

_MODERATE_SPREAD = 1e3
_RUIZ_STEPS = 8


@dataclass(frozen=True, eq=False)
class ConicForm:
    """``min 1/2 x' quadratic x + linear.x  s.t.  matrix x + s = rhs, s in the cones``.

    The rows of `matrix` are, in this order, `n_zero` equalities, `n_nonneg` inequalities, second-order
    cones ``{(t, z): |z| <= t}`` of the sizes `second_order`, and `n_exponential` cones of three rows
    ``{(x, y, z): y exp(x / y) <= z, y > 0}``.
    """

    quadratic: sparse.csc_array
    linear: FloatArray
    matrix: sparse.csc_array
    rhs: FloatArray
    n_zero: int
    n_nonneg: int
    second_order: IntArray
    n_exponential: int

    @property
    def row_groups(self) -> IntArray:
        """Row indices of the cones' first rows: rows of one group may only be scaled together."""
        linear_rows = self.n_zero + self.n_nonneg
        sizes = np.concatenate(
            [np.ones(linear_rows, dtype=np.intp), self.second_order, np.full(self.n_exponential, 3)]
        )
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)


@dataclass(frozen=True, eq=False)
class Conditioning:
    """How a scaled solution maps back: ``x = columns * x_scaled``, ``z = rows * z_scaled / cost``."""

    columns: FloatArray
    rows: FloatArray
    cost: float

    def primal(self, x: FloatArray) -> FloatArray:
        """Undo the scaling of a primal vector."""
        return self.columns * x

    def dual(self, z: FloatArray) -> FloatArray:
        """Undo the scaling of a dual vector."""
        return self.rows * z / self.cost


def condition(form: ConicForm) -> tuple[ConicForm, Conditioning]:
    """Bring data, right-hand side and cost to order one.

    Solvers equilibrate by themselves within bounds; data of scale 1e8 or 1e-8 lie outside of those. Rows
    and columns are equilibrated (Ruiz 2001, the rows of a cone together) only if the columns' magnitudes
    spread over more than three orders.
    """
    matrix = form.matrix
    rows = np.ones(matrix.shape[0])
    columns = np.ones(matrix.shape[1])
    if _spread(matrix) > _MODERATE_SPREAD:
        matrix = matrix.copy()
        rows, columns = _equilibrate(matrix, form.row_groups)
    rhs = rows * form.rhs
    size = max(np.abs(rhs).max(initial=0.0), _quadratic_scale(form, columns))
    size = size if size > 0 else 1.0
    columns = columns * size
    scaling = sparse.diags_array(columns, format="csc")
    quadratic = sparse.csc_array(scaling @ form.quadratic @ scaling)
    linear = columns * form.linear
    peak = max(np.abs(quadratic.data).max(initial=0.0), np.abs(linear).max(initial=0.0))
    cost = 1.0 / peak if peak > 0 else 1.0
    scaled = replace(form, quadratic=cost * quadratic, linear=cost * linear, matrix=matrix, rhs=rhs / size)
    # x = columns * x_scaled and rows are divided by `size` as a whole, hence the factor on the duals.
    return scaled, Conditioning(columns, rows / size, cost)


def _quadratic_scale(form: ConicForm, columns: FloatArray) -> float:
    """Size of the (scaled) variables at which linear and quadratic cost balance."""
    bend = columns**2 * form.quadratic.diagonal()
    curved = bend > 0
    slope = np.abs(columns * form.linear)[curved].sum()
    return float(slope / bend[curved].sum()) if slope > 0 else 0.0


def _spread(matrix: sparse.csc_array) -> float:
    """Ratio of the largest to the smallest of the columns' largest entries."""
    filled = np.flatnonzero(np.diff(matrix.indptr))
    peaks = np.maximum.reduceat(np.abs(matrix.data), matrix.indptr[filled])
    peaks = peaks[peaks > 0]
    return float(peaks.max() / peaks.min()) if peaks.size else 1.0


def _equilibrate(matrix: sparse.csc_array, groups: IntArray) -> tuple[FloatArray, FloatArray]:
    """Scale `matrix` in place to rows and columns of unit largest entry; returns both scalings."""
    n_rows, n_columns = matrix.shape
    rows, columns = np.ones(n_rows), np.ones(n_columns)
    column_of = np.repeat(np.arange(n_columns), np.diff(matrix.indptr))
    group_sizes = np.diff(np.append(groups, n_rows))
    for _ in range(_RUIZ_STEPS):
        magnitudes = np.abs(matrix.data)
        row_peaks = np.zeros(n_rows)
        np.maximum.at(row_peaks, matrix.indices, magnitudes)
        row_peaks = np.repeat(np.maximum.reduceat(row_peaks, groups), group_sizes)
        column_peaks = np.zeros(n_columns)
        np.maximum.at(column_peaks, column_of, magnitudes)
        row_step = 1 / np.sqrt(np.where(row_peaks > 0, row_peaks, 1.0))
        column_step = 1 / np.sqrt(np.where(column_peaks > 0, column_peaks, 1.0))
        matrix.data *= row_step[matrix.indices] * column_step[column_of]
        rows *= row_step
        columns *= column_step
    return rows, columns


def without_quadratic(form: ConicForm, size: float) -> ConicForm:
    """Move the quadratic term into one second-order cone, for solvers with a linear cost only.

    ``1/2 |r|^2 <= tau`` is ``|(sqrt(2 g) r, tau - g)| <= tau + g`` for any ``g > 0``; `size` is that ``g``
    and best of the magnitude of the quadratic term's optimal value. The new variable ``tau`` comes last.
    The quadratic term must be diagonal.
    """
    weights = form.quadratic.diagonal()
    curved = np.flatnonzero(weights)
    if curved.size == 0:
        return form
    if form.quadratic.nnz > curved.size:
        raise ValueError("Only a diagonal quadratic term can be rewritten as one cone.")
    n = form.linear.size
    cone = sparse.coo_array(
        (
            np.concatenate([[-1.0, -1.0], -np.sqrt(2 * size * weights[curved])]),
            (np.arange(curved.size + 2), np.concatenate([[n, n], curved])),
        ),
        shape=(curved.size + 2, n + 1),
    ).tocsr()
    widened = sparse.csr_array(sparse.hstack([form.matrix, sparse.coo_array((form.matrix.shape[0], 1))]))
    split = form.n_zero + form.n_nonneg
    matrix = sparse.csc_array(sparse.vstack([widened[:split], cone, widened[split:]]))
    head = np.concatenate([[size, -size], np.zeros(curved.size)])
    return ConicForm(
        quadratic=sparse.csc_array((n + 1, n + 1)),
        linear=np.append(form.linear, 1.0),
        matrix=matrix,
        rhs=np.concatenate([form.rhs[:split], head, form.rhs[split:]]),
        n_zero=form.n_zero,
        n_nonneg=form.n_nonneg,
        second_order=np.concatenate([[curved.size + 2], form.second_order]).astype(np.intp),
        n_exponential=form.n_exponential,
    )
