r"""The largest gain of a neuron over all patterns, by branch and bound over cones of weights.

.. math:: H = \max_{|u| \le 1} |h(u)|, \qquad h(u) = g_0 \cdot u + \sum_i t_i \max(x_i \cdot u, 0)

**Bound.** Let a simplicial cone have the unit vertices :math:`v_1, \dots, v_r`, and
:math:`u = \sum_k \lambda_k v_k` with :math:`\lambda \ge 0`. A kink with :math:`t_i > 0` is convex and lies
below its chord, :math:`\max(x_i \cdot u, 0) \le \sum_k \lambda_k \max(x_i \cdot v_k, 0)`; the chord is
linear in u, and exact where the row does not change sign among the vertices. A kink with :math:`t_i < 0`
is concave and is kept. So h lies below

.. math:: \varphi(u) = z \cdot u - \sum_{t_i < 0} |t_i| \max(x_i \cdot u, 0),

and the maximum of that over the cone within the ball is a convex problem in r variables. For every
:math:`a_i \in [0, 1]` and every s

.. math:: \max_{u \in C, |u| \le 1} \varphi(u) \le |s| + \sqrt r \max_k (c_k - v_k \cdot s)_+,
          \qquad c_k = z \cdot v_k - \sum_i |t_i| a_i\, x_i \cdot v_k,

because :math:`\varphi(u) \le \sum_k \lambda_k c_k = s \cdot u + \sum_k \lambda_k (c_k - v_k \cdot s)` and
:math:`\sum_k \lambda_k \le \sqrt r`: vertices are at most at right angles, so that
:math:`|u|^2 \ge \sum_k \lambda_k^2`. The bound so computed is valid whatever the solver of the convex problem
returned. Chords are second-order accurate in the size of the cone, so that few cones are visited, and none of
the argument asks for general position: repeated, opposite, dependent rows are as good as any.

**Roots.** ``h(u) = g . u + 1/2 sum_i t_i |x_i . u|`` with ``g = g0 + 1/2 sum_i t_i x_i``; the second part is
even, so that h is largest where ``g . u >= 0``. The cones of an orthonormal frame whose first axis is along g
cover that half space.

**Branching.** The edge with the loosest chords near the maximiser of the relaxation is cut where its kinks
are. A cone in which no convex kink is left has an exact bound; with ``tol > 0`` the search ends after
finitely many cones, as the documentation proves.

**Bias without norm.** If ``sum_i t_i = 0``, then for fixed slopes w the function of b is piecewise linear
and bounded, and attains its maximum at a concave kink ``b = -x_j . w`` with ``t_j < 0`` (or is constant).
Hence H is the largest over such rows j of the same problem in the rows ``x_i - x_j``.

**Rounding.** Every bound is raised by an amount that covers what float64 can have changed: heights are
computed anew from the rows and the vertices with an error of ``r eps |x_i|``, sums over rows have an error
of ``n eps sum_i |t_i| |x_i|``, and a rounded vertex moves the cones that share it by a few eps, once for
every level of the search.
"""

import math
import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.pricing._search import SearchSpace, search
from convexnn.pricing.best_first import DEPTH, BestFirst
from convexnn.pricing.bounds import SupportBounds

__all__ = ["cone_operations", "span", "support_bounds"]

_EPS = float(np.finfo(np.float64).eps)
_FACES_REMEMBERED = 64  # four times those that a round searches
_BALANCED = 1e-9  # sum of t that counts as zero, relative to that of the absolute values


@dataclass(frozen=True, eq=False)
class _GainFace:
    """One maximisation: rows without repetition, in coordinates of their span.

    Attributes
    ----------
    rows : ndarray of shape (m, r)
    weights : ndarray of shape (m,)
    linear : ndarray of shape (r,)
    basis : ndarray of shape (d, r)
        ``basis @ w`` are the weights with coordinates w.
    slack : float
        What rounding can have taken from a bound.
    """

    rows: FloatArray
    weights: FloatArray
    linear: FloatArray
    basis: FloatArray
    slack: float

    @classmethod
    def of(cls, rows: FloatArray, weights: FloatArray, linear: FloatArray) -> "_GainFace":
        """Drop zero rows and pass to the span."""
        n, d = rows.shape
        size = _size(rows, weights, linear)
        used = rows.any(axis=1)
        rows, weights = rows[used], weights[used]
        basis = span(np.vstack([rows, linear]))
        inside = np.ascontiguousarray(rows @ basis)
        lost = float(np.abs(weights) @ np.linalg.norm(rows - inside @ basis.T, axis=1))
        slack = 2 * lost + _EPS * size * math.sqrt(max(d, 1)) * (4 * n + 10 * d + 8 * DEPTH)
        return cls(inside, weights, np.asarray(linear @ basis), basis, slack)

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
        return search(
            cone,
            bound,
            self.rows,
            self.weights,
            self.linear,
            threshold,
            self.slack,
            tol,
            max_nodes,
            best,
            stack,
            bounds,
            record,
            SearchSpace.of(len(self.rows), len(cone), len(stack)),
        )

    def roots(self) -> FloatArray:
        """Vertices of cones that cover the half space in which h is largest, shape (2**(r-1), r, r)."""
        r = self.rows.shape[1]
        if r == 0:
            return np.empty((0, 0, 0))
        first = self.linear + 0.5 * self.weights @ self.rows
        if not first.any():
            first = np.eye(r)[0]
        frame = np.linalg.qr(np.column_stack([first, np.eye(r)]))[0].T
        frame[0] *= math.copysign(1.0, float(frame[0] @ first))
        signs = 1.0 - 2.0 * (np.arange(2 ** (r - 1))[:, None] >> np.arange(r - 1) & 1)
        signs = np.hstack([np.ones((len(signs), 1)), signs])
        roots: FloatArray = signs[:, :, None] * frame
        return roots


def _merged(
    X: FloatArray, t: FloatArray, linear: FloatArray, opposite: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Add up the weights of equal rows and, if asked for, of opposite ones.

    These follow from ``max(x.u, 0) = max(-x.u, 0) + x.u``.
    """
    used = (t != 0) & X.any(axis=1)
    X, t = X[used], t[used]
    if not len(X):
        return X, t, linear
    signs = np.ones(len(X))
    if opposite:
        signs = np.sign(X[np.arange(len(X)), (X != 0).argmax(axis=1)])
    linear = linear + np.where(signs < 0, t, 0.0) @ X
    rows, group = np.unique(signs[:, None] * X, axis=0, return_inverse=True)
    weights = np.bincount(group.ravel(), weights=t, minlength=len(rows))
    left = weights != 0
    return rows[left], weights[left], linear


def span(vectors: FloatArray) -> FloatArray:
    """Orthonormal basis of the span of rows, shape (d, r); the identity where that is everything."""
    d = vectors.shape[1]
    lengths = np.linalg.norm(vectors, axis=1)
    vectors = vectors[lengths > 0] / lengths[lengths > 0, None]
    if not len(vectors):
        return np.zeros((d, 0))
    _, values, basis = np.linalg.svd(vectors, full_matrices=False)
    rank = int(np.count_nonzero(values > max(vectors.shape) * _EPS * values[0]))
    return np.eye(d) if rank == d else np.ascontiguousarray(basis[:rank].T)


def _size(X: FloatArray, t: FloatArray, linear: FloatArray) -> float:
    """``|g0| + sum_i |t_i| |x_i|``, rounded up: no less than H."""
    size = np.linalg.norm(linear) + np.abs(t) @ np.linalg.norm(X, axis=1)
    return float(size * (1 + 2 * (len(X) + X.shape[1] + 4) * _EPS))


class _Faces:
    """The maximisations that a problem consists of.

    There is one for either sign of h or, if the bias has no norm, one for each row at whose kink it may be.
    """

    def __init__(self, X: FloatArray, t: FloatArray, linear: FloatArray, free: int | None) -> None:
        self._whole = X, t, linear
        self._summing = 2 * _EPS * len(X) * _size(X, t, linear)
        X, t, linear = _merged(X, t, linear, opposite=free is None)
        self._X, self._t, self._linear, self._free = X, t, linear, free
        self._slopes = X if free is None else np.delete(X, free, axis=1)
        self._flat = linear if free is None else np.delete(linear, free)
        self._faces: dict[int, _GainFace] = {}
        self._lock = threading.Lock()

    @property
    def keys(self) -> list[int]:
        """Numbers of the faces: ``+-(j + 1)`` for the sign of h and, where it matters, the kink j."""
        if self._free is None or not len(self._t):
            return [1, -1]
        return [int(-math.copysign(j + 1, value)) for j, value in enumerate(self._t.tolist())]

    @property
    def operations(self) -> float:
        """About how many multiplications the bound of a cone takes."""
        return cone_operations(*self._X.shape)

    def face(self, key: int) -> _GainFace:
        """Return a face; the last ones are remembered."""
        with self._lock:
            face = self._faces.get(key)
        if face is None:
            face = self._built(key)
            with self._lock:
                if len(self._faces) >= _FACES_REMEMBERED:
                    self._faces.clear()
                self._faces[key] = face
        return face

    def _built(self, key: int) -> _GainFace:
        sign = math.copysign(1.0, key)
        rows, rounded = self._slopes, self._summing
        if self._free is not None and len(self._t):
            rows = self._slopes - self._slopes[abs(key) - 1]
            lengths = np.linalg.norm(self._slopes, axis=1)
            rounded += 2 * _EPS * float(np.abs(self._t) @ (lengths + lengths[abs(key) - 1]))
        face = _GainFace.of(rows, sign * self._t, sign * self._flat)
        return replace(face, slack=face.slack + rounded)

    def weights(self, key: int, u: FloatArray) -> FloatArray:
        """Return the weights of coordinates u in a face."""
        slopes = self.face(key).basis @ (u / np.linalg.norm(u))
        if self._free is None:
            return slopes
        kink = self._slopes[abs(key) - 1] if len(self._t) else np.zeros_like(slopes)
        return np.insert(slopes, self._free, -kink @ slopes)

    def value(self, weights: FloatArray) -> float:
        """``h(u) / |u|``."""
        X, t, linear = self._whole
        value = linear @ weights + t @ np.maximum(X @ weights, 0.0)
        norm = np.linalg.norm(weights if self._free is None else np.delete(weights, self._free))
        return float(value / norm) if norm > 0 else 0.0


def support_bounds(
    X: FloatArray,
    t: FloatArray,
    *,
    linear: FloatArray | None = None,
    penalized: BoolArray | None = None,
    threshold: float = 0.0,
    tol: float = 1e-7,
    stop_above: float = math.inf,
    time_limit: float | None = None,
    max_nodes: float = math.inf,
) -> SupportBounds:
    r"""Bound ``H = max {|h(u)| : |u| <= 1}`` from both sides, ``h(u) = g0 . u + sum_i t_i max(x_i . u, 0)``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Data as the hidden layer sees it.
    t : ndarray of shape (n,)
    linear : ndarray of shape (d,), optional
        ``g0``; zero by default.
    penalized : ndarray of bool, shape (d,), optional
        Which coordinates the norm counts, all by default. One may be left out if its column is constant,
        not zero, ``sum_i t_i = 0`` and ``g0`` is zero there.
    threshold : float
        Upper bounds at or below it need not be tightened.
    tol : float
        Relative difference of the bounds that is small enough.
    stop_above : float
        The search may stop at a point of a larger value.
    time_limit : float, optional
        Seconds; the best bounds so far are returned.
    max_nodes : float
        Cones to look at, about; the best bounds so far are returned.

    Returns
    -------
    SupportBounds
        ``upper <= max(threshold, (1 + tol) lower)``, up to rounding, if the search was complete.

    Raises
    ------
    ValueError
        If the coordinate without a norm has not the properties named.
    """
    began = time.perf_counter()
    X, t = np.ascontiguousarray(X, dtype=np.float64), np.asarray(t, dtype=np.float64)
    linear = np.zeros(X.shape[1]) if linear is None else np.asarray(linear, dtype=np.float64)
    faces = _Faces(X, t, linear, _free_coordinate(X, t, linear, penalized))
    run = BestFirst(faces, threshold, tol, _size(X, t, linear))
    complete = run.run(stop_above, began + (math.inf if time_limit is None else time_limit), max_nodes)
    weights = np.zeros(X.shape[1]) if run.weights is None else run.weights
    return SupportBounds(
        lower=run.lower,
        upper=float(run.upper),
        weights=weights,
        sign=math.copysign(1.0, faces.value(weights)),
        n_nodes=run.n_visited,
        complete=complete,
        others=np.array(run.met).reshape(-1, X.shape[1]),
    )


def cone_operations(n_rows: int, rank: int) -> float:
    """About how many multiplications, of 7 ns each, the bound of a cone takes, its share of the rest too."""
    return float(n_rows * rank**2 + 500)


def _free_coordinate(
    X: FloatArray, t: FloatArray, linear: FloatArray, penalized: BoolArray | None
) -> int | None:
    """Return the coordinate without a norm, if there is one."""
    free = np.flatnonzero(~np.asarray(penalized)) if penalized is not None else np.empty(0, dtype=np.intp)
    if not len(free):
        return None
    column, size = X[:, free[0]], float(np.abs(t).sum())
    if len(free) > 1 or (column != column[0]).any() or column[0] == 0:
        raise ValueError(
            "Only one coordinate may be without a norm, and its column must be constant. "
            f"Got {len(free)} of them, with values from {column.min():.6g} to {column.max():.6g}."
        )
    if abs(math.fsum(t)) > _BALANCED * size or abs(linear[free[0]]) > _BALANCED * size * abs(column[0]):
        raise ValueError(
            "With a bias that has no norm, t must sum to zero, else H is infinite. "
            f"Got a sum of {t.sum():.6g}."
        )
    return int(free[0])
