"""The masked design: ``A_i = (on D_i + off (I - D_i)) X`` on the cones of the patterns, never formed."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import sparse

from convexnn._typing import BoolArray, FloatArray, IntArray
from convexnn.activations import Activation
from convexnn.patterns import PatternSet, mask_vector, masked_sum
from convexnn.programs.cones import project_on_cones

__all__ = ["MaskedDesign"]

_CHUNK = 256
_EPS = float(np.finfo(np.float64).eps)
_FREE_WEIGHT = 1e5
_MAX_PUSHES = 60


class MaskedDesign:
    """Design operator of one hidden layer: data, patterns and an activation.

    Weights of block ``i`` live on the cone ``C_i = {u : (2 D_i - I) X u >= 0}``, where the layer
    ``phi(X u)`` is the linear map ``A_i u``; a gated layer has no cones. Two masked matrix products serve
    every request; ``A_i`` is formed by `features` only, for solvers that need a matrix.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Data as the hidden layer sees it, the column of ones included if there is a hidden bias.
    patterns : PatternSet
        Patterns of the rows of `X`.
    activation : Activation
    penalized : ndarray of bool, shape (d,)
        Which coordinates enter the norm.

    Raises
    ------
    ValueError
        If the patterns are not of this many samples and features.

    References
    ----------
    Pilanci and Ergen, "Neural networks are convex regularizers", ICML 2020, equation 8.
    """

    def __init__(
        self, X: FloatArray, patterns: PatternSet, activation: Activation, penalized: BoolArray
    ) -> None:
        expected = (patterns.n_samples, patterns.generators.shape[1])
        if X.shape != expected:
            raise ValueError(
                f"The patterns are of data of shape {expected}, but X has shape {X.shape} (the hidden bias's "
                "column of ones included). Compute them on the same data."
            )
        self.X = np.ascontiguousarray(X)
        self.patterns = patterns
        self.activation = activation
        self.penalized = penalized

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.X.shape[0])

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
        lengths = np.linalg.norm(self.X, axis=1)
        return np.where(lengths > 0, lengths, 1.0)

    @cached_property
    def _slopes(self) -> FloatArray:
        """Slope of the activation for each pattern and sample, shape (P, n)."""
        return np.where(self.patterns.to_dense(), self.activation.on, self.activation.off)

    def forward(self, weights: FloatArray) -> FloatArray:
        """``sum_i A_i weights[k, i]``: (K, P, d) -> (n, K); blocks that are zero cost nothing."""
        on, off = self.activation.on, self.activation.off
        outputs = np.zeros((self.n_samples, weights.shape[0]))
        for k, blocks in enumerate(weights):
            used = np.flatnonzero(blocks.any(axis=1))
            for start in range(0, used.size, _CHUNK):
                chunk = used[start : start + _CHUNK]
                values = blocks[chunk] @ self.X.T
                outputs[:, k] += (on - off) * masked_sum(self.patterns.bits[chunk], values)
                if off != 0:
                    outputs[:, k] += off * values.sum(axis=0)
        return outputs

    def adjoint(self, dual: FloatArray) -> FloatArray:
        """``A_i' dual[:, k]``: (n, K) -> (K, P, d)."""
        on, off = self.activation.on, self.activation.off
        gradients = np.empty((dual.shape[1], self.n_blocks, self.n_features))
        for k in range(dual.shape[1]):
            column = np.ascontiguousarray(dual[:, k])
            for start in range(0, self.n_blocks, _CHUNK):
                stop = start + _CHUNK
                masked = mask_vector(self.patterns.bits[start:stop], (on - off) * column)
                gradients[k, start:stop] = masked @ self.X
            if off != 0:
                gradients[k] += off * (column @ self.X)
        return gradients

    def features(self) -> sparse.csc_array:
        """``[A_1 ... A_P]`` of shape (n, P d)."""
        dense = self._slopes.T[:, :, None] * self.X[:, None, :]
        return sparse.csc_array(dense.reshape(self.n_samples, self.n_blocks * self.n_features))

    def cones(self) -> sparse.csc_array:
        """Block-diagonal matrix with the rows ``+-x_r`` of each cone, shape (P n, P d)."""
        n, d, n_blocks = self.n_samples, self.n_features, self.n_blocks
        signs = np.where(self.patterns.to_dense(), 1.0, -1.0)
        data = (signs[:, None, :] * self.X.T).ravel()
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
        inside: FloatArray = signs * (vectors @ self.X.T) / self._lengths
        return inside

    def violation(self, blocks: FloatArray) -> float:
        """Largest ``-e_r (x_r . v) / (|x_r| max |v|)`` over rows and blocks, at least 0."""
        vectors, used = self._flat(blocks)
        if not self.constrained or used.size == 0:
            return 0.0
        deepest = float(self._inside(vectors, used % self.n_blocks).min())
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
        owners = used % self.n_blocks
        outside = self._inside(vectors, owners).min(axis=1) < 0
        vectors, used, owners = vectors[outside], used[outside], owners[outside]
        if used.size:
            feasible = self._projections(vectors, owners)
            projected.reshape(-1, self.n_features)[used] = self._pushed_inside(feasible, owners)
        return projected

    def _pushed_inside(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Move vectors that are inside but for rounding a few ulps inwards; zero where that fails."""
        vectors = vectors.copy()
        rounding = 4 * self.n_features * _EPS * np.abs(self.X).T / self._lengths
        touched = np.zeros((len(vectors), self.n_samples), dtype=np.bool_)
        for attempt in range(_MAX_PUSHES):
            missing = np.abs(vectors) @ rounding - self._inside(vectors, owners)
            short = np.flatnonzero(missing.max(axis=1) > 0)
            if short.size == 0:
                return vectors
            touched |= missing > 0
            for b in short:
                step = 2.0 ** (attempt // 4) * missing[b].max()
                vectors[b] += step * self._inward(touched[b], int(owners[b]))
        return np.where(self._inside(vectors, owners).min(axis=1, keepdims=True) >= 0, vectors, 0.0)

    def _inward(self, touched: BoolArray, owner: int) -> FloatArray:
        """Return a short direction that gains 1 in each touched row, else one towards the witness.

        The witness of a thin cell gains little in some rows, so that following it would be a long way.
        """
        pattern = self.patterns.take([owner])
        signs = np.where(pattern.to_dense()[0, touched], 1.0, -1.0)
        rows = signs[:, None] * self.X[touched] / self._lengths[touched, None]
        direction = np.asarray(np.linalg.lstsq(rows, np.ones(len(rows)), rcond=None)[0], dtype=np.float64)
        if (rows @ direction).min() > 0.5:
            return direction
        witness = pattern.generators[0]
        least = max(float((rows @ witness).min()), float(np.finfo(np.float64).tiny))
        return np.asarray(witness / least)

    def support(self, gradients: FloatArray, threshold: float) -> FloatArray:
        """Upper bounds of ``max {g.u : u in C_i, |u| <= 1}``, tight where they exceed `threshold`.

        ``|g|`` is a bound; where it does not suffice it is replaced by the norm of the projection on the
        cone, whose multipliers prove it. A free coordinate must be cancelled exactly by multipliers: it is
        given a large weight in the projection and what is left is cancelled by one more row. Gradients must
        then be those of a dual point that sums to zero for each output.
        """
        flat = gradients.reshape(-1, self.n_features)
        bounds: FloatArray = np.linalg.norm(flat, axis=1)
        if not self.constrained:
            return bounds.reshape(gradients.shape[:-1])
        free = not self.penalized.all()
        open_ = np.arange(len(flat)) if free else np.flatnonzero(bounds > threshold)
        if open_.size:
            solve = self._free_support if free else self._projected_norms
            bounds[open_] = solve(flat[open_], open_ % self.n_blocks)
        return bounds.reshape(gradients.shape[:-1])

    def _projections(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """Return the nearest points of the owners' cones."""
        rows = self.X / self._lengths[:, None]
        nothing = np.empty((0, self.n_samples))
        return project_on_cones(rows, self.patterns.bits, owners, vectors, nothing)

    def _projected_norms(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        return np.asarray(np.linalg.norm(self._projections(vectors, owners), axis=1))

    def _free_support(self, vectors: FloatArray, owners: IntArray) -> FloatArray:
        """``min {|(g + R' lam)_penalised| : lam >= 0, (g + R' lam)_free = 0}``, from above.

        The penalised columns are centred on the free one, which changes neither side, and brought to unit
        order, so that the free coordinate's weight is large at any offset and scale of the data.
        """
        (free,) = np.flatnonzero(~self.penalized)
        column = self.X[:, free]
        slopes = np.where(self.penalized, column @ self.X / (column @ column), 0.0)
        centred = self.X - np.outer(column, slopes)
        vectors = vectors - np.outer(vectors[:, free], slopes)
        centred[np.abs(centred) <= self.n_samples * _EPS * np.abs(self.X)] = 0.0
        unit = float(np.linalg.norm(centred[:, self.penalized])) / np.sqrt(centred.size)
        unit = unit if unit > 0 else 1.0

        weights = np.where(self.penalized, 1.0 / unit, _FREE_WEIGHT)
        scaled = centred * weights
        lengths = np.linalg.norm(scaled, axis=1)
        lam = np.empty((len(vectors), self.n_samples))
        project_on_cones(scaled / lengths[:, None], self.patterns.bits, owners, vectors * weights, lam)
        signs = np.where(self.patterns.take(owners).to_dense(), 1.0, -1.0)
        moved = vectors + (signs * lam / lengths) @ centred

        steepness = np.linalg.norm(centred[:, self.penalized], axis=1) / np.abs(column)
        bounds = np.empty(len(vectors))
        for b, before in enumerate(vectors):
            after = moved[b]
            cancelling = signs[b] * column * after[free] < 0
            if cancelling.any():
                extra = abs(after[free]) * float(steepness[cancelling].min())
            else:
                # All rows push the same way: shorten all multipliers together instead.
                gained = after[free] - before[free]
                share = min(max(-before[free] / gained, 0.0), 1.0) if gained != 0 else 1.0
                after = before + share * (after - before)
                extra = 0.0  # The pattern is constant, so what is left is the rounding of a sum of zero.
            bounds[b] = float(np.linalg.norm(after[self.penalized])) + extra
        return bounds

    def restrict(self, indices: IntArray | Sequence[int]) -> "MaskedDesign":
        """Return the design of the same data with a subset of the patterns."""
        return MaskedDesign(
            self.X, self.patterns.take(np.asarray(indices, dtype=np.intp)), self.activation, self.penalized
        )
