"""One proximal step: the dual function of a regularised quadratic model and its semismooth Newton steps.

With a model ``<g, e> + 1/2 |S' e|^2`` of the loss around the outputs of a centre ``z`` the step minimises ::

    <g, e> + 1/2 |S' e|^2 + alpha sum_j |u_j| + |u - z|^2 / (2 sigma),    e = A u - A z,  u_j in C_j.

Its dual is to minimise ``psi(mu) = 1/2 |mu|^2 + <mu, S' A z> + |u(mu)|^2 / (2 sigma)`` with
``theta = -(g + S mu)`` and ``u(mu)`` the proximal points of ``z + sigma A' theta``: one closed form for each
block. ``psi`` is once continuously differentiable with gradient ``mu - S'(A u - A z)``, and half the square
of that gradient is the duality gap of the step. The intercept is one more block without norm and cone, and
so is the slack of a loss that has one, with a proximal map of its own.

References
----------
Li, Sun and Toh, "A highly efficient semismooth Newton augmented Lagrangian method for solving lasso
problems", SIAM Journal on Optimization 28, 2018, for the scheme; the blocks' cones are not in it.
"""

from dataclasses import dataclass

import numpy as np

from convexnn_solvers._typing import BoolArray, FloatArray
from convexnn_solvers.native.blocks import BlockList
from convexnn_solvers.native.model import LossModel

__all__ = ["Evaluation", "Subproblem"]

# The intercept has no norm to shrink it, so that a long step does no harm.
_INTERCEPT_STEP = 100.0
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The dual function at a point: its primal point, that point's outputs, value and gradient.

    `moved` is ``S'(A u - A z)``, slack included; `slack_moves` says which entries of the slack are not zero.
    """

    dual: FloatArray
    weights: FloatArray
    intercept: FloatArray
    outputs: FloatArray
    value: float
    moved: FloatArray
    slack_moves: BoolArray | None

    @property
    def gradient(self) -> FloatArray:
        """Gradient ``mu - S'(A u - A z)``."""
        return np.asarray(self.dual - self.moved)


@dataclass(frozen=True, eq=False)
class Subproblem:
    """The proximal step from a centre.

    Attributes
    ----------
    blocks : BlockList
    model : LossModel
        Around the centre's outputs.
    weights : ndarray of shape (m, d)
        Centre ``z``.
    intercept : ndarray of shape (K,)
    outputs : ndarray of shape (n, K)
        The centre's, intercept included.
    step : float
        ``sigma``, positive.
    slack_step : float
        Step length of the slack.
    """

    blocks: BlockList
    model: LossModel
    weights: FloatArray
    intercept: FloatArray
    outputs: FloatArray
    step: float
    slack_step: float

    @property
    def shrinkage(self) -> float:
        """What the proximal map takes off the norms."""
        return self.step * self.blocks.program.alpha

    @property
    def intercept_step(self) -> float:
        """Step length of the intercept, 0 if there is none."""
        if not self.blocks.program.fit_intercept:
            return 0.0
        # In units of the loss's curvature along constants, as the slack is.
        curvature = self.model.curvature.total / self.outputs.shape[1]
        return float(_INTERCEPT_STEP * self.slack_step / max(curvature, _TINY))

    def evaluate(self, dual: FloatArray) -> Evaluation:
        """Evaluate the dual function at ``mu``, shape (n, K)."""
        program = self.blocks.program
        theta = -(self.model.gradient + self.model.spread(dual))
        points = self.weights + self.step * self.blocks.adjoint(theta)
        weights = program.design.shrink(self.blocks.slots, points, self.shrinkage, program.n_slots)
        intercept = self.intercept + self.intercept_step * theta.sum(axis=0)
        outputs = self.blocks.forward(weights) + intercept
        difference = outputs - self.outputs
        value = 0.5 * float((dual * dual).sum()) + float((weights * weights).sum()) / (2 * self.step)
        value -= float((theta * self.outputs).sum())
        if program.fit_intercept:
            value += float(intercept @ intercept) / (2 * self.intercept_step)
        slack_moves = None
        centre = self.model.slack
        if centre is not None:
            weight = self.slack_step * program.sample_weight[:, None]
            slack = program.loss.shrink_slack(centre + self.slack_step * theta, program.targets, weight)
            slack_moves = slack != 0
            difference = difference + slack - centre
            value += float((slack * slack).sum()) / (2 * self.slack_step) - float((theta * centre).sum())
        moved = self.model.weigh(difference)
        return Evaluation(dual, weights, intercept, outputs, value, moved, slack_moves)
