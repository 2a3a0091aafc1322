"""What every loss offers."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from convexnn._typing import FloatArray
from convexnn.losses.epigraph import Epigraph

__all__ = ["Loss", "SecondDerivatives"]

SecondDerivatives: TypeAlias = tuple[FloatArray, FloatArray | None]


@dataclass(frozen=True)
class Loss(ABC):
    """A convex loss, summed over samples and outputs.

    ``L(f) = sum_i s_i loss(f_i, y_i)``: a sum, not a mean. Everywhere `outputs` and `targets` are float64
    of shape (n_samples, n_outputs), targets as :func:`convexnn.losses.encode_targets` returns them, and
    `sample_weight` is float64 of shape (n_samples,), finite and non-negative. Nothing is validated here:
    the methods run inside solvers.

    Dual points have the sign of a gradient, so that with ``theta = -gradient`` the dual bound of the
    training problem is ``D(theta) = -conjugate(-theta)``.

    Subclasses answer all that solvers, estimators, paths and certificates ask: nothing else in the package
    knows one loss from another. What most losses have in common has a default.

    Attributes
    ----------
    name : str
        The name users choose it by.
    task : {"regression", "classification"}
        Which estimators offer it.
    smoothness : float
        Lipschitz constant of the gradient in one sample's outputs, Euclidean norm, unit weight;
        ``inf`` where the loss has a kink.
    attains_minimum : bool
        Whether sums of the loss have a minimum for all targets; those of the logistic ones have none where
        classes can be separated, so that they ask for ``alpha > 0``.
    of_residual : bool
        Whether the loss depends on ``outputs - targets`` alone.
    kink_at_target : bool
        Whether the loss is elementwise, linear on both sides of the target, and zero there.
    has_slack : bool
        Whether the loss is a squared error with slack, see `shrink_slack`.
    shift_invariant : bool
        Whether one number added to all outputs of a sample changes nothing.
    one_hot : bool
        Whether encoded classes are one-hot rows, not numbers -1 and +1.
    probabilistic : bool
        Whether the softmax of the outputs, the logistic function of a single one, are class probabilities.
    needs_several_outputs : bool
        Whether it is of two outputs at least.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020 (extension to general
    convex losses); Rockafellar, "Convex analysis", section 12 (conjugates).
    """

    name: ClassVar[str]
    task: ClassVar[Literal["regression", "classification"]]
    smoothness: ClassVar[float]
    attains_minimum: ClassVar[bool] = True
    of_residual: ClassVar[bool] = False
    kink_at_target: ClassVar[bool] = False
    has_slack: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False
    one_hot: ClassVar[bool] = False
    probabilistic: ClassVar[bool] = False
    needs_several_outputs: ClassVar[bool] = False

    @property
    def is_smooth(self) -> bool:
        """Whether the gradient is Lipschitz continuous."""
        return math.isfinite(self.smoothness)

    @property
    def has_epigraph(self) -> bool:
        """Whether the class has an `epigraph`; a subclass may be another loss and needs one of its own."""
        return "epigraph" in vars(type(self))

    @property
    def has_conjugate_terms(self) -> bool:
        """Whether the class knows rounding errors, which certificates need: its own `conjugate_terms`."""
        return "conjugate_terms" in vars(type(self))

    def named_for(self, n_outputs: int) -> "Loss":
        """Return the loss that this one's name stands for with so many outputs: this one, unless overridden.

        Parameters
        ----------
        n_outputs : int

        Returns
        -------
        Loss
        """
        del n_outputs
        return self

    def check_targets(self, targets: FloatArray) -> None:
        """Raise ValueError for encoded targets that the loss is not defined on; real numbers are finite.

        Parameters
        ----------
        targets : ndarray of shape (n_samples, n_outputs), float64
        """
        if self.task == "classification" and not np.isin(targets, (-1.0, 1.0)).all():
            found = np.unique(targets)[:5].tolist()
            raise ValueError(
                f"Targets of the loss {self.name!r} must be -1 or +1. Got {found} instead; "
                "labels 0 and 1 become these by 2 * y - 1."
            )

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
    def curvature(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> SecondDerivatives:
        """Return the second derivatives of ``L`` sample by sample, weights included.

        Where the gradient has a kink it is one of the two sides' derivatives.

        Parameters
        ----------
        outputs, targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        diagonal, outer : ndarray of shape (n_samples, n_outputs)
            Of positive semidefinite matrices ``diag(diagonal_i) - outer_i outer_i'``; None instead of `outer`
            where outputs do not interact.

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

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``L`` as costs and cones, see :mod:`convexnn.losses.epigraph`.

        Parameters
        ----------
        targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, >= 0

        Returns
        -------
        Epigraph

        Raises
        ------
        TypeError
            If the loss is not described so.
        """
        del targets, sample_weight
        raise TypeError(f"The loss {self.name!r} has no epigraph in linear and exponential cones.")

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return terms that add up to ``L*(z)``, and a bound on the sum of their rounding errors.

        Parameters
        ----------
        dual : ndarray of shape (n_samples, n_outputs), float64
            ``z``, inside the domain of the conjugate.
        targets : ndarray of shape (n_samples, n_outputs), float64
        sample_weight : ndarray of shape (n_samples,), float64, > 0

        Returns
        -------
        terms : ndarray of shape (n_samples, n_outputs)
        error : float

        Raises
        ------
        TypeError
            If the errors are not known.
        """
        del dual, targets, sample_weight
        raise TypeError(f"Rounding errors of the conjugate of the loss {self.name!r} are not known.")
