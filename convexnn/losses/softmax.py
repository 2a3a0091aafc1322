"""Softmax cross-entropy for several exclusive classes."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy import sparse
from scipy.special import softmax, xlog1py, xlogy

from convexnn._typing import BoolArray, FloatArray
from convexnn.losses.base import Loss, SecondDerivatives
from convexnn.losses.epigraph import Epigraph, Rows, entries, no_cost
from convexnn.losses.registry import register_loss

__all__ = ["SATURATED_MARGIN", "Softmax", "entropy_error"]

SATURATED_MARGIN = 40.0
"""Margin beyond which a logistic loss is below the rounding of one: ``exp(-40) = 4e-18``."""

_EPS = float(np.finfo(np.float64).eps)
_LEAST_DAMPING, _MOST_DAMPING = 1e-13, 1e8
# Relative error of the classes' shares from which on Newton steps converge quadratically.
_NEARLY_BALANCED = 1e-10


@dataclass(frozen=True)
class Softmax(Loss):
    """Multinomial logistic loss, ``log sum_k exp(f_k) - sum_k y_k f_k``, targets one-hot.

    With ``p = z + y`` the conjugate is ``sum_k p_k log p_k`` on the probability simplex. Since a sum of
    floats is rarely exactly one, membership asks for ``p >= 0`` without tolerance and
    ``|sum_k p_k - 1| <= 8 K eps``, K the number of classes; see :class:`Loss` for shapes and weights.

    References
    ----------
    Boyd and Vandenberghe, "Convex optimization", example 3.25 (conjugate of log-sum-exp).
    """

    name: ClassVar[str] = "softmax"
    task: ClassVar[Literal["regression", "classification"]] = "classification"
    smoothness: ClassVar[float] = 0.5
    attains_minimum: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = True
    one_hot: ClassVar[bool] = True
    probabilistic: ClassVar[bool] = True
    needs_several_outputs: ClassVar[bool] = True

    def check_targets(self, targets: FloatArray) -> None:
        """Raise ValueError unless rows are one-hot."""
        if not (np.isin(targets, (0.0, 1.0)).all() and (targets.sum(axis=1) == 1).all()):
            raise ValueError(
                "Encoded targets of the loss 'softmax' must be one-hot rows. Got others; pass class indices "
                "of shape (n_samples,) to have them encoded."
            )

    def value(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Return ``L(f)``; see :meth:`Loss.value`."""
        return float(sample_weight @ _cross_entropy(outputs, targets))

    def gradient(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return the gradient of ``L``; see :meth:`Loss.gradient`."""
        return sample_weight[:, None] * (np.asarray(softmax(outputs, axis=1)) - targets)

    def curvature(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> SecondDerivatives:
        """Return ``s (diag(p) - p p')``; see :meth:`Loss.curvature`."""
        del targets
        p, weight = np.asarray(softmax(outputs, axis=1)), sample_weight[:, None]
        return weight * p, np.sqrt(weight) * p

    def conjugate(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """Return ``L*(z)``; see :meth:`Loss.conjugate`."""
        if not _in_domain(dual, targets, sample_weight).all():
            return math.inf
        used = sample_weight > 0
        p = dual[used] / sample_weight[used, None] + targets[used]
        return float(sample_weight[used] @ np.asarray(xlogy(p, p)).sum(axis=1))

    def project_dual(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return ``s (P(z / s + y) - y)``, P onto the simplex; see :meth:`Loss.project_dual`."""
        inside = _in_domain(dual, targets, sample_weight)
        projected = np.where(inside[:, None], dual, 0.0)
        outside = np.flatnonzero(~inside & (sample_weight > 0))
        weight = sample_weight[outside, None]
        with np.errstate(over="ignore"):
            ratio = np.clip(dual[outside] / weight, -1e300, 1e300)
        p = _project_on_simplex(ratio + targets[outside])
        projected[outside] = weight * (p - targets[outside])
        # Products with subnormal weights are too coarse for the simplex; zero is always in the domain.
        projected[~_in_domain(projected, targets, sample_weight)] = 0.0
        return projected

    def optimal_intercept(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> FloatArray:
        """Return the minimiser of ``L(f + c)`` with ``sum_k c_k = 0``; see :meth:`Loss.optimal_intercept`."""
        used = sample_weight > 0
        intercept = np.zeros(outputs.shape[1])
        if not used.any():
            return intercept
        f, y = outputs[used], targets[used]
        weight = sample_weight[used] / sample_weight.max()
        present = (y > 0).any(axis=0)
        intercept[present] = _balance_classes(f[:, present], y[:, present], weight)
        best = (f[:, present] + intercept[present]).max(axis=1)
        intercept[~present] = (best[:, None] - f[:, ~present]).min(axis=0) - SATURATED_MARGIN
        intercept -= intercept.mean()
        return intercept

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return ``sum_k exp(r_ik - t_i) <= 1`` with ``e = (t, u)``; see :meth:`Loss.epigraph`."""
        n, n_outputs = targets.shape
        size = n * n_outputs
        index = np.arange(size)
        sample = np.tile(np.arange(n), n_outputs)
        on_sum, on_cones = (n, n + size), (3 * size, n + size)
        return Epigraph(
            np.zeros(size),
            no_cost(size),
            -np.tile(sample_weight, n_outputs) * targets.T.ravel(),
            np.zeros(n + size),
            np.concatenate([sample_weight, np.zeros(size)]),
            nonneg=Rows(sparse.csr_array((n, size)), entries(sample, n + index, 1.0, on_sum), np.ones(n)),
            exponential=Rows(
                entries(3 * index, index, -1.0, (3 * size, size)),
                entries(3 * index, sample, 1.0, on_cones) + entries(3 * index + 2, n + index, -1.0, on_cones),
                np.tile([0.0, 1.0, 0.0], size),
            ),
        )

    def conjugate_terms(
        self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return ``s p log p``, at the target from what the others leave; see `entropy_error`."""
        s = sample_weight[:, None]
        p = np.minimum(np.abs(dual) / s, 1.0)
        own = s * np.asarray(xlogy(p, p))
        return np.where(targets > 0, s * np.asarray(xlog1py(1.0 - p, -p)), own), entropy_error(own, dual)


def entropy_error(own: FloatArray, dual: FloatArray) -> float:
    """Bound rounding errors of sums of ``s p log p`` and ``s (1 - p) log(1 - p)`` with ``p = |z| / s``.

    A relative error u of ``p``, half an epsilon, moves the former by at most ``u p (1 + |log p|)``; the
    latter by at most ``2 u p`` where ``p <= 1/2``, and otherwise by no more than ``x log x`` can change over
    a step of u, which is ``u (1 - log u) < 38 u``. With logarithms that are right to four units
    ``u (16 s |p log p| + 128 |z|)`` bounds the error.

    Parameters
    ----------
    own : ndarray of shape (n, K)
        ``s p log p``.
    dual : ndarray of shape (n, K)
        ``z``.
    """
    return 0.5 * _EPS * float(np.sum(16 * np.abs(own) + 128 * np.abs(dual)))


def _cross_entropy(outputs: FloatArray, targets: FloatArray) -> FloatArray:
    """Loss of each sample; the largest output is taken out first, so that tiny losses keep their digits."""
    largest = outputs.argmax(axis=1)
    rows = np.arange(len(outputs))
    shifted = outputs - outputs[rows, largest][:, None]
    others = np.exp(shifted)
    others[rows, largest] = 0.0
    return np.asarray(np.log1p(others.sum(axis=1)) - np.sum(targets * shifted, axis=1))


def _in_domain(dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> BoolArray:
    """Whether each sample's dual point lies in the domain of the conjugate."""
    used = sample_weight > 0
    # Quotients by tiny weights overflow; infinite and undefined sums are outside, as they should be.
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.divide(dual, sample_weight[:, None], out=np.zeros_like(dual), where=used[:, None]) + targets
        off = np.abs(p.sum(axis=1) - 1.0)
    on_simplex = (p >= 0).all(axis=1) & (off <= 8 * dual.shape[1] * _EPS)
    inside: BoolArray = np.where(used, on_simplex, (dual == 0).all(axis=1))
    return inside


def _project_on_simplex(points: FloatArray) -> FloatArray:
    """Euclidean projection of each row on the probability simplex, by sorting.

    References
    ----------
    Duchi, Shalev-Shwartz, Singer and Chandra, "Efficient projections onto the l1-ball", ICML 2008, figure 1.
    """
    # Entries more than one below the largest are zero in the projection; clipping them keeps sums accurate.
    shifted = np.maximum(points - points.max(axis=1, keepdims=True), -1.0)
    descending = -np.sort(-shifted, axis=1)
    counts = np.arange(1, points.shape[1] + 1)
    thresholds = (np.cumsum(descending, axis=1) - 1.0) / counts
    support = np.sum(descending > thresholds, axis=1)
    threshold = thresholds[np.arange(len(points)), support - 1]
    p = np.maximum(shifted - threshold[:, None], 0.0)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _balance_classes(outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
    """Minimise ``L(f + c)`` where every class occurs, following the temperature down to one.

    At temperature T the outputs are divided by T and c is in units of T. At the outputs' own scale the
    problem is well conditioned; each halving of T moves the solution by a few units, which Newton's method
    covers in a few steps whatever the scale of the outputs.
    """
    n_classes = outputs.shape[1]
    if n_classes == 1:
        return np.zeros(1)
    spread = float((outputs.max(axis=1) - outputs.min(axis=1)).max())
    n_stages = max(0, math.ceil(math.log2(max(spread, 1.0) / 8.0)))
    intercept = np.zeros(n_classes)
    for stage in range(n_stages, -1, -1):
        temperature = 2.0**stage
        tolerance = 0.05 if stage else 4 * _EPS
        scaled = _newton(outputs / temperature, targets, sample_weight, intercept / temperature, tolerance)
        intercept = temperature * scaled
    return intercept


def _newton(
    outputs: FloatArray,
    targets: FloatArray,
    sample_weight: FloatArray,
    intercept: FloatArray,
    tolerance: float,
) -> FloatArray:
    """Levenberg-Marquardt until each class has its share up to `tolerance`, or rounding stops it."""
    counts = sample_weight @ targets
    scale = np.sqrt(counts)
    size = float(np.abs(outputs).max())
    value = float(sample_weight @ _cross_entropy(outputs + intercept, targets))
    damping, before = _LEAST_DAMPING, math.inf
    for _ in range(200):
        p = np.asarray(softmax(outputs + intercept, axis=1))
        mass = sample_weight @ p
        gradient = mass - counts
        error = float((np.abs(gradient) / counts).max())
        # Near the solution Newton steps square the error: one that does not even halve it is rounding.
        if error <= tolerance or 0.5 * before < error < _NEARLY_BALANCED:
            break
        before = error
        # Scaled by the class sizes, lest a rare class drowns in the rounding of a frequent one.
        hessian = (np.diag(mass) - p.T @ (sample_weight[:, None] * p)) / np.outer(scale, scale)
        curvature, axes = np.linalg.eigh(hessian)
        slope = axes.T @ (gradient / scale)
        noise = 8 * _EPS * (value + size * float(counts.sum()))
        accepted = False
        while not accepted and damping < _MOST_DAMPING:
            direction = -(axes @ (slope / (np.maximum(curvature, 0.0) + damping))) / scale
            direction -= direction.mean()
            trial = float(sample_weight @ _cross_entropy(outputs + (intercept + direction), targets))
            accepted = trial <= value + 1e-4 * float(gradient @ direction) + noise
            damping *= 0.1 if accepted else 10.0
        if not accepted:
            break
        damping = max(damping, _LEAST_DAMPING)
        intercept, value = intercept + direction, trial
        if np.abs(direction).max() <= _EPS * (size + np.abs(intercept).max()):
            break
    return intercept


register_loss(Softmax())
