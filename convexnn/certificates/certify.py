r"""From a network and dual guesses to the best certificate.

**The bound.** Let ``theta`` satisfy ``H(theta) = max {|theta . phi(X~ u)| : |u| <= 1} <= alpha``, the norm
being that of the penalised weights, and ``sum_i theta_i = 0`` if an output intercept exists. By the
Fenchel-Young inequality and ``(|u|^2 + a^2) / 2 >= |u| |a|`` every network, of any width, has

    F >= sum_i [-theta_i f(x_i) - s_i loss*(-theta_i / s_i)] + alpha sum_j |u_j| |a_j|
      >= D(theta) + (alpha - H(theta)) sum_j |u_j| |a_j| >= D(theta),

since ``theta . f = sum_j a_j theta . phi(X~ u_j)``. A free hidden bias adds units of zero slope; they are
constant and cancel, as the sum vanishes, and for other slopes H is finite.

**Rounding.** None of the steps trusts floating point:

1. a guess is moved into the domain and to sums that are *exactly* zero (`exact_dual.exact_point`);
2. `Pricing` bounds ``H`` at this very point from above, rounding included;
3. the point is scaled by the best c with ``c H + slack <= alpha`` and made exact again, which changes it by
   ``delta``. Both c times the first point and the second sum to zero exactly, hence so does ``delta``, and
   ``H(second) <= c H(first) + max(|on|, |off|) sum_i |delta_i| r_i`` with ``r_i = |x~_i|``, or, with a free
   bias, the diameter of the data seen from ``x_i``, for only biases at kinks count. That sum is rounded up,
   and the inequality is checked before the point is used;
4. its dual value is bounded from below (`exact_dual.dual_lower_bound`); zero, the value at ``theta = 0``, is
   a
   bound as well, losses being non-negative.

References
----------
Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 5.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from convexnn._typing import FloatArray
from convexnn.certificates.certificate import Certificate
from convexnn.certificates.exact_dual import check_loss, dual_lower_bound, exact_point
from convexnn.certificates.pricing_methods import Price, Pricing
from convexnn.certificates.problem import CertificationProblem
from convexnn.certificates.witnesses import find_witness
from convexnn.networks import Network
from convexnn_solvers.dual import dual_value, into_domain

__all__ = ["Bound", "best_bound", "bound_from", "certify_network", "gradient_guess"]

# Relative improvement below which a neuron is not worth naming.
_WORTH = 1e-6

_EPS = float(np.finfo(np.float64).eps)
_MAX_SHRINKS = 40


@dataclass(frozen=True, eq=False)
class Bound:
    """A feasible dual point with its value and the price that proves it feasible."""

    value: float
    theta: FloatArray
    largest_gain: float
    price: Price
    source: str


def certify_network(
    problem: CertificationProblem,
    network: Network,
    *,
    guesses: Sequence[tuple[str, FloatArray]] = (),
    method: str = "auto",
    time_limit: float | None = None,
) -> Certificate:
    """Bound the gap of a network.

    Parameters
    ----------
    problem : CertificationProblem
    network : TwoLayerNetwork or ConvNetwork
        With the activation and the hidden bias of the problem.
    guesses : sequence of (str, ndarray of shape (n, K))
        Dual points to try beside the gradient's, with the sign of ``-gradient``, and where they come from.
    method : str
        See `Pricing`.
    time_limit : float, optional
        Seconds, shared by all guesses.

    Returns
    -------
    Certificate
    """
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
    pricing = Pricing(problem, method)
    named = [("gradient", gradient_guess(problem, network)), *guesses]
    bounds = [bound_from(problem, pricing, guess, name, deadline) for name, guess in named]
    return assemble(problem, network, bounds)


def assemble(problem: CertificationProblem, network: Network, bounds: Sequence[Bound]) -> Certificate:
    """Make a certificate of the best of several bounds, the first of which is the gradient's."""
    best = best_bound(bounds)
    objective = network.objective(
        problem.X,
        problem.targets,
        alpha=problem.alpha,
        loss=problem.loss,
        sample_weight=problem.sample_weight,
    )
    neurons = np.vstack([bound.price.neurons for bound in bounds])
    witness = find_witness(problem, network, neurons, objective)
    if witness is not None and objective - witness.objective <= _WORTH * abs(objective):
        witness = None
    cut = (
        "" if best.price.complete else "A limit cut the search; more time or another method may bound better."
    )
    return Certificate(
        objective=objective,
        lower_bound=best.value,
        method=f"{best.price.method}, dual point from the {best.source}",
        complete=best.price.complete,
        largest_gain=best.largest_gain,
        dual_point=best.theta,
        witness=witness,
        message=cut,
    )


def best_bound(bounds: Sequence[Bound]) -> Bound:
    """Return the bound of the largest value, the first of equal ones."""
    return max(bounds, key=lambda bound: bound.value)


def gradient_guess(problem: CertificationProblem, network: Network) -> FloatArray:
    """Return ``-gradient`` of the loss at the network's outputs, with the best intercept where one exists.

    The best intercept makes the gradient of a smooth loss sum to zero, whatever the network's own one is.
    """
    outputs = network.outputs(problem.X)
    if problem.fit_intercept:
        outputs = outputs + problem.loss.optimal_intercept(outputs, problem.targets, problem.sample_weight)
    return -problem.loss.gradient(outputs, problem.targets, problem.sample_weight)


def bound_from(
    problem: CertificationProblem,
    pricing: Pricing,
    guess: FloatArray,
    source: str,
    deadline: float = math.inf,
) -> Bound:
    """Return the best bound on the ray of a dual guess.

    Parameters
    ----------
    problem : CertificationProblem
    pricing : Pricing
    guess : ndarray of shape (n, K)
    source : str
        Where the guess comes from.
    deadline : float
        Of `time.perf_counter`.

    Returns
    -------
    Bound
        With a value of at least zero.
    """
    check_loss(problem)
    theta = exact_point(problem, into_domain(problem, guess))
    wanted = _best_scale(problem, theta)
    threshold = problem.alpha / wanted if wanted > 0 else math.inf
    price = pricing(theta, threshold=threshold, deadline=deadline)
    scale = wanted if price.upper <= threshold else problem.alpha / price.upper
    feasible, largest_gain = _feasible_point(problem, theta, scale, price.upper)
    value = dual_lower_bound(problem, feasible)
    if value > 0:
        return Bound(value, feasible, largest_gain, price, source)
    return Bound(0.0, np.zeros_like(theta), 0.0, price, source)


def _best_scale(problem: CertificationProblem, theta: FloatArray) -> float:
    """Maximise the concave ``c -> D(c theta)`` over ``c >= 0``; any answer is valid."""

    def loss_of(scale: float) -> float:
        value = dual_value(problem, scale * theta)
        return -value if math.isfinite(value) else 1e300

    if not theta.any():
        return 0.0
    end = 1.0
    while end < 2.0**40 and loss_of(2 * end) < loss_of(end):
        end *= 2
    found = minimize_scalar(loss_of, bounds=(0.0, 2 * end), method="bounded", options={"xatol": 1e-10})
    candidates = [1.0, end, float(found.x)]
    # What lies within rounding of one is the guess itself, which needs no scaling.
    values = [loss_of(scale) for scale in candidates]
    slack = 64 * _EPS * (abs(values[0]) + float(np.abs(theta * problem.targets).sum()))
    return 1.0 if values[0] <= min(values) + slack else candidates[int(np.argmin(values))]


def _feasible_point(
    problem: CertificationProblem, theta: FloatArray, scale: float, upper: float
) -> tuple[FloatArray, float]:
    """Return an exact point near ``scale * theta`` with a gain of at most alpha, and a bound of its gain."""
    steepest = max(abs(problem.activation.on), abs(problem.activation.off))
    shrinkage = 0.0
    for _ in range(_MAX_SHRINKS):
        factor = scale * (1 - shrinkage)
        scaled = factor * theta
        point = exact_point(problem, scaled)
        moved = np.abs(point - scaled) + _EPS * np.abs(scaled)
        slack = steepest * float(moved.sum(axis=1) @ problem.reach) * (1 + 4 * (moved.size + 4) * _EPS)
        largest = (factor * upper + slack) * (1 + 8 * _EPS)
        if largest <= problem.alpha:
            return point, largest
        excess = largest / problem.alpha - 1 if problem.alpha > 0 else 1.0
        shrinkage = min(1.0, 1.01 * excess + 2 * shrinkage + 2 * _EPS)
        if not math.isfinite(shrinkage) or shrinkage >= 1:
            break
    return np.zeros_like(theta), 0.0
