"""The standard conic form and the two rewritings that backends need: scaling and removing the quadratic."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray, IntArray

__all__ = ["Conditioning", "ConicForm", "condition", "without_quadratic"]

_MODERATE = 1e3


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


@dataclass(frozen=True, eq=False)
class Conditioning:
    """How a scaled solution maps back: ``x = size * x_scaled``, ``z = z_scaled / (size * cost)``."""

    size: float
    cost: float

    def primal(self, x: FloatArray) -> FloatArray:
        """Undo the scaling of a primal vector."""
        return self.size * x

    def dual(self, z: FloatArray) -> FloatArray:
        """Undo the scaling of a dual vector."""
        return z / (self.size * self.cost)


def condition(form: ConicForm) -> tuple[ConicForm, Conditioning]:
    """Bring right-hand side and cost to order one; the matrix is of order one as assembled.

    Cones are closed under scaling, so that variables and right-hand side may be divided by one number.
    Solvers scale moderate data better by themselves, so those are left alone.
    """
    size = max(np.abs(form.rhs).max(initial=0.0), _quadratic_scale(form))
    size = _unless_moderate(size)
    quadratic = size**2 * form.quadratic
    linear = size * form.linear
    peak = max(np.abs(quadratic.data).max(initial=0.0), np.abs(linear).max(initial=0.0))
    cost = 1.0 / _unless_moderate(peak)
    scaled = replace(form, quadratic=cost * quadratic, linear=cost * linear, rhs=form.rhs / size)
    return scaled, Conditioning(size, cost)


def _unless_moderate(scale: float) -> float:
    """Return the scale to divide by: 1 for moderate ones and for zero."""
    return 1.0 if scale == 0 or 1 / _MODERATE <= scale <= _MODERATE else scale


def _quadratic_scale(form: ConicForm) -> float:
    """Size of the variables at which linear and quadratic cost balance."""
    bend = form.quadratic.diagonal()
    curved = bend > 0
    slope = np.abs(form.linear)[curved].sum()
    return float(slope / bend[curved].sum()) if slope > 0 else 0.0


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
