"""Best-first branch and bound over cones of weights; what a cone's bound is, the problem says."""

import heapq
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, repeat
from typing import Protocol

import numba
import numpy as np

from convexnn._typing import FloatArray

__all__ = ["DEPTH", "BestFirst", "Face", "Found", "Maximisations"]

DEPTH = 250  # cuts of one cone: by then its vertices differ by rounding
# A round is so many searches at most, whatever the number of threads, so that results do not depend on that;
# each visits a few cones in the first round, and more by a factor in later ones, up to a number.
_SEARCHES, _FIRST_CONES, _GROWTH, _MOST_CONES = 16, 16, 4, 4096
# Together they do no more multiplications than these: 0.7 s on one thread, after which limits are looked at.
_ROUND_OPERATIONS = 1e8
_ROOTS_AT_ONCE = 16  # a face with more cones to begin with returns them instead of searching


class Face(Protocol):
    """One maximisation, in coordinates of its own."""

    @property
    def slack(self) -> float:
        """What rounding can have taken from a bound."""

    def roots(self) -> FloatArray:
        """Vertices of cones that cover all weights that count, shape (m, r, r)."""

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
        """Search depth-first below a cone and return how many cones are left.

        Parameters
        ----------
        cone : ndarray of shape (r, r)
            Unit vertices.
        bound : float
            Of the cone.
        threshold, tol : float
            Cones below ``max(threshold, (1 + tol) best[0])`` are settled.
        max_nodes : int
            Cones to visit at most.
        best : ndarray of shape (1 + r,)
            Largest value that is known and where; is updated.
        stack, bounds : ndarray of shape (DEPTH, r, r) and (DEPTH,)
            Receive the cones that are left.
        record : ndarray of shape (2,)
            Receives the number of cones visited and the largest bound of a settled one.
        """


class Maximisations(Protocol):
    """The faces of a problem: its value is the largest of their maxima."""

    @property
    def keys(self) -> list[int]:
        """Numbers of the faces."""

    @property
    def operations(self) -> float:
        """About how many multiplications the bound of a cone takes."""

    def face(self, key: int) -> Face:
        """Return a face."""

    def weights(self, key: int, u: FloatArray) -> FloatArray:
        """Return unit weights along coordinates u of a face."""

    def value(self, weights: FloatArray) -> float:
        """Value at weights of norm one, with its sign."""


@dataclass(frozen=True, eq=False)
class Found:
    """What one search brought: the best point, if better than before, and the cones that are left."""

    key: int
    best: FloatArray
    settled: float
    visited: int
    cones: FloatArray
    bounds: FloatArray


class BestFirst:
    """Best-first search over all faces; each task searches depth-first below one cone."""

    def __init__(self, pricing: Maximisations, threshold: float, tol: float, initial: float) -> None:
        self._pricing, self._threshold, self._tol = pricing, threshold, tol
        self._order = count()
        self._open: list[tuple[float, int, int, FloatArray | None]] = [
            (-initial, next(self._order), key, None) for key in pricing.keys
        ]
        self.lower, self.settled, self.n_visited = 0.0, 0.0, 0
        self.weights: FloatArray | None = None
        self.met: list[FloatArray] = []

    @property
    def upper(self) -> float:
        """The largest bound of a cone, settled or open."""
        opened = -self._open[0][0] if self._open else 0.0
        return max(opened, self.settled, self.lower)

    def run(self, stop_above: float, deadline: float, max_nodes: float = math.inf) -> bool:
        """Search until all cones are settled, a point above `stop_above` is found, or a limit is reached.

        Parameters
        ----------
        stop_above : float
        deadline : float
            Of `time.perf_counter`.
        max_nodes : float
            Cones to visit, up to some for each search of the last round.

        Returns
        -------
        bool
            Whether all cones are settled.
        """
        affordable = _ROUND_OPERATIONS / self._pricing.operations
        n_searches = max(1, min(_SEARCHES, int(affordable)))
        most = max(1, min(_MOST_CONES, int(affordable / n_searches)))
        n_cones = min(_FIRST_CONES, most)
        with ThreadPoolExecutor(numba.get_num_threads()) as pool:
            while self._open and self.lower <= stop_above:
                if time.perf_counter() > deadline or self.n_visited >= max_nodes:
                    return False
                tasks = [heapq.heappop(self._open) for _ in range(min(n_searches, len(self._open)))]
                allowed = math.ceil(min(n_cones, (max_nodes - self.n_visited) / len(tasks)))
                # All are awaited first: none may see by chance what another has found.
                for found in list(pool.map(self._searched, tasks, repeat(allowed))):
                    self._add(found, stop_above)
                n_cones = min(most, _GROWTH * n_cones)
        return not self._open

    def _searched(self, task: tuple[float, int, int, FloatArray | None], n_cones: int) -> list[Found]:
        """Search below a cone, or the roots of a face, visiting about so many cones."""
        bound, _, key, cone = -task[0], *task[1:]
        face = self._pricing.face(key)
        limit = max(self._threshold, (1 + self._tol) * self.lower)
        if bound <= limit + face.slack:
            return [Found(key, np.zeros(1), bound, 0, np.empty((0, 0, 0)), np.empty(0))]
        roots = face.roots() if cone is None else cone[None]
        begun = roots[:n_cones] if len(roots) <= _ROOTS_AT_ONCE else roots[:0]
        left = roots[len(begun) :]
        found = [self._below(face, key, root, bound, max(1, n_cones // len(begun))) for root in begun]
        return [*found, Found(key, np.zeros(1), 0.0, 0, left, np.full(len(left), bound))]

    def _below(self, face: Face, key: int, cone: FloatArray, bound: float, n_cones: int) -> Found:
        r = cone.shape[1]
        stack, bounds, record = np.empty((DEPTH, r, r)), np.empty(DEPTH), np.zeros(2)
        best = np.concatenate([[self.lower], np.zeros(r)])
        left = face.search(
            np.ascontiguousarray(cone),
            bound,
            self._threshold,
            self._tol,
            n_cones,
            best,
            stack,
            bounds,
            record,
        )
        return Found(key, best, record[1], int(record[0]), stack[:left].copy(), bounds[:left].copy())

    def _add(self, results: list[Found], stop_above: float) -> None:
        for found in results:
            self.n_visited += found.visited
            self.settled = max(self.settled, found.settled)
            if found.best[1:].any():
                weights = self._pricing.weights(found.key, found.best[1:])
                value = abs(self._pricing.value(weights))
                if value > stop_above:
                    self.met.append(weights)
                if value > self.lower:
                    self.lower, self.weights = value, weights
            for cone, bound in zip(found.cones, found.bounds.tolist(), strict=True):
                heapq.heappush(self._open, (-bound, next(self._order), found.key, cone))
