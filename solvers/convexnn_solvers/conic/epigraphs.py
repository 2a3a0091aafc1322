"""Epigraphs of the losses in the conic form.

The variables of an epigraph are ``r = f - shift`` (the outputs, flattened output after output) and
auxiliary ``e``. It stands for ``loss = min_e 1/2 r'Q r + q.r + 1/2 e'Q_e e + q_e.e`` subject to rows
``A_r r + A_e e + s = b`` with ``s`` in the non-negative or the exponential cones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.conic.model import QuadraticModel
from convexnn_solvers.program import Loss

__all__ = ["EPIGRAPHS", "Epigraph", "Rows", "model_epigraph"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows ``on_outputs r + on_extra e + s = rhs``."""

    on_outputs: sparse.csr_array
    on_extra: sparse.csr_array
    rhs: FloatArray


@dataclass(frozen=True, eq=False)
class Epigraph:
    """See the module; missing row groups are None.

    `shift_invariant` says that adding one number to all outputs of a sample changes nothing, so that one
    of the intercepts is redundant.
    """

    shift: FloatArray
    quadratic: sparse.csc_array
    linear: FloatArray
    extra_quadratic: FloatArray = field(default_factory=lambda: np.zeros(0))
    extra_linear: FloatArray = field(default_factory=lambda: np.zeros(0))
    nonneg: Rows | None = None
    exponential: Rows | None = None
    shift_invariant: bool = False


def _entries(
    rows: IntArray, columns: IntArray, values: FloatArray | float, shape: tuple[int, int]
) -> sparse.csr_array:
    data = np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape)
    return sparse.coo_array((data, (rows, columns)), shape=shape).tocsr()


def _squared_error(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    del loss
    y, s = _flat(targets, weight)
    return Epigraph(shift=y, quadratic=sparse.diags_array(s, format="csc"), linear=np.zeros_like(y))


def _absolute_error(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    del loss
    y, s = _flat(targets, weight)
    n = y.size
    index = np.arange(n)
    both = np.concatenate([index, index])
    sign = np.repeat([1.0, -1.0], n)
    rows = Rows(  # e >= r and e >= -r
        _entries(np.arange(2 * n), both, sign, (2 * n, n)),
        _entries(np.arange(2 * n), both, -1.0, (2 * n, n)),
        np.zeros(2 * n),
    )
    return Epigraph(y, _flat_cost(n), np.zeros(n), np.zeros(n), s, nonneg=rows)


def _huber(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    """``min_a 1/2 a^2 + delta |r - a|`` with ``e = (a, bound of |r - a|)``."""
    y, s = _flat(targets, weight)
    n = y.size
    index = np.arange(n)
    both = np.concatenate([index, index])
    rows_of = np.arange(2 * n)
    sign = np.repeat([1.0, -1.0], n)
    on_extra = _entries(rows_of, both, -sign, (2 * n, 2 * n)) + _entries(
        rows_of, both + n, -1.0, (2 * n, 2 * n)
    )
    rows = Rows(_entries(rows_of, both, sign, (2 * n, n)), on_extra, np.zeros(2 * n))
    delta = float(getattr(loss, "delta"))  # noqa: B009
    return Epigraph(
        y,
        _flat_cost(n),
        np.zeros(n),
        np.concatenate([s, np.zeros(n)]),
        np.concatenate([np.zeros(n), delta * s]),
        nonneg=rows,
    )


def _margin_rows(y: FloatArray) -> Rows:
    """``e >= 1 - y r`` and ``e >= 0``."""
    n = y.size
    index = np.arange(n)
    return Rows(
        _entries(index, index, -y, (2 * n, n)),
        _entries(np.arange(2 * n), np.concatenate([index, index]), -1.0, (2 * n, n)),
        np.concatenate([-np.ones(n), np.zeros(n)]),
    )


def _hinge(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    del loss
    y, s = _flat(targets, weight)
    zero = np.zeros(y.size)
    return Epigraph(zero, _flat_cost(y.size), zero, zero, s, nonneg=_margin_rows(y))


def _squared_hinge(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    del loss
    y, s = _flat(targets, weight)
    zero = np.zeros(y.size)
    return Epigraph(zero, _flat_cost(y.size), zero, 2 * s, zero, nonneg=_margin_rows(y))


def _log_loss(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    """``t >= log(1 + exp(-y r))`` as ``exp(-y r - t) + exp(-t) <= 1`` with ``e = (t, u, v)``."""
    del loss
    y, s = _flat(targets, weight)
    n = y.size
    index = np.arange(n)
    two = np.arange(2 * n)
    return Epigraph(
        np.zeros(n),
        _flat_cost(n),
        np.zeros(n),
        np.zeros(3 * n),
        np.concatenate([s, np.zeros(2 * n)]),
        nonneg=Rows(
            sparse.csr_array((n, n)),
            _entries(np.concatenate([index, index]), n + two, 1.0, (n, 3 * n)),
            np.ones(n),
        ),
        exponential=Rows(
            _entries(3 * index, index, y, (6 * n, n)),
            _entries(3 * two, np.concatenate([index, index]), 1.0, (6 * n, 3 * n))
            + _entries(3 * two + 2, n + two, -1.0, (6 * n, 3 * n)),
            np.tile([0.0, 1.0, 0.0], 2 * n),
        ),
    )


def _softmax(loss: Loss, targets: FloatArray, weight: FloatArray) -> Epigraph:
    """``t_i >= logsumexp(r_i)`` as ``sum_k exp(r_ik - t_i) <= 1`` with ``e = (t, u)``."""
    del loss
    n, n_outputs = targets.shape
    size = n * n_outputs
    index = np.arange(size)
    sample = np.tile(np.arange(n), n_outputs)
    s = np.tile(weight, n_outputs)
    return Epigraph(
        np.zeros(size),
        _flat_cost(size),
        -s * targets.T.ravel(),
        np.zeros(n + size),
        np.concatenate([weight, np.zeros(size)]),
        nonneg=Rows(sparse.csr_array((n, size)), _entries(sample, n + index, 1.0, (n, n + size)), np.ones(n)),
        exponential=Rows(
            _entries(3 * index, index, -1.0, (3 * size, size)),
            _entries(3 * index, sample, 1.0, (3 * size, n + size))
            + _entries(3 * index + 2, n + index, -1.0, (3 * size, n + size)),
            np.tile([0.0, 1.0, 0.0], size),
        ),
        shift_invariant=True,
    )


def model_epigraph(model: QuadraticModel) -> Epigraph:
    """Return the epigraph of a quadratic model, up to a constant."""
    n, n_outputs = model.center.shape
    output = np.arange(n_outputs)
    position = output * n + np.arange(n)[:, None]
    rows = np.broadcast_to(position[:, :, None], model.curvature.shape)
    columns = np.broadcast_to(position[:, None, :], model.curvature.shape)
    size = n * n_outputs
    quadratic = _entries(rows.ravel(), columns.ravel(), model.curvature.ravel(), (size, size))
    return Epigraph(
        model.center.T.ravel(),
        sparse.csc_array(quadratic),
        model.slope.T.ravel(),
        shift_invariant=model.shift_invariant,
    )


def _flat_cost(size: int) -> sparse.csc_array:
    return sparse.csc_array((size, size))


def _flat(targets: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Flatten targets and weights; targets of weight zero become zero, lest they set the scale."""
    return np.where(weight[:, None] > 0, targets, 0.0).T.ravel(), np.tile(weight, targets.shape[1])


EPIGRAPHS: dict[str, Callable[[Loss, FloatArray, FloatArray], Epigraph]] = {
    "squared_error": _squared_error,
    "absolute_error": _absolute_error,
    "huber": _huber,
    "hinge": _hinge,
    "squared_hinge": _squared_hinge,
    "log_loss": _log_loss,
    "softmax": _softmax,
}
