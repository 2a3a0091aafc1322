"""What every loss offers, and the part of it that elementwise losses share."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from convexnn._typing import BoolArray, FloatArray

__all__ = ["ElementwiseLoss", "Loss"]


@dataclass(frozen=True)
class Loss(ABC):
    """A convex loss, summed over samples and outputs.

    ``L(f) = sum_i s_i loss(f_i, y_i)``: a sum, not a mean. Everywhere `outputs` and `targets` are float64
    of shape (n_samples, n_outputs), targets as :func:`convexnn.losses.encode_targets` returns them, and
    `sample_weight` is float64 of shape (n_samples,), finite and non-negative. Nothing is validated here:
    the methods run inside solvers.

    Dual points have the sign of a gradient, so that with ``theta = -gradient`` the dual bound of the
    training problem is ``D(theta) = -conjugate(-theta)``.

    Attributes
    ----------
    name : str
        The name users choose it by.
    task : {"regression", "classification"}
        Which estimators offer it.
    smoothness : float
        Lipschitz constant of the gradient in one sample's outputs, Euclidean norm, unit weight;
        ``inf`` where the loss has a kink.
    of_residual : bool
        Whether the loss depends on ``outputs - targets`` alone.
    has_slack : bool
        Whether the loss is a squared error with slack, see `shrink_slack`.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020 (extension to general
    convex losses); Rockafellar, "Convex analysis", section 12 (conjugates).
    """

    name: ClassVar[str]
    task: ClassVar[Literal["regression", "classification"]]
    smoothness: ClassVar[float]
    of_residual: ClassVar[bool] = False
    has_slack: ClassVar[bool] = False

    @property
    def is_smooth(self) -> bool:
        """Whether the gradient is Lipschitz continuous."""
        return math.isfinite(self.smoothness)

    @abstractmethod
    def value(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Return ``L(f) = sum_i s_i loss(f_i, y_i)``.

        Parameters
        ----------
        outputs, targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        float
        """

    @abstractmethod
    def gradient(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return the gradient of ``L`` in the outputs, weights included.

        At a kink it is the subgradient zero (the one that asks for no change); it always lies in the
        domain of the conjugate.

        Parameters
        ----------
        outputs, targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """

    @abstractmethod
    def curvature(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return the second derivatives of ``L`` sample by sample, weights included.

        Where the gradient has a kink it is one of the two sides' derivatives.

        Parameters
        ----------
        outputs, targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        ndarray of shape (n_samples, n_outputs, n_outputs)
            Symmetric and positive semidefinite for each sample.

        Raises
        ------
        TypeError
            If the loss is not smooth.
        """

    def shrink_slack(self, points: FloatArray, targets: FloatArray, step: FloatArray) -> FloatArray:
        """Return the proximal points of ``step * psi`` where ``L(f) = min_e Q(f + e) + sum_i s_i psi(e_i)``.

        Here ``Q(f) = smoothness / 2 * sum_i s_i |f_i - y_i|^2`` and ``psi`` is positively homogeneous. The
        Huber and the squared hinge loss have that form: their gradients have kinks, those of ``Q`` do not.

        Parameters
        ----------
        points, targets : ndarray of shape (n_samples, n_outputs), float64
        step : ndarray of shape (n_samples, 1), float64, >= 0
            Weight of ``psi`` in each sample.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)

        Raises
        ------
        TypeError
            If the loss has no such form.
        """
        del points, targets, step
        raise TypeError(f"The loss {self.name!r} is not a squared error with slack.")

    @abstractmethod
    def conjugate(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Return the convex conjugate ``L*(z) = sum_i s_i loss*(z_i / s_i)``.

        It is ``sup_f <z, f> - L(f)``, hence ``+inf`` outside the domain. Comparisons with the domain's
        boundary have no tolerance (softmax documents its one exception), so that bounds built on it
        hold. Samples of weight zero ask for ``z_i = 0`` and then contribute nothing.

        Parameters
        ----------
        dual : ndarray of shape (n_samples, n_outputs), float64
            ``z``, with the sign of a gradient.
        targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        float
        """

    @abstractmethod
    def project_dual(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return the point of the conjugate's domain nearest to `dual`, sample by sample.

        The conjugate is finite there, points inside the domain are returned unchanged, and the segment
        from the result to zero stays inside.

        Parameters
        ----------
        dual : ndarray of shape (n_samples, n_outputs), float64, finite
            ``z``, with the sign of a gradient.
        targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """

    @abstractmethod
    def optimal_intercept(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> FloatArray:
        """Return ``argmin_c L(f + c)``, c constant over samples, to machine precision.

        Of several minimisers the middle of their interval is taken where it is bounded. Where the infimum is
        not attained (log_loss or softmax with a class missing) c is finite and so large that the margin
        of every sample is at least 40. All weights zero give zero.

        Parameters
        ----------
        outputs, targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        ndarray of shape (n_outputs,)
        """


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

    def curvature(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return diagonal matrices; see :meth:`Loss.curvature`."""
        second = sample_weight[:, None] * self._second_derivatives(outputs, targets)
        return second[:, :, None] * np.eye(outputs.shape[1])

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
