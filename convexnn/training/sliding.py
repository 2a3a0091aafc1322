"""Descents and searches in turn: all neurons slide, those that pay join, and all slide again.

A descent whose neurons cross freely from cell to cell ends where no neuron of its own can do better. What it
lacks are neurons elsewhere: ascents on the price find them, they enter with the size that lowers the
objective most, and the next descent begins there. Each of these is short, as most neurons have settled.

References
----------
Denoyelle, Duval, Peyre and Soubies, "The sliding Frank-Wolfe algorithm and its application to
super-resolution microscopy", Inverse Problems 36, 2019.
"""

import math
from collections.abc import Callable

import numpy as np

from convexnn._typing import FloatArray
from convexnn.problem import Neurons
from convexnn.training.ascent import Candidates
from convexnn.training.descent.first_network import USUAL_TOL, descend, first_descent
from convexnn.training.descent.merging import clustered
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.trust_region import Descent
from convexnn_solvers.clock import Clock

__all__ = ["Sliding", "dual_guess", "with_sizes"]

Search = Callable[[FloatArray, Neurons, Clock], Candidates]

# What a round must bring that takes as long as the first descent, in units of the tolerance, what any round
# must, and most rounds. With 100 instead of 30 fits take a fifth less time and end .1% higher.
_WORTH, _LEAST_WORTH, _MAX_ROUNDS = 30.0, 0.5, 30
# Newton steps of a later descent, and the relative gain of one that ends it.
_MAX_STEPS, _DESCENT_TOL = 100, 1e-4
# Price above alpha, relative to it, of a neuron worth a descent.
_PAYS = 1e-3
# Price in units of alpha, and work in first descents, of a round that brings little and is followed by one
# more: a table of 748 rows ended .08% above other descents without.
_MUCH, _CHEAP = 1.25, 0.5
# Relative difference of objectives for which fewer neurons are worth more.
_SAME_VALUE = 1e-6
# Halvings of the size that neurons enter with.
_MAX_HALVINGS = 30
_TINY = float(np.finfo(np.float64).tiny)


def dual_guess(objective: Objective, outputs: FloatArray) -> FloatArray:
    """``-grad L`` at outputs (n, K), its columns summing to zero where there is an intercept."""
    theta = -objective.gradient(outputs)
    if objective.fit_intercept:
        # A subgradient of a loss with kinks need not be orthogonal to the intercept.
        theta -= objective.weight[:, None] * (theta.sum(axis=0) / objective.weight.sum())
    return theta


class Sliding:
    """One run of descents and searches; `best` is the best network so far, also while one runs.

    Parameters
    ----------
    objective : Objective
        Of any loss; descents and prices are of one without kinks.
    search : callable
        Returns neurons that pay from a dual point, the network's own neurons and a clock.
    tol : float
        Wanted relative accuracy of the objective.
    verbose : int

    Attributes
    ----------
    values : list of float
        Objectives after each descent that brought something, of the loss as it is.
    first_work : float
        Of the first descent, see `Objective.work`.
    n_steps : int
        Newton steps of all descents.
    found : Candidates or None
        Of the last search.
    """

    def __init__(self, objective: Objective, search: Search, tol: float, verbose: int) -> None:
        self._objective, self._search, self._tol, self._verbose = objective, search, tol, verbose
        self.first_work, self.n_steps, self._last_chance = math.inf, 0, False
        self._descent: Descent | None = None
        self._kept: Descent | None = None
        self.values: list[float] = []
        self.found: Candidates | None = None

    @property
    def best(self) -> Neurons | None:
        """The best network so far, None before any descent."""
        descents = [descent for descent in (self._kept, self._descent) if descent is not None]
        return min(descents, key=lambda descent: descent.best_value).best if descents else None

    def run(
        self,
        largest: float,
        rng: np.random.Generator,
        clock: Clock,
        previous: Neurons | None = None,
        *,
        wide: bool = True,
    ) -> None:
        """Run rounds until one brings little, nothing pays, or the time is over.

        Parameters
        ----------
        previous : Neurons, optional
            To begin with instead of random ones.
        largest : float
            Least alpha that leaves no neurons.
        rng : Generator
        clock : Clock
        wide : bool
            Whether a finer tolerance asks for more neurons.
        """
        tol = self._tol if wide else USUAL_TOL
        self._descent = first_descent(self._objective, largest, rng, clock, previous, tol=tol)
        if self._descent is None:
            return
        descend(self._descent, clock, self._verbose)
        self._kept = self._descent
        self.first_work, self.n_steps = self._descent.work or math.inf, self._descent.n_steps
        self._note(self._kept)
        for _ in range(_MAX_ROUNDS):
            if clock.expired or not self._round(self._kept, clock):
                break
        self._polish(self._kept, clock)

    def _note(self, descent: Descent) -> None:
        """Remember the objective that a descent has reached."""
        self.values.append(self._objective.value(descent.best))

    def _polish(self, kept: Descent, clock: Clock) -> None:
        """Descend once more from fewer neurons, which makes the convex program a smaller one."""
        fewer = clustered(kept.objective, kept.best)
        self._descent = Descent(kept.objective, fewer, settled=True)
        self._descent.run(_MAX_STEPS, _DESCENT_TOL, clock)
        if self._descent.best_value <= kept.best_value * (1 + _SAME_VALUE):
            self._kept = self._descent

    def _round(self, kept: Descent, clock: Clock) -> bool:
        """Search, let neurons in and descend; returns whether that was worth it."""
        objective, neurons = kept.objective, clustered(kept.objective, kept.best)
        outputs = objective.layer_outputs(neurons)
        theta = dual_guess(objective, outputs)
        self.found = self._search(theta, neurons, clock)
        if clock.expired or self.found.largest <= (1 + _PAYS) * objective.alpha:
            return False
        entering = with_sizes(objective, outputs, self.found.neurons, self.found.prices)
        self._descent = Descent(objective, neurons.joined(entering), settled=True)
        self._descent.run(_MAX_STEPS, _DESCENT_TOL, clock)
        gain = kept.best_value - self._descent.best_value
        if gain > 0:
            self._kept = self._descent
            self._note(self._kept)
        if self._verbose:
            print(
                f"descent: objective {self._descent.best_value:.8g}, {len(self._descent.best)} neurons after "
                f"{len(self.found.neurons)} joined, {clock.elapsed:.1f} s"
            )
        self.n_steps += self._descent.n_steps
        share = self._descent.work / self.first_work
        enough = gain > max(_LEAST_WORTH, _WORTH * share) * self._tol * abs(kept.best_value)
        promising = share < _CHEAP and self.found.largest > _MUCH * objective.alpha
        again = promising and not self._last_chance
        self._last_chance = not enough
        return enough or again


def with_sizes(objective: Objective, outputs: FloatArray, neurons: Neurons, prices: FloatArray) -> Neurons:
    """Give neurons that pay sizes, in proportion to what they pay: one Newton step, halved until it helps.

    Parameters
    ----------
    objective : Objective
    outputs : ndarray of shape (n, K)
        Of the network that they join.
    neurons : Neurons
        Of penalised norm 1.
    prices : ndarray of shape (m,)
        Above alpha.
    """
    excess = prices - objective.alpha
    sizes = excess / excess.max()
    unit = neurons.with_weights(sizes[:, None] * neurons.weights)
    change = objective.layer_outputs(unit) - unit.intercept
    curved = float((change * objective.curvature(outputs).times(change)).sum())
    length, before = float(excess @ sizes) / max(curved, _TINY), objective.fit(outputs)
    for _ in range(_MAX_HALVINGS):
        if objective.fit(outputs + length * change) + length * objective.penalty(unit) < before:
            break
        length *= 0.5
    return unit.with_weights(length * unit.weights)
