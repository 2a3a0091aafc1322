r"""From a guess of a dual point to a lower bound that is proved.

**The bound.** Let ``theta`` satisfy ``H(theta) = max {|theta . phi(X~ u)| : |u| <= 1} <= alpha``, the norm
being that of the penalised weights, and ``sum_i theta_i = 0`` if an output intercept exists. By the
Fenchel-Young inequality and ``(|u|^2 + a^2) / 2 >= |u| |a|`` every network, of any width, has

    F >= sum_i [-theta_i f(x_i) - s_i loss*(-theta_i / s_i)] + alpha sum_j |u_j| |a_j|
      >= D(theta) + (alpha - H(theta)) sum_j |u_j| |a_j| >= D(theta),

since ``theta . f = sum_j a_j theta . phi(X~ u_j)``. A free hidden bias adds units of zero slope; they are
constant and cancel, as the sum vanishes, and for other slopes H is finite.

**Rounding.** None of the steps trusts floating point. All of them work on the samples and in the coordinates
as they were given, not on those in which networks are trained:

1. a guess is moved into the domain and to sums that are *exactly* zero (`exact_dual.exact_point`);
2. `Pricing` bounds ``H`` at this very point from above, rounding included;
3. the point is scaled by the best c with ``c H + slack <= alpha`` and made exact again, which changes it by
   ``delta``. Both c times the first point and the second sum to zero exactly, hence so does ``delta``, and
   ``H(second) <= c H(first) + max(|on|, |off|) sum_i |delta_i| r_i`` with the reach ``r_i`` of sample i. It
   is ``|x~_i|`` or, with a free bias, the diameter of the data seen from ``x_i``, for only biases at kinks
   count. That sum is rounded up, and the inequality is checked before the point is used;
4. its dual value is bounded from below (`exact_dual.dual_lower_bound`); zero, the value at ``theta = 0``, is
   a bound as well, losses being non-negative.

References
----------
Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 5.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize_scalar

from convexnn._typing import FloatArray
from convexnn.certificates.exact_dual import check_loss, dual_lower_bound, exact_point
from convexnn.certificates.pricing_methods import Price, Pricing
from convexnn.losses import Loss
from convexnn.networks import Network
from convexnn.problem import Problem
from convexnn_solvers.clock import Clock
from convexnn_solvers.dual import dual_value, into_domain

__all__ = ["AllSamples", "Bound", "bound_from", "gradient_guess"]

_EPS = float(np.finfo(np.float64).eps)
# A shrinkage doubles at least, so that this many lead from one unit of rounding to one.
_MAX_SHRINKS = 52
# Largest power of two that a guess is scaled by, and halvings of an interval of scales.
_LARGEST_SCALE, _HALVINGS = 2.0**40, 50


@dataclass(frozen=True, eq=False)
class AllSamples:
    """The samples as they were given, in the form in which `convexnn_solvers.dual` asks for them.

    (`Problem` itself has that form, too: for the distinct samples.)
    """

    loss: Loss
    targets: FloatArray
    sample_weight: FloatArray
    fit_intercept: bool

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """Return the samples of a problem."""
        data = problem.data
        return cls(data.loss, data.targets, data.weight, problem.fit_intercept)

    def loss_at(self, theta: FloatArray) -> float:
        """Minus the dual value, a large number outside the domain."""
        value = dual_value(self, theta)
        return -value if math.isfinite(value) else 1e300


@dataclass(frozen=True, eq=False)
class Bound:
    """A feasible dual point with its value and the price that proves it feasible.

    Attributes
    ----------
    value : float
        No network has a smaller objective.
    theta : ndarray of shape (n, K)
    largest_gain : float
        Upper bound of ``H(theta)``, at most alpha.
    price : Price
        Of the guess.
    source : str
        Where the guess came from.
    """

    value: float
    theta: FloatArray
    largest_gain: float
    price: Price
    source: str


def gradient_guess(problem: Problem, network: Network) -> FloatArray:
    """Return ``-gradient`` of the loss at the network's outputs, with the best intercept where one exists.

    The best intercept makes the gradient of a smooth loss sum to zero, whatever the network's own one is.
    """
    data = problem.data
    outputs = network.outputs(data.X).reshape(data.targets.shape)
    if problem.fit_intercept:
        outputs = outputs + data.loss.optimal_intercept(outputs, data.targets, data.weight)
    return -data.loss.gradient(outputs, data.targets, data.weight)


def bound_from(
    problem: Problem,
    pricing: Pricing,
    guess: FloatArray,
    source: str,
    clock: Clock,
    *,
    wanted: float = -math.inf,
) -> Bound:
    """Return the best bound on the ray of a dual guess.

    Parameters
    ----------
    problem : Problem
    pricing : Pricing
    guess : ndarray of shape (n, K)
        On all samples, with the sign of ``-gradient``.
    source : str
        Where the guess comes from.
    clock : Clock
        Of the search for the largest gain.
    wanted : float
        Where no bound of this size is possible, that search may stop.

    Returns
    -------
    Bound
        With a value of at least zero.
    """
    check_loss(problem)
    samples = AllSamples.of(problem)
    theta = exact_point(problem, into_domain(samples, guess))
    best = _best_scale(samples, theta)
    threshold = problem.alpha / best if best > 0 else math.inf
    needed = _least_scale(samples, theta, best, wanted)
    hopeless = problem.alpha / needed if needed > 0 else math.inf
    price = pricing(theta, threshold=threshold, hopeless=hopeless, clock=clock)
    scale = best if price.upper <= threshold else problem.alpha / price.upper
    feasible, largest_gain = _feasible_point(problem, theta, scale, price.upper)
    value = dual_lower_bound(problem, feasible)
    if value > 0:
        return Bound(value, feasible, largest_gain, price, source)
    return Bound(0.0, np.zeros_like(theta), 0.0, price, source)


def _best_scale(samples: AllSamples, theta: FloatArray) -> float:
    """Maximise the concave ``c -> D(c theta)`` over ``c >= 0``; any answer is valid."""

    def loss_of(scale: float) -> float:
        return samples.loss_at(scale * theta)

    if not theta.any():
        return 0.0
    end = 1.0
    while end < _LARGEST_SCALE and loss_of(2 * end) < loss_of(end):
        end *= 2
    found = minimize_scalar(loss_of, bounds=(0.0, 2 * end), method="bounded", options={"xatol": 1e-10})
    candidates = [1.0, end, float(found.x)]
    # What lies within rounding of one is the guess itself, which needs no scaling.
    values = [loss_of(scale) for scale in candidates]
    slack = 64 * _EPS * (abs(values[0]) + float(np.abs(theta * samples.targets).sum()))
    return 1.0 if values[0] <= min(values) + slack else candidates[int(np.argmin(values))]


def _least_scale(samples: AllSamples, theta: FloatArray, best: float, wanted: float) -> float:
    """Return about the least c with ``D(c theta) >= wanted``, infinite where there is none up to `best`."""
    low, high = 0.0, best
    if wanted <= -samples.loss_at(0.0 * theta):
        return 0.0
    if wanted > -samples.loss_at(best * theta):
        return math.inf
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if -samples.loss_at(middle * theta) >= wanted:
            high = middle
        else:
            low = middle
    return high


def _feasible_point(
    problem: Problem, theta: FloatArray, scale: float, upper: float
) -> tuple[FloatArray, float]:
    """Return an exact point near ``scale * theta`` with a gain of at most alpha, and a bound of its gain."""
    phi, reach = problem.kind.activation, problem.original_layer.reach
    steepest = max(abs(phi.on), abs(phi.off))
    shrinkage = 0.0
    for _ in range(_MAX_SHRINKS):
        factor = scale * (1 - shrinkage)
        scaled = factor * theta
        point = exact_point(problem, scaled)
        moved = np.abs(point - scaled) + _EPS * np.abs(scaled)
        slack = steepest * float(moved.sum(axis=1) @ reach) * (1 + 4 * (moved.size + 4) * _EPS)
        largest = (factor * upper + slack) * (1 + 8 * _EPS)
        if largest <= problem.alpha:
            return point, largest
        excess = largest / problem.alpha - 1 if problem.alpha > 0 else 1.0
        shrinkage = min(1.0, 1.01 * excess + 2 * shrinkage + 2 * _EPS)
        if not math.isfinite(shrinkage) or shrinkage >= 1:
            break
    return np.zeros_like(theta), 0.0
