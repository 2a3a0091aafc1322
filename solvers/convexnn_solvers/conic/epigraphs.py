"""The conic form of losses: what a loss says of itself, and that of a quadratic model.

The variables of an epigraph are ``r = f - shift`` (the outputs, flattened output after output) and
auxiliary ``e``. It stands for ``loss = min_e 1/2 r'Q r + q.r + 1/2 e'Q_e e + q_e.e``, up to a constant,
subject to rows ``A_r r + A_e e + s = b`` with ``s`` in the non-negative or the exponential cones.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.conic.model import QuadraticModel

__all__ = ["Epigraph", "Rows", "model_epigraph"]


class Rows(Protocol):
    """Rows ``on_outputs r + on_extra e + s = rhs``, the three of an exponential cone one after another."""

    @property
    def on_outputs(self) -> sparse.csr_array:
        """``A_r``."""

    @property
    def on_extra(self) -> sparse.csr_array:
        """``A_e``."""

    @property
    def rhs(self) -> FloatArray:
        """``b``."""


class Epigraph(Protocol):
    """See the module; missing row groups are None."""

    @property
    def shift(self) -> FloatArray:
        """``f - r``, shape ``(n K,)``."""

    @property
    def quadratic(self) -> sparse.csc_array:
        """``Q``, shape ``(n K, n K)``."""

    @property
    def linear(self) -> FloatArray:
        """``q``, shape ``(n K,)``."""

    @property
    def extra_quadratic(self) -> FloatArray:
        """Diagonal of ``Q_e``."""

    @property
    def extra_linear(self) -> FloatArray:
        """``q_e``."""

    @property
    def nonneg(self) -> Rows | None:
        """Rows whose slacks are not negative."""

    @property
    def exponential(self) -> Rows | None:
        """Rows whose slacks ``(x, y, z)`` have ``y exp(x / y) <= z`` and ``y > 0``."""


@dataclass(frozen=True, eq=False)
class _QuadraticEpigraph:
    """A quadratic cost without auxiliary variables."""

    shift: FloatArray
    quadratic: sparse.csc_array
    linear: FloatArray
    extra_quadratic: FloatArray = field(default_factory=lambda: np.zeros(0))
    extra_linear: FloatArray = field(default_factory=lambda: np.zeros(0))
    nonneg: Rows | None = None
    exponential: Rows | None = None


def model_epigraph(model: QuadraticModel) -> Epigraph:
    """Return the epigraph of a quadratic model."""
    n, n_outputs = model.center.shape
    position = np.arange(n_outputs) * n + np.arange(n)[:, None]
    rows = np.broadcast_to(position[:, :, None], model.curvature.shape)
    columns = np.broadcast_to(position[:, None, :], model.curvature.shape)
    size = n * n_outputs
    quadratic = sparse.coo_array(
        (model.curvature.ravel(), (rows.ravel(), columns.ravel())), shape=(size, size)
    ).tocsc()
    return _QuadraticEpigraph(model.center.T.ravel(), quadratic, model.slope.T.ravel())
