"""Losses of a real target: squared, Huber and absolute error."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from convexnn._typing import FloatArray
from convexnn.losses._roots import jump_root, piecewise_linear_root
from convexnn.losses.elementwise import ElementwiseLoss, quadratic_terms
from convexnn.losses.epigraph import Epigraph, Row, elementwise_epigraph, flat
from convexnn.losses.registry import register_loss

__all__ = ["AbsoluteError", "Huber", "SquaredError"]


@dataclass(frozen=True)
class SquaredError(ElementwiseLoss):
    """Half the squared error, ``1/2 (f - y)^2``.

    Conjugate ``z^2/2 + y z``, finite everywhere. Targets are real; see :class:`Loss` for shapes and weights.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 2.
    """

    name: ClassVar[str] = "squared_error"
    task: ClassVar[Literal["regression", "classification"]] = "regression"
    of_residual: ClassVar[bool] = True
    smoothness: ClassVar[float] = 1.0

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return 0.5 * (outputs - targets) ** 2

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return outputs - targets

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        del targets
        return np.ones_like(outputs)

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        return dual * (0.5 * dual + targets)

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full_like(targets, -math.inf), np.full_like(targets, math.inf)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        return float(np.average(targets - outputs, weights=sample_weight))

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return a quadratic cost; see :meth:`Loss.epigraph`."""
        y, s = flat(targets, sample_weight)
        return elementwise_epigraph(s, y, quadratic=1.0)

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``z (0.5 z / s + y)``; see :meth:`Loss.conjugate_terms`."""
        return quadratic_terms(0.5, dual, targets, sample_weight)


@dataclass(frozen=True)
class Huber(ElementwiseLoss):
    """Squared error that becomes linear beyond `delta`.

    ``1/2 r^2`` if ``|r| <= delta`` else ``delta |r| - delta^2/2``, with ``r = f - y``. Conjugate
    ``z^2/2 + y z`` on ``|z| <= delta``. Targets are real; see :class:`Loss` for shapes and weights.

    Parameters
    ----------
    delta : float
        Where the linear part starts, in units of the target; positive and finite.

    Raises
    ------
    ValueError
        If `delta` is not positive and finite.

    References
    ----------
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """

    delta: float = 1.0

    name: ClassVar[str] = "huber"
    task: ClassVar[Literal["regression", "classification"]] = "regression"
    of_residual: ClassVar[bool] = True
    smoothness: ClassVar[float] = 1.0
    has_slack: ClassVar[bool] = True

    def shrink_slack(self, points: FloatArray, targets: FloatArray, step: FloatArray) -> FloatArray:
        """Return `points` moved towards zero by ``step * delta``; see :meth:`Loss.shrink_slack`."""
        del targets
        return points - np.clip(points, -step * self.delta, step * self.delta)

    def __post_init__(self) -> None:
        """Refuse a `delta` for which the loss is not convex or not defined."""
        if not (math.isfinite(self.delta) and self.delta > 0):
            raise ValueError(
                f"The parameter delta of the Huber loss must be positive and finite. Got {self.delta!r} "
                "instead; for the limits choose 'squared_error' (infinite) or 'absolute_error' (zero)."
            )

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        size = np.abs(outputs - targets)
        inner = np.minimum(size, self.delta)
        return inner * (size - 0.5 * inner)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.clip(outputs - targets, -self.delta, self.delta)

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.where(np.abs(outputs - targets) <= self.delta, 1.0, 0.0)

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        return dual * (0.5 * dual + targets)

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full_like(targets, -self.delta), np.full_like(targets, self.delta)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        residual = targets - outputs

        def derivative(c: float) -> float:
            return float(sample_weight @ np.clip(c - residual, -self.delta, self.delta))

        return piecewise_linear_root(
            derivative, np.concatenate([residual - self.delta, residual + self.delta])
        )

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``min_a 1/2 a^2 + delta |r - a|`` with ``e = (a, |r - a|)``; see :meth:`Loss.epigraph`."""
        y, s = flat(targets, sample_weight)
        return elementwise_epigraph(
            s,
            y,
            extra_quadratic=(1.0, 0.0),
            extra_linear=(0.0, self.delta),
            nonneg=(Row(1.0, (-1.0, -1.0), 0.0), Row(-1.0, (1.0, -1.0), 0.0)),
        )

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``z (0.5 z / s + y)``; see :meth:`Loss.conjugate_terms`."""
        return quadratic_terms(0.5, dual, targets, sample_weight)


@dataclass(frozen=True)
class AbsoluteError(ElementwiseLoss):
    """Absolute error, ``|f - y|``.

    Conjugate ``y z`` on ``|z| <= 1``. Not smooth: the gradient is ``sign(f - y)``, zero at ``f = y``. Targets
    are real; see :class:`Loss` for shapes and weights.
    """

    name: ClassVar[str] = "absolute_error"
    task: ClassVar[Literal["regression", "classification"]] = "regression"
    kink_at_target: ClassVar[bool] = True
    of_residual: ClassVar[bool] = True
    smoothness: ClassVar[float] = math.inf

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.abs(outputs - targets)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.sign(outputs - targets)

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        return dual * targets

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full_like(targets, -1.0), np.ones_like(targets)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        return jump_root(targets - outputs, 2.0 * sample_weight, -float(sample_weight.sum()))

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``e >= |r|``; see :meth:`Loss.epigraph`."""
        y, s = flat(targets, sample_weight)
        rows = (Row(1.0, (-1.0,), 0.0), Row(-1.0, (-1.0,), 0.0))
        return elementwise_epigraph(s, y, extra_quadratic=(0.0,), extra_linear=(1.0,), nonneg=rows)

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``z y``; see :meth:`Loss.conjugate_terms`."""
        return quadratic_terms(0.0, dual, targets, sample_weight)


for _loss in (SquaredError(), Huber(), AbsoluteError()):
    register_loss(_loss)
