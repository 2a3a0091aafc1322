"""Max-pooled designs against loops over patches, and their programs against CVXPY."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.activations import ACTIVATIONS
from convexnn.designs import MaskedDesign
from convexnn.designs.max_design import MaxDesign
from convexnn.patterns import PatternSet, enumerate_patterns, pack_bits
from convexnn.patterns.selection import enumerate_selections, selection_patterns
from convexnn_solvers import ConvexProgram, Status, solve
from program_cases import LOSSES, draw_targets
from selection_oracles import KINDS, cone_rows, draw_patches, linear_map, max_pooled, unit_rows

seeds = st.integers(0, 2**32 - 1)
degeneracies = st.lists(st.sampled_from(KINDS), max_size=5)


def draw_design(rng, n=6, positions=3, d=3, kinds=(), n_patterns=8, scale=1.0, dtype=np.float64):
    X = (scale * draw_patches(rng, n, positions, d, list(kinds))).astype(dtype)
    return MaxDesign(X, selection_patterns(X, positions, rng.normal(size=(n_patterns, d))), positions)


def layers(design):
    """``A_i`` of shape (P, n, d)."""
    X = design.X.astype(float)
    return np.array([linear_map(X, design.positions, s) for s in design.patterns.to_dense()])


@settings(deadline=None, max_examples=25)
@given(
    seed=seeds,
    kinds=degeneracies,
    positions=st.integers(1, 40),
    n_outputs=st.integers(1, 3),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_linear_maps_are_those_of_dense_matrices(seed, kinds, positions, n_outputs, dtype):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, positions=positions, kinds=kinds, dtype=dtype)
    A, P, d = layers(design), design.n_blocks, design.n_features
    weights, dual = rng.normal(size=(n_outputs, P, d)), rng.normal(size=(6, n_outputs))
    np.testing.assert_allclose(design.forward(weights), np.einsum("prd,kpd->rk", A, weights), atol=1e-12)
    np.testing.assert_allclose(design.adjoint(dual), np.einsum("prd,rk->kpd", A, dual), atol=1e-12)
    np.testing.assert_array_equal(design.features().toarray(), np.concatenate(list(A), axis=1))
    blocks, positive = rng.integers(P, size=7), rng.uniform(size=7)
    expected = np.einsum("j,jrd,jsd->rs", positive, A[blocks], A[blocks])
    np.testing.assert_allclose(design.gram(blocks, positive), expected, atol=1e-11)
    restricted = design.restrict([P - 1, 0])
    np.testing.assert_array_equal(layers(restricted), A[[P - 1, 0]])
    assert (restricted.positions, restricted.n_samples) == (positions, 6)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, kinds=degeneracies, positions=st.integers(1, 5))
def test_explicit_cones_are_those_of_loops(seed, kinds, positions):
    design = draw_design(np.random.default_rng(seed), positions=positions, kinds=kinds)
    n_rows, d, P = len(design.X), design.n_features, design.n_blocks
    expected = np.zeros((P, n_rows, P, d))
    for i, selection in enumerate(design.patterns.to_dense()):
        expected[i, :, i] = cone_rows(design.X, positions, selection)
    np.testing.assert_array_equal(design.cones().toarray(), expected.reshape(P * n_rows, P * d))


@settings(deadline=None, max_examples=60)
@given(
    seed=seeds,
    kinds=degeneracies,
    positions=st.integers(1, 5),
    d=st.integers(1, 4),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_projected_blocks_are_inside_and_there_the_layer_is_the_pooled_one(
    seed, kinds, positions, d, scale, dtype
):
    rng = np.random.default_rng(seed)
    design = draw_design(rng, positions=positions, d=d, kinds=kinds, scale=scale, dtype=dtype)
    X, blocks = design.X.astype(float), rng.normal(size=(2, 1, design.n_blocks, d))
    projected = design.project(blocks)
    assert design.violation(projected) == 0
    np.testing.assert_array_equal(design.project(projected), projected)
    outside = 0.0
    for (s, _, i), selection in np.ndenumerate(np.broadcast_to(np.arange(design.n_blocks), blocks.shape[:3])):
        units = unit_rows(cone_rows(X, positions, design.patterns.to_dense()[selection]))
        outside = max(outside, -(units @ blocks[s, 0, i]).min())
        assert (units @ projected[s, 0, i]).min() >= -1e-15 * np.linalg.norm(blocks[s, 0, i])
    length = np.linalg.norm(blocks, axis=-1).max()
    assert design.violation(blocks) == pytest.approx(outside / length, rel=1e-12, abs=1e-15)
    expected = sum(max_pooled(X, positions, u) for u in projected[0, 0])
    np.testing.assert_allclose(design.forward(projected[0])[:, 0], expected, rtol=0, atol=1e-13 * scale)
    witnesses = design.patterns.generators[None, None]
    assert design.violation(witnesses) == 0
    np.testing.assert_array_equal(design.project(witnesses), witnesses)


def test_many_blocks_are_projected_part_by_part(monkeypatch):
    rng = np.random.default_rng(0)
    design = draw_design(rng, n=10, n_patterns=200)
    blocks = rng.normal(size=(2, 1, design.n_blocks, 3))
    whole, violation = design.project(blocks), design.violation(blocks)
    monkeypatch.setattr("convexnn.designs.masked_design._PRODUCTS", 7 * len(design.X))
    np.testing.assert_array_equal(design.project(blocks), whole)
    assert design.violation(blocks) == violation


@settings(deadline=None, max_examples=10)
@given(seed=seeds, kinds=degeneracies, positions=st.integers(1, 3))
def test_the_largest_support_is_the_largest_gain_in_the_plane(seed, kinds, positions):
    # theta.psi(u) over the circle; it changes by less than |theta| |X|_2 for each radian.
    rng = np.random.default_rng(seed)
    X = draw_patches(rng, 5, positions, 2, kinds)
    design = MaxDesign(X, enumerate_selections(X, positions), positions)
    theta, angles = rng.normal(size=(5, 1)), np.linspace(0, 2 * np.pi, 3001)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    pooled = np.maximum((X @ circle).reshape(5, positions, -1).max(axis=1), 0.0)
    gains = theta[:, 0] @ pooled
    largest = float(design.support(design.adjoint(theta), 0.0).max())
    slope = float(np.abs(theta[:, 0]) @ np.linalg.norm(X, axis=1).reshape(5, positions).max(axis=1))
    assert gains.max() <= largest + 1e-12
    assert largest <= max(gains.max(), 0.0) + slope * (angles[1] - angles[0])


@settings(deadline=None, max_examples=20)
@given(seed=seeds, kinds=degeneracies, positions=st.integers(1, 4), integers=st.booleans())
def test_owners_are_cones_that_have_the_vectors(seed, kinds, positions, integers):
    rng = np.random.default_rng(seed)
    X = draw_patches(rng, 4, positions, 2, kinds, integers=integers)
    design = MaxDesign(X, enumerate_selections(X, positions), positions)
    vectors = rng.normal(size=(30, 2))
    # Some lie on walls.
    walls = X[rng.integers(len(X), size=10)] - X[rng.integers(len(X), size=10)]
    vectors[:10] = walls[:, ::-1] * [1.0, -1.0]
    owners = design.owners(vectors)
    assert (owners >= 0).all()
    for u, i in zip(vectors, owners, strict=True):
        cone = unit_rows(cone_rows(X, positions, design.patterns.to_dense()[i]))
        assert (cone @ u).min() >= -1e-9 * np.linalg.norm(u)
        np.testing.assert_allclose(layers(design)[i] @ u, max_pooled(X, positions, u), atol=1e-12)
    few = design.restrict([owners[-1]])
    cone = cone_rows(X, positions, few.patterns.to_dense()[0])
    expected = (vectors @ unit_rows(cone).T).min(axis=1) >= -1e-9 * np.linalg.norm(vectors, axis=1)
    np.testing.assert_array_equal(few.owners(vectors), np.where(expected, 0, -1))


def restated_max_optimum(X, y, positions, selections, loss, alpha, weight, fit_intercept):
    """Optimum of the program of selections, by CVXPY with maps and cones built by loops."""
    import cvxpy as cp

    from restatement import _solve, loss_of

    constraints, norms, columns = [], [], []
    for _ in range(y.shape[1]):
        output = cp.Variable() if fit_intercept else 0.0
        for selection in selections:
            cone = unit_rows(cone_rows(X, positions, selection))
            for sign in (1.0, -1.0):
                u = cp.Variable(X.shape[1])
                output = output + sign * linear_map(X, positions, selection) @ u
                constraints.append(cone @ u >= 0)
                norms.append(cp.norm(u))
        columns.append(output)
    f = cp.vstack(columns).T
    cost = cp.sum(cp.multiply(weight, loss_of(loss, f, y, 0.6))) + alpha * cp.sum(cp.hstack(norms))
    problem = cp.Problem(cp.Minimize(cost), constraints)
    for solver in ("CLARABEL", "ECOS"):
        if _solve(problem, solver) == cp.OPTIMAL:
            return float(problem.value)
    raise RuntimeError(f"The restated optimum is not found; the last solver says {problem.status!r}.")


CASES = [
    (loss, kinds, 2 if loss == "softmax" else 1, seed)
    for seed, (loss, kinds) in enumerate(
        [(loss, []) for loss in LOSSES]
        + [("squared_error", [kind]) for kind in KINDS]
        + [("log_loss", ["equal patches", "zero patch"]), ("huber", ["rank", "zero patch", "equal samples"])]
    )
]


@pytest.mark.parametrize(("loss", "kinds", "n_outputs", "seed"), CASES)
def test_programs_of_all_selections(loss, kinds, n_outputs, seed):
    pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    n, positions = (4, 2) if n_outputs > 1 else (5 - seed % 2, 2 + seed % 2)
    X = draw_patches(rng, n, positions, 2 + (positions == 2 and n_outputs == 1), kinds)
    y, weight = draw_targets(LOSSES[loss], rng, n, n_outputs), rng.uniform(0.3, 2.0, n)
    alpha, fit_intercept = 0.05 * n, bool(seed % 3)
    design = MaxDesign(X, enumerate_selections(X, positions), positions)
    program = ConvexProgram(design, y, LOSSES[loss], alpha, weight, fit_intercept)
    optimum = restated_max_optimum(
        X, y, positions, design.patterns.to_dense(), loss, alpha, weight, fit_intercept
    )
    for solver in ("native", "clarabel") if LOSSES[loss].is_smooth else ("clarabel",):
        result = solve(program, solver=solver, tol=1e-8)
        assert result.status is Status.CONVERGED, result.message
        assert result.objective == pytest.approx(optimum, rel=1e-6, abs=1e-8)
        assert result.dual_objective == pytest.approx(optimum, rel=1e-6, abs=1e-8)
        assert design.violation(result.blocks) == 0
        # The network of the blocks has the same objective, with pooling by loops.
        f, penalty = np.tile(result.intercept, (n, 1)).astype(float), 0.0
        for s, k, i in np.argwhere(np.linalg.norm(result.blocks, axis=-1) > 0):
            v = result.blocks[s, k, i]
            u, a = v / np.sqrt(np.linalg.norm(v)), (1.0 - 2.0 * s) * np.sqrt(np.linalg.norm(v))
            f[:, k] += a * max_pooled(X, positions, u)
            penalty += 0.5 * alpha * (u @ u + a * a)
        assert LOSSES[loss].value(f, y, weight) + penalty == pytest.approx(result.objective, rel=1e-7)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, kinds=degeneracies)
def test_one_patch_for_each_sample_is_a_dense_layer(seed, kinds):
    rng = np.random.default_rng(seed)
    X, y = draw_patches(rng, 7, 1, 2, kinds), rng.normal(size=(7, 1))
    designs = [
        MaxDesign(X, enumerate_selections(X, 1), 1),
        MaskedDesign(X, enumerate_patterns(X), ACTIVATIONS["relu"], np.ones(2, dtype=bool)),
    ]
    pooled, dense = (
        solve(ConvexProgram(design, y, LOSSES["squared_error"], 0.3, np.ones(7), True), tol=1e-9)
        for design in designs
    )
    assert pooled.objective == pytest.approx(dense.objective, rel=1e-8)
    blocks = rng.normal(size=(1, designs[0].n_blocks, 2))
    np.testing.assert_allclose(designs[0].project(blocks), designs[1].project(blocks), atol=1e-13)
    vectors = rng.normal(size=(20, 2))
    np.testing.assert_array_equal(designs[0].owners(vectors), designs[1].owners(vectors))
    assert (designs[1].owners(designs[1].patterns.generators) == np.arange(designs[1].n_blocks)).all()
    np.testing.assert_array_equal(designs[0].features().toarray(), designs[1].features().toarray())
    np.testing.assert_array_equal(designs[0].cones().toarray(), designs[1].cones().toarray())


def test_other_solvers_take_the_design():
    rng = np.random.default_rng(5)
    X, y = draw_patches(rng, 5, 3, 2, []), rng.normal(size=(5, 1))
    design = MaxDesign(X, enumerate_selections(X, 3), 3)
    program = ConvexProgram(design, y, LOSSES["squared_error"], 0.2, np.ones(5), True)
    expected = solve(program, solver="native", tol=1e-9).objective
    for solver in ("ecos", "scs", "cvxpy"):
        pytest.importorskip(solver)
        result = solve(program, solver=solver, tol=1e-6)
        assert result.objective == pytest.approx(expected, rel=2e-6)


def test_patterns_that_are_no_selections_are_refused():
    X = np.ones((4, 2))
    several = PatternSet(pack_bits(np.ones((1, 4), dtype=bool)), np.ones((1, 2)), 4)
    with pytest.raises(ValueError, match="several bits for a sample"):
        MaxDesign(X, several, 2)
    with pytest.raises(ValueError, match="not a multiple"):
        MaxDesign(X, several, 3)
    with pytest.raises(ValueError, match="Compute them on the same data"):
        MaxDesign(np.ones((6, 2)), several, 2)
