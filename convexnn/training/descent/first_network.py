"""The first network of a fit: a wide one with random neurons that descends."""

import math
from dataclasses import replace

import numpy as np

from convexnn.losses import without_kinks
from convexnn.problem import Neurons
from convexnn.training.descent.objective import Objective
from convexnn.training.descent.trust_region import Descent
from convexnn_solvers.clock import Clock

__all__ = ["USUAL_TOL", "descend", "first_descent", "random_neurons"]

# Neurons: so many where alpha is at its largest, in proportion to one by alpha below it, within limits. Where
# outputs are separate these are divided among them, and each has the fewest.
_WIDTH_AT_LARGEST = 5.0
_FEWEST_NEURONS, _MOST_NEURONS = 16, 400
# The most at the usual tolerance, from where it grows with the root of a finer one: what 300 neurons gain
# over 100, up to 2% of the objective at small alpha, later rounds gain too, in several times as long.
USUAL_TOL, _USUAL_MOST = 1e-4, 100
# Entries of the layer, which limit the width on large data (240 MB).
_LAYER_ENTRIES = 30_000_000
# Of more samples than twice this, so many lead the descent until its last steps.
_LEADING_SAMPLES = 1500
# Relative gain of a leading step that ends them: what later ones gain does not hold for all samples.
_LEADING_TOL = 1e-2
# Newton steps of one descent, tens in most, and the relative gain of one that ends it.
_MAX_STEPS, _DESCENT_TOL = 200, 3e-4
# Shares of the time left that leading samples and then the descent on all of them may take.
_LEADING_SHARE, _DESCENT_SHARE = 0.3, 0.8
# Share of the largest alpha at which networks descend that are not regularised.
_NEARLY_ZERO = 1e-6
# Of the targets' spread what the outputs of random neurons are like.
_FIRST_SHARE = 0.2
_TINY = float(np.finfo(np.float64).tiny)


def first_descent(
    objective: Objective,
    largest: float,
    rng: np.random.Generator,
    clock: Clock,
    previous: Neurons | None = None,
    *,
    tol: float = USUAL_TOL,
) -> Descent | None:
    """Return a descent of random neurons, led by some of the samples where there are many.

    Parameters
    ----------
    objective : Objective
        Of any loss; descents run on one without kinks.
    largest : float
        Least alpha that leaves no neurons.
    rng : Generator
    clock : Clock
    previous : Neurons, optional
        To begin with instead.
    tol : float
        Wanted relative accuracy of the objective: the finer, the more neurons.

    Returns
    -------
    Descent or None
        None where alpha leaves no neurons.
    """
    alpha = objective.alpha or _NEARLY_ZERO * largest
    if alpha >= largest:
        return None
    rounded = without_kinks(objective.loss, objective.targets, objective.weight)
    objective = replace(objective, alpha=alpha, loss=rounded)
    if previous is not None and len(previous):
        return Descent(objective, previous, settled=True)
    n_neurons = _width(objective, largest / alpha, tol)
    neurons, n_samples = random_neurons(objective, n_neurons, rng), objective.n_samples
    led = n_samples > 2 * _LEADING_SAMPLES
    if led:
        part = objective.part(rng.permutation(n_samples)[:_LEADING_SAMPLES])
        neurons = Descent(part, neurons).run(_MAX_STEPS, _LEADING_TOL, clock.share(_LEADING_SHARE))
    return Descent(objective, neurons, settled=led)


def descend(descent: Descent, clock: Clock, verbose: int) -> None:
    """Run a descent until its steps bring little or its share of the time is over."""
    descent.run(_MAX_STEPS, _DESCENT_TOL, clock.share(_DESCENT_SHARE))
    if verbose:
        print(
            f"descent: objective {descent.best_value:.8g}, {len(descent.best)} neurons, {clock.elapsed:.1f} s"
        )


def _width(objective: Objective, strength: float, tol: float) -> int:
    """Return a number of neurons where ``strength * alpha`` leaves none; as many for each separate output."""
    most = min(_MOST_NEURONS, _USUAL_MOST * math.sqrt(max(1.0, USUAL_TOL / tol)))
    wanted = round(min(most, max(_FEWEST_NEURONS, _WIDTH_AT_LARGEST * strength)))
    n_separate = 1 if objective.shared else int(objective.targets.shape[1])
    affordable = _LAYER_ENTRIES // (len(objective.rows) * n_separate)
    each = max(_FEWEST_NEURONS, wanted // n_separate)
    return n_separate * min(each, max(_FEWEST_NEURONS // n_separate, affordable))


def random_neurons(objective: Objective, n_neurons: int, rng: np.random.Generator) -> Neurons:
    """Draw neurons of Gaussian directions, smaller than the targets.

    They feed the outputs in random directions or, where these are separate, every one with both signs.
    """
    n_outputs = objective.targets.shape[1]
    weights = objective.random_directions(n_neurons, rng)
    empty = objective.empty()
    spread = 1.0
    if objective.loss.task == "regression":
        spread = float(np.abs(objective.targets - empty.intercept).mean()) or 1.0
    size = (
        objective.positions
        * float(np.abs(objective.rows @ weights.T).mean())
        * math.sqrt(max(1.0, n_neurons / n_outputs))
    )
    weights *= _FIRST_SHARE * spread / max(size, _TINY)
    if objective.shared:
        directions = rng.standard_normal((n_neurons, n_outputs))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return Neurons(weights, directions, empty.intercept)
    numbers = np.arange(n_neurons)
    signs = np.where(numbers % 2 == 0, 1.0, -1.0)
    return Neurons.separate(weights, signs, (numbers // 2) % n_outputs, empty.intercept)
