"""Smooth envelopes of losses with one kink, moved by multipliers.

References
----------
Moreau, "Proximite et dualite dans un espace hilbertien", Bulletin de la Societe Mathematique de France 93,
1965.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from convexnn_solvers._typing import FloatArray
from convexnn_solvers.conic.epigraphs import Epigraph
from convexnn_solvers.program import Loss

__all__ = ["Envelope"]

_FAR = 1e300


@dataclass(frozen=True, eq=False)
class Envelope:
    """``e(f) = min_g sum_i s_i (loss(g_i) + rho / 2 |g_i - f_i - lambda_i / (s_i rho)|^2)``.

    The loss is piecewise linear with one kink, at the target, so that the gradient is the point of the
    conjugate's domain nearest to ``s_i rho (f_i - y_i) + lambda_i``. Methods are those of `Loss`.

    Attributes
    ----------
    loss : Loss
        With its only kink at the target.
    rho : float
        Curvature of the envelope, for each unit of a sample's weight.
    multipliers : ndarray of shape (n, K)
        ``lambda``, in the domain of the loss's conjugate.
    """

    loss: Loss
    rho: float
    multipliers: FloatArray

    name: ClassVar[str] = "envelope"
    attains_minimum: ClassVar[bool] = True
    of_residual: ClassVar[bool] = False
    kink_at_target: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False
    has_slack: ClassVar[bool] = False
    has_epigraph: ClassVar[bool] = False

    @property
    def smoothness(self) -> float:
        """``rho``."""
        return self.rho

    def value(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """See `Loss.value`."""
        weight = self.rho * sample_weight[:, None]
        gradient = self.gradient(outputs, targets, sample_weight)
        used = weight > 0
        shift = np.divide(self.multipliers - gradient, weight, out=np.zeros_like(gradient), where=used)
        square = np.divide(gradient**2, weight, out=np.zeros_like(gradient), where=used)
        return self.loss.value(outputs + shift, targets, sample_weight) + 0.5 * float(square.sum())

    def _unclipped(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Gradient if the loss were a parabola."""
        return self.rho * sample_weight[:, None] * (outputs - targets) + self.multipliers

    def gradient(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """See `Loss.gradient`."""
        unclipped = self._unclipped(outputs, targets, sample_weight)
        return self.loss.project_dual(unclipped, targets, sample_weight)

    def curvature(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, None]:
        """See `Loss.curvature`."""
        unclipped = self._unclipped(outputs, targets, sample_weight)
        inside = self.loss.project_dual(unclipped, targets, sample_weight) == unclipped
        return np.where(inside, self.rho * sample_weight[:, None], 0.0), None

    def shrink_slack(self, points: FloatArray, targets: FloatArray, step: FloatArray) -> FloatArray:
        """Raise TypeError: there is no slack."""
        del points, targets, step
        raise TypeError("An envelope is not a squared error with slack.")

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Raise TypeError: cone solvers see the loss itself."""
        del targets, sample_weight
        raise TypeError("An envelope has no epigraph.")

    def conjugate(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """See `Loss.conjugate`."""
        weight = self.rho * sample_weight[:, None]
        square = np.divide(
            dual * (dual - 2.0 * self.multipliers), weight, out=np.zeros_like(dual), where=weight > 0
        )
        return self.loss.conjugate(dual, targets, sample_weight) + 0.5 * float(square.sum())

    def project_dual(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """See `Loss.project_dual`."""
        return self.loss.project_dual(dual, targets, sample_weight)

    def optimal_intercept(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> FloatArray:
        """Return roots of the sums of the gradients, which are monotone, output by output."""
        used = sample_weight > 0
        if not used.any():
            return np.zeros(outputs.shape[1])
        targets, weight = targets[used], sample_weight[used]
        only = replace(self, multipliers=self.multipliers[used])
        ends = [self.loss.project_dual(np.full(targets.shape, end), targets, weight) for end in (-_FAR, _FAR)]
        unclipped = only._unclipped(outputs[used], targets, weight)
        breaks = np.sort(
            np.vstack([(end - unclipped) / (self.rho * weight[:, None]) for end in ends]), axis=0
        )

        def sums(constant: FloatArray) -> FloatArray:
            return np.asarray(only.gradient(outputs[used] + constant, targets, weight).sum(axis=0))

        return _roots(sums, breaks)


def _roots(function: Callable[[FloatArray], FloatArray], breaks: FloatArray) -> FloatArray:
    """Return roots of non-decreasing functions, linear between their sorted `breaks` and constant outside.

    Binary search over the breaks of all functions at once, then interpolation. A function that is zero on an
    interval, which may have no end, gets one of its breaks.

    Parameters
    ----------
    function : callable
        From one number for each function to their values, (K,) -> (K,).
    breaks : ndarray of shape (b, K)
    """
    column = np.arange(breaks.shape[1])
    low, high = np.zeros(len(column), dtype=np.intp), np.full(len(column), len(breaks) - 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        beyond = function(breaks[middle, column]) >= 0
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    left, right = breaks[low, column], breaks[high, column]
    below, above = function(left), function(right)
    rise = above - below
    share = np.divide(-below, rise, out=np.ones_like(rise), where=rise > 0)
    return np.asarray(left + np.clip(share, 0.0, 1.0) * (right - left))
