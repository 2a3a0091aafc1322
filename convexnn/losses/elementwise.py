"""What losses share that are sums over outputs."""

import math
from abc import abstractmethod

import numpy as np

from convexnn._typing import BoolArray, FloatArray
from convexnn.losses.base import Loss, SecondDerivatives

__all__ = ["ElementwiseLoss", "quadratic_terms"]

# Half an epsilon, what one rounding is off by at most.
_UNIT = 0.5 * float(np.finfo(np.float64).eps)
# Roundings of ``z (q z / s + y)``, seven and one for products of them.
_ROUNDINGS = 8


class ElementwiseLoss(Loss):
    """A loss that is a sum over outputs of a function of one output and one target."""

    @abstractmethod
    def _values(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        """Unweighted loss of each element."""

    @abstractmethod
    def _derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        """Unweighted derivative of each element."""

    def _second_derivatives(self, outputs: FloatArray, targets: FloatArray) -> FloatArray:
        """Unweighted second derivative of each element; smooth losses override this."""
        del outputs, targets
        raise TypeError(f"The loss {self.name!r} has kinks and no curvature; use a smooth loss.")

    @abstractmethod
    def _conjugates(self, dual: FloatArray, targets: FloatArray) -> FloatArray:
        """Unweighted conjugate of each element, for points of the domain."""

    @abstractmethod
    def _domain(self, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end of the unweighted conjugate's domain, each of the shape of `targets`."""

    @abstractmethod
    def _intercept(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Optimal intercept of one output; all arrays of shape (n,), n >= 1, weights positive."""

    def value(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Return ``L(f)``; see :meth:`Loss.value`."""
        return float(sample_weight @ self._values(outputs, targets).sum(axis=1))

    def gradient(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return the gradient of ``L``; see :meth:`Loss.gradient`."""
        return sample_weight[:, None] * self._derivatives(outputs, targets)

    def curvature(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> SecondDerivatives:
        """Return diagonal matrices; see :meth:`Loss.curvature`."""
        return sample_weight[:, None] * self._second_derivatives(outputs, targets), None

    def _weighted_domain(
        self, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        used = sample_weight > 0
        lower, upper = self._domain(targets)
        weight = sample_weight[:, None]
        # Bounds may be infinite, so that rows of weight zero are left out instead of multiplied.
        low = np.multiply(weight, lower, out=np.zeros_like(targets), where=used[:, None])
        high = np.multiply(weight, upper, out=np.zeros_like(targets), where=used[:, None])
        return low, high, used

    def conjugate(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Return ``L*(z)``; see :meth:`Loss.conjugate`."""
        low, high, used = self._weighted_domain(targets, sample_weight)
        if not np.all((dual >= low) & (dual <= high)):
            return math.inf
        weight = sample_weight[used]
        # A weight near the underflow limit may overflow here; +inf is then the right side to err on.
        with np.errstate(over="ignore"):
            conjugates = self._conjugates(dual[used] / weight[:, None], targets[used])
            return float(np.sum(weight[:, None] * conjugates))

    def project_dual(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return `dual` clipped to the domain; see :meth:`Loss.project_dual`."""
        low, high, _ = self._weighted_domain(targets, sample_weight)
        return np.clip(dual, low, high)

    def optimal_intercept(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> FloatArray:
        """Return ``argmin_c L(f + c)``, output by output; see :meth:`Loss.optimal_intercept`."""
        n_outputs = outputs.shape[1]
        used = sample_weight > 0
        if not used.any():
            return np.zeros(n_outputs)
        # Only the ratio of the weights matters; this keeps sums of tiny or huge ones in range.
        weight = sample_weight[used] / sample_weight.max()
        f, y = outputs[used], targets[used]
        return np.array([self._intercept(f[:, k], y[:, k], weight) for k in range(n_outputs)])


def quadratic_terms(
    curvature: float, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
) -> tuple[FloatArray, float]:
    """Return `Loss.conjugate_terms` of a conjugate ``q z^2 + y z``: ``z (q z / s + y)``.

    They take at most seven roundings, so that they are wrong by at most ``8 u |z| (q |z| / s + |y|)``, u half
    an epsilon.

    Parameters
    ----------
    curvature : float
        ``q``, not negative.
    dual, targets : ndarray of shape (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,)
    """
    quotient = curvature * dual / sample_weight[:, None]
    error = _ROUNDINGS * _UNIT * float(np.sum(np.abs(dual) * (np.abs(quotient) + np.abs(targets))))
    return dual * (quotient + targets), error
