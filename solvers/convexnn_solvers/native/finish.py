"""Newton steps on the faces that a point lies on, where the program is smooth.

Long proximal steps multiply rounding. Once the non-zero blocks and their active rows are the right ones, the
program restricted to those faces is smooth, and Newton's method in the faces' own coordinates reaches the
accuracy of the arithmetic.
"""

from functools import cached_property

import numpy as np

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.clock import Clock
from convexnn_solvers.native.blocks import BlockList
from convexnn_solvers.native.factorise import cholesky_solve
from convexnn_solvers.native.model import LossModel

__all__ = ["Faces"]

_DAMPING = 1e-14


class Faces:
    """The faces of the cones that the last proximal points lie on, with coordinates on them.

    Parameters
    ----------
    blocks : BlockList
    weights : ndarray of shape (m, d)
        The last proximal points of `blocks`; those that are zero stay zero.
    clock : Clock, optional
        `OutOfTimeError` is raised where it stops before the faces of large blocks are known.
    """

    def __init__(self, blocks: BlockList, weights: FloatArray, clock: Clock | None = None) -> None:
        program = blocks.program
        self._used = np.flatnonzero(weights.any(axis=1))
        self._active = BlockList(program, blocks.slots[self._used])
        counts, self._bases = self._active.derivative_factors(weights[self._used], 0.0, clock or Clock())
        self._owners = np.repeat(np.arange(self._used.size), counts)

    @property
    def n_weights(self) -> int:
        """Dimensions of all faces together, which the work of a step follows."""
        return len(self._owners)

    @cached_property
    def _outputs(self) -> FloatArray:
        """What each coordinate does to the outputs it feeds, those of the intercept last, (q, n)."""
        design, n_outputs = self._active.program.design, self._active.program.n_outputs
        outputs = design.block_outputs(self._active.patterns[self._owners], self._bases)
        if not self._active.program.fit_intercept:
            return outputs
        return np.vstack([outputs, np.ones((n_outputs, outputs.shape[1]))])

    def newton_step(
        self, model: LossModel, weights: FloatArray, intercept: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Take one Newton step along the faces, and project the result on the cones.

        Parameters
        ----------
        model : LossModel
            Around the outputs of the point.
        weights : ndarray of shape (m, d)
        intercept : ndarray of shape (K,)

        Returns
        -------
        weights : ndarray of shape (m, d)
        intercept : ndarray of shape (K,)
        """
        program, owners = self._active.program, self._owners
        penalized = program.design.penalized
        norms = self._active.norms(weights[self._used])[owners]
        # A block without a slope is a constant: it has no norm and no curvature of one.
        norms = np.where(norms > 0, norms, np.inf)
        units = np.where(penalized, weights[self._used], 0.0)[owners] / norms[:, None]

        gradients = self._active.adjoint(model.gradient)[owners] + program.alpha * units
        slope = np.einsum("qd,qd->q", self._bases, gradients)
        feeds = self._active.feeds[owners]
        if program.fit_intercept:
            slope = np.append(slope, model.gradient.sum(axis=0))
            feeds = np.vstack([feeds, np.eye(program.n_outputs)])
        hessian = model.gram(self._outputs, feeds)
        _add_norms(hessian, program.alpha, self._bases * penalized, units, norms, owners)
        hessian[np.diag_indices(len(slope))] += _DAMPING * max(np.trace(hessian), np.finfo(np.float64).tiny)
        step = -cholesky_solve(hessian, slope)

        moved = np.array(weights)
        np.add.at(moved, self._used[owners], step[: len(owners), None] * self._bases)
        shrunk = program.design.shrink(self._active.slots, moved[self._used], 0.0, program.n_slots)
        moved[self._used] = shrunk
        return moved, intercept + (step[len(owners) :] if program.fit_intercept else 0.0)


def _add_norms(
    hessian: FloatArray,
    alpha: float,
    faces: FloatArray,
    units: FloatArray,
    norms: FloatArray,
    owners: IntArray,
) -> None:
    """Add the second derivatives ``alpha (I - u u') / |.|`` of the norms, one block after another."""
    along = np.einsum("qd,qd->q", faces, units)
    low = 0
    for high in (np.flatnonzero(np.diff(owners, append=-1)) + 1).tolist():
        part = slice(low, high)
        curvature = faces[part] @ faces[part].T - np.outer(along[part], along[part])
        hessian[part, part] += alpha / norms[low] * curvature
        low = high
