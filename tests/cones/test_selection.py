"""Projections and proximal points on the cones of selections: least squares, CVXPY, the cones of signs."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from convexnn.cones import ConeProjector, SelectionProjector
from convexnn.patterns.selection import chosen_patches, selection_patterns
from selection_oracles import KINDS, cone_rows, draw_patches, unit_rows

seeds = st.integers(0, 2**32 - 1)
thresholds = st.sampled_from([0.0, 0.5, 2.0])
degeneracies = st.lists(st.sampled_from([*KINDS, "near"]), max_size=5)
SIZES = [(1, 1, 1), (4, 2, 1), (3, 3, 2), (12, 5, 3), (60, 4, 5), (10, 3, 20), (30, 30, 4)]


class Cones:
    """The cones of the selections of random weights, with their rows by loops."""

    def __init__(self, rng, n, positions, d, kinds=(), n_cones=3, dtype=np.float64):
        X = draw_patches(rng, n, positions, d, [kind for kind in kinds if kind != "near"])
        for _ in range(list(kinds).count("near")):
            i, j = rng.integers(n * positions, size=2)
            X[i] = X[j] * (1 + 1e-9 * rng.normal(size=d))
        self.X = X.astype(dtype)
        self.patterns = selection_patterns(self.X, positions, rng.normal(size=(n_cones, d)))
        self.rows = [cone_rows(self.X.astype(float), positions, s) for s in self.patterns.to_dense()]
        self.chosen = chosen_patches(self.patterns, positions)

    def __len__(self):
        return len(self.rows)

    def projector(self):
        return SelectionProjector(self.X, self.chosen)


def nearest(rows, g):
    """Projection of `g` on ``{u : rows u >= 0}`` by non-negative least squares."""
    units = unit_rows(rows)
    lam, _ = nnls(units.T, -g)
    return g + lam @ units


@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 8), positions=st.integers(1, 4), d=st.integers(1, 4))
def test_rows_are_those_of_loops(seed, kinds, n, positions, d):
    cones = Cones(np.random.default_rng(seed), n, positions, d, kinds)
    for i, rows in enumerate(cones.rows):
        every = cones.projector().rows(np.full(n * positions, i), np.arange(n * positions))
        np.testing.assert_array_equal(every, rows)


@pytest.mark.parametrize(("n", "positions", "d"), SIZES)
@settings(deadline=None, max_examples=8)
@given(seed=seeds, kinds=degeneracies)
def test_projections_fulfil_the_optimality_conditions(n, positions, d, seed, kinds):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, positions, d, kinds)
    owners = np.repeat(np.arange(len(cones)), 3)
    vectors = rng.normal(size=(len(owners), d))
    projected, active, multipliers = cones.projector().project(owners, vectors)
    for b, i in enumerate(owners):
        units, used = unit_rows(cones.rows[i]), active[b] >= 0
        lam, u, g = multipliers[b], projected[b], vectors[b]
        size = np.linalg.norm(g) + lam.sum()
        assert (lam[used] >= 0).all()
        assert not lam[~used].any()
        np.testing.assert_allclose(u, g + lam[used] @ units[active[b, used]], rtol=0, atol=1e-12 * size)
        assert (units @ u).min() >= -1e-12 * size
        assert abs(u @ (u - g)) <= 1e-12 * size * np.linalg.norm(g)


@settings(deadline=None, max_examples=40)
@given(
    seed=seeds,
    kinds=st.lists(st.sampled_from(KINDS), max_size=5),
    n=st.integers(1, 8),
    positions=st.integers(1, 5),
    d=st.integers(1, 5),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_projections_are_non_negative_least_squares(seed, kinds, n, positions, d, dtype):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, positions, d, kinds, dtype=dtype)
    vectors = rng.normal(size=(len(cones), d))
    projected, _, _ = cones.projector().project(np.arange(len(cones)), vectors)
    for g, u, rows in zip(vectors, projected, cones.rows, strict=True):
        np.testing.assert_allclose(u, nearest(rows, g), atol=1e-9)


@settings(deadline=None, max_examples=6)
@given(seed=seeds, kinds=degeneracies, shrinkage=st.sampled_from([0.05, 0.5]))
def test_proximal_points_agree_with_cvxpy(seed, kinds, shrinkage):
    pytest.importorskip("cvxpy")
    from restatement import restated_proximal_point

    rng = np.random.default_rng(seed)
    cones = Cones(rng, 4, 3, 3, kinds)
    points = rng.normal(size=(len(cones), 3))
    got = cones.projector().shrink(np.arange(len(cones)), points, shrinkage, len(cones))
    for point, u, rows in zip(points, got, cones.rows, strict=True):
        expected = restated_proximal_point(point, rows, shrinkage, n_penalized=3)
        # A quadratic minimum is known to half of the digits of its value.
        np.testing.assert_allclose(u, expected, atol=2e-4)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 20), positions=st.integers(1, 4), d=st.integers(1, 6))
def test_a_warm_start_changes_nothing_but_rounding(seed, kinds, n, positions, d):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, positions, d, kinds)
    n_slots, warm = 2 * len(cones), cones.projector()
    slots, points = np.arange(n_slots), rng.normal(size=(n_slots, d))
    for size in (0.0, 1e-8, 1e-2, 1.0, 1e3):
        points = points + size * rng.normal(size=points.shape)
        cold = cones.projector().shrink(slots, points, 0.3, n_slots)
        again = warm.shrink(slots, points, 0.3, n_slots)
        np.testing.assert_allclose(again, cold, rtol=0, atol=1e-12 * np.abs(points).max())


@settings(deadline=None, max_examples=20)
@given(
    seed=seeds, kinds=degeneracies, n_largest=st.integers(1, 30), threshold=st.sampled_from([0.0, 0.5, 2.0])
)
def test_the_largest_supports_are_tight_and_all_are_bounds(seed, kinds, n_largest, threshold):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, 6, 3, 3, kinds, n_cones=60)
    vectors, warm = rng.normal(size=(len(cones), 3)), cones.projector()
    for size in (0.0, 1e-6, 0.1, 1.0):
        vectors = vectors + size * rng.normal(size=vectors.shape)
        lengths = [np.linalg.norm(nearest(rows, g)) for rows, g in zip(cones.rows, vectors, strict=True)]
        tight = np.array(lengths)
        for some in (cones.projector(), warm):
            bounds = some.support(vectors, threshold, n_largest)
            assert (bounds >= tight - 1e-9).all()
            expected = np.sort(tight[tight > threshold + 1e-9])[::-1][:n_largest]
            np.testing.assert_allclose(np.sort(bounds)[::-1][: expected.size], expected, atol=1e-9)


@settings(deadline=None, max_examples=15)
@given(
    seed=seeds, kinds=st.lists(st.sampled_from(KINDS), max_size=4), n=st.integers(1, 8), d=st.integers(1, 3)
)
def test_derivatives_of_proximal_points_are_their_differences(seed, kinds, n, d):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, 3, d, kinds, n_cones=8)
    shrinkage, h, slots, projector = 0.4, 1e-5, np.arange(len(cones)), cones.projector()

    def shrunk(points):
        return cones.projector().shrink(slots, points, shrinkage, len(slots))

    points = rng.normal(size=(len(cones), d)) + cones.patterns.generators
    at = projector.shrink(slots, points, shrinkage, len(slots))
    used = np.flatnonzero(at.any(axis=1))
    assume(used.size)
    counts, factors = projector.derivative_factors(slots[used], at[used], shrinkage)
    ahead = np.array([(shrunk(points + step) - at) / h for step in h * np.eye(d)])
    behind = np.array([(at - shrunk(points - step)) / h for step in h * np.eye(d)])
    for i, rows in zip(used, np.split(factors, np.cumsum(counts)[:-1]), strict=True):
        # At kinks the differences to both sides are not the same.
        if np.abs(ahead[:, i] - behind[:, i]).max() <= 1e-3:
            np.testing.assert_allclose(rows.T @ rows, 0.5 * (ahead[:, i] + behind[:, i]), atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 40), d=st.integers(1, 6))
def test_with_one_patch_for_each_sample_cones_are_those_of_signs(seed, kinds, n, d):
    rng = np.random.default_rng(seed)
    cones = Cones(rng, n, 1, d, kinds)
    lengths = np.where(cones.X.any(axis=1), np.linalg.norm(cones.X, axis=1), 1.0)
    signs = ConeProjector(cones.X, cones.patterns.bits, lengths, np.ones(d, dtype=bool))
    slots, vectors = np.arange(len(cones)), rng.normal(size=(len(cones), d))
    mine = cones.projector()
    # Of parallel rows either may be the active one.
    got, expected = (some.project(slots, vectors)[0] for some in (mine, signs))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    got, expected = (some.shrink(slots, vectors, 0.2, len(slots)) for some in (mine, signs))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    used = np.flatnonzero(expected.any(axis=1))
    if used.size:
        factors = [some.derivative_factors(slots[used], expected[used], 0.2) for some in (mine, signs)]
        np.testing.assert_array_equal(factors[0][0], factors[1][0])
        for one, other in zip(*(np.split(f, np.cumsum(c)[:-1]) for c, f in factors), strict=True):
            np.testing.assert_allclose(one.T @ one, other.T @ other, atol=1e-9)


def test_work_that_is_shared_between_threads_is_the_same():
    rng = np.random.default_rng(3)
    cones = Cones(rng, 300, 4, 6, n_cones=200)
    vectors, projector = rng.normal(size=(len(cones), 6)), cones.projector()
    projected, _, _ = projector.project(np.arange(len(cones)), vectors)
    inside, rounding = (f(vectors, np.arange(len(cones))) for f in (projector.inside, projector.rounding))
    for i in rng.integers(len(cones), size=20):
        alone, _, _ = projector.project(np.array([i]), vectors[[i]])
        np.testing.assert_array_equal(alone[0], projected[i])
        units = unit_rows(cones.rows[i])
        np.testing.assert_allclose(inside[i], units @ vectors[i], atol=1e-14)
        assert (np.abs(inside[i] - units @ vectors[i]) <= rounding[i]).all()
