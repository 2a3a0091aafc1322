"""Newton steps on the faces that a point lies on, where the program is smooth.

Long proximal steps multiply rounding. Once the non-zero blocks and their active rows are the right ones, the
program restricted to those faces is smooth, and Newton's method in the faces' own coordinates reaches the
accuracy of the arithmetic.
"""

import numpy as np
from scipy import linalg

from convexnn_solvers._typing import FloatArray, IntArray
from convexnn_solvers.native.blocks import BlockList
from convexnn_solvers.native.model import LossModel

__all__ = ["newton_on_faces"]

_DAMPING = 1e-14


def newton_on_faces(
    blocks: BlockList, model: LossModel, weights: FloatArray, intercept: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Take one Newton step on the faces of the last proximal points, and project it on the cones.

    Parameters
    ----------
    blocks : BlockList
    model : LossModel
        Around the outputs of the point.
    weights : ndarray of shape (m, d)
        The last proximal points of `blocks`; those that are zero stay zero.
    intercept : ndarray of shape (K,)

    Returns
    -------
    weights : ndarray of shape (m, d)
    intercept : ndarray of shape (K,)
    """
    program = blocks.program
    used = np.flatnonzero(weights.any(axis=1))
    active = BlockList(program, blocks.slots[used])
    counts, faces = program.design.derivative_factors(active.slots, weights[used], 0.0)
    owners = np.repeat(np.arange(used.size), counts)
    penalized = program.design.penalized
    norms = active.norms(weights[used])[owners]
    slopes = np.where(penalized, weights[used], 0.0)[owners]
    # A block without a slope is a constant: it has no norm and no curvature of one.
    norms = np.where(norms > 0, norms, np.inf)
    units = slopes / norms[:, None]

    gradients = active.adjoint(model.gradient)[owners] + program.alpha * units
    slope = np.einsum("qd,qd->q", faces, gradients)
    outputs = active.signs[owners, None] * program.design.block_outputs(active.patterns[owners], faces)
    columns = active.outputs[owners]
    if program.fit_intercept:
        slope = np.append(slope, model.gradient.sum(axis=0))
        outputs = np.vstack([outputs, np.ones((program.n_outputs, outputs.shape[1]))])
        columns = np.append(columns, np.arange(program.n_outputs))
    hessian = _loss_hessian(model, outputs, columns)
    _add_norms(hessian, program.alpha, faces * penalized, units, norms, owners)
    hessian[np.diag_indices(len(slope))] += _DAMPING * max(np.trace(hessian), np.finfo(np.float64).tiny)
    step = -linalg.lstsq(hessian, slope, check_finite=False)[0]

    moved = np.array(weights)
    np.add.at(moved, used[owners], step[: len(owners), None] * faces)
    n_slots = int(np.prod(program.block_shape[:3]))
    moved[used] = program.design.shrink(active.slots, moved[used], 0.0, n_slots)
    return moved, intercept + (step[len(owners) :] if program.fit_intercept else 0.0)


def _loss_hessian(model: LossModel, outputs: FloatArray, columns: IntArray) -> FloatArray:
    """Second derivatives of the loss in the coordinates whose outputs are the rows of `outputs`."""
    hessian = np.zeros((len(outputs), len(outputs)))
    members = [np.flatnonzero(columns == k) for k in range(model.gradient.shape[1])]
    for k, first in enumerate(members):
        for m, second in enumerate(members):
            if model.coupled:
                curvature = np.einsum("nj,nj->n", model.root[:, k], model.root[:, m])
            elif k == m:
                curvature = model.root[:, k] ** 2
            else:
                continue
            hessian[np.ix_(first, second)] = (outputs[first] * curvature) @ outputs[second].T
    return hessian


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
