r"""Upper bounds of ``H(theta) = max {|theta . phi(X~ u)| : |u| <= 1}`` by the methods of `convexnn.pricing`.

With ``phi(t) = off t + (on - off) max(t, 0)`` and ``r = off / (on - off)``

    H = |on - off| max_u |r X~'theta . u + sum_i theta_i max(x~_i . u, 0)|,

which leaves ``theta`` itself, whose sums are exact, in front of the ReLU; only ``r X~'theta`` is rounded, and
what that may change is added. Equal rows of ``X~`` are merged, which adds their thetas without error.

For K outputs a neuron gains ``|g|_2`` for each unit of its norms, ``g = (theta_k . phi(X~ u))_k``. That is
at most ``sqrt(sum_k H_k^2)``. Where g lies in a plane (two outputs, or three whose thetas sum to zero in
each sample, as those of softmax do) one of N unit vectors v at equal angles in a half plane has ``|v . g| >=
cos(pi / 2N) |g|``, hence ``|g| <= max_v H(theta v) / cos(pi / 2N)``, which is sharp up to one percent. The
columns ``theta v`` are made exact again; what that changes is added with `HiddenLayer.reach`, as
they sum to zero where those of ``theta`` do.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.certificates.exact_dual import exact_sums
from convexnn.layers import GroupedLayer, HiddenLayer
from convexnn.pricing.bounds import SupportBounds
from convexnn.pricing.branch_and_bound import cone_operations
from convexnn.pricing.enumeration import cells_at_most
from convexnn.pricing.grouped import gain_bounds
from convexnn.pricing.vector_gain import vector_bounds
from convexnn.problem import Problem
from convexnn_solvers.clock import Clock

__all__ = ["METHODS", "Price", "Pricing"]

_EPS = float(np.finfo(np.float64).eps)
# What "auto" may spend on each method for a dual point, in multiplications as the methods count them, and how
# many there are in a second: a minute on one core, which users are ready to wait. Counts, unlike a clock,
# make the bound the same on a machine that is busy.
_AUTO_OPERATIONS, _OPERATIONS_A_SECOND = 8e9, 1.4e8
# Cells that "auto" goes through where branch and bound looks at more cones than there are cells, or than
# these few, and how many of them it gets through in a second on one core.
_MOST_CELLS, _FEW_CONES, _CELLS_A_SECOND = 1_000_000, 10_000, 3e5
# Shares of the time that is left, of the closed form and of searches: others may still follow.
_FIRST_SHARE, _SEARCHING_SHARE = 0.3, 0.7
# Of the time that is left what bounding several outputs one by one may take before all of them together.
_SEPARATE_SHARE = 0.3
# Of a search's share and work where its bound is of no use: it may find the neuron of the largest gain.
_USELESS_SHARE = 0.1
# Rank up to which "auto" tries branch and bound: beyond it hundreds of samples took more than minutes.
_LARGEST_RANK = 9
# Directions in the half plane of several outputs' gains: the cosine costs less than a hundredth of the bound.
_N_ANGLES = 12
_COSINE = math.cos(0.5 * math.pi / _N_ANGLES)


class _Method(Protocol):
    def __call__(
        self,
        X: FloatArray,
        t: FloatArray,
        *,
        linear: FloatArray | None = None,
        penalized: BoolArray | None = None,
        threshold: float = 0.0,
        time_limit: float | None = None,
        **limits: float,
    ) -> SupportBounds: ...


# Loaded on use: their kernels and solvers are not needed for importing the package.
_TABLE = {
    "enumeration": ("convexnn.pricing.enumeration", "enumerate_support"),
    "branch_and_bound": ("convexnn.pricing.branch_and_bound", "support_bounds"),
    "closed_form": ("convexnn.pricing.relaxations", "closed_form"),
    "semidefinite": ("convexnn.pricing.relaxations", "semidefinite"),
}
METHODS = ("auto", *_TABLE)


def _function(method: str) -> _Method:
    module, name = _TABLE[method]
    return cast(_Method, getattr(import_module(module), name))


@dataclass(frozen=True, eq=False)
class Price:
    """Bound of the largest gain of a neuron.

    Attributes
    ----------
    upper : float
        Certainly not below ``H(theta)``.
    lower : float
        The largest gain that was found, of all outputs together or of one of them.
    neurons : ndarray of shape (m, d)
        Weights of neurons with large gains, in the coordinates of ``X~``.
    method : str
        What gave `upper`.
    complete : bool
        Whether no search was cut short.
    """

    upper: float
    lower: float
    neurons: FloatArray
    method: str
    complete: bool


class Pricing:
    """Prices dual points of one problem by one method.

    Parameters
    ----------
    problem : Problem
    method : {"auto", "enumeration", "branch_and_bound", "closed_form", "semidefinite"}
        "auto" tries the closed form; branch and bound where the rank is at most 9 and a first pass can be
        afforded; enumeration where the cells are few; and, where neither is completed, the semidefinite
        relaxation; and takes the least bound.
    """

    def __init__(self, problem: Problem, method: str = "auto") -> None:
        self.problem = problem
        self.method = method
        self.layer: HiddenLayer = problem.original_layer
        rows, index = np.unique(self.layer.rows + 0.0, axis=0, return_inverse=True)
        self.rows, self._index = np.ascontiguousarray(rows), index.ravel()

    @cached_property
    def rank(self) -> int:
        """Rank of ``X~``, as floating point sees it."""
        return int(np.linalg.matrix_rank(self.rows))

    def __call__(
        self, theta: FloatArray, *, threshold: float, hopeless: float = math.inf, clock: Clock
    ) -> Price:
        """Bound the largest gain.

        Parameters
        ----------
        theta : ndarray of shape (n, K)
            From `exact_point`.
        threshold : float
            Bounds at or below it need not be tightened.
        hopeless : float
            A gain above it makes the dual point useless, so that "auto" does not take the time to bound it
            well.
        clock : Clock
            A valid bound is returned in any case.

        Returns
        -------
        Price
        """
        K = theta.shape[1]
        if isinstance(self.layer, GroupedLayer):
            bounds, name = self._grouped(self.layer, theta, threshold, clock)
            return Price(bounds.upper, bounds.lower, bounds.weights[None], name, bounds.complete)
        if K == 1:
            bounds, name = self._price(theta[:, 0], threshold, hopeless, clock, _AUTO_OPERATIONS)
            neurons = bounds.weights[None]
            return Price(bounds.upper, bounds.lower, neurons, name, bounds.complete)
        each = self._output_by_output(theta, threshold, hopeless, clock.share(_SEPARATE_SHARE))
        if (
            each.upper <= threshold
            or each.lower > hopeless
            or self.method not in ("auto", "branch_and_bound")
        ):
            return each
        return self._together(theta, threshold, clock, each)

    def _together(self, theta: FloatArray, threshold: float, clock: Clock, each: Price) -> Price:
        """Bound the gain of all outputs together by branch and bound, if its first pass can be afforded."""
        phi, free = self.problem.kind.activation, not self.layer.penalized.all()
        if phi.on == phi.off or not self._affords_branching(len(self.rows), _AUTO_OPERATIONS, clock):
            return each
        t = self._on_distinct_rows(theta)
        sizes = np.abs(t).T @ np.linalg.norm(self.rows, axis=1)
        error = 4 * (len(theta) + 8) * _EPS * (abs(phi.on) + abs(phi.off)) * float(np.linalg.norm(sizes))
        linear = phi.off * (t.T @ self.rows)
        if free:
            linear[:, -1] = 0.0
        most = math.inf
        if self.method == "auto":
            most = _AUTO_OPERATIONS / cone_operations(len(self.rows), self.rank + theta.shape[1])
        bounds = vector_bounds(
            self.rows,
            (phi.on - phi.off) * t,
            linear=linear,
            penalized=self.layer.penalized,
            threshold=threshold,
            time_limit=clock.share(_SEARCHING_SHARE).time_limit,
            max_nodes=most,
        )
        if bounds.upper + error >= each.upper:
            return replace(each, lower=max(each.lower, bounds.lower))
        neurons = np.vstack([bounds.weights[None], each.neurons])
        return Price(bounds.upper + error, bounds.lower, neurons, "branch and bound", bounds.complete)

    def _output_by_output(self, theta: FloatArray, threshold: float, hopeless: float, clock: Clock) -> Price:
        """Bound the gain of several outputs by those of one output, or of directions in a plane of them."""
        K = theta.shape[1]
        vectors = self._vectors(K)
        columns, slack, level = theta, np.zeros(K), 0.0
        if vectors is not None:
            columns, slack = self._projected(theta, vectors)
            level = max(0.0, threshold * _COSINE - float(slack.max()))
        # Of several outputs only the sum of squares is compared, so that no single bound may stay loose.
        n_columns = columns.shape[1]
        found = [
            self._price(
                column, level, hopeless, clock.share(1 / (n_columns - k)), _AUTO_OPERATIONS / n_columns
            )
            for k, column in enumerate(columns.T)
        ]
        uppers = [bounds.upper + rest for (bounds, _), rest in zip(found, slack, strict=True)]
        upper = math.hypot(*uppers) if vectors is None else max(uppers) / _COSINE
        return Price(
            upper * (1 + 64 * K * _EPS),
            max(bounds.lower for bounds, _ in found),
            np.stack([bounds.weights for bounds, _ in found]),
            ", ".join(dict.fromkeys(name for _, name in found)),
            all(bounds.complete for bounds, _ in found),
        )

    def _vectors(self, K: int) -> FloatArray | None:
        """Return unit vectors at equal angles in the plane of the gains, (K, N), if they lie in one."""
        if K == 2:
            plane = np.eye(2)
        elif K == 3 and self.problem.loss.shift_invariant:
            plane = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]]) / np.sqrt([2.0, 6.0])
        else:
            return None
        angles = np.pi * np.arange(_N_ANGLES) / _N_ANGLES
        return np.asarray(plane @ np.stack([np.cos(angles), np.sin(angles)]))

    def _projected(self, theta: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ``theta v`` with exact sums for each vector, and what to add to the gains of these."""
        phi = self.problem.kind.activation
        projected = theta @ vectors
        exact = exact_sums(projected, zero=self.problem.fit_intercept, copies=self.layer.positions)
        moved = np.abs(exact - projected) + 8 * _EPS * (np.abs(theta) @ np.abs(vectors))
        steepest = max(abs(phi.on), abs(phi.off)) * (1 + 4 * (len(theta) + 4) * _EPS)
        return exact, np.asarray(steepest * (moved.T @ self.layer.reach))

    def _on_distinct_rows(self, theta: FloatArray) -> FloatArray:
        """Add up theta, (n,) or (n, K), over the rows that are equal."""
        t = np.zeros((len(self.rows), *theta.shape[1:]))
        np.add.at(t, self._index, np.repeat(theta, self.layer.positions, axis=0))
        return t

    def _price(
        self, theta: FloatArray, threshold: float, hopeless: float, clock: Clock, operations: float
    ) -> tuple[SupportBounds, str]:
        """Bound the gain of one output."""
        phi = self.problem.kind.activation
        t = self._on_distinct_rows(theta)
        used = t != 0
        rows, t = self.rows[used], t[used]
        slope = phi.on - phi.off
        total = rows.T @ t
        if self.problem.kind.hidden_bias == "free":
            total[-1] = 0.0
        error = 2 * (len(t) + 4) * _EPS * float(np.linalg.norm(np.abs(rows).T @ np.abs(t)))
        if slope == 0 or not used.any():
            return _linear_bounds(phi.on * total, abs(phi.on) * error, self.layer.penalized), "closed form"
        ratio = phi.off / slope
        arguments: dict[str, Any] = {
            "linear": ratio * total if ratio else None,
            "penalized": None if self.layer.penalized.all() else self.layer.penalized,
            "threshold": threshold / abs(slope),
        }
        bounds, name = self._search(rows, t, arguments, hopeless / abs(slope), clock, operations)
        scale = abs(slope) * (1 + 4 * _EPS)
        upper = scale * (bounds.upper + abs(ratio) * error) if ratio else scale * bounds.upper
        sign = math.copysign(1.0, slope) * bounds.sign
        return (
            SupportBounds(
                abs(slope) * bounds.lower, upper, bounds.weights, sign, bounds.n_nodes, bounds.complete
            ),
            name,
        )

    def _grouped(
        self, layer: GroupedLayer, theta: FloatArray, threshold: float, clock: Clock
    ) -> tuple[SupportBounds, str]:
        """Bound the gain of all outputs together."""
        gain, phi = layer.grouped(theta), self.problem.kind.activation
        size = float(np.abs(theta).sum(axis=1) @ self.layer.reach)
        error = 4 * _EPS * (len(layer.rows) + 8) * (abs(phi.on) + abs(phi.off)) * size
        if phi.on == phi.off:
            left, values, right = np.linalg.svd(gain.linear, full_matrices=False)
            del left
            upper = float(values[0]) * (1 + 16 * max(gain.linear.shape) * _EPS) + error
            return SupportBounds(float(values[0]), upper, right[0], 1.0, 0, True), "closed form"
        if self.method not in ("auto", "branch_and_bound", "closed_form"):
            raise ValueError(
                f"method={self.method!r} is not for pooling={self.problem.kind.pooling!r}. "
                "Choose 'auto', 'branch_and_bound' or 'closed_form'."
            )
        if self.method == "closed_form" or (self.method == "auto" and layer.n_weights > _LARGEST_RANK):
            none = np.empty((0, layer.n_weights))
            found, values = layer.maxima(theta[:, 0], none, time_limit=clock.share(_FIRST_SHARE).time_limit)
            relaxed = [layer.relaxed(column, clock.time_limit) for column in theta.T]
            upper = math.hypot(*relaxed) * (1 + 8 * _EPS * len(relaxed)) + error
            return SupportBounds(float(np.abs(values[0])), upper, found[0], 1.0, 0, True), "closed form"
        most = math.inf
        if self.method == "auto":
            most = _AUTO_OPERATIONS / cone_operations(len(layer.rows), layer.n_weights + len(gain.linear))
        bounds = gain_bounds(gain, threshold=threshold, time_limit=clock.time_limit, max_nodes=most)
        return replace(bounds, upper=bounds.upper + error), "branch and bound"

    def _search(
        self,
        rows: FloatArray,
        t: FloatArray,
        arguments: dict[str, Any],
        hopeless: float,
        clock: Clock,
        operations: float,
    ) -> tuple[SupportBounds, str]:
        """Run the chosen method, or those that "auto" stands for."""
        if self.method != "auto":
            bounds = _function(self.method)(rows, t, time_limit=clock.time_limit, **arguments)
            return bounds, self.method.replace("_", " ")
        first = clock.share(_FIRST_SHARE).time_limit
        best, name = _function("closed_form")(rows, t, time_limit=first, **arguments), "closed form"
        if best.lower > hopeless:
            operations, clock = _USELESS_SHARE * operations, clock.share(_USELESS_SHARE)
        for method, share, limits in self._plan(len(rows), operations, clock):
            useless = best.lower > hopeless
            settled = best.upper <= max(arguments["threshold"], best.lower * (1 + 1e-12))
            if settled or (useless and method != "branch_and_bound"):
                break
            left = clock.share(share).time_limit
            bounds = _function(method)(rows, t, time_limit=left, **limits, **arguments)
            best, name = _better(best, name, bounds, method.replace("_", " "))
            if method != "semidefinite" and bounds.complete:
                return replace(best, complete=True), name
        return best, name

    def _plan(self, n_rows: int, operations: float, clock: Clock) -> list[tuple[str, float, dict[str, Any]]]:
        """Methods of "auto" in their order, their shares of the time that is left then, and their limits."""
        cells = self._cells(n_rows, clock)
        plan: list[tuple[str, float, dict[str, Any]]] = []
        if self._affords_branching(n_rows, operations, clock):
            cones = operations / cone_operations(n_rows, self.rank)
            if cells:
                cones = min(cones, max(cells, _FEW_CONES))
            plan.append(("branch_and_bound", _SEARCHING_SHARE, {"max_nodes": cones}))
        if cells:
            plan.append(("enumeration", _SEARCHING_SHARE, {}))
        return [*plan, ("semidefinite", 1.0, {"max_operations": operations})]

    def _cells(self, n_rows: int, clock: Clock) -> float:
        """Return about how many cells there are, or 0 if they are too many to go through in the time left."""
        cells = cells_at_most(n_rows, self.rank, free=not self.layer.penalized.all())
        affordable = min(_MOST_CELLS, _CELLS_A_SECOND * _SEARCHING_SHARE * clock.left)
        return cells if cells <= affordable else 0.0

    def _affords_branching(self, n_rows: int, operations: float, clock: Clock) -> bool:
        """Whether the rank is small, and time enough for the cones that branch and bound begins with.

        These are the orthants of a half space for either sign of the gain or, where the bias has no norm, for
        each row.
        """
        penalized = bool(self.layer.penalized.all())
        roots = 2.0**self.rank if penalized else n_rows * 2.0 ** (self.rank - 2)
        affordable = min(operations, _OPERATIONS_A_SECOND * _SEARCHING_SHARE * clock.left)
        return self.rank <= _LARGEST_RANK and roots <= affordable / cone_operations(n_rows, self.rank)

    def may_be_exact(self, clock: Clock) -> bool:
        """Whether the largest gain may be found in the time that is left, and not only bounded loosely."""
        if self.method != "auto":
            return self.method in ("enumeration", "branch_and_bound")
        if isinstance(self.layer, GroupedLayer):
            return self.layer.n_weights <= _LARGEST_RANK
        n_rows = len(self.rows)
        return self._cells(n_rows, clock) > 0 or self._affords_branching(n_rows, _AUTO_OPERATIONS, clock)


def _better(
    first: SupportBounds, first_name: str, second: SupportBounds, second_name: str
) -> tuple[SupportBounds, str]:
    """Join two answers to the same question: the larger lower and the smaller upper bound."""
    attained = first if first.lower >= second.lower else second
    proved, name = (first, first_name) if first.upper <= second.upper else (second, second_name)
    return (
        SupportBounds(
            attained.lower,
            max(proved.upper, attained.lower),
            attained.weights,
            attained.sign,
            first.n_nodes + second.n_nodes,
            first.complete and second.complete,
        ),
        name,
    )


def _linear_bounds(total: FloatArray, error: float, penalized: BoolArray) -> SupportBounds:
    """Bounds of a linear gain."""
    norm = float(np.linalg.norm(total[penalized]))
    weights = np.where(penalized, total / (norm or 1.0), 0.0)
    return SupportBounds(norm, norm * (1 + 8 * _EPS) + error, weights, 1.0, 0, True)
