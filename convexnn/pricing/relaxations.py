r"""Upper bounds of the largest gain of a neuron for data of any size and rank.

With ``(z)+ = (z + |z|) / 2`` the gain is ``h(u) = g0 . u + 1/2 sum_i t_i (z_i + |z_i|)``, ``z_i = x_i . u``.
On the ball ``|u| <= 1``, for any ``c_i > 0``, ``0 <= k_i <= 1`` and ``|v_i| <= 1 - k_i``,

    |z_i| <= (z_i^2 / c_i + c_i) / 2        where t_i > 0,
    |z_i| >= k_i z_i^2 / |x_i| + v_i z_i    where t_i < 0,

so that ``h(u) <= e + b . u + u' Q u`` with a constant e, a vector b and a matrix Q, and for every
``l >= 0`` above the largest eigenvalue of Q

    h(u) <= e + l + 1/4 b' (l I - Q)^-1 b.

The semidefinite bound is the least of these. Its dual maximises over the mean ``m`` and the second moments
``M >= m m'``, ``tr M <= 1``, of a random u; without negative ``t_i`` and linear part it is the semidefinite
relaxation ``max_s |X' diag(t) s|`` over sign vectors, as ``c_i^2 = x_i' M x_i`` at the optimum. The closed
form takes ``c_i`` constant, or proportional to ``|x_i|``, and b apart.

**Free bias.** If ``sum_i t_i = 0`` and the bias is not penalised, then for given slopes w the gain is
piecewise linear in the bias, constant at both ends, and attains its maximum at a concave kink: at ``-x_j .
w`` with ``t_j < 0``. So the bound is the largest over these j of the bounds of the rows ``x_i - x_j``
without bias. Bounds in closed form with ``c_i`` constant cost little for all of them together; then the
loosest are tightened first, since only the largest counts.

**Rounding.** Parameters need not be optimal: every choice proves a bound. What is rounded is forming e, b
and Q (sums of n terms), the eigenvalue decomposition (backward stable) and the final formula, each to a
relative ``O(n + d^2)`` units of rounding of ``sum_i |t_i| |x_i| + |g0|``, and more where Q is larger than
that: a multiple of that is added.

References
----------
Goemans and Williamson, J. ACM 42 (1995); Boyd and Vandenberghe, "Convex optimization", appendix B.1.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, minimize, minimize_scalar

from convexnn._typing import BoolArray, FloatArray
from convexnn.pricing.bounds import SupportBounds, gain, has_free_bias
from convexnn.pricing.local_ascent import local_maxima

__all__ = ["closed_form", "semidefinite"]

_EPS = float(np.finfo(np.float64).eps)
# Measured: BLAS does so many multiplications in the time of one, and calls of NumPy take that of so many.
_AT_A_TIME, _SURROUNDING = 300, 50_000
_BARRIER = 1e-3  # relative to the scale of the bound; what it costs is less than that
_MAX_STEPS = 60  # of L-BFGS: measured, the bound falls by less than 1e-3 afterwards
# Entries of matrices that are in memory at a time: 32 MB.
_ENTRIES = 4_000_000
# Of a limit of time, what the local ascents may take: the bounds are what counts.
_ASCENDING_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class _Task:
    """One ball to bound: ``h(u) <= bound`` for ``|u| <= 1`` with rows Z, terms t and linear part g0."""

    Z: FloatArray
    t: FloatArray
    g0: FloatArray

    @property
    def size(self) -> float:
        """``|g0| + sum_i |t_i| |z_i|``, the scale of all figures."""
        return float(np.linalg.norm(self.g0) + np.abs(self.t) @ np.linalg.norm(self.Z, axis=1))

    @property
    def form_operations(self) -> float:
        """What a quadratic form and its eigenvalues take, in multiplications of 7 ns as cones are counted."""
        n, d = self.Z.shape
        return float((3 * n * d * d + 10 * d**3) / _AT_A_TIME + _SURROUNDING)

    def rounding(self, parts: float) -> float:
        """Bound of what rounding does to figures whose parts add up to `parts`."""
        n, d = self.Z.shape
        return float(16 * (n + d * d + 16) * _EPS * parts)


def closed_form(
    X: FloatArray,
    t: FloatArray,
    *,
    linear: FloatArray | None = None,
    penalized: BoolArray | None = None,
    threshold: float = 0.0,
    time_limit: float | None = None,
) -> SupportBounds:
    r"""Bound the largest gain by eigenvalues: ``|g0 + X't/2| + 1/2 sqrt(sum t+ * lmax(X' diag(t+) X))``.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Data as the hidden layer sees them.
    t : ndarray of shape (n,)
        Sums to zero where the bias is free.
    linear : ndarray of shape (d,), optional
        ``g0``.
    penalized : ndarray of bool, shape (d,), optional
        Which coordinates enter the norm; all unless given. Only a last column of ones may be left out.
    threshold : float
        Bounds at or below it are not made tighter.
    time_limit : float, optional
        Seconds; at the limit simpler bounds stand.

    Returns
    -------
    SupportBounds
        `lower` is from local ascents.
    """
    limits = (threshold, time_limit, math.inf)
    return _relaxed(X, t, linear, penalized, limits, [(_by_eigenvalues, 2)])


def semidefinite(
    X: FloatArray,
    t: FloatArray,
    *,
    linear: FloatArray | None = None,
    penalized: BoolArray | None = None,
    threshold: float = 0.0,
    time_limit: float | None = None,
    max_operations: float = math.inf,
) -> SupportBounds:
    """Bound the largest gain by the semidefinite relaxation; parameters as for `closed_form`.

    Parameters
    ----------
    X, t, linear, penalized, threshold, time_limit
        See `closed_form`.
    max_operations : float
        Multiplications of 7 ns, about; at the limit simpler bounds stand.

    Returns
    -------
    SupportBounds
        Never looser than that of `closed_form` within the limits.
    """
    limits = (threshold, time_limit, max_operations)
    return _relaxed(X, t, linear, penalized, limits, [(_by_eigenvalues, 2), (_by_moments, 2 * _MAX_STEPS)])


def _relaxed(
    X: FloatArray,
    t: FloatArray,
    linear: FloatArray | None,
    penalized: BoolArray | None,
    limits: tuple[float, float | None, float],
    levels: list[tuple[Callable[[_Task, float], float], int]],
) -> SupportBounds:
    """Tighten the largest of the tasks' bounds, level by level, until the largest is final.

    A level is a bound, and about how many quadratic forms it looks at.
    """
    threshold, time_limit, max_operations = limits
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
    free = has_free_bias(X, penalized)
    ascending = None if time_limit is None else _ASCENDING_SHARE * time_limit
    U, values = local_maxima(X, t, linear=linear, penalized=penalized, time_limit=ascending)
    lower = abs(float(values[0]))
    g0 = np.zeros(X.shape[1]) if linear is None else linear
    rows = {sign: np.flatnonzero(sign * t < 0).tolist() if free else [-1] for sign in (1.0, -1.0)}
    anchors: list[tuple[float, int]] = [(sign, j) for sign, found in rows.items() for j in found]
    bounds = _at_first(X, t, g0, free, anchors)
    level = np.zeros(len(anchors), dtype=int)
    n_nodes, operations = 0, 0.0
    while anchors:
        worst = int(bounds.argmax())
        done = level[worst] == len(levels) or bounds[worst] <= max(threshold, lower)
        if done or (n_nodes and (operations > max_operations or time.perf_counter() > deadline)):
            break
        sign, j = anchors[worst]
        Z = X[:, :-1] - X[j, :-1] if free else X
        task = _Task(Z, sign * t, sign * (g0[:-1] if free else g0))
        bound, n_forms = levels[level[worst]]
        bounds[worst] = min(bounds[worst], bound(task, deadline))
        operations += n_forms * task.form_operations
        level[worst] += 1
        n_nodes += 1
    else:
        done = True
    upper = max(float(bounds.max(initial=0.0)), 0.0)
    sign = 1.0 if float(gain(X, t, linear, U[:, :1])[0]) >= 0 else -1.0
    return SupportBounds(lower, max(upper, lower), U[:, 0].copy(), sign, n_nodes, bool(done))


def _at_first(
    X: FloatArray, t: FloatArray, g0: FloatArray, free: bool, anchors: list[tuple[float, int]]
) -> FloatArray:
    """``|g0 + X't/2| + 1/2 sum_i |t_i| |x_i - x_j|`` of each task, distances by way of the centre.

    With a free bias it is the less of that and of `_by_moments_of_inertia`.
    """
    if not anchors:
        return np.zeros(0)
    features = X[:, :-1] if free else X
    centre = features.mean(axis=0) if free else np.zeros(features.shape[1])
    distance = np.linalg.norm(features - centre, axis=1)
    radius = np.array([distance[j] if j >= 0 else 0.0 for _, j in anchors])
    spread = np.abs(t) @ distance + np.abs(t).sum() * radius
    half = np.linalg.norm(g0[: features.shape[1]] + 0.5 * ((features - centre).T @ t))
    reach = np.linalg.norm(g0) + np.abs(t) @ np.linalg.norm(X, axis=1) + spread
    kinks = 0.5 * spread
    if free:
        kinks = np.minimum(kinks, _by_moments_of_inertia(features, t, anchors))
    return np.asarray(half + kinks + 16 * (len(X) + 16) * _EPS * reach)


def _by_moments_of_inertia(
    features: FloatArray, t: FloatArray, anchors: list[tuple[float, int]]
) -> FloatArray:
    """``1/2 sqrt(T lmax(sum_i t_i+ (x_i - x_j) (x_i - x_j)'))`` of all tasks, T the sum of the ``t_i+``.

    By Steiner's theorem the matrix is that about the weighted mean c plus ``T (x_j - c) (x_j - c)'``, so that
    no task needs all rows. That c is rounded changes it by less than what is added.
    """
    n, d = features.shape
    signs, rows = np.array([sign for sign, _ in anchors]), np.array([j for _, j in anchors])
    bounds = np.zeros(len(anchors))
    for sign in (1.0, -1.0):
        up = sign * t > 0
        weights = np.abs(t[up])
        total = float(weights.sum())
        if total == 0.0:
            continue
        mean = weights @ features[up] / total
        around = features[up] - mean
        inertia = around.T @ (weights[:, None] * around)
        lengths = np.linalg.norm(around, axis=1)
        step = max(1, _ENTRIES // (d * d))
        own = np.flatnonzero(signs == sign)
        for part in (own[low : low + step] for low in range(0, len(own), step)):
            away = features[rows[part]] - mean
            size = np.linalg.norm(away, axis=1)
            matrices = inertia + total * away[:, :, None] * away[:, None, :]
            parts = weights @ lengths**2 + total * size**2 + 2 * (weights @ lengths) * size
            largest = np.maximum(np.linalg.eigvalsh(matrices)[:, -1], 0.0)
            largest += 16 * (n + d * d + 16) * _EPS * parts
            bounds[part] = 0.5 * np.sqrt(total * largest) * (1 + 16 * (n + 16) * _EPS)
    return bounds


def _by_eigenvalues(task: _Task, deadline: float) -> float:
    """Return the best of the bounds in closed form."""
    del deadline
    Z, t = task.Z, task.t
    up = t > 0
    norms = np.linalg.norm(Z, axis=1)
    half = float(np.linalg.norm(task.g0 + 0.5 * (Z.T @ t)))
    best = half + 0.5 * float(t[up] @ norms[up]) + task.rounding(task.size)
    used = up & (norms > 0)
    for shape in (np.ones(int(used.sum())), norms[used]):
        rows = Z[used] * np.sqrt(t[used] / shape)[:, None]
        total = float(t[used] @ shape)
        if total == 0:
            break
        largest = float(np.linalg.eigvalsh(rows.T @ rows)[-1])
        largest = max(largest, 0.0) + task.rounding(float(np.sum(rows**2)))
        best = min(best, half + 0.5 * math.sqrt(total * largest) + task.rounding(task.size))
    return best


def _by_moments(task: _Task, deadline: float) -> float:
    """Minimise the quadratic bound over its parameters; every point visited would prove a bound."""

    def check_time(intermediate_result: OptimizeResult) -> None:
        del intermediate_result
        if time.perf_counter() > deadline:
            raise StopIteration

    size = task.size
    if size == 0 or not math.isfinite(size):
        return size
    used = (task.t != 0) & (np.linalg.norm(task.Z, axis=1) > 0)
    if not used.any():
        return float(np.linalg.norm(task.g0)) + task.rounding(size)
    scaled = _Task(task.Z[used], task.t[used] / size, task.g0 / size)
    bound = _QuadraticBound(scaled)
    start = bound.start()
    found = minimize(
        bound.value_and_gradient,
        start,
        args=(_BARRIER / scaled.Z.shape[1],),
        jac=True,
        method="L-BFGS-B",
        bounds=bound.box(),
        callback=check_time,
        options={"maxiter": _MAX_STEPS},
    )
    best = min(bound.proved(start), bound.proved(found.x))
    return best * size * (1 + 4 * _EPS)


class _QuadraticBound:
    """The bound of the module's text as a function of ``log c`` and of logits of ``(k, v+, v-)``."""

    def __init__(self, task: _Task) -> None:
        self.task = task
        up = task.t > 0
        self.above, self.below = task.Z[up], task.Z[~up]
        self.t_above, self.t_below = task.t[up], -task.t[~up]
        # Above the norms as rounded, so that z^2 / reach <= |z| is certain.
        self.reach = np.linalg.norm(self.below, axis=1) * (1 + 64 * _EPS * task.Z.shape[1])
        self.half = task.g0 + 0.5 * (task.Z.T @ task.t)

    def start(self) -> FloatArray:
        """Return parameters with ``c_i`` proportional to ``|x_i|`` and even shares."""
        radius = np.linalg.norm(self.above, axis=1) / math.sqrt(self.task.Z.shape[1])
        return np.concatenate([np.log(radius), np.zeros(3 * len(self.below))])

    def box(self) -> list[tuple[float, float]]:
        """Return ranges that keep all figures far from overflow and hold good parameters."""
        radius = np.log(np.linalg.norm(self.above, axis=1))
        return [(x - 12.0, x + 2.0) for x in radius] + [(-25.0, 25.0)] * (3 * len(self.below))

    def _shares(self, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        c = np.exp(parameters[: len(self.above)])
        logits = parameters[len(self.above) :].reshape(3, -1)
        shares = np.exp(logits - logits.max(axis=0, initial=-np.inf))
        return c, shares / shares.sum(axis=0)

    def _form(self, c: FloatArray, shares: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Return constant, linear and quadratic part."""
        tilt = 0.5 * self.t_below * (shares[1] - shares[2])
        linear = self.half - self.below.T @ tilt
        bend = self.below.T @ ((0.5 * self.t_below * shares[0] / self.reach)[:, None] * self.below)
        quadratic = self.above.T @ ((0.25 * self.t_above / c)[:, None] * self.above) - bend
        return 0.25 * float(self.t_above @ c), linear, quadratic

    def value_and_gradient(self, parameters: FloatArray, barrier: float) -> tuple[float, FloatArray]:
        """Return the bound with ``-barrier * log det(l I - Q)`` added, least over l, and its gradient."""
        c, shares = self._shares(parameters)
        constant, linear, quadratic = self._form(c, shares)
        eigenvalues, axes = np.linalg.eigh(quadratic)
        b = axes.T @ linear
        level = _best_level(b, eigenvalues, barrier)
        room = level - eigenvalues
        value = constant + level + 0.25 * float(np.sum(b**2 / room)) - barrier * float(np.sum(np.log(room)))
        mean = axes @ (0.5 * b / room)
        moments = np.outer(mean, mean) + (axes * (barrier / room)) @ axes.T
        second = np.sum(self.above @ moments * self.above, axis=1)
        upward = 0.25 * self.t_above * (c - second / c)
        z, squares = self.below @ mean, np.sum(self.below @ moments * self.below, axis=1)
        by_share = -0.5 * self.t_below * np.stack([squares / self.reach, z, -z])
        downward = shares * (by_share - np.sum(shares * by_share, axis=0))
        return value, np.concatenate([upward, downward.ravel()])

    def proved(self, parameters: FloatArray) -> float:
        """Return the bound at these parameters, rounding included."""
        c, shares = self._shares(parameters)
        # Shares that add up to a little more than one would claim too much.
        shares = shares * (1 - 8 * _EPS)
        constant, linear, quadratic = self._form(c, shares)
        eigenvalues, axes = np.linalg.eigh(quadratic)
        squares = float(np.sum((0.25 * self.t_above / c)[:, None] * self.above**2))
        parts = self.task.size + constant + squares + float(np.abs(quadratic).sum())
        eigenvalues = eigenvalues + self.task.rounding(parts)
        b = axes.T @ linear
        level = _best_level(b, eigenvalues, 0.0)
        tail = 0.25 * float(np.sum(b**2 / (level - eigenvalues))) if b.any() else 0.0
        value = constant + level + tail
        # The linear part, rotated by axes that are orthogonal to rounding, is wrong by that much again.
        return value + 2 * self.task.rounding(parts + tail)


def _best_level(b: FloatArray, eigenvalues: FloatArray, barrier: float) -> float:
    """Minimise ``l + 1/4 sum b^2 / (l - q) - barrier * sum log(l - q)`` over ``l >= 0`` above all q.

    Rounding apart; any number above all q and not negative is a valid answer.
    """
    least = float(eigenvalues[-1])
    floor = max(least, 0.0)
    spread = abs(least) + float(np.linalg.norm(b)) + barrier * len(b) + 1e-300

    def excess(log_room: float) -> float:
        room = least + math.exp(log_room) - eigenvalues
        value = math.exp(log_room) + 0.25 * float(np.sum(b**2 / room))
        return value - barrier * float(np.sum(np.log(room)))

    low, high = math.log(spread) - 30.0, math.log(spread) + 2.0
    found = minimize_scalar(excess, bounds=(low, high), method="bounded", options={"xatol": 1e-7})
    level = least + math.exp(float(found.x))
    return max(level, floor + 1e-300, math.nextafter(least, math.inf))
