"""Projections and proximal points on the cones of patterns: optimality conditions, least squares, CVXPY."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from convexnn.cones import ConeProjector
from convexnn.cones._faces import face_bases
from convexnn.designs import MaskedDesign
from convexnn.patterns import PatternSet, pack_bits
from convexnn.problem import augment
from program_cases import DEGENERACIES, LAYERS, degenerate_rows, some_patterns

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-8, 1e-4, 1.0, 1e4, 1e8])
degeneracies = st.lists(st.sampled_from([*DEGENERACIES, "near", "thin"]), max_size=4)
SIZES = [(1, 1), (7, 1), (1, 4), (4, 4), (12, 2), (60, 3), (300, 5), (40, 30), (300, 30), (20, 30)]


def spoil(X, rng, kinds):
    """Degenerate rows, and rows that all but repeat or oppose another."""
    X = degenerate_rows(X, rng, [kind for kind in kinds if kind in DEGENERACIES])
    for kind in kinds:
        i, j = rng.integers(len(X), size=2)
        if kind == "near":
            X[i] = X[j] * (1 + 1e-9 * rng.normal(size=X.shape[1]))
        elif kind == "thin":
            X[i] = -X[j] + 1e-4 * rng.normal(size=X.shape[1])
    return X


class Cones:
    """The cones of the cells that random weights lie in, with their unit rows."""

    def __init__(self, rng, n, d, kinds=(), n_cones=3, dtype=np.float64, scale=1.0):
        self.X = (scale * spoil(rng.normal(size=(n, d)), rng, kinds)).astype(dtype)
        dense = self.X @ rng.normal(size=(d, n_cones)) > 0
        lengths = np.linalg.norm(self.X.astype(float), axis=1)
        self.some = lengths > 0
        self.lengths = np.where(self.some, lengths, 1.0)
        units = self.X / self.lengths[:, None]
        self.rows = np.where(dense.T, 1.0, -1.0)[:, :, None] * units
        self.bits = pack_bits(dense.T)

    def projector(self, penalized=None):
        d = self.X.shape[1]
        return ConeProjector(
            self.X, self.bits, self.lengths, np.ones(d, dtype=bool) if penalized is None else penalized
        )


def assert_projection(rows, g, u, active, multipliers, accuracy=1e-12):
    """``u = g + rows' lam``, ``lam >= 0``, ``rows u >= 0``, ``lam . rows u = 0``: what makes `u` nearest."""
    used = active >= 0
    assert (multipliers[used] >= 0).all()
    assert not multipliers[~used].any()
    size = np.linalg.norm(g) + multipliers.sum()
    moved = g + multipliers[used] @ rows[active[used]]
    np.testing.assert_allclose(u, moved, rtol=0, atol=accuracy * size)
    assert (rows @ u).min(initial=0.0) >= -accuracy * size
    assert np.abs(rows[active[used]] @ u).max(initial=0.0) <= accuracy * size
    assert abs(u @ (u - g)) <= accuracy * size * np.linalg.norm(g)


@pytest.mark.parametrize(("n", "d"), SIZES)
@settings(deadline=None, max_examples=8)
@given(seed=seeds, kinds=degeneracies, scale=scales, length=scales)
def test_projections_fulfil_the_optimality_conditions(n, d, seed, kinds, scale, length):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, d, kinds, scale=scale)
    owners = np.repeat(np.arange(3), 3)
    vectors = length * rng.normal(size=(9, d))
    projected, active, multipliers = cones.projector().project(owners, vectors)
    for b, i in enumerate(owners):
        assert_projection(cones.rows[i], vectors[b], projected[b], active[b], multipliers[b])


@pytest.mark.parametrize(("n", "d"), [(6, 1), (12, 3), (80, 4), (30, 12)])
@settings(deadline=None, max_examples=8)
@given(seed=seeds, kinds=st.lists(st.sampled_from(DEGENERACIES), max_size=4))
def test_projections_are_non_negative_least_squares(n, d, seed, kinds):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, d, kinds)
    vectors = rng.normal(size=(3, d))
    projected, _, _ = cones.projector().project(np.arange(3), vectors)
    for g, u, rows in zip(vectors, projected, cones.rows, strict=True):
        lam, _ = nnls(rows.T, -g)
        np.testing.assert_allclose(u, g + lam @ rows, atol=1e-9)


def test_many_rows_at_the_vertex():
    # More than d hyperplanes through the projection, which is zero: g opposes the inside of the cone.
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    X = np.column_stack([np.cos(angles), np.sin(angles), np.ones(40)])
    bits = pack_bits(np.ones((1, 40), dtype=bool))
    projector = ConeProjector(X, bits, np.full(40, np.sqrt(2.0)), np.ones(3, dtype=bool))
    inside, outside, edge = np.array([0.1, 0.2, 1.0]), np.array([0.3, -0.2, -1.0]), np.array([2.0, 0.0, 0.0])
    projected, active, _ = projector.project(np.zeros(3, dtype=np.intp), np.stack([inside, outside, edge]))
    np.testing.assert_array_equal(projected[0], inside)
    np.testing.assert_allclose(projected[1], 0.0, atol=1e-15)
    # Nearest to (2, 0, 0) in a polygonal cone that has an edge between the samples at pi -+ 0: (1, 0, 1).
    np.testing.assert_allclose(projected[2], [1.0, 0.0, 1.0], atol=1e-14)
    assert (active[0] < 0).all()


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 40), d=st.integers(1, 8), share=st.floats(0.0, 1.5))
def test_an_early_stop_leaves_an_upper_bound_with_its_proof(seed, kinds, n, d, share):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, d, kinds, n_cones=6)
    projector, owners, vectors = cones.projector(), np.arange(6), rng.normal(size=(6, d))
    full, _, _ = projector.project(owners, vectors)
    threshold = share * float(np.linalg.norm(vectors, axis=1).mean())
    stopped, active, multipliers = projector.project(owners, vectors, threshold)
    for b, rows in enumerate(cones.rows):
        truth, bound = np.linalg.norm(full[b]), np.linalg.norm(stopped[b])
        rounding = 1e-12 * (np.linalg.norm(vectors[b]) + multipliers[b].sum())
        used = active[b] >= 0
        assert (multipliers[b] >= 0).all()
        moved = vectors[b] + multipliers[b, used] @ rows[active[b, used]]
        np.testing.assert_allclose(stopped[b], moved, rtol=0, atol=rounding)
        assert bound >= truth - rounding
        assert (truth <= threshold + rounding) == (bound <= threshold + rounding)
        if bound > threshold:
            np.testing.assert_allclose(stopped[b], full[b], rtol=0, atol=rounding)


@pytest.mark.parametrize("free", [False, True])
@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 40), d=st.integers(2, 8))
def test_a_warm_start_changes_nothing_but_rounding(free, seed, kinds, n, d):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, d, kinds, n_cones=4)
    penalized = np.arange(d) < d - free
    warm, slots = cones.projector(penalized), np.arange(8)
    points = rng.normal(size=(8, d))
    for size in (0.0, 1e-8, 1e-2, 1.0, 1e3):
        points = points + size * rng.normal(size=(8, d))
        again = warm.shrink(slots, points, 0.3, 8)
        cold = cones.projector(penalized).shrink(slots, points, 0.3, 8)
        # The length of a slope is a root, which is found to less than a projection is.
        np.testing.assert_allclose(
            again, cold, rtol=0, atol=(1e-10 if free else 1e-12) * np.abs(points).max()
        )


@settings(deadline=None, max_examples=20)
@given(seed=seeds, n=st.integers(1, 60), d=st.integers(1, 6))
def test_single_precision_data_are_taken_as_they_are(seed, n, d):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, d, n_cones=4, dtype=np.float32)
    single = cones.projector()
    cones.X = cones.X.astype(np.float64)
    double = cones.projector()
    vectors = rng.normal(size=(4, d))
    for got, expected in zip(
        single.project(np.arange(4), vectors), double.project(np.arange(4), vectors), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def draw_design(rng, *, kinds=(), n=9, d=3, activation="relu", hidden_bias="penalized", n_patterns=6):
    X = degenerate_rows(rng.normal(size=(n, d)), rng, list(kinds))
    data = augment(X, hidden_bias)
    penalized = np.arange(data.shape[1]) < data.shape[1] - (hidden_bias == "free")
    return MaskedDesign(data, some_patterns(X, hidden_bias, rng, n_patterns), LAYERS[activation], penalized)


def fresh(design):
    return design.restrict(np.arange(design.n_blocks))


def shrunk(design, points, shrinkage):
    """Proximal points of all cones, by a design that remembers nothing."""
    return fresh(design).shrink(np.arange(len(points)), points, shrinkage, len(points))


MODES = [("relu", "penalized"), ("relu", "free"), ("relu", "none"), ("gated_relu", "penalized")]
seeds_and_kinds = {"seed": seeds, "kinds": st.lists(st.sampled_from(DEGENERACIES), max_size=4)}


@pytest.mark.parametrize(("activation", "hidden_bias"), MODES)
@settings(deadline=None, max_examples=25)
@given(
    **seeds_and_kinds,
    n=st.integers(1, 12),
    d=st.integers(1, 3),
    shrinkage=st.sampled_from([0.0, 1e-6, 0.3, 2.0]),
    scale=scales,
)
def test_proximal_points_fulfil_the_optimality_conditions(
    activation, hidden_bias, seed, kinds, n, d, shrinkage, scale
):
    # f is the least at u in C if and only if (u - p).(w - u) + t (|w| - |u|) >= 0 for all w in C.
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, n=n, d=d, activation=activation, hidden_bias=hidden_bias)
    shape = (design.n_blocks, design.n_features)
    points = scale * rng.normal(size=shape)
    got, t = shrunk(design, points, shrinkage * scale), shrinkage * scale
    # The proximal map is homogeneous in both of its arguments.
    plain = shrunk(design, points / scale, shrinkage)
    np.testing.assert_allclose(got / scale, plain, rtol=0, atol=1e-9 * (1 + np.abs(plain).max()))
    penalized = design.penalized
    assert design.violation(got[None]) <= 1e-12
    for other in (np.zeros(shape), got, rng.normal(size=shape), got + 0.01 * rng.normal(size=shape), points):
        for w in (design.project(other[None])[0], design.project(scale * other[None])[0]):
            slope, norms = w - got, [np.linalg.norm(v[:, penalized], axis=1) for v in (w, got)]
            gain = ((got - points) * slope).sum(axis=1) + t * (norms[0] - norms[1])
            size = np.linalg.norm(points, axis=1) * (
                np.linalg.norm(w, axis=1) + np.linalg.norm(points, axis=1)
            )
            assert (gain >= -1e-9 * size).all()


@pytest.mark.parametrize(("activation", "hidden_bias"), MODES)
@settings(deadline=None, max_examples=8)
@given(**seeds_and_kinds, n=st.integers(2, 10), shrinkage=st.sampled_from([0.05, 0.5, 2.0]))
def test_proximal_points_agree_with_cvxpy(activation, hidden_bias, seed, kinds, n, shrinkage):
    pytest.importorskip("cvxpy")
    from restatement import restated_proximal_point

    rng = np.random.default_rng(seed)
    design = draw_design(
        rng, kinds=kinds, n=n, d=2, activation=activation, hidden_bias=hidden_bias, n_patterns=3
    )
    points = rng.normal(size=(design.n_blocks, design.n_features))
    got = shrunk(design, points, shrinkage)
    for i, pattern in enumerate(design.patterns.to_dense()):
        rows = np.where(pattern, 1.0, -1.0)[:, None] * design.X
        expected = restated_proximal_point(
            points[i],
            rows if design.constrained else rows[:0],
            shrinkage,
            n_penalized=int(design.penalized.sum()),
        )
        # A quadratic minimum is known to half of the digits of its value.
        np.testing.assert_allclose(got[i], expected, atol=2e-4)


def test_proximal_points_of_the_pattern_that_is_on_everywhere():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6, 2))
    data = augment(X, "free")
    patterns = PatternSet.from_weights(data, np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    assert patterns.to_dense().tolist() == [[True] * 6, [False] * 6]
    design = MaskedDesign(data, patterns, LAYERS["relu"], np.array([True, True, False]))
    on, off = np.array([[0.0, 0.0, 3.0], [0.0, 0.0, -3.0]])
    np.testing.assert_array_equal(shrunk(design, np.stack([on, off]), 0.5), [on, off])
    # Constants on the wrong side go to zero, the nearest constant allowed, where slopes are too expensive.
    np.testing.assert_array_equal(shrunk(design, np.stack([off, on]), 1e3), np.zeros((2, 3)))
    # Slopes below the shrinkage vanish and leave the constant, with its own length.
    small = np.array([[0.2, -0.1, 3.0], [-0.1, 0.2, -3.0]])
    np.testing.assert_allclose(shrunk(design, small, 0.5), small * [0.0, 0.0, 1.0], atol=1e-14)
    # Far inside of the cone no row is active, and the slope alone is shortened.
    wide = np.array([[3.0, 4.0, 100.0], [3.0, -4.0, -100.0]])
    np.testing.assert_allclose(shrunk(design, wide, 0.5), wide * [0.9, 0.9, 1.0], rtol=1e-12)


def test_without_shrinkage_and_beyond_the_cone():
    rng = np.random.default_rng(1)
    design = draw_design(rng, hidden_bias="none")
    points = rng.normal(size=(design.n_blocks, 3))
    nearest = design.project(points[None])[0]
    np.testing.assert_allclose(shrunk(design, points, 0.0), nearest, atol=1e-13)
    # Zero exactly up to the length of the projection.
    lengths = np.linalg.norm(nearest, axis=1)
    i = int(np.argmax(lengths))
    assert shrunk(design, points, lengths[i] * (1 - 1e-9))[i].any()
    assert not shrunk(design, points, lengths[i] * (1 + 1e-9)).any()


@pytest.mark.parametrize(("activation", "hidden_bias"), MODES)
@settings(deadline=None, max_examples=15)
@given(**seeds_and_kinds, n=st.integers(1, 12), d=st.integers(1, 3))
def test_derivatives_of_proximal_points_are_their_differences(activation, hidden_bias, seed, kinds, n, d):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, n=n, d=d, activation=activation, hidden_bias=hidden_bias)
    slots, width = np.arange(design.n_blocks), design.n_features
    points = rng.normal(size=(design.n_blocks, width)) + design.patterns.generators
    shrinkage, h = 0.4, 1e-5
    at = design.shrink(slots, points, shrinkage, design.n_blocks)
    used = np.flatnonzero(at.any(axis=1))
    counts, rows = design.derivative_factors(slots[used], at[used], shrinkage)
    assert counts.shape == (used.size,)
    assert rows.shape == (counts.sum(), width)
    factors = np.split(rows, np.cumsum(counts)[:-1]) if used.size else []
    ahead, behind = np.empty((2, width, *at.shape))
    for c in range(width):
        step = h * np.eye(width)[c]
        ahead[c] = (shrunk(design, points + step, shrinkage) - at) / h
        behind[c] = (at - shrunk(design, points - step, shrinkage)) / h
    n_smooth = 0
    for j, i in enumerate(used):
        # At kinks the differences to both sides are not the same.
        if np.abs(ahead[:, i] - behind[:, i]).max() > 1e-3:
            continue
        n_smooth += 1
        np.testing.assert_allclose(factors[j].T @ factors[j], 0.5 * (ahead[:, i] + behind[:, i]), atol=1e-4)
    assume(n_smooth > 0)


@pytest.mark.parametrize("hidden_bias", ["penalized", "none"])
@settings(deadline=None, max_examples=15)
@given(**seeds_and_kinds, n_largest=st.integers(1, 30), threshold=st.sampled_from([0.0, 0.5, 2.0]))
def test_the_largest_supports_are_tight_and_all_are_bounds(hidden_bias, seed, kinds, n_largest, threshold):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, hidden_bias=hidden_bias, n=14, n_patterns=150)
    warm = fresh(design)
    theta = rng.normal(size=(14, 2))
    for size in (0.0, 1e-6, 0.1, 1.0):
        theta = theta + size * rng.normal(size=(14, 2))
        gradients = design.adjoint(theta)
        tight = fresh(design).support(gradients, 0.0).ravel()
        for some in (fresh(design), warm):
            bounds = some.support(gradients, threshold, n_largest).ravel()
            assert (bounds >= tight - 1e-12).all()
            expected = np.sort(tight[tight > threshold])[::-1][:n_largest]
            found = np.sort(bounds)[::-1][: expected.size]
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        again = warm.support(gradients, 0.0).ravel()
        np.testing.assert_allclose(again, tight, rtol=1e-12, atol=1e-12)


def test_what_is_remembered_is_of_no_account_for_other_numbers_of_slots():
    rng = np.random.default_rng(2)
    design = draw_design(rng, n=14, n_patterns=40)
    n_blocks, width = design.n_blocks, design.n_features
    for n_outputs in (1, 3, 2):
        slots = rng.permutation(2 * n_outputs * n_blocks)[:50]
        points = rng.normal(size=(50, width))
        got = design.shrink(slots, points, 0.2, 2 * n_outputs * n_blocks)
        for slot, point, u in zip(slots, points, got, strict=True):
            alone = design.restrict([slot % n_blocks]).shrink(np.array([0]), point[None], 0.2, 1)
            np.testing.assert_allclose(u, alone[0], atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 7, 40, 41, 90])
def test_bases_of_faces_are_orthonormal_and_complete(d, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, d, size=6).astype(np.int32)
    normals = [rng.normal(size=(size, d)) for size in sizes]
    points = rng.normal(size=(6, d))
    for i, own in enumerate(normals):
        if len(own):
            points[i] -= own.T @ np.linalg.lstsq(own.T, points[i], rcond=None)[0]
    bases = np.empty(((d - sizes).sum(), d))
    face_bases(np.vstack(normals), sizes, points, bases)
    parts = np.split(bases, np.cumsum(d - sizes)[:-1])
    for own, point, basis in zip(normals, points, parts, strict=True):
        np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)
        np.testing.assert_allclose(basis @ own.T, 0, atol=1e-10)
        assert abs(basis[0] @ point) == pytest.approx(np.linalg.norm(point), rel=1e-10)
