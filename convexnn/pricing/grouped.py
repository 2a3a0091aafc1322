r"""The largest vector-valued gain of a hidden unit that acts on groups of rows, by branch and bound.

.. math:: H = \max_{|u| \le 1} |G(u)|, \qquad G(u) = G_0 u + \sum_g E_g t_g\, \psi_g(u), \qquad
          \psi_g(u) = \max(0, \max_{x \in g} x \cdot u) .

Max pooling has one group per sample and one entry; weighted pooling a group of one row and an entry per
position; several outputs groups of one row and the dual variables of all outputs. The search is that of
`convexnn.pricing.branch_and_bound`: simplicial cones with unit vertices :math:`v_k`, :math:`u = \sum_k
\lambda_k v_k`, :math:`\lambda \ge 0`. What is new is the bound.

**Pieces.** On a cone :math:`\psi_g` lies below its chord, the linear function :math:`\psi_g(v_k)` at the
vertices, and above the higher of any two of its pieces, for which the highest at the centre is taken and the
one that exceeds it most. A piece that is nowhere higher than another one at the vertices is nowhere so on the
cone: it is forgotten below that cone, and a group of one piece is linear there and joins :math:`G_0`.

**One entry.** For G and for -G, groups with :math:`t_g > 0` get their chord, and others keep two pieces, that
is one concave kink. The maximum of such a function over the cone in the ball is the convex problem of
`convexnn.pricing._concave`, and its bound is proved in the same way.

**Several entries.** Let :math:`b_0` be the direction of G at the centre. The above bounds :math:`b_0 \cdot G`
by :math:`\beta`, with the slopes :math:`a_g \in [0, 1]` of the concave kinks that prove it. They define
linear functions: :math:`\ell_g \le \psi_g \le c_g` below and above each group, so that :math:`\psi_g` is the
mean of both up to half of their difference, :math:`|G(u) - M u| \le W u / 2` entry by entry, W the sum of
:math:`|t_g| (c_g - \ell_g)`. Let P be the projection off :math:`b_0`, :math:`\mu` bound :math:`|P G(u)| \le
\sum_k \lambda_k (|P M v_k| + |W v_k| / 2)` and :math:`\nu` bound :math:`-b_0 \cdot G`.

1. :math:`|G|^2 = (b_0 \cdot G)^2 + |P G|^2 \le \max(\beta, \nu)^2 + \mu^2`.
2. Let B take :math:`c_g` where :math:`b_0 \cdot t_g \ge 0` and :math:`\ell_g` elsewhere. Then :math:`b_0
   \cdot (G(u) - B u)` is a sum of terms none of which is positive, and for unit vectors b

   .. math:: b \cdot G(u) \le |B u| + |b - b_0|\, |W u| .

   With :math:`b = G(u) / |G(u)|` and :math:`|G(u)| > L` the sine s of the angle between b and :math:`b_0` is
   at most :math:`\mu / L`, the angle is less than a right one if :math:`\nu^2 + \mu^2 \le L^2`, and :math:`|b
   - b_0| = s / \cos(\angle / 2) \le s\, (1 + (\sqrt 2 - 1) s^2)`. Hence the larger of L and of the right side
   bounds :math:`|G|`; L is what a bound must fall below for the cone to be settled. :math:`|B u|` is at most
   the largest singular value of B, and at most the root of :math:`\rho = \max_{kl} (B v_k \cdot B v_l) / (v_k
   \cdot v_l)` if all these are positive, because :math:`|B u|^2 - \rho |u|^2 = \sum_{kl} \lambda_k \lambda_l
   (B v_k \cdot B v_l - \rho\, v_k \cdot v_l) \le 0`.

Sums :math:`\sum_k \lambda_k w_k` are at most :math:`\max_k w_k` times :math:`\sum_k \lambda_k \le 1 / \min_k
v_k \cdot e`, e the centre, since :math:`1 \ge u \cdot e`. Both bounds are exact up to the second order of the
size of the cone: chords are, :math:`\mu` is of first order and enters by its square, and in the second bound
:math:`\mu` and W, which is of first order at most, are multiplied. An ordinary gain, of one entry and groups
of one row, is cut where its loosest chords cross; for others thin cones have loose bounds, because of
:math:`\mu` or of third pieces, so that only long edges are cut, and not near their ends. The bound holds at
any time, whatever was cut.

**Rounding** is allowed for as in `convexnn.pricing.branch_and_bound`. The squares and quotients of the second
bound are of figures no smaller than L, which is at least that allowance.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.pricing._grouped_bound import Groups, Workspace
from convexnn.pricing._grouped_search import grouped_search
from convexnn.pricing.best_first import DEPTH, BestFirst
from convexnn.pricing.bounds import SupportBounds
from convexnn.pricing.branch_and_bound import cone_operations, span
from convexnn.pricing.grouped_ascent import ascend, grouped_maxima
from convexnn.pricing.grouped_gain import GroupedGain

__all__ = ["gain_bounds", "grouped_bounds", "grouped_maxima"]

_LARGEST_RANK = 14  # whose 16,384 orthants the search begins with
_N_STARTS = 40  # of local ascents, which take less time than the first cones
_SAME_COSINE = 1.0 - 1e-9  # of weights that are the same maximum
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class _GroupedFace:
    """One maximisation: groups in coordinates of their span, a row of zeros added to each.

    Attributes
    ----------
    groups : Groups
    basis : ndarray of shape (d, r)
        ``basis @ w`` are the weights with coordinates w.
    slack : float
        What rounding can have taken from a bound.
    """

    groups: Groups
    basis: FloatArray
    slack: float

    @classmethod
    def of(cls, gain: GroupedGain, sign: float) -> "_GroupedFace":
        """Pass to the span; the gain is multiplied by `sign`."""
        (n, _), d, size = gain.values.shape, gain.rows.shape[1], gain.size
        basis = span(np.vstack([gain.rows, gain.linear]))
        r = basis.shape[1]
        inside = gain.rows @ basis
        lost = np.linalg.norm(gain.rows - inside @ basis.T, axis=1).reshape(n, size).max(axis=1, initial=0.0)
        flat = gain.linear @ basis
        missed = float(
            np.linalg.norm(gain.values, axis=1) @ lost + np.linalg.norm(gain.linear - flat @ basis.T)
        )
        rows = np.zeros((n, size + 1, r))
        rows[:, 1:] = inside.reshape(n, size, r)
        groups = Groups(
            rows.reshape(n * (size + 1), r),
            size + 1,
            gain.radii,
            sign * gain.values,
            gain.offsets,
            np.ascontiguousarray(sign * flat),
        )
        terms = 4 * n + 10 * d + 8 * DEPTH + 4 * len(gain.linear)
        slack = 2 * missed + 4 * _EPS * gain.bound * max(d, 1) * terms
        return cls(groups, basis, slack)

    def search(
        self,
        cone: FloatArray,
        bound: float,
        threshold: float,
        tol: float,
        max_nodes: int,
        best: FloatArray,
        stack: FloatArray,
        bounds: FloatArray,
        record: FloatArray,
    ) -> int:
        """Search below a cone; see `best_first.Face`."""
        return grouped_search(
            cone,
            bound,
            self.groups,
            threshold,
            self.slack,
            tol,
            max_nodes,
            best,
            stack,
            bounds,
            record,
            Workspace.of(self.groups),
        )

    def roots(self) -> FloatArray:
        """Vertices of the orthants, shape (2**r, r, r)."""
        r = self.basis.shape[1]
        signs = 1.0 - 2.0 * (np.arange(2**r if r else 0)[:, None] >> np.arange(r) & 1)
        roots: FloatArray = signs[:, :, None] * np.eye(r)
        return roots


class _GroupedFaces:
    """The maximisations that a problem consists of: one, or one for either sign if the gain has one entry."""

    def __init__(self, gain: GroupedGain) -> None:
        self._gain = gain
        merged = gain.merged()
        self.keys = [1, -1] if len(gain.linear) == 1 else [1]
        self._faces = {key: _GroupedFace.of(merged, float(key)) for key in self.keys}

    @property
    def rank(self) -> int:
        """Dimensions of the search."""
        return int(self._faces[1].basis.shape[1])

    @property
    def initial(self) -> float:
        """A bound of H without a search."""
        return self._gain.bound + self._faces[1].slack

    @property
    def operations(self) -> float:
        """About how many multiplications the bound of a cone takes."""
        return cone_operations(len(self._faces[1].groups.rows), self.rank + len(self._gain.linear))

    def face(self, key: int) -> _GroupedFace:
        """Return one maximisation."""
        return self._faces[key]

    def weights(self, key: int, u: FloatArray) -> FloatArray:
        """Return unit weights along coordinates u."""
        weights: FloatArray = self._faces[key].basis @ (u / np.abs(u).max())
        return weights / np.linalg.norm(weights)

    def value(self, weights: FloatArray) -> float:
        """``|G(u)| / |u|``, or ``G(u) / |u|`` if it has one entry."""
        response, norm = self._gain.at(weights[:, None])[:, 0], float(np.linalg.norm(weights))
        if norm == 0.0:
            return 0.0
        return float(response[0] if len(response) == 1 else np.linalg.norm(response)) / norm


class _GroupedSearch(BestFirst):
    """Best-first search over the cones of a grouped gain."""

    def __init__(self, faces: _GroupedFaces, threshold: float, tol: float) -> None:
        super().__init__(faces, threshold, tol, faces.initial)

    def begin(self, weights: FloatArray, values: FloatArray, stop_above: float) -> None:
        """Take in points that are known, the best one first."""
        values = np.abs(values)
        if len(values) and values[0] > 0.0:
            self.lower, self.weights = float(values[0]), weights[:, 0]
        for u in weights[:, values > stop_above].T:
            if all(u @ other < _SAME_COSINE for other in self.met):
                self.met.append(u)


def grouped_bounds(
    rows: FloatArray,
    values: FloatArray,
    *,
    size: int = 1,
    offsets: IntArray | None = None,
    n_columns: int | None = None,
    linear: FloatArray | None = None,
    threshold: float = 0.0,
    tol: float = 1e-6,
    stop_above: float = math.inf,
    time_limit: float | None = None,
    starts: FloatArray | None = None,
) -> SupportBounds:
    r"""Bound ``H = max {|G(u)| : |u| <= 1}`` from both sides.

    ``G(u) = G_0 u + sum_g E_g t_g psi_g(u)`` with ``psi_g(u) = max(0, x . u of the rows of group g)``.

    Parameters
    ----------
    rows : ndarray of shape (n_groups * size, d)
        Data as the hidden layer sees them; groups are consecutive rows.
    values : ndarray of shape (n_groups, q) or (n_groups,)
        ``t_g``; the second form has q = 1.
    size : int
        Rows in a group.
    offsets : ndarray of int, shape (n_groups,), optional
        First of the q entries of G that a group adds to; 0 by default.
    n_columns : int, optional
        Entries C of G; as many as are needed by default.
    linear : ndarray of shape (C, d), optional
        ``G_0``; zero by default.
    threshold : float
        Upper bounds at or below it need not be tightened.
    tol : float
        Relative difference of the bounds that is small enough.
    stop_above : float
        The search may stop at a point of a larger value.
    time_limit : float, optional
        Seconds; the best bounds so far are returned.
    starts : ndarray of shape (d, m), optional
        Weights from which local ascents begin, besides those `grouped_maxima` chooses.

    Returns
    -------
    SupportBounds
        ``upper <= max(threshold, (1 + tol) lower)``, up to rounding, if the search was complete. It is not
        tried if the rows span more than 14 dimensions, as the cones to begin with are the orthants. With
        several entries `sign` is 1.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    gain = GroupedGain.of(rows, values, size, offsets, n_columns, linear)
    return gain_bounds(
        gain, threshold=threshold, tol=tol, stop_above=stop_above, time_limit=time_limit, starts=starts
    )


def gain_bounds(
    gain: GroupedGain,
    *,
    threshold: float = 0.0,
    tol: float = 1e-6,
    stop_above: float = math.inf,
    time_limit: float | None = None,
    max_nodes: float = math.inf,
    starts: FloatArray | None = None,
) -> SupportBounds:
    """Bound the largest ``|G|`` on the unit ball; see `grouped_bounds`."""
    began = time.perf_counter()
    faces = _GroupedFaces(gain)
    run = _GroupedSearch(faces, threshold, tol)
    run.begin(*ascend(gain, starts, _N_STARTS, 0, time_limit), stop_above)
    feasible = faces.rank <= _LARGEST_RANK or faces.initial <= threshold
    deadline = began + (math.inf if time_limit is None else time_limit)
    complete = feasible and run.run(stop_above, deadline, max_nodes)
    d = gain.rows.shape[1]
    weights = np.zeros(d) if run.weights is None else run.weights
    return SupportBounds(
        lower=run.lower,
        upper=float(run.upper),
        weights=weights,
        sign=math.copysign(1.0, faces.value(weights)),
        n_nodes=run.n_visited,
        complete=complete,
        others=np.array(run.met).reshape(-1, d),
    )
