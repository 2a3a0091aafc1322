"""Losses of the margin ``y f`` with y in {-1, +1}: logistic, hinge and squared hinge."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import expit, xlog1py, xlogy

from convexnn._typing import FloatArray
from convexnn.losses._roots import jump_root, newton_root, piecewise_linear_root
from convexnn.losses.base import Loss
from convexnn.losses.elementwise import ElementwiseLoss, quadratic_terms
from convexnn.losses.epigraph import Epigraph, Row, elementwise_epigraph, flat
from convexnn.losses.registry import register_loss
from convexnn.losses.softmax import SATURATED_MARGIN, Softmax, entropy_error

__all__ = ["Hinge", "LogLoss", "SquaredHinge"]


def _negative_side(targets: FloatArray, size: float) -> tuple[FloatArray, FloatArray]:
    """Return the ends of ``{z : 0 <= -y z <= size}``."""
    positive = targets > 0
    return np.where(positive, -size, 0.0), np.where(positive, 0.0, size)


@dataclass(frozen=True)
class LogLoss(ElementwiseLoss):
    """Binary logistic loss, ``log(1 + exp(-y f))``.

    With ``p = -y z`` the conjugate is ``p log p + (1 - p) log(1 - p)`` on ``0 <= p <= 1``. Targets are -1
    or +1; see :class:`Loss` for shapes and weights. Several outputs are independent binary problems; for
    exclusive classes use :class:`Softmax`.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020 (general convex losses).
    """

    name: ClassVar[str] = "log_loss"
    task: ClassVar[Literal["regression", "classification"]] = "classification"
    smoothness: ClassVar[float] = 0.25
    attains_minimum: ClassVar[bool] = False
    probabilistic: ClassVar[bool] = True

    def named_for(self, n_outputs: int) -> Loss:
        """Return the softmax loss for several outputs, whose classes are then exclusive."""
        return self if n_outputs == 1 else Softmax()

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.logaddexp(0.0, -targets * outputs)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return -targets * np.asarray(expit(-targets * outputs))

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        margin = targets * outputs
        return np.asarray(expit(margin) * expit(-margin))

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        p = -targets * dual
        return np.asarray(xlogy(p, p) + xlog1py(1.0 - p, -p))

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _negative_side(targets, 1.0)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        positive = float(sample_weight[targets > 0].sum())
        negative = float(sample_weight[targets < 0].sum())
        smallest, largest = float(outputs.min()), float(outputs.max())
        if negative == 0:
            return SATURATED_MARGIN - smallest
        if positive == 0:
            return -SATURATED_MARGIN - largest

        def derivative(c: float) -> tuple[float, float]:
            p = np.asarray(expit(-targets * (outputs + c)))
            return float(sample_weight @ (-targets * p)), float(sample_weight @ (p * (1.0 - p)))

        # Were all outputs equal, they plus c would be the log odds; the derivative is monotone in each.
        log_odds = math.log(positive) - math.log(negative)
        return newton_root(derivative, log_odds - largest, log_odds - smallest)

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``exp(-y r - t) + exp(-t) <= 1`` with ``e = (t, u, v)``; see :meth:`Loss.epigraph`."""
        y, s = flat(targets, sample_weight)
        one = Row(0.0, (0.0, 0.0, 0.0), 1.0)
        return elementwise_epigraph(
            s,
            np.zeros(y.size),
            extra_quadratic=(0.0, 0.0, 0.0),
            extra_linear=(1.0, 0.0, 0.0),
            nonneg=(Row(0.0, (0.0, 1.0, 1.0), 1.0),),
            exponential=(
                (Row(y, (1.0, 0.0, 0.0), 0.0), one, Row(0.0, (0.0, -1.0, 0.0), 0.0)),
                (Row(0.0, (1.0, 0.0, 0.0), 0.0), one, Row(0.0, (0.0, 0.0, -1.0), 0.0)),
            ),
        )

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``s (p log p + (1 - p) log(1 - p))``; see `entropy_error` for the error."""
        del targets
        s = sample_weight[:, None]
        p = np.minimum(np.abs(dual) / s, 1.0)
        own = s * np.asarray(xlogy(p, p))
        return own + s * np.asarray(xlog1py(1.0 - p, -p)), entropy_error(own, dual)


@dataclass(frozen=True)
class Hinge(ElementwiseLoss):
    """Hinge loss, ``max(0, 1 - y f)``.

    With ``p = -y z`` the conjugate is ``-p`` on ``0 <= p <= 1``. Not smooth: the gradient is ``-y`` below
    margin 1 and zero from there on. Targets are -1 or +1; see :class:`Loss` for shapes and weights.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020 (general convex losses).
    """

    name: ClassVar[str] = "hinge"
    task: ClassVar[Literal["regression", "classification"]] = "classification"
    kink_at_target: ClassVar[bool] = True
    smoothness: ClassVar[float] = math.inf

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.maximum(0.0, 1.0 - targets * outputs)

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.where(targets * outputs < 1.0, -targets, 0.0)

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        return targets * dual

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _negative_side(targets, 1.0)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        return jump_root(targets - outputs, sample_weight, -float(sample_weight[targets > 0].sum()))

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``e >= max(0, 1 - y r)``; see :meth:`Loss.epigraph`."""
        y, s = flat(targets, sample_weight)
        zero = np.zeros(y.size)
        return elementwise_epigraph(
            s, zero, extra_quadratic=(0.0,), extra_linear=(1.0,), nonneg=_margin_rows(y)
        )

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``z y``; see :meth:`Loss.conjugate_terms`."""
        return quadratic_terms(0.0, dual, targets, sample_weight)


@dataclass(frozen=True)
class SquaredHinge(ElementwiseLoss):
    """Squared hinge loss, ``max(0, 1 - y f)^2``, without the factor 1/2 (as in scikit-learn).

    With ``p = -y z`` the conjugate is ``p^2/4 - p`` on ``p >= 0``. Targets are -1 or +1; see
    :class:`Loss` for shapes and weights.
    """

    name: ClassVar[str] = "squared_hinge"
    task: ClassVar[Literal["regression", "classification"]] = "classification"
    smoothness: ClassVar[float] = 2.0
    has_slack: ClassVar[bool] = True

    def shrink_slack(self, points: FloatArray, targets: FloatArray, step: FloatArray) -> FloatArray:
        """Return the points on the side ``y e <= 0``, zero for others; see :meth:`Loss.shrink_slack`."""
        del step
        return np.where(targets * points < 0, points, 0.0)

    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.maximum(0.0, 1.0 - targets * outputs) ** 2

    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return -2.0 * targets * np.maximum(0.0, 1.0 - targets * outputs)

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        return np.where(targets * outputs < 1, 2.0, 0.0)

    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        return dual * (0.25 * dual + targets)

    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _negative_side(targets, math.inf)

    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        def derivative(c: float) -> float:
            slack = np.maximum(0.0, 1.0 - targets * (outputs + c))
            return -2.0 * float(sample_weight @ (targets * slack))

        return piecewise_linear_root(derivative, targets - outputs)

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``e^2`` with ``e >= max(0, 1 - y r)``; see :meth:`Loss.epigraph`."""
        y, s = flat(targets, sample_weight)
        zero = np.zeros(y.size)
        return elementwise_epigraph(
            s, zero, extra_quadratic=(2.0,), extra_linear=(0.0,), nonneg=_margin_rows(y)
        )

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``z (0.25 z / s + y)``; see :meth:`Loss.conjugate_terms`."""
        return quadratic_terms(0.25, dual, targets, sample_weight)


def _margin_rows(y: FloatArray) -> tuple[Row, Row]:
    """``e >= 1 - y r`` and ``e >= 0``."""
    return Row(-y, (-1.0,), -1.0), Row(0.0, (-1.0,), 0.0)


for _loss in (LogLoss(), Hinge(), SquaredHinge()):
    register_loss(_loss)
