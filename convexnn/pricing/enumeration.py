r"""The largest gain of a neuron by going through all cells.

On a cell C the gain ``h(u) = g0 . u + sum_i t_i max(x_i . u, 0)`` is ``g . u`` with ``g = g0 + sum t_i x_i``
over the active rows. So ``|g|`` bounds it on the ball, and so does ``|g + sum_r lam_r e_r x_r|`` for any
``lam >= 0``, as ``e_r x_r . u >= 0`` on C; the least of these is the norm of the projection of g on the cone,
which is the maximum. Only cells with ``|g|`` above the largest gain found so far need it.

**Free bias.** If ``sum_i t_i = 0`` and the bias is not penalised, then for given slopes w the gain is
piecewise linear in the bias and constant at both ends. Its maximum is attained at a concave kink,
``-x_j . w`` with ``t_j < 0``. So the largest gain is the largest over these j of the one of the rows ``x_i -
x_j`` without bias, whose rank is one less.

**Rounding.** Bounds are proved by the multipliers, optimal or not, and what follows is added. Sums of n
terms in d dimensions are off by less than ``4 (n + d) eps`` of the sum of the terms' sizes, ``|g0| + sum_i
|t_i| |x_i|`` for gradients and ``|g| + sum_r lam_r`` (unit rows) for shifted ones. The cells are those of
rows within a few eps of X, in units of the largest entry of each column: cells thinner than that, which the
list does not have, are next to ones that it has, and h and the slacks ``e_r x_r . u`` change by no more than
the rows do. Both are bounded by ``16 (n + d + 16) eps`` of the sizes.
"""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from convexnn._jit import kernel
from convexnn._typing import BoolArray, FloatArray, IntArray, WordArray
from convexnn.cones import ConeProjector
from convexnn.patterns.arrangement import Arrangement, count_patterns
from convexnn.patterns.enumerate import check_budget
from convexnn.patterns.stream import found
from convexnn.patterns.witnesses import ResolutionError, ScaledData, check_data
from convexnn.pricing.bounds import SupportBounds, gain, has_free_bias
from convexnn.pricing.local_ascent import local_maxima

__all__ = ["cells_at_most", "enumerate_support"]

_EPS = float(np.finfo(np.float64).eps)
_CELLS_AT_A_TIME = 50_000  # of 100 bytes or so, for each thread
_PROJECTIONS_AT_A_TIME = 512  # between two looks at the largest gain, which may make the others needless
_BYTE_VALUES = 256


def enumerate_support(
    X: FloatArray,
    t: FloatArray,
    *,
    linear: FloatArray | None = None,
    penalized: BoolArray | None = None,
    threshold: float = 0.0,
    time_limit: float | None = None,
    max_patterns: int = 50_000_000,
) -> SupportBounds:
    r"""Bound the largest gain ``max {|h(u)| : |u| <= 1}`` from both sides, tightly, by looking at all cells.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Data as the hidden layer sees them.
    t : ndarray of shape (n,)
        Sums to zero where the bias is free.
    linear : ndarray of shape (d,), optional
        ``g0``; zero for a free bias.
    penalized : ndarray of bool, shape (d,), optional
        Which coordinates enter the norm; all unless given. Only a last column of ones may be left out.
    threshold : float, default=0.0
        Bounds of cells at or below it are not made tighter.
    time_limit : float, optional
        Seconds; at the limit, cells that have not been looked at are bounded by a formula, as are those of
        rows so nearly dependent that float64 cannot tell which cells exist.
    max_patterns : int, default=50_000_000
        Budget of cells.

    Returns
    -------
    SupportBounds
        `upper` is above the larger of `lower` and `threshold` by rounding only, if the search is complete.

    Raises
    ------
    PatternBudgetError
        If more than `max_patterns` cells may exist.
    ValueError
        If a free bias has gains without bound: `t` or the last entry of `linear` do not cancel.
    """
    X, t = check_data(X), np.asarray(t, dtype=np.float64)
    g0 = np.zeros(X.shape[1]) if linear is None else np.asarray(linear, dtype=np.float64)
    free = has_free_bias(X, penalized)
    if free and (abs(math.fsum(t)) > 4 * len(t) * _EPS * np.abs(t).sum() or g0[-1] != 0):
        raise ValueError(
            "With a free bias the gain is bounded only if t sums to zero and the linear part has no bias. "
            f"Got a sum of {math.fsum(t):.3g} and {g0[-1]:.3g}."
        )
    U, _ = local_maxima(X, t, linear=linear, penalized=penalized)
    cover = _Cover(X, t, g0, threshold, math.inf if time_limit is None else time.perf_counter() + time_limit)
    cover.offer(U[:, 0])
    used = np.flatnonzero(t)
    if free and used.size:
        balls = list(_anchored(X[used], t[used], g0))
    else:
        slopes = slice(None, -1 if free else None)
        balls = [_Ball.of(X[used, slopes], t[used], g0[slopes], (1.0, -1.0), X[0, slopes] if free else None)]
    balls.sort(key=lambda ball: -ball.crude)
    allowed = max_patterns
    for ball in balls:
        allowed -= cover.look_into(ball, allowed)
    return cover.result()


def cells_at_most(n_rows: int, rank: int, *, free: bool) -> int:
    """Bound how many cells `enumerate_support` goes through, those of all kinks of a free bias together."""
    if free:
        return n_rows * count_patterns(max(1, n_rows - 1), rank - 1)
    return count_patterns(max(1, n_rows), rank)


@dataclass(frozen=True, eq=False)
class _Ball:
    """A gain without free bias: rows, terms and linear part, of which signs, and how it enters the whole.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    t : ndarray of shape (n,)
    g0 : ndarray of shape (d,)
    signs : tuple of float
        Whether the maximum, the minimum or both are looked for.
    bias : ndarray of shape (d,), optional
        The bias is minus its product with the slopes.
    extents : ndarray of shape (n,)
        What the errors of the rows are relative to.
    crude : float
        A bound.
    """

    rows: FloatArray
    t: FloatArray
    g0: FloatArray
    signs: tuple[float, ...]
    bias: FloatArray | None
    extents: FloatArray
    crude: float

    @classmethod
    def of(
        cls,
        rows: FloatArray,
        t: FloatArray,
        g0: FloatArray,
        signs: tuple[float, ...],
        bias: FloatArray | None = None,
        least_extents: FloatArray | float = 0.0,
    ) -> "_Ball":
        """Compute the extents, and bound ``h = (g0 + X't/2) . u + 1/2 sum_i t_i |x_i . u|`` term by term."""
        columns = np.abs(rows).max(axis=0, initial=0.0)
        largest = np.divide(np.abs(rows), columns, out=np.zeros_like(rows), where=columns > 0)
        extents = np.maximum(largest.max(axis=1, initial=0.0) * np.linalg.norm(columns), least_extents)
        middle, crude = float(np.linalg.norm(g0 + 0.5 * (rows.T @ t))), 0.0
        for sign in signs:
            part = np.maximum(sign * t, 0.0)
            weighted = np.sqrt(part)[:, None] * rows
            stretch = float(np.linalg.norm(weighted.T @ weighted)) if rows.size else 0.0
            apart = min(float(part @ np.linalg.norm(rows, axis=1)), math.sqrt(float(part.sum()) * stretch))
            crude = max(crude, middle + 0.5 * apart)
        n, d = rows.shape
        slack = 16 * (n + d * d + 16) * _EPS * float(np.linalg.norm(g0) + np.abs(t) @ extents)
        return cls(rows, t, g0, signs, bias, extents, crude * (1 + 16 * (n + d) * _EPS) + slack)

    @property
    def rounding(self) -> float:
        """Units of rounding, relative to sizes, that are added."""
        return 16 * (sum(self.rows.shape) + 16) * _EPS

    @property
    def size(self) -> float:
        """``|g0| + sum_i |t_i| |x_i|`` or more."""
        return float(np.linalg.norm(self.g0) + np.abs(self.t) @ self.extents)

    def weights(self, slopes: FloatArray) -> FloatArray:
        """Return a neuron of the whole problem."""
        return slopes if self.bias is None else np.append(slopes, -(self.bias @ slopes))


def _anchored(X: FloatArray, t: FloatArray, g0: FloatArray) -> Iterator[_Ball]:
    """Yield the problems without bias of one with a free bias."""
    features = X[:, :-1]
    lengths = np.linalg.norm(features, axis=1)
    for j in range(len(t)):
        rows = np.ascontiguousarray(features - features[j])
        sign = 1.0 if t[j] < 0 else -1.0
        yield _Ball.of(rows, t, g0[:-1], (sign,), features[j], lengths + lengths[j])


@dataclass(eq=False)
class _Cover:
    """What is known so far of a problem that is looked at ball by ball."""

    X: FloatArray
    t: FloatArray
    g0: FloatArray
    threshold: float
    deadline: float
    lower: float = 0.0
    upper: float = 0.0
    sign: float = 1.0
    n_nodes: int = 0
    complete: bool = True
    weights: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Start without a neuron."""
        self.weights = np.zeros(self.X.shape[1])

    @property
    def level(self) -> float:
        """Bounds that are no larger need not be made tighter."""
        return max(self.threshold, self.lower)

    def result(self) -> SupportBounds:
        """Return the bounds."""
        upper = max(self.upper, self.lower)
        return SupportBounds(self.lower, upper, self.weights, self.sign, self.n_nodes, self.complete)

    def offer(self, weights: FloatArray) -> None:
        """Keep a neuron if it gains more."""
        value = float(gain(self.X, self.t, self.g0, weights[:, None])[0])
        if abs(value) > self.lower:
            self.lower, self.sign, self.weights = abs(value), math.copysign(1.0, value), weights.copy()

    def look_into(self, ball: _Ball, max_patterns: int) -> int:
        """Bound the gain on a ball; return how many cells it may have had."""
        if ball.crude <= self.level or time.perf_counter() > self.deadline:
            self.complete &= ball.crude <= self.level
            self.upper = max(self.upper, ball.crude)
            return 0
        if not ball.rows.any():
            self.upper = max(self.upper, ball.crude)
            if ball.g0.any():
                self.offer(ball.weights(ball.g0 / np.linalg.norm(ball.g0)))
            return 0
        data = ScaledData.of(ball.rows)
        arrangement = Arrangement.of(data)
        check_budget(data, arrangement, max_patterns)
        before = self.n_nodes
        try:
            finished = self._look_at_all(ball, found(data, arrangement, _CELLS_AT_A_TIME))
        except ResolutionError:
            finished = False
        if not finished:
            self.upper, self.complete = max(self.upper, ball.crude), False
        return self.n_nodes - before

    def _look_at_all(self, ball: _Ball, cells: Generator[tuple[WordArray, FloatArray], None, None]) -> bool:
        """Bound the gain on all cells of a ball; return whether there was time for that."""
        gradients = _Gradients(ball)
        with closing(cells):
            for bits, _ in cells:
                self._look_at(ball, gradients, bits)
                self.n_nodes += len(bits)
                if time.perf_counter() > self.deadline:
                    return False
        return True

    def _look_at(self, ball: _Ball, gradients: "_Gradients", bits: WordArray) -> None:
        """Bound the gain on some cells."""
        owners, vectors, rest = gradients.above(bits, self.level)
        self.upper = max(self.upper, rest)
        norms = np.linalg.norm(vectors, axis=1)
        waiting = np.argsort(-norms, kind="stable")
        while waiting.size:
            chunk, waiting = waiting[:_PROJECTIONS_AT_A_TIME], waiting[_PROJECTIONS_AT_A_TIME:]
            for sign in ball.signs:
                bounds, shifted = gradients.projected(bits, owners[chunk], sign * vectors[chunk], self.level)
                self.upper = max(self.upper, float(bounds.max()))
                best = shifted[bounds.argmax()]
                length = float(np.linalg.norm(best))
                if length > self.lower:
                    self.offer(ball.weights(best / length))
            left = norms[waiting] > self.level
            self.upper = max(self.upper, gradients.bound(float(norms[waiting][~left].max(initial=0.0))))
            waiting = waiting[left]


class _Gradients:
    """The gradients of the cells of a ball, and bounds from them.

    Parameters
    ----------
    ball : _Ball
    """

    def __init__(self, ball: _Ball) -> None:
        self._ball = ball
        n, d = ball.rows.shape
        lengths = np.linalg.norm(ball.rows, axis=1)
        self._lengths = np.where(lengths > 0, lengths, 1.0)
        self._unit = ball.rows / self._lengths[:, None]
        self._steepness = ball.extents / self._lengths
        terms = np.zeros((-(-n // 64) * 64, d))
        terms[:n] = ball.t[:, None] * ball.rows
        # Sums over the rows of each byte, for all its values.
        self._sums = np.zeros((len(terms) // 8, _BYTE_VALUES, d))
        for bit in range(8):
            low = 1 << bit
            self._sums[:, low : 2 * low] = self._sums[:, :low] + terms[bit::8, None]
        self._twice = 2 * ball.g0 + terms.sum(axis=0)
        self._slack = 2 * ball.rounding * ball.size

    def bound(self, norm: float) -> float:
        """Return the bound of the gain on cells whose gradients, as computed, have norms up to `norm`."""
        return norm * (1 + self._ball.rounding) + self._slack if norm > 0 else 0.0

    def above(self, bits: WordArray, level: float) -> tuple[IntArray, FloatArray, float]:
        """Return cells with gradients longer than `level`, those gradients, and a bound for the others."""
        owners = np.empty(len(bits), dtype=np.intp)
        vectors = np.empty((len(bits), self._ball.rows.shape[1]))
        count, rest = _long_gradients(bits, self._sums, self._ball.g0, self._twice, level**2, owners, vectors)
        return owners[:count], vectors[:count], self.bound(math.sqrt(rest))

    def projected(
        self, bits: WordArray, owners: IntArray, vectors: FloatArray, level: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return bounds of ``vectors . u`` on the cells of their owners, and the vectors that prove them."""
        rows, everything = self._ball.rows, np.ones(vectors.shape[1], dtype=np.bool_)
        projector = ConeProjector(rows, bits, self._lengths, everything)
        _, active, multipliers = projector.project(owners, vectors, level)
        index = np.maximum(active, 0).astype(np.intp)
        factors = np.where(active >= 0, np.maximum(multipliers, 0.0), 0.0)
        words = bits[owners[:, None], index >> 6] >> (index & 63).astype(np.uint64)
        signs = np.where(words & np.uint64(1), 1.0, -1.0)
        shifted = vectors + np.einsum("br,brc->bc", signs * factors, self._unit[index])
        reach = np.linalg.norm(vectors, axis=1) + (factors * self._steepness[index]).sum(axis=1)
        bounds = np.linalg.norm(shifted, axis=1) + self._ball.rounding * reach + self._slack
        return bounds, shifted


@kernel
def _long_gradients(
    bits: WordArray,
    sums: FloatArray,
    g0: FloatArray,
    twice: FloatArray,
    square: float,
    owners: IntArray,
    vectors: FloatArray,
) -> tuple[int, float]:
    """Write the gradients longer than the root of `square`; their number, the largest square of the others.

    Patterns come in pairs of opposites, whose gradients add up to `twice`.
    """
    d, count, rest = g0.shape[0], 0, 0.0
    gradient = np.empty(d)
    for p in range(0, bits.shape[0], 2):
        for c in range(d):
            gradient[c] = g0[c]
        for w in range(bits.shape[1]):
            word = bits[p, w]
            for b in range(8):
                value = (word >> np.uint64(8 * b)) & np.uint64(255)
                for c in range(d):
                    gradient[c] += sums[8 * w + b, value, c]
        for opposite in range(2):
            length = 0.0
            for c in range(d):
                vectors[count, c] = twice[c] - gradient[c] if opposite else gradient[c]
                length += vectors[count, c] ** 2
            if length > square:
                owners[count] = p + opposite
                count += 1
            else:
                rest = max(rest, length)
    return count, rest
