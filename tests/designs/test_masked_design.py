"""The masked design against dense matrices, non-negative least squares and CVXPY."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from convexnn.designs import MaskedDesign
from convexnn.patterns import enumerate_patterns
from convexnn.problem import augment
from program_cases import DEGENERACIES, LAYERS, degenerate_rows, some_patterns

seeds = st.integers(0, 2**32 - 1)
degeneracies = st.lists(st.sampled_from(DEGENERACIES), max_size=4)
EPS = float(np.finfo(np.float64).eps)


def draw_design(
    rng, *, kinds=(), n=9, d=3, activation="relu", hidden_bias="none", n_patterns=12, columns=(1.0,)
):
    X = degenerate_rows(rng.normal(size=(n, d)), rng, list(kinds)) * np.resize(columns, d)
    patterns = some_patterns(X, hidden_bias, rng, n_patterns)
    data = augment(X, hidden_bias)
    penalized = np.arange(data.shape[1]) < data.shape[1] - (hidden_bias == "free")
    return MaskedDesign(data, patterns, LAYERS[activation], penalized)


def layers(design):
    """``A_i`` of shape (P, n, d), entry after entry."""
    dense = design.patterns.to_dense()
    matrices = np.empty((len(dense), *design.X.shape))
    for i, pattern in enumerate(dense):
        for r, bit in enumerate(pattern):
            matrices[i, r] = (design.activation.on if bit else design.activation.off) * design.X[r]
    return matrices


def cone_rows(design, i):
    """Unit rows ``e_r x_r / |x_r|`` of cone `i`; zero rows of the data are left out."""
    signs = np.where(design.patterns.to_dense()[i], 1.0, -1.0)
    rows = signs[:, None] * design.X
    lengths = np.linalg.norm(rows, axis=1)
    return rows[lengths > 0] / lengths[lengths > 0, None]


def projection(rows, g):
    """Nearest point of ``{u : rows u >= 0}``: ``g + rows' lam`` with the least norm over ``lam >= 0``."""
    if len(rows) == 0:
        return g
    lam, _ = nnls(rows.T, -g)
    return g + rows.T @ lam


@pytest.mark.parametrize("activation", LAYERS)
@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies, n_outputs=st.integers(1, 3), n=st.integers(1, 70))
def test_forward_and_adjoint_are_products_with_dense_matrices(activation, seed, kinds, n_outputs, n):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, activation=activation, n=n, d=2)
    A = layers(design)
    weights = rng.normal(size=(n_outputs, design.n_blocks, 2))
    weights[rng.uniform(size=weights.shape[:2]) < 0.3] = 0.0
    dual = rng.normal(size=(n, n_outputs))
    forward, adjoint = design.forward(weights), design.adjoint(dual)
    np.testing.assert_allclose(forward, np.einsum("prd,kpd->rk", A, weights), atol=1e-12)
    np.testing.assert_allclose(adjoint, np.einsum("prd,rk->kpd", A, dual), atol=1e-12)
    # <A w, theta> = <w, A' theta>
    assert (forward * dual).sum() == pytest.approx((weights * adjoint).sum(), abs=1e-11)


@pytest.mark.parametrize("activation", LAYERS)
@pytest.mark.parametrize("hidden_bias", ["none", "penalized"])
def test_more_blocks_than_one_chunk(activation, hidden_bias):
    rng = np.random.default_rng(0)
    design = draw_design(rng, n=14, d=3, activation=activation, hidden_bias=hidden_bias, n_patterns=700)
    assert design.n_blocks > (500 if hidden_bias == "penalized" else 150)
    A = layers(design)
    weights = rng.normal(size=(2, design.n_blocks, design.n_features))
    dual = rng.normal(size=(14, 2))
    np.testing.assert_allclose(
        design.forward(weights), np.einsum("prd,kpd->rk", A, weights), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(design.adjoint(dual), np.einsum("prd,rk->kpd", A, dual), atol=1e-12)


@pytest.mark.parametrize("activation", LAYERS)
@settings(deadline=None, max_examples=20)
@given(
    seed=seeds, kinds=degeneracies, n_outputs=st.integers(1, 3), n=st.integers(1, 70), m=st.integers(0, 40)
)
def test_single_blocks_are_products_with_dense_matrices(activation, seed, kinds, n_outputs, n, m):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, activation=activation, n=n, d=2)
    A = layers(design)
    blocks, outputs = rng.integers(design.n_blocks, size=m), rng.integers(n_outputs, size=m)
    weights, dual = rng.normal(size=(m, 2)), rng.normal(size=(n, n_outputs))
    values = design.block_outputs(blocks, weights)
    gradients = design.block_gradients(blocks, dual, outputs)
    np.testing.assert_allclose(values, np.einsum("jrd,jd->jr", A[blocks], weights), atol=1e-12)
    np.testing.assert_allclose(gradients, np.einsum("jrd,rj->jd", A[blocks], dual[:, outputs]), atol=1e-12)
    positive = rng.uniform(size=m)
    expected = np.einsum("j,jrd,jsd->rs", positive, A[blocks], A[blocks])
    np.testing.assert_allclose(design.gram(blocks, positive), expected, atol=1e-11)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_work_that_is_shared_between_threads_is_the_same(activation):
    # Enough operations for several threads, and more blocks than one chunk.
    rng = np.random.default_rng(4)
    design = draw_design(rng, n=200, d=3, activation=activation, n_patterns=900)
    blocks, outputs = rng.integers(design.n_blocks, size=3000), rng.integers(2, size=3000)
    weights, dual = rng.normal(size=(3000, 3)), rng.normal(size=(200, 2))
    A = layers(design)
    for start in range(0, 3000, 500):
        part = slice(start, start + 500)
        alone = A[blocks[part]]
        np.testing.assert_allclose(
            design.block_outputs(blocks, weights)[part],
            np.einsum("jrd,jd->jr", alone, weights[part]),
            atol=1e-12,
        )
        np.testing.assert_allclose(
            design.block_gradients(blocks, dual, outputs)[part],
            np.einsum("jrd,rj->jd", alone, dual[:, outputs[part]]),
            atol=1e-11,
        )


@pytest.mark.parametrize("activation", LAYERS)
def test_explicit_matrices(activation):
    rng = np.random.default_rng(1)
    design = draw_design(rng, kinds=["zero", "duplicate"], activation=activation)
    A, P, d = layers(design), design.n_blocks, design.n_features
    np.testing.assert_array_equal(design.features().toarray(), np.concatenate(list(A), axis=1))
    cones = design.cones().toarray()
    assert cones.shape == (P * design.n_samples, P * d)
    signs = np.where(design.patterns.to_dense(), 1.0, -1.0)
    expected = np.zeros((P, design.n_samples, P, d))
    for i in range(P):
        expected[i, :, i] = signs[i][:, None] * design.X
    np.testing.assert_array_equal(cones, expected.reshape(cones.shape))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies)
def test_layer_is_the_activation_on_the_cone(activation, seed, kinds):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, activation=activation)
    blocks = design.project(rng.normal(size=(1, design.n_blocks, 3)))
    expected = design.activation(design.X @ blocks[0].T).sum(axis=1)
    np.testing.assert_allclose(design.forward(blocks)[:, 0], expected, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 12), scale=st.sampled_from([1e-8, 1.0, 1e8]))
def test_projection_is_the_nearest_point(seed, kinds, n, scale):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, n=n)
    blocks = scale * rng.normal(size=(2, 1, design.n_blocks, 3))
    projected = design.project(blocks)
    assert design.violation(projected) == 0
    np.testing.assert_array_equal(design.project(projected), projected)
    for sign, _, i in np.ndindex(blocks.shape[:3]):
        g, p, rows = blocks[sign, 0, i], projected[sign, 0, i], cone_rows(design, i)
        size = np.linalg.norm(g)
        np.testing.assert_allclose(p, projection(rows, g), atol=1e-9 * size)
        # Moreau: g - p lies in the polar cone and is orthogonal to p.
        assert abs((g - p) @ p) <= 1e-9 * size**2
        if len(rows):
            _, outside = nnls(rows.T, p - g)
            assert outside <= 1e-9 * size


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=degeneracies, bias=st.sampled_from(["none", "penalized", "free"]))
def test_projection_of_feasible_points_is_themselves(seed, kinds, bias):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, hidden_bias=bias)
    witnesses = design.patterns.generators[None] * rng.uniform(0.1, 10, (1, design.n_blocks, 1))
    assert design.violation(witnesses) == 0
    np.testing.assert_array_equal(design.project(witnesses), witnesses)
    assert not design.project(np.zeros_like(witnesses)).any()


@settings(deadline=None, max_examples=40)
@given(
    seed=seeds,
    kinds=degeneracies,
    columns=st.sampled_from([(1e8, 1.0, 1.0), (1e-8, 1.0, 1.0), (1e4, 1.0, 1e-4), (1e8,) * 3, (1e-8,) * 3]),
    bias=st.sampled_from(["none", "penalized", "free"]),
)
def test_projection_is_feasible_on_every_scale(seed, kinds, columns, bias):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, columns=columns, hidden_bias=bias)
    blocks = rng.normal(size=(1, design.n_blocks, design.n_features))
    projected = design.project(blocks)
    assert design.violation(projected) == 0
    # The nearest point of a cone is no longer than what is projected; cells as thin as the columns' scales
    # differ (1e-8) resolve it to 1e-8 digits less.
    assert (np.linalg.norm(projected, axis=-1) <= np.linalg.norm(blocks, axis=-1) * (1 + 1e-6)).all()


def test_violation_is_the_largest_angle_outside():
    X = np.array([[2.0, 0.0], [0.0, 3.0]])
    patterns = enumerate_patterns(X)
    design = MaskedDesign(X, patterns, LAYERS["relu"], np.ones(2, dtype=bool))
    quadrant = int(np.flatnonzero(patterns.to_dense().all(axis=1))[0])
    blocks = np.zeros((1, 4, 2))
    blocks[0, quadrant] = [4.0, -3.0]
    assert design.violation(blocks) == pytest.approx(3 / 5)
    np.testing.assert_allclose(design.project(blocks)[0, quadrant], [4.0, 0.0], atol=1e-14)


def test_gated_layers_have_no_cones():
    rng = np.random.default_rng(2)
    design = draw_design(rng, activation="gated_relu")
    blocks = rng.normal(size=(1, design.n_blocks, 3))
    assert not design.constrained
    assert design.violation(blocks) == 0
    np.testing.assert_array_equal(design.project(blocks), blocks)
    np.testing.assert_allclose(design.support(blocks, 0.0), np.linalg.norm(blocks, axis=-1))


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=degeneracies, bias=st.sampled_from(["none", "penalized"]), n=st.integers(1, 12))
def test_support_is_the_length_of_the_projection(seed, kinds, bias, n):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, hidden_bias=bias, n=n, activation="leaky_relu")
    gradients = design.adjoint(rng.normal(size=(n, 2)))
    bounds = design.support(gradients, 0.0)
    assert bounds.shape == gradients.shape[:-1]
    for k, i in np.ndindex(bounds.shape):
        g = gradients[k, i]
        expected = np.linalg.norm(projection(cone_rows(design, i), g))
        assert bounds[k, i] == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.linalg.norm(g))


def test_support_below_the_threshold_is_a_bound_all_the_same():
    rng = np.random.default_rng(3)
    design = draw_design(rng)
    gradients = design.adjoint(rng.normal(size=(9, 1)))
    tight = design.support(gradients, 0.0)
    threshold = float(np.median(tight))
    bounds = design.support(gradients, threshold)
    above = bounds > threshold
    assert above.any()
    assert not above.all()
    # What is remembered of earlier projections changes their rounding.
    np.testing.assert_allclose(bounds[above], tight[above], rtol=1e-12)
    assert (bounds >= tight - 1e-12).all()
    np.testing.assert_array_equal(above, tight > threshold)


def unit_points(design, i, rng, n_penalized):
    """Points of cone `i` with unit norm of their penalised part."""
    points = [projection(cone_rows(design, i), g) for g in rng.normal(size=(20, design.n_features))]
    points.append(design.patterns.generators[i])
    sizes = [np.linalg.norm(point[:n_penalized]) for point in points]
    return [point / size for point, size in zip(points, sizes, strict=True) if size > 1e-6]


@settings(deadline=None, max_examples=25)
@given(
    seed=seeds,
    kinds=degeneracies,
    bias=st.sampled_from(["none", "penalized", "free"]),
    activation=st.sampled_from(["relu", "leaky_relu", "absolute_value"]),
)
def test_support_bounds_every_feasible_value(seed, kinds, bias, activation):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, hidden_bias=bias, activation=activation, n_patterns=5)
    theta = rng.normal(size=(9, 1))
    theta -= theta.mean()
    gradients = design.adjoint(theta)
    bounds = design.support(gradients, 0.0)
    n_penalized = int(design.penalized.sum())
    for i in range(design.n_blocks):
        for u in unit_points(design, i, rng, n_penalized):
            g = gradients[0, i]
            rounding = 1e-9 * np.linalg.norm(g) * np.linalg.norm(u)
            assert bounds[0, i] >= g @ u - rounding


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@settings(deadline=None, max_examples=12)
@given(seed=seeds, kinds=degeneracies, n=st.integers(2, 12))
def test_support_with_a_free_bias_is_attained(activation, seed, kinds, n):
    pytest.importorskip("cvxpy")
    from restatement import restated_support

    rng = np.random.default_rng(seed)
    design = draw_design(rng, kinds=kinds, n=n, d=2, hidden_bias="free", activation=activation, n_patterns=4)
    theta = rng.normal(size=(n, 1))
    theta -= theta.mean()
    gradients = np.concatenate([design.adjoint(theta), design.adjoint(-theta)])
    bounds = design.support(gradients, 0.0)
    for k, i in np.ndindex(bounds.shape):
        g = gradients[k, i]
        expected = restated_support(design.X, design.patterns.to_dense()[i], g, n_penalized=2)
        # Clarabel resolves sums over data of order one to this.
        assert bounds[k, i] == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("hidden_bias", ["none", "free"])
@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e-2, 1e2, 1e4, 1e8])
def test_support_scales_with_the_data(hidden_bias, scale):
    # u = v / scale with the same bias: the values of g.u are the same, the norms are scaled.
    rng = np.random.default_rng(6)
    X = rng.normal(size=(10, 2))
    theta = rng.normal(size=(10, 1))
    theta -= theta.mean()
    plain, scaled = augment(X, hidden_bias), augment(scale * X, hidden_bias)
    patterns, every = enumerate_patterns(plain), enumerate_patterns(scaled)
    positions = every.positions(patterns.bits)
    assert (positions >= 0).all()
    penalized = np.arange(plain.shape[1]) < 2
    bounds = []
    for data, listed in ((plain, patterns), (scaled, every.take(positions))):
        design = MaskedDesign(data, listed, LAYERS["relu"], penalized)
        bounds.append(design.support(design.adjoint(theta), 0.0)[0])
    np.testing.assert_allclose(bounds[1] / scale, bounds[0], rtol=1e-6, atol=1e-6)


def test_support_with_a_free_bias_takes_a_rounded_sum_as_zero():
    # Also where every other pattern's sum is as small as the rounding.
    X = np.array([[0.1], [-0.1], [0.6]])
    data = augment(X, "free")
    patterns = enumerate_patterns(data)
    chosen = [
        i for i, row in enumerate(patterns.to_dense()) if row.tolist() in ([1, 1, 0], [0, 0, 1], [1, 1, 1])
    ]
    design = MaskedDesign(data, patterns.take(chosen), LAYERS["absolute_value"], np.array([True, False]))
    theta = np.array([[0.04], [-0.04], [0.0]])
    exact = design.support(design.adjoint(theta), 0.0)
    rounded = design.support(design.adjoint(theta + 1e-16), 0.0)
    assert np.isfinite(exact).all()
    np.testing.assert_allclose(rounded, exact, rtol=1e-6, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_restriction_is_a_selection_of_the_blocks(seed):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, hidden_bias="free", activation="leaky_relu")
    indices = rng.permutation(design.n_blocks)[: rng.integers(1, design.n_blocks + 1)]
    part = design.restrict(indices)
    theta = rng.normal(size=(9, 1))
    theta -= theta.mean()
    np.testing.assert_allclose(part.adjoint(theta), design.adjoint(theta)[:, indices], atol=1e-13)
    blocks = np.zeros((1, design.n_blocks, 4))
    blocks[:, indices] = rng.normal(size=(1, len(indices), 4))
    np.testing.assert_allclose(part.forward(blocks[:, indices]), design.forward(blocks), atol=1e-12)
    np.testing.assert_array_equal(part.penalized, design.penalized)
    assert part.n_blocks == len(indices)


def test_patterns_of_other_data_are_refused():
    X = np.random.default_rng(5).normal(size=(5, 2))
    with pytest.raises(ValueError, match="same data"):
        MaskedDesign(X[:4], enumerate_patterns(X), LAYERS["relu"], np.ones(2, dtype=bool))
