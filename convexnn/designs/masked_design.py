"""The masked design: the layer's linear map ``A_i`` on the cone of each pattern, never formed."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import sparse

from convexnn._typing import BoolArray, FloatArray, FloatMatrix, IntArray, WordArray
from convexnn.activations import Activation
from convexnn.cones import ConeProjector, FreeCoordinateSupport, NormalizedRows, Projector
from convexnn.designs.group_norm import group_derivative_factors, group_shrink
from convexnn.designs.masked_maps import MaskedMaps
from convexnn.designs.precision import row_norms, times_transposed
from convexnn.patterns import PatternSet, pack_bits
from convexnn_solvers.program import Normalized

__all__ = ["MaskedDesign"]

_CHUNK = 256
_EPS = float(np.finfo(np.float64).eps)
_MAX_PUSHES = 60
_LONGEST_PUSH = 1e-3
_ON_BOUNDARY = 1e-9
# Products of vectors and rows held at a time.
_PRODUCTS = 1 << 22


class MaskedDesign:
    """Design operator of one hidden layer: data, patterns and an activation.

    Weights of block ``i`` live on the cone ``C_i = {u : (2 D_i - I) X u >= 0}``, where the layer
    ``phi(X u)`` is linear; a gated layer has no cones. Where a sample has several rows, the patches of an
    image, the layer is added up over them: ``A_i u`` is that sum.

    Parameters
    ----------
    X : ndarray of shape (n K, d), float64 or float32
        Data as the hidden layer sees it, the column of ones included if there is a hidden bias; K rows for
        each sample. Data in float32 stay so; all arithmetic is in float64.
    patterns : PatternSet
        Patterns of the rows of `X`.
    activation : Activation
    penalized : ndarray of bool, shape (d,)
        Which coordinates enter the norm.
    positions : int, default=1
        K.

    Raises
    ------
    ValueError
        If the patterns are not of this many rows and features, or the rows do not fit the positions.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 8; Ergen and Pilanci,
    "Implicit convex regularizers of CNN architectures", ICLR 2021, section 2 (average pooling).
    """

    def __init__(
        self,
        X: FloatMatrix,
        patterns: PatternSet,
        activation: Activation,
        penalized: BoolArray,
        positions: int = 1,
    ) -> None:
        expected = (patterns.n_samples, patterns.generators.shape[1])
        if X.shape != expected:
            raise ValueError(
                f"The patterns are of data of shape {expected}, but X has shape {X.shape} (the hidden bias's "
                "column of ones included). Compute them on the same data."
            )
        if len(X) % positions:
            raise ValueError(
                f"Every sample needs {positions} rows. Got {len(X)} rows, which is not a multiple of that."
            )
        self.X = np.ascontiguousarray(X)
        self.patterns = patterns
        self.activation = activation
        self.penalized = penalized
        self.positions = positions
        self.maps = MaskedMaps(self.X, patterns, activation, positions)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.maps.n_samples

    @property
    def n_features(self) -> int:
        """Number of weights in a block."""
        return int(self.X.shape[1])

    @property
    def n_blocks(self) -> int:
        """Number of patterns."""
        return len(self.patterns)

    @property
    def constrained(self) -> bool:
        """Whether blocks are confined to cones: unless the activation is gated."""
        return not self.activation.gated

    @cached_property
    def _lengths(self) -> FloatArray:
        """Norms of the rows, 1 for zero rows."""
        lengths = row_norms(self.X)
        return np.where(lengths > 0, lengths, 1.0)

    @cached_property
    def _projector(self) -> Projector:
        """Projections on the cones, with their memory."""
        return ConeProjector(self.X, self.patterns.bits, self._lengths, self.penalized)

    @cached_property
    def _normalized_rows(self) -> NormalizedRows:
        """The data in coordinates that suit them, where a coordinate has no norm."""
        return NormalizedRows.of(self.X, self.penalized)

    @cached_property
    def _free_support(self) -> FreeCoordinateSupport:
        """Bounds where a coordinate has no norm."""
        return FreeCoordinateSupport(self._normalized_rows.rows, self.patterns, self.penalized)

    def forward(self, weights: FloatArray) -> FloatArray:
        """``sum_i A_i weights[k, i]``: (K, P, d) -> (n, K); blocks that are zero cost nothing."""
        outputs = np.zeros((self.n_samples, weights.shape[0]))
        for k, blocks in enumerate(weights):
            used = np.flatnonzero(blocks.any(axis=1))
            for start in range(0, used.size, _CHUNK):
                chunk = used[start : start + _CHUNK]
                outputs[:, k] += self.block_outputs(chunk, blocks[chunk]).sum(axis=0)
        return outputs

    def adjoint(self, dual: FloatArray) -> FloatArray:
        """``A_i' dual[:, k]``: (n, K) -> (K, P, d)."""
        n_blocks, n_outputs = self.n_blocks, dual.shape[1]
        blocks, outputs = np.tile(np.arange(n_blocks), n_outputs), np.repeat(np.arange(n_outputs), n_blocks)
        return self.block_gradients(blocks, dual, outputs).reshape(n_outputs, n_blocks, -1)

    def features(self) -> sparse.csc_array:
        """``[A_1 ... A_P]`` of shape (n, P d)."""
        dense = self.maps.matrices(np.arange(self.n_blocks)).transpose(1, 0, 2)
        return sparse.csc_array(dense.reshape(self.n_samples, self.n_blocks * self.n_features))

    def cones(self) -> sparse.csc_array:
        """Block-diagonal matrix with the rows of each cone, ``+-x_r``, shape (P n K, P d)."""
        n, d, n_blocks = len(self.X), self.n_features, self.n_blocks
        every = self._projector.rows(np.repeat(np.arange(n_blocks), n), np.tile(np.arange(n), n_blocks))
        data = every.reshape(n_blocks, n, d).transpose(0, 2, 1).ravel()
        rows = np.arange(n_blocks)[:, None, None] * n + np.arange(n)
        indices = np.broadcast_to(rows, (n_blocks, d, n)).flatten()
        matrix = sparse.csc_array(
            (data, indices, n * np.arange(n_blocks * d + 1)), shape=(n_blocks * n, n_blocks * d)
        )
        matrix.eliminate_zeros()
        return matrix

    def _flat(self, blocks: FloatArray) -> tuple[FloatArray, IntArray]:
        """Non-zero blocks as rows of a matrix, and their positions in the flattened leading axes."""
        flat = blocks.reshape(-1, self.n_features)
        used = np.flatnonzero(flat.any(axis=1))
        return flat[used], used

    def _inside(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """``e_r (x_r . v) / |x_r|`` for each vector and row; negative outside the cone."""
        signs = np.where(self.patterns.take(owners).to_dense(), 1.0, -1.0)
        inside = np.empty(signs.shape)
        times_transposed(vectors, self.X, inside)
        inside *= signs
        inside /= self._lengths
        return inside

    def _rounding(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Bounds of the errors of `_inside`."""
        del owners  # The rows differ in their signs only.
        sizes = np.empty((len(vectors), len(self.X)))
        times_transposed(np.abs(vectors), np.abs(self.X), sizes)
        return 4 * self.n_features * _EPS * sizes / self._lengths

    def _parts(self, n_vectors: int) -> list[slice]:
        """Parts of the vectors whose products with all rows fit in memory."""
        step = max(1, _PRODUCTS // len(self.X))
        return [slice(low, low + step) for low in range(0, n_vectors, step)]

    def _own_bits(self, vectors: FloatArray) -> WordArray:
        """Packed pattern of each vector, of those next to it any one."""
        products = np.empty((len(vectors), len(self.X)))
        times_transposed(vectors, self.X, products)
        return pack_bits(products >= 0)

    def owners(self, vectors: FloatArray) -> IntArray:
        """Blocks whose cones vectors lie in, up to rounding at the boundary.

        Parameters
        ----------
        vectors : ndarray of shape (B, d)

        Returns
        -------
        ndarray of int, shape (B,)
            -1 where no cone has the vector.
        """
        owners, every = self.patterns.positions(self._own_bits(vectors)), np.arange(self.n_blocks)
        for b in np.flatnonzero(owners < 0):
            allowed = -_ON_BOUNDARY * float(np.linalg.norm(vectors[b]))
            for part in self._parts(self.n_blocks):
                copies = np.tile(vectors[b], (every[part].size, 1))
                found = every[part][self._inside(copies, every[part]).min(axis=1) >= allowed]
                if found.size:
                    owners[b] = found[0]
                    break
        return owners

    def violation(self, blocks: FloatArray) -> float:
        """Largest ``-e_r (x_r . v) / (|x_r| max |v|)`` over rows and blocks, at least 0."""
        vectors, used = self._flat(blocks)
        if not self.constrained or used.size == 0:
            return 0.0
        owners = used % self.n_blocks
        parts = self._parts(used.size)
        deepest = min(float(self._inside(vectors[part], owners[part]).min()) for part in parts)
        return max(0.0, -deepest) / float(np.linalg.norm(vectors, axis=1).max())

    def project(self, blocks: FloatArray) -> FloatArray:
        """Move blocks into their cones: those inside stay, others are projected.

        A projection lies on facets, which rounding may leave on the wrong side by an ulp; it is pushed
        inwards until every row evaluates to the right sign.
        """
        projected = blocks.copy()
        vectors, used = self._flat(blocks)
        if not self.constrained or used.size == 0:
            return projected
        owners, flat = used % self.n_blocks, projected.reshape(-1, self.n_features)
        for part in self._parts(used.size):
            outside = np.arange(used.size)[part][self._inside(vectors[part], owners[part]).min(axis=1) < 0]
            if outside.size:
                feasible, _, _ = self._projector.project(owners[outside], vectors[outside])
                flat[used[outside]] = self._pushed_inside(feasible, owners[outside])
        return projected

    def _pushed_inside(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Move vectors that are inside but for rounding a few ulps inwards; zero where that fails.

        Where a cell is so thin that the way inwards is long, a vector within rounding of it stays.
        """
        vectors, sizes = vectors.copy(), np.linalg.norm(vectors, axis=1)
        touched = np.zeros((len(vectors), len(self.X)), dtype=np.bool_)
        stays = np.zeros(len(vectors), dtype=np.bool_)
        moved = np.arange(len(vectors))
        for attempt in range(_MAX_PUSHES):
            missing = self._rounding(vectors[moved], owners[moved])
            missing -= self._inside(vectors[moved], owners[moved])
            longest = missing.max(axis=1)
            outside = longest > 0
            moved, missing, longest = moved[outside], missing[outside], longest[outside]
            touched[moved] |= missing > 0
            for b, length in zip(moved, longest, strict=True):
                push = 2.0 ** (attempt // 4) * length * self._inward(touched[b], int(owners[b]))
                stays[b] = float(np.linalg.norm(push)) > _LONGEST_PUSH * sizes[b]
                if not stays[b]:
                    vectors[b] += push
            moved = moved[~stays[moved]]
            if moved.size == 0:
                break
        inside = self._inside(vectors, owners)
        inside += np.where(stays[:, None], self._rounding(vectors, owners), 0.0)
        return np.where(inside.min(axis=1, keepdims=True) >= 0, vectors, 0.0)

    def _inward(self, touched: BoolArray, owner: int) -> FloatArray:
        """Return a short direction that gains 1 in each touched row, else one towards the witness.

        The witness of a thin cell gains little in some rows, so that following it would be a long way.
        """
        indices = np.flatnonzero(touched)
        rows = self._projector.rows(np.full(indices.size, owner), indices)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        direction = np.asarray(np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0], dtype=np.float64)
        if (rows @ direction).min() > 0.5:
            return direction
        witness = self.patterns.generators[owner]
        least = max(float((rows @ witness).min()), float(np.finfo(np.float64).tiny))
        return np.asarray(witness / least)

    def support(self, gradients: FloatArray, threshold: float, n_largest: int | None = None) -> FloatArray:
        """Upper bounds of ``max {g.u : u in C_i, |u| <= 1}``, tight where they exceed `threshold`.

        ``|g|`` is a bound; where it does not suffice it is replaced by the norm of the projection on the
        cone, whose multipliers prove it. With a free coordinate see `FreeCoordinateSupport`.
        """
        flat = gradients.reshape(-1, self.n_features)
        if not self.constrained:
            bounds: FloatArray = np.linalg.norm(flat, axis=1)
        elif self.penalized.all():
            bounds = self._projector.support(flat, threshold, n_largest)
        else:
            own = self._normalized_rows
            bounds = self._free_support.support(flat @ own.change, threshold / own.unit, n_largest)
            bounds *= own.unit
        return np.asarray(bounds.reshape(gradients.shape[:-1]))

    def block_outputs(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``A_i weights[j]`` for ``i = blocks[j]``: (B,), (B, d) -> (B, n)."""
        return self.maps.outputs(blocks, weights)

    def block_gradients(self, blocks: IntArray, dual: FloatArray, outputs: IntArray) -> FloatArray:
        """``A_i' dual[:, k]`` for ``i = blocks[j], k = outputs[j]``: (B,), (n, K), (B,) -> (B, d)."""
        return self.maps.gradients(blocks, dual, outputs)

    def gram(self, blocks: IntArray, weights: FloatArray) -> FloatArray:
        """``sum_j weights[j] A_i A_i'`` with ``i = blocks[j]``: (B,), (B,) -> (n, n)."""
        return self.maps.gram(blocks, weights)

    def shrink(self, slots: IntArray, points: FloatArray, shrinkage: float, n_slots: int) -> FloatArray:
        """``argmin_u 1/2 |u - p|^2 + shrinkage |u|`` over the cone of each slot; see `ConeProjector`."""
        if self.constrained:
            return self._projector.shrink(slots, points, shrinkage, n_slots)
        return group_shrink(points, shrinkage)

    def derivative_factors(
        self, slots: IntArray, shrunk: FloatArray, shrinkage: float
    ) -> tuple[IntArray, FloatArray]:
        """Rows ``C`` with ``C' C`` the derivative of `shrink` at its last, non-zero results."""
        if self.constrained:
            return self._projector.derivative_factors(slots, shrunk, shrinkage)
        return group_derivative_factors(shrunk, shrinkage)

    def normalized(self) -> Normalized | None:
        """Return the design in coordinates that suit the data, where a free one allows a choice."""
        if self.penalized.all():
            return None
        own = self._normalized_rows
        patterns = PatternSet(
            self.patterns.bits, self.patterns.generators @ own.inverse.T, self.patterns.n_samples
        )
        design = MaskedDesign(own.rows, patterns, self.activation, self.penalized, self.positions)
        return Normalized(design, own.change, own.inverse, own.unit)

    def restrict(self, indices: IntArray | Sequence[int]) -> "MaskedDesign":
        """Return the design of the same data with a subset of the patterns."""
        chosen = self.patterns.take(np.asarray(indices, dtype=np.intp))
        return MaskedDesign(self.X, chosen, self.activation, self.penalized, self.positions)
