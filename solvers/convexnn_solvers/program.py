"""The one form of program that every solver takes.

With ``S`` signs, ``K`` outputs, ``P`` patterns and ``d`` weights a block, the variable is an array
``blocks`` of shape ``(S, K, P, d)`` and an intercept ``c`` of shape ``(K,)``::

    minimise  L(f) + alpha * sum_{s,k,i} |blocks[s,k,i]|      over blocks[s,k,i] in C_i and c,
    f[:, k] = sum_i A_i (blocks[0,k,i] - blocks[1,k,i]) + c[k]

where ``L(f) = sum_i s_i loss(f_i, y_i)`` is a weighted **sum** over the samples. Without cones one sign is
enough (``S = 1``). The norm runs over the penalised coordinates of a block.

Blocks of that program feed one output each. With `directions` of shape ``(M, P, K)`` a block feeds all of
them, in a direction of its own, and blocks have the shape ``(1, M, P, d)``::

    f = sum_{m,i} A_i blocks[0,m,i] directions[m,i]' + c
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import BoolArray, FloatArray, IntArray
from convexnn_solvers.conic.epigraphs import Epigraph

__all__ = ["ConvexProgram", "Design", "Loss"]


class Loss(Protocol):
    """What a solver needs of a loss; arrays are ``(n, K)``, weights ``(n,)``, values are sums."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def smoothness(self) -> float:
        """Lipschitz constant of the derivative at unit weight; infinite where there is none."""

    @property
    def attains_minimum(self) -> bool:
        """Whether sums of the loss have a minimum for all targets, so that ``alpha`` may be zero."""

    @property
    def of_residual(self) -> bool:
        """Whether the loss depends on ``outputs - targets`` alone."""

    @property
    def kink_at_target(self) -> bool:
        """Whether the loss is elementwise, linear on both sides of the target, and zero there."""

    @property
    def shift_invariant(self) -> bool:
        """Whether one number added to all outputs of a sample changes nothing."""

    @property
    def has_slack(self) -> bool:
        """Whether the loss is a squared error with slack, see `shrink_slack`."""

    @property
    def has_epigraph(self) -> bool:
        """Whether the loss is one of linear, quadratic and exponential cones, see `epigraph`."""

    def epigraph(self, targets: FloatArray, sample_weight: FloatArray) -> Epigraph:
        """Return costs and cones of the loss, see `convexnn_solvers.conic.epigraphs`."""

    def value(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """``sum_i s_i loss(f_i, y_i)``."""

    def gradient(self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Gradient of `value` in the outputs; a subgradient where there is none."""

    def curvature(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> tuple[FloatArray, FloatArray | None]:
        """Second derivatives of `value` for each sample, the arguments of a `Curvature`.

        Asked of smooth losses only.
        """

    def shrink_slack(self, points: FloatArray, targets: FloatArray, step: FloatArray) -> FloatArray:
        """Proximal points of ``step_i psi`` where ``L(f) = min_e Q(f + e) + sum_i s_i psi(e_i)``.

        ``Q(f) = smoothness / 2 * sum_i s_i |f_i - y_i|^2``, ``psi`` is positively homogeneous; steps have the
        shape ``(n, 1)``. Asked of losses that have slack only.
        """

    def conjugate(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> float:
        """``sum_i s_i loss*(dual_i / s_i, y_i)``; infinite outside the domain."""

    def project_dual(self, dual: FloatArray, targets: FloatArray, sample_weight: FloatArray) -> FloatArray:
        """Return a point of the conjugate's domain near `dual`; points inside are returned as they are."""

    def optimal_intercept(
        self, outputs: FloatArray, targets: FloatArray, sample_weight: FloatArray
    ) -> FloatArray:
        """Minimiser ``c`` of ``value(outputs + c)``, shape ``(K,)``."""


class Design(Protocol):
    """The data as a solver sees it: linear maps ``A_i`` on cones ``C_i``, never formed.

    Arrays of weights end in ``(P, d)``; arrays of outputs end in ``(n,)`` or ``(n, K)``.
    """

    @property
    def n_samples(self) -> int:
        """Number ``n`` of samples."""

    @property
    def n_blocks(self) -> int:
        """Number ``P`` of blocks."""

    @property
    def n_features(self) -> int:
        """Number ``d`` of weights in a block."""

    @property
    def penalized(self) -> BoolArray:
        """Which of the ``d`` coordinates enter the norm, shape ``(d,)``."""

    @property
    def constrained(self) -> bool:
        """Whether blocks are confined to cones (else ``C_i`` is the whole space)."""

    def forward(self, weights: FloatArray) -> FloatArray:
        """``sum_i A_i weights[k, i]``: ``(K, P, d) -> (n, K)``."""

    def adjoint(self, dual: FloatArray) -> FloatArray:
        """``A_i' dual[:, k]``: ``(n, K) -> (K, P, d)``."""

    def features(self) -> sparse.csc_array:
        """``[A_1 ... A_P]`` as an explicit sparse matrix ``(n, P d)``, for backends that need one."""

    def cones(self) -> sparse.csc_array:
        """Block-diagonal ``(P m, P d)`` matrix ``R`` with ``C_1 x ... x C_P = {v : R v >= 0}``."""

    def violation(self, blocks: FloatArray) -> float:
        """Largest ``-r.v / (|r| max |v|)`` over all cone rows ``r`` and blocks ``v``; 0 if all are inside."""

    def project(self, blocks: FloatArray) -> FloatArray:
        """Points of the cones near `blocks`; the result has violation exactly 0."""

    def support(self, gradients: FloatArray, threshold: float, n_largest: int | None = None) -> FloatArray:
        """Upper bounds of ``max {g.u : u in C_i, |u| <= 1}``: ``(..., P, d) -> (..., P)``.

        A bound is tight (to the accuracy of the projection) where it exceeds `threshold`; bounds at or
        below it need not be. With `n_largest` only so many of the largest need be tight. With a coordinate
        that is not penalised, `gradients` must be those of a dual point that sums to zero for each output;
        otherwise there is no finite bound.
        """

    def block_outputs(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``A_i weights[j]`` for ``i = blocks[j]``: ``(B,), (B, d) -> (B, n)``."""

    def block_gradients(self, blocks: IntArray, dual: FloatArray, outputs: IntArray) -> FloatArray:
        """``A_i' dual[:, k]`` for ``i = blocks[j], k = outputs[j]``: ``(B,), (n, K), (B,) -> (B, d)``."""

    def gram(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``sum_j weights[j] A_i A_i'`` with ``i = blocks[j]``: ``(B,), (B,) -> (n, n)``."""

    def shrink(self, slots: IntArray, points: FloatArray, shrinkage: float, n_slots: int) -> FloatArray:
        """Proximal points ``argmin_u 1/2 |u - p|^2 + shrinkage |u|`` over cones: ``(B, d) -> (B, d)``.

        Point ``j`` is on the cone ``C_i`` with ``i = slots[j] % P``. A slot is one of `n_slots` places where
        the design may remember what the next call for the same slot can start from.
        """

    def derivative_factors(
        self, slots: IntArray, shrunk: FloatArray, shrinkage: float
    ) -> tuple[IntArray, FloatArray]:
        """Return the derivatives ``C_j' C_j`` of `shrink` at its last results, none of them zero.

        They are the numbers of rows of each ``C_j``, ``(B,)``, and the rows one below another, ``(q, d)``.
        """

    def normalized(self) -> "Normalized | None":
        """Return the design in coordinates in which it is the same at any scale and offset of the data.

        None where all coordinates are in the norm: the scale is then that of the blocks as a whole.
        """

    def restrict(self, indices: IntArray | Sequence[int]) -> "Design":
        """Return the design of a subset of the blocks."""


@dataclass(frozen=True, eq=False)
class Normalized:
    """A design in other coordinates ``v`` of a block's weights ``u``.

    Attributes
    ----------
    design : Design
        ``A_i u = A'_i v``.
    change, inverse : ndarray of shape (d, d)
        ``u = change v``, ``v = inverse u``.
    unit : float
        ``|v| = unit |u|`` in the norms over the penalised coordinates.
    """

    design: Design
    change: FloatArray
    inverse: FloatArray
    unit: float


@dataclass(frozen=True, eq=False)
class ConvexProgram:
    """Data of one program (see the module's formula).

    Parameters
    ----------
    design : Design
        Linear maps and cones.
    targets : ndarray of shape (n, K)
        Encoded targets, as the loss wants them.
    loss : Loss
        Convex in the outputs.
    alpha : float
        Weight of the group norm, ``>= 0``. It is the ``beta`` of Pilanci and Ergen (ICML 2020, equation 8).
    sample_weight : ndarray of shape (n,)
        Non-negative; the data term is ``sum_i sample_weight[i] * loss_i``.
    fit_intercept : bool
        Whether the unpenalised ``c`` exists.
    directions : ndarray of shape (M, P, K), optional
        How blocks are shared among the outputs, M of them for each pattern: vectors of norm one, or zero
        where a pattern has fewer blocks.

    Raises
    ------
    ValueError
        If shapes disagree or `alpha` or a weight is negative or not finite.
    """

    design: Design
    targets: FloatArray
    loss: Loss
    alpha: float
    sample_weight: FloatArray
    fit_intercept: bool
    directions: FloatArray | None = None

    norm: ClassVar[str] = "group"

    def __post_init__(self) -> None:
        """Check shapes and signs."""
        n = self.design.n_samples
        if self.targets.ndim != 2 or self.targets.shape[0] != n:
            raise ValueError(f"targets must have shape ({n}, K); got {self.targets.shape}.")
        if self.sample_weight.shape != (n,):
            raise ValueError(f"sample_weight must have shape ({n},); got {self.sample_weight.shape}.")
        if not (np.isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be finite and non-negative; got {self.alpha!r}.")
        if not (np.isfinite(self.sample_weight).all() and (self.sample_weight >= 0).all()):
            raise ValueError("sample_weight must be finite and non-negative.")
        if self.directions is not None and self.directions.shape[1:] != (
            self.design.n_blocks,
            self.n_outputs,
        ):
            raise ValueError(
                f"directions must have shape (M, {self.design.n_blocks}, {self.n_outputs}); "
                f"got {self.directions.shape}."
            )

    @property
    def n_signs(self) -> int:
        """2 with cones (a positive and a negative part) and without directions, else 1."""
        return 2 if self.design.constrained and self.directions is None else 1

    @property
    def n_outputs(self) -> int:
        """Number ``K`` of outputs."""
        return int(self.targets.shape[1])

    @property
    def n_slots(self) -> int:
        """Number of blocks, ``S K P`` or ``M P``."""
        return int(np.prod(self.block_shape[:3]))

    @property
    def block_shape(self) -> tuple[int, int, int, int]:
        """Shape ``(S, K, P, d)`` of the variable, ``(1, M, P, d)`` with directions."""
        n_layers = self.n_outputs if self.directions is None else len(self.directions)
        return (self.n_signs, n_layers, self.design.n_blocks, self.design.n_features)

    def feeds(self, slots: IntArray) -> FloatArray:
        """Directions in which blocks feed the outputs, their signs included, (m,) -> (m, K).

        Slots are positions in the flattened leading axes of the blocks.
        """
        if self.directions is not None:
            return np.asarray(self.directions.reshape(-1, self.n_outputs)[slots])
        signs, outputs = self._signs_and_outputs(slots)
        return np.asarray(np.eye(self.n_outputs)[outputs] * signs[:, None])

    def gradients(self, slots: IntArray, dual: FloatArray) -> FloatArray:
        """``A_i' dual g`` for blocks on ``A_i`` that feed in directions ``g``: (m,), (n, K) -> (m, d)."""
        patterns = slots % self.design.n_blocks
        if self.directions is not None:
            # A column for each block: what it sees of the dual point. Columns are read one by one.
            seen = (self.feeds(slots) @ dual.T).T
            return self.design.block_gradients(patterns, seen, np.arange(len(slots)))
        signs, outputs = self._signs_and_outputs(slots)
        return np.asarray(signs[:, None] * self.design.block_gradients(patterns, dual, outputs))

    def _signs_and_outputs(self, slots: IntArray) -> tuple[FloatArray, IntArray]:
        """Sign, 1 or -1, and output of blocks that feed one of these each, (m,)."""
        second, outputs = np.divmod(slots // self.design.n_blocks, self.n_outputs)
        return 1.0 - 2.0 * second, outputs

    def restrict(self, patterns: IntArray) -> "ConvexProgram":
        """Return the program over a subset of the patterns."""
        directions = None if self.directions is None else self.directions[:, patterns]
        return replace(self, design=self.design.restrict(patterns), directions=directions)

    def zeros(self) -> FloatArray:
        """Return the zero point, shape ``(S, K, P, d)``."""
        return np.zeros(self.block_shape)

    def outputs(self, blocks: FloatArray, intercept: FloatArray) -> FloatArray:
        """``f`` of shape ``(n, K)``."""
        if self.directions is not None:
            flat = blocks.reshape(-1, blocks.shape[-1])
            used = np.flatnonzero(flat.any(axis=1))
            values = self.design.block_outputs(used % self.design.n_blocks, flat[used])
            return np.asarray(values.T @ self.feeds(used)) + intercept
        signed = blocks[0] - blocks[1] if self.n_signs == 2 else blocks[0]
        return self.design.forward(signed) + intercept

    def block_norms(self, blocks: FloatArray) -> FloatArray:
        """Norms over the penalised coordinates, shape ``(S, K, P)``."""
        norms: FloatArray = np.linalg.norm(blocks[..., self.design.penalized], axis=-1)
        return norms

    def objective(self, blocks: FloatArray, intercept: FloatArray) -> float:
        """Value of the objective; says nothing about feasibility."""
        fit = self.loss.value(self.outputs(blocks, intercept), self.targets, self.sample_weight)
        return fit + self.alpha * float(self.block_norms(blocks).sum())
