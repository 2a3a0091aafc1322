"""Losses with kinks, rounded off so that descents can run on them.

Their curvature is that of the parabola that touches at the point and at its mirror image behind the kink: it
lies above the loss, and is positive where the loss is straight.
"""

from dataclasses import dataclass

import numpy as np

from convexnn._typing import FloatArray
from convexnn.losses import AbsoluteError, Hinge, Loss

__all__ = ["without_kinks"]

_SHARE = 0.1
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class _RoundedAbsoluteError(AbsoluteError):
    """``|r|``, a parabola for ``|r| <= width``."""

    width: float = 1.0

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        size = np.abs(outputs - targets)
        return np.where(size < self.width, 0.5 * (size**2 / self.width + self.width), size)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.clip((outputs - targets) / self.width, -1.0, 1.0)

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return 1.0 / np.maximum(np.abs(outputs - targets), self.width)


@dataclass(frozen=True)
class _RoundedHinge(Hinge):
    """``max(0, 1 - y f)``, a parabola where ``|1 - y f| <= width``."""

    width: float = _SHARE

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        slack = 1.0 - targets * outputs
        rounded = np.maximum(slack + self.width, 0.0) ** 2 / (4.0 * self.width)
        return np.where(slack < self.width, rounded, slack)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        slack = 1.0 - targets * outputs
        return -targets * np.clip(0.5 * (slack / self.width + 1.0), 0.0, 1.0)

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return 0.5 / np.maximum(np.abs(1.0 - targets * outputs), self.width)


def without_kinks(loss: Loss, targets: FloatArray, sample_weight: FloatArray) -> Loss:
    """Return `loss` itself if it is smooth, else one that is and lies at most slightly above it.

    Kinks are rounded off within a tenth of a margin, or of the mean deviation from the best constant.
    """
    if loss.is_smooth:
        return loss
    if isinstance(loss, Hinge):
        return _RoundedHinge()
    if isinstance(loss, AbsoluteError):
        zero = np.zeros(targets.shape)
        constant = zero + loss.optimal_intercept(zero, targets, sample_weight)
        mean = loss.value(constant, targets, sample_weight) / (float(sample_weight.sum()) * targets.shape[1])
        return _RoundedAbsoluteError(width=max(_SHARE * mean, _TINY))
    raise ValueError(
        f"Descents need a smooth loss, 'hinge' or 'absolute_error'. Got {loss.name!r}; "
        "choose patterns='exact' or a number of patterns."
    )
