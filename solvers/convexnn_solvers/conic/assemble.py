"""A `ConvexProgram` as a `ConicForm`, built from whole arrays, and the way back."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from convexnn_solvers._typing import BoolArray, FloatArray, IntArray
from convexnn_solvers.conic.epigraphs import Epigraph, Rows, model_epigraph
from convexnn_solvers.conic.form import ConicForm
from convexnn_solvers.conic.model import QuadraticModel
from convexnn_solvers.program import ConvexProgram

__all__ = ["ConicProgram", "assemble"]

_UNEVEN = 1e3


@dataclass(frozen=True, eq=False)
class ConicProgram:
    """The conic form of a program; variables are ``(r, e, c, blocks, norms)`` in this order.

    With two signs the block variables are ``(v - w, w)`` instead of ``(v, w)``: the outputs then see half
    as many variables, which about halves the work of factorising.

    Attributes
    ----------
    form : ConicForm
    program : ConvexProgram
    first_intercept, first_block : int
        Where ``c`` and the blocks start in the vector of variables.
    basis : ndarray of shape (d, d)
        A block is ``basis`` times its variables.
    center : ndarray of shape (K,)
        The intercept is its variable plus this, the best intercept of the zero network.
    quadratic_size : float
        Magnitude of the quadratic term, for `without_quadratic`.
    """

    form: ConicForm
    program: ConvexProgram
    first_intercept: int
    first_block: int
    basis: FloatArray
    center: FloatArray
    quadratic_size: float

    def decode(self, x: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Blocks, intercept and dual point ``theta`` from a primal and a dual vector of the form."""
        program = self.program
        shape = program.block_shape
        blocks = x[self.first_block : self.first_block + int(np.prod(shape))].reshape(shape).copy()
        if program.n_signs == 2:
            blocks[0] += blocks[1]
        intercept = self.center.copy()
        n_free = self.first_block - self.first_intercept
        intercept[:n_free] += x[self.first_intercept : self.first_block]
        n, n_outputs = program.targets.shape
        theta = z[: n * n_outputs].reshape(n_outputs, n).T
        return blocks @ self.basis.T, intercept, theta.copy()


def assemble(program: ConvexProgram, model: QuadraticModel | None = None) -> ConicProgram:
    """Build the sparse cone data of a program, with `model` in place of its loss if given.

    Equalities ``r - [A_1 .. A_P] (v - w) - c = -shift`` come first, so that their multipliers are the dual
    point ``theta``; then the loss's and the cones' inequalities, one second-order cone for each block, and
    the loss's exponential cones.

    Data of any scale and targets of any offset give entries of order one: blocks are written in the basis
    of `_basis`, norms in a typical unit of it, the intercept starts from its value at the zero network, and
    cone rows of very uneven lengths are made unit. With a free coordinate the features may have any offset
    too.
    """
    epigraph = _epigraph(program, model)
    features = program.design.features()
    basis = _basis(features, program.design.penalized)
    norm_unit = float(np.median(basis.diagonal()[program.design.penalized]))
    center = _center(program)
    n_r, n_e = epigraph.shift.size, epigraph.extra_linear.size
    n_c = program.n_outputs - program.loss.shift_invariant if program.fit_intercept else 0
    n_blocks = program.n_slots
    n_v = n_blocks * program.design.n_features
    n_t = n_blocks if program.alpha > 0 else 0

    cones, nonneg, exponential = _cone_rows(program, basis), epigraph.nonneg, epigraph.exponential
    tails, heads, sizes = None, None, np.zeros(0, dtype=np.intp)
    prices = np.full(n_t, program.alpha * norm_unit)
    if n_t:
        tails, heads, sizes = _norm_rows(program, basis.diagonal() / norm_unit)
    intercept = _intercept_columns(program, n_c)
    layout: list[list[sparse.sparray | None]] = [
        [sparse.eye_array(n_r), None, intercept, _equalities(program, features, basis), None],
        [*_loss_rows(nonneg), None, None, None],
        [None, None, None, cones, None],
        [None, None, None, tails, heads],
        [*_loss_rows(exponential), None, None, None],
    ]
    n_cone = cones.shape[0] if cones is not None else 0
    heights = [n_r, _n_rows(nonneg), n_cone, int(sizes.sum()), _n_rows(exponential)]
    matrix = _grid(layout, heights, [n_r, n_e, n_c, n_v, n_t])
    rhs = [
        np.repeat(center, program.design.n_samples) - epigraph.shift,
        nonneg.rhs if nonneg else np.zeros(0),
        np.zeros(n_cone + int(sizes.sum())),
        exponential.rhs if exponential else np.zeros(0),
    ]
    form = ConicForm(
        quadratic=_quadratic(epigraph, n_c + n_v + n_t),
        linear=np.concatenate([epigraph.linear, epigraph.extra_linear, np.zeros(n_c + n_v), prices]),
        matrix=matrix,
        rhs=np.concatenate(rhs),
        n_zero=n_r,
        n_nonneg=_n_rows(nonneg) + n_cone,
        second_order=sizes,
        n_exponential=_n_rows(exponential) // 3,
    )
    size = _quadratic_size(epigraph.quadratic, rhs[0])
    return ConicProgram(form, program, n_r + n_e, n_r + n_e + n_c, basis, center, size)


def _epigraph(program: ConvexProgram, model: QuadraticModel | None) -> Epigraph:
    """Return that of the model, or of the program's loss if there is none."""
    if model is None:
        return program.loss.epigraph(program.targets, program.sample_weight)
    return model_epigraph(model)


def _quadratic(epigraph: Epigraph, n_others: int) -> sparse.csc_array:
    """Return the matrix of the quadratic term: only the loss has one."""
    extra = sparse.diags_array(epigraph.extra_quadratic)
    parts = [epigraph.quadratic, extra, sparse.csc_array((n_others,) * 2)]
    return sparse.csc_array(sparse.block_diag(parts, format="csc"))


def _basis(features: sparse.csc_array, penalized: BoolArray) -> FloatArray:
    """Coordinates for a block in which the features are of order one.

    Each coordinate is measured in its feature's reciprocal root mean square. If one coordinate is free, the
    others' features are centred on its feature first; the norm does not see that.
    """
    d = penalized.size
    blocks = [features[:, start::d] for start in range(d)]
    centring = np.eye(d)
    if (~penalized).sum() == 1:
        (free,) = np.flatnonzero(~penalized)
        square = blocks[free].power(2).sum()
        for j in np.flatnonzero(penalized):
            centring[free, j] = -blocks[j].multiply(blocks[free]).sum() / square if square > 0 else 0.0
            blocks[j] = blocks[j] + centring[free, j] * blocks[free]
    squares = np.array([block.power(2).sum() for block in blocks])
    entries = features.shape[0] * features.shape[1] / d
    units = np.where(squares > 0, np.sqrt(entries / np.where(squares > 0, squares, 1.0)), 1.0)
    scaled: FloatArray = centring * units
    return scaled


def _center(program: ConvexProgram) -> FloatArray:
    """Return the best intercept of the zero network."""
    zeros = np.zeros_like(program.targets)
    if not program.fit_intercept:
        return np.zeros(program.n_outputs)
    return program.loss.optimal_intercept(zeros, program.targets, program.sample_weight)


def _quadratic_size(quadratic: sparse.csc_array, outputs: FloatArray) -> float:
    """Quadratic cost of the zero network."""
    at_zero = 0.5 * float(outputs @ (quadratic @ outputs))
    return at_zero if at_zero > 0 else 1.0


def _n_rows(rows: Rows | None) -> int:
    return rows.rhs.size if rows else 0


def _loss_rows(rows: Rows | None) -> tuple[sparse.sparray | None, sparse.sparray | None]:
    return (rows.on_outputs, rows.on_extra) if rows else (None, None)


def _in_basis(columns: sparse.csc_array, basis: FloatArray) -> sparse.csc_array:
    """Columns of all blocks, one block after the other, in the coordinates of `basis`."""
    n_blocks = columns.shape[1] // len(basis)
    diagonal = basis.diagonal()
    if np.count_nonzero(basis) > np.count_nonzero(diagonal):
        return sparse.csc_array(columns @ sparse.kron(sparse.eye_array(n_blocks), basis, format="csc"))
    scaled = columns.copy()
    scaled.data = scaled.data * np.repeat(np.tile(diagonal, n_blocks), np.diff(columns.indptr))
    return scaled


def _equalities(program: ConvexProgram, features: sparse.csc_array, basis: FloatArray) -> sparse.csc_array:
    """Columns of the blocks in the equalities; the features repeat for each output that a block feeds."""
    own, d = -_in_basis(features, basis), program.design.n_features
    if program.directions is None:
        repeated = sparse.csc_array(sparse.block_diag([own] * program.n_outputs))
    else:
        shares = np.repeat(program.directions, d, axis=1)
        layers = [
            [own @ sparse.diags_array(layer[:, k]) for layer in shares] for k in range(program.n_outputs)
        ]
        repeated = sparse.csc_array(sparse.block_array(layers))
    if program.n_signs == 1:
        return repeated
    return sparse.csc_array(sparse.hstack([repeated, sparse.csc_array(repeated.shape)]))


def _signed(rows: sparse.csc_array, n_signs: int) -> sparse.csc_array:
    """Rows on the blocks of one sign, repeated for all signs in the variables ``(v - w, w)``."""
    if n_signs == 1:
        return rows
    (height, width) = rows.shape
    return _grid([[rows, rows], [None, rows]], [height, height], [width, width])


def _cone_rows(program: ConvexProgram, basis: FloatArray) -> sparse.csc_array | None:
    if not program.design.constrained:
        return None
    rows = _in_basis(program.design.cones(), -basis)
    lengths = np.sqrt(np.bincount(rows.indices, weights=rows.data**2, minlength=rows.shape[0]))
    if lengths.max(initial=0.0) > _UNEVEN * lengths[lengths > 0].min(initial=np.inf):
        rows.data = rows.data / lengths[rows.indices]
    return _signed(sparse.block_diag([rows] * program.block_shape[1], format="csc"), program.n_signs)


def _intercept_columns(program: ConvexProgram, n_c: int) -> sparse.sparray | None:
    """Columns of the first `n_c` outputs' intercepts; the others stay zero."""
    if n_c == 0:
        return None
    ones = np.ones((program.design.n_samples, 1))
    return sparse.csc_array(sparse.kron(sparse.eye_array(program.n_outputs, n_c), -ones))


def _norm_rows(program: ConvexProgram, units: FloatArray) -> tuple[sparse.sparray, sparse.sparray, IntArray]:
    """Rows of ``(norm_b, penalised part of block b)``: on blocks, on norms, and their cones' sizes."""
    penalized = np.flatnonzero(program.design.penalized)
    width, d = penalized.size + 1, program.design.n_features
    n_blocks = program.n_slots
    block = np.arange(n_blocks)
    heads = sparse.coo_array((-np.ones(n_blocks), (block * width, block)), shape=(n_blocks * width, n_blocks))
    one_sign = np.arange(n_blocks // program.n_signs)
    rows = (one_sign[:, None] * width + 1 + np.arange(penalized.size)).ravel()
    columns = (one_sign[:, None] * d + penalized).ravel()
    tails = sparse.coo_array(
        (-np.tile(units[penalized], one_sign.size), (rows, columns)),
        shape=(one_sign.size * width, one_sign.size * d),
    )
    return _signed(tails.tocsc(), program.n_signs), heads, np.full(n_blocks, width, dtype=np.intp)


def _grid(
    layout: list[list[sparse.sparray | None]], heights: list[int], widths: list[int]
) -> sparse.csc_array:
    """Assemble blocks into one matrix, column group after column group; None is a block of zeros.

    scipy's own assembly goes through triplets, which takes several times as long on millions of entries.
    """
    columns = zip(*layout, strict=True)
    groups = [
        _column_group(list(blocks), heights, width) for blocks, width in zip(columns, widths, strict=True)
    ]
    return sparse.csc_array(sparse.hstack(groups, format="csc"))


def _column_group(blocks: list[sparse.sparray | None], heights: list[int], width: int) -> sparse.csc_array:
    present = [
        (sparse.csc_array(block), offset)
        for block, offset in zip(blocks, np.cumsum([0, *heights[:-1]]), strict=True)
        if block is not None
    ]
    counts = sum((np.diff(block.indptr) for block, _ in present), np.zeros(width, dtype=np.intp))
    indptr = np.concatenate([[0], np.cumsum(counts)])
    data, indices = np.empty(indptr[-1]), np.empty(indptr[-1], dtype=np.intp)
    filled = indptr[:-1].copy()
    for block, offset in present:
        lengths = np.diff(block.indptr)
        target = np.arange(block.nnz) + np.repeat(filled - block.indptr[:-1], lengths)
        data[target] = block.data
        indices[target] = block.indices + offset
        filled += lengths
    return sparse.csc_array((data, indices, indptr), shape=(sum(heights), width))
