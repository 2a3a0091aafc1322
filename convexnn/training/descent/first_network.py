"""The first network of a fit: a wide one with random neurons that descends."""

from dataclasses import replace

import numpy as np

from convexnn.losses import without_kinks
from convexnn.training.descent.newton import Descent
from convexnn.training.descent.objective import Objective, random_neurons
from convexnn_solvers.clock import Clock

__all__ = ["descend", "first_descent"]

# Neurons for each output: so many where alpha is at its largest, in proportion to one by alpha below it,
# within limits. Descents from fewer ended above those from more on planted data; more than 300 brought
# nothing.
_WIDTH_AT_LARGEST = 5.0
_FEWEST_NEURONS, _MOST_NEURONS = 16, 300
# What limits the width on large data: operations of one Newton step (seconds of one core), and entries of the
# layer (240 MB).
_STEP_OPERATIONS = 3e9
_LAYER_ENTRIES = 30_000_000
# Of more samples than twice this, so many lead the descent until its last steps.
_LEADING_SAMPLES = 1500
# Newton steps of one descent, tens in most, and the relative gain of one that ends it.
_MAX_STEPS, _DESCENT_TOL = 200, 1e-3
# Shares of the time left that leading samples and then the descent on all of them may take.
_LEADING_SHARE, _DESCENT_SHARE = 0.3, 0.8
# Share of the largest alpha at which networks descend that are not regularised.
_NEARLY_ZERO = 1e-6


def first_descent(
    objective: Objective, largest: float, rng: np.random.Generator, clock: Clock
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
    wanted = min(_MOST_NEURONS, max(_FEWEST_NEURONS, round(_WIDTH_AT_LARGEST * largest / alpha)))
    neurons, n_samples = random_neurons(objective, _width(objective, wanted), rng), objective.n_samples
    led = n_samples > 2 * _LEADING_SAMPLES
    if led:
        part = objective.part(rng.permutation(n_samples)[:_LEADING_SAMPLES])
        neurons = Descent(part, neurons).run(_MAX_STEPS, _DESCENT_TOL, clock.share(_LEADING_SHARE))
    return Descent(objective, neurons, settled=led)


def descend(descent: Descent, clock: Clock, verbose: int) -> None:
    """Run a descent until its steps bring little or its share of the time is over."""
    descent.run(_MAX_STEPS, _DESCENT_TOL, clock.share(_DESCENT_SHARE))
    if verbose:
        print(
            f"descent: objective {descent.best_value:.8g}, {len(descent.best)} neurons, {clock.elapsed:.1f} s"
        )


def _width(objective: Objective, wanted: int) -> int:
    """Return a number of neurons, at most that wanted, for which a Newton step is not too much work."""
    n, d = min(objective.n_samples, 2 * _LEADING_SAMPLES), objective.rows.shape[1]
    n_outputs = int(objective.targets.shape[1])
    affordable = _LAYER_ENTRIES // (len(objective.rows) * n_outputs)
    width = min(wanted, max(_FEWEST_NEURONS // n_outputs, affordable))
    while width > _FEWEST_NEURONS and n_outputs * n * width * d * min(n, width * d) > _STEP_OPERATIONS:
        width = int(0.8 * width)
    return int(width * n_outputs)
