"""Losses with a kink at the target, rounded off so that descents can run on them."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np

from convexnn._typing import FloatArray
from convexnn.losses.base import Loss
from convexnn.losses.elementwise import ElementwiseLoss

__all__ = ["RoundedKink", "without_kinks"]

# Width of the parabola at a kink, in units of the residuals.
_SHARE = 0.1
# Of the curvature of touching parabolas near an optimum: with .02 descents take a fifth of the steps that all
# of it needs, and still know a direction where the loss is straight.
_STRAIGHT_SHARE = 0.02
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class RoundedKink(ElementwiseLoss):
    """A loss with a kink at the target, made a parabola within `width` of it.

    Where the loss is straight its curvature is a share of that of the parabola that touches at the point and
    at its mirror image behind the kink, and lies above the loss: all of it far from an optimum. Where dual
    points are concerned it is the loss itself.

    Parameters
    ----------
    loss : ElementwiseLoss
        With ``kink_at_target``.
    width : float
        Positive.
    straight_share : float, default 1.0
        Positive.
    """

    loss: ElementwiseLoss
    width: float
    straight_share: float = 1.0

    name: ClassVar[str] = "rounded_kink"
    task: ClassVar[Literal["regression", "classification"]] = "regression"
    smoothness: ClassVar[float] = math.inf

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        low, high = self._domain(targets)
        residual = outputs - targets
        rounded = low * residual + (high - low) * (residual + self.width) ** 2 / (4.0 * self.width)
        return np.where(np.abs(residual) < self.width, rounded, np.where(residual < 0, low, high) * residual)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        low, high = self._domain(targets)
        return low + (high - low) * np.clip(0.5 * ((outputs - targets) / self.width + 1.0), 0.0, 1.0)

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        low, high = self._domain(targets)
        distance = np.abs(outputs - targets)
        curvature = 0.5 * (high - low) / np.maximum(distance, self.width)
        return np.where(distance < self.width, 1.0, self.straight_share) * curvature

    def sharpened(self, share: float) -> Self:
        """Return the loss rounded within a share of the width, for points that are near an optimum."""
        return replace(self, width=max(share * self.width, _TINY), straight_share=_STRAIGHT_SHARE)

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        return self.loss._conjugates(dual, targets)

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self.loss._domain(targets)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        return self.loss._intercept(outputs, targets, sample_weight)


def without_kinks(loss: Loss, targets: FloatArray, sample_weight: FloatArray) -> Loss:
    """Return `loss` itself if it is smooth, else one that is and lies at most slightly above it.

    Kinks are rounded off within a tenth of a margin, or of the mean loss of the best constant.

    Parameters
    ----------
    loss : Loss
    targets : ndarray of shape (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,)

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If the loss has kinks elsewhere than at the targets.
    """
    if loss.is_smooth:
        return loss
    if not (loss.kink_at_target and isinstance(loss, ElementwiseLoss)):
        raise ValueError(
            f"Descents need a loss that is smooth or has its only kink at the target. Got {loss.name!r}; "
            "choose patterns='exact' or a number of patterns."
        )
    if loss.task == "classification":
        return RoundedKink(loss, _SHARE)
    zero = np.zeros(targets.shape)
    constant = zero + loss.optimal_intercept(zero, targets, sample_weight)
    mean = loss.value(constant, targets, sample_weight) / (float(sample_weight.sum()) * targets.shape[1])
    return RoundedKink(loss, max(_SHARE * mean, _TINY))
