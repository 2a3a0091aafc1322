"""Epigraphs of losses as plain conic data, which cone solvers read.

With ``r = f - shift`` (the outputs, flattened output after output) and auxiliary variables ``e`` an epigraph
says ``L(f) = min_e 1/2 r'Q r + q.r + 1/2 e'Q_e e + q_e.e``, up to a constant, subject to rows
``A_r r + A_e e + s = b`` with ``s`` non-negative or in exponential cones
``{(x, y, z): y exp(x / y) <= z, y > 0}``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from convexnn._typing import FloatArray, IntArray

__all__ = ["Epigraph", "Row", "Rows", "elementwise_epigraph", "entries", "flat", "no_cost"]

Numbers: TypeAlias = float | FloatArray
"""One number for all elements of the outputs, or one for each, shape ``(n K,)``."""


class Rows(NamedTuple):
    """Rows ``on_outputs r + on_extra e + s = rhs``, the three of an exponential cone one after another."""

    on_outputs: sparse.csr_array
    on_extra: sparse.csr_array
    rhs: FloatArray


class Row(NamedTuple):
    """One row for each element: ``on_output r + on_extra . e + s = rhs``."""

    on_output: Numbers
    on_extra: tuple[float, ...]
    rhs: float


@dataclass(frozen=True, eq=False)
class Epigraph:
    """See the module; row groups that are missing are None.

    Attributes
    ----------
    shift, linear : ndarray of shape (n K,)
    quadratic : sparse array of shape (n K, n K)
        Positive semidefinite.
    extra_quadratic, extra_linear : ndarray of shape (m,)
        Costs of the auxiliary variables, the quadratic one diagonal.
    nonneg, exponential : Rows or None
    """

    shift: FloatArray
    quadratic: sparse.csc_array
    linear: FloatArray
    extra_quadratic: FloatArray = field(default_factory=lambda: np.zeros(0))
    extra_linear: FloatArray = field(default_factory=lambda: np.zeros(0))
    nonneg: Rows | None = None
    exponential: Rows | None = None


def elementwise_epigraph(
    weight: FloatArray,
    shift: FloatArray,
    *,
    quadratic: float = 0.0,
    extra_quadratic: Sequence[float] = (),
    extra_linear: Sequence[float] = (),
    nonneg: Sequence[Row] = (),
    exponential: Sequence[tuple[Row, Row, Row]] = (),
) -> Epigraph:
    """Return the epigraph of a loss that is the same for each element, from that of one element.

    Parameters
    ----------
    weight, shift : ndarray of shape (n K,)
        Sample weights, which multiply all costs, and ``f - r``, as `flat` gives them.
    quadratic : float
        ``Q``, of one element.
    extra_quadratic, extra_linear : sequence of float
        Costs of the element's auxiliary variables, as many of the one as of the other.
    nonneg : sequence of Row
    exponential : sequence of three Rows
        For ``x``, ``y`` and ``z`` of a cone.

    Returns
    -------
    Epigraph
    """
    cost = sparse.diags_array(quadratic * weight, format="csc") if quadratic else no_cost(weight.size)
    return Epigraph(
        shift=shift,
        quadratic=cost,
        linear=np.zeros(weight.size),
        extra_quadratic=np.outer(extra_quadratic, weight).ravel(),
        extra_linear=np.outer(extra_linear, weight).ravel(),
        nonneg=_repeated([(row,) for row in nonneg], weight.size, len(extra_linear)),
        exponential=_repeated(exponential, weight.size, len(extra_linear)),
    )


def _repeated(groups: Sequence[tuple[Row, ...]], n: int, n_extra: int) -> Rows | None:
    """Rows of all elements; those of one group stay together, element after element."""
    if not groups:
        return None
    size = len(groups[0])
    element = np.arange(n)
    shape = (len(groups) * size * n, n)
    on_outputs = sparse.csr_array(shape)
    on_extra = sparse.csr_array((shape[0], n_extra * n))
    rhs = np.zeros(shape[0])
    for g, group in enumerate(groups):
        for j, row in enumerate(group):
            place = size * (g * n + element) + j
            rhs[place] = row.rhs
            if np.any(row.on_output):
                on_outputs = on_outputs + entries(place, element, row.on_output, shape)
            for extra, value in enumerate(row.on_extra):
                if value:
                    on_extra = on_extra + entries(place, extra * n + element, value, on_extra.shape)
    return Rows(on_outputs, on_extra, rhs)


def entries(rows: IntArray, columns: IntArray, values: Numbers, shape: tuple[int, int]) -> sparse.csr_array:
    """Return a matrix with these entries."""
    data = np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape)
    return sparse.coo_array((data, (rows, columns)), shape=shape).tocsr()


def no_cost(size: int) -> sparse.csc_array:
    """Return a quadratic cost of zero."""
    return sparse.csc_array((size, size))


def flat(targets: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Flatten targets and weights; targets of weight zero become zero, lest they set the scale."""
    return np.where(weight[:, None] > 0, targets, 0.0).T.ravel(), np.tile(weight, targets.shape[1])
