"""The explicit design against sums over its matrices, and its programs against group lassos in CVXPY."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.designs.explicit_design import ExplicitDesign
from convexnn.designs.group_norm import group_derivative_factors, group_shrink
from convexnn_solvers import ConvexProgram, Status, solve
from program_cases import LOSSES, draw_targets

seeds = st.integers(0, 2**32 - 1)
SMOOTH = [name for name, loss in LOSSES.items() if loss.is_smooth]
BOTH = [(loss, "auto") for loss in LOSSES] + [(loss, "clarabel") for loss in SMOOTH]


def draw_features(rng, shape, kinds=()):
    """Random features; blocks may be zero, equal, opposite or of deficient rank."""
    features = rng.normal(size=shape)
    for kind in kinds:
        i, j = rng.integers(shape[1], size=2)
        features[:, i] = {"zero": 0.0, "duplicate": features[:, j], "opposite": -features[:, j]}.get(
            kind, features[:, j, :1]
        )
    return features


def draw_program(seed, *, loss="squared_error", n=9, P=5, d=3, alpha=1.0, fit_intercept=True, kinds=()):
    rng = np.random.default_rng(seed)
    features = draw_features(rng, (n, P, d), kinds)
    targets = draw_targets(LOSSES[loss], rng, n, 3 if loss == "softmax" else 1)
    weight = rng.uniform(0.2, 2.0, n)
    return ConvexProgram(ExplicitDesign(features), targets, LOSSES[loss], alpha, weight, fit_intercept)


def group_lasso(program, features):
    """Optimum of the same program, written out in CVXPY."""
    import cvxpy as cp

    from restatement import loss_of

    columns, norms = [], []
    for _ in range(program.n_outputs):
        weights = [cp.Variable(features.shape[2]) for _ in range(features.shape[1])]
        norms += [cp.norm(v) for v in weights]
        output = sum(features[:, i] @ v for i, v in enumerate(weights))
        columns.append(output + (cp.Variable() if program.fit_intercept else 0.0))
    losses = loss_of(
        program.loss.name, cp.vstack(columns).T, program.targets, getattr(program.loss, "delta", 1.0)
    )
    cost = program.sample_weight @ losses + program.alpha * sum(norms)
    problem = cp.Problem(cp.Minimize(cost))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert problem.status == cp.OPTIMAL
    return float(problem.value)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 6), P=st.integers(0, 5), d=st.integers(1, 4), n_outputs=st.integers(1, 3))
def test_products_are_sums_over_the_matrices(seed, n, P, d, n_outputs):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, P, d))
    design = ExplicitDesign(features)
    weights = rng.normal(size=(n_outputs, P, d)) * (rng.uniform(size=(n_outputs, P, 1)) < 0.7)
    dual = rng.normal(size=(n, n_outputs))
    np.testing.assert_allclose(
        design.forward(weights), np.einsum("npd,kpd->nk", features, weights), atol=1e-13
    )
    np.testing.assert_allclose(design.adjoint(dual), np.einsum("npd,nk->kpd", features, dual), atol=1e-13)
    np.testing.assert_array_equal(design.features().toarray(), features.reshape(n, P * d))
    assert design.cones().shape == (0, P * d)
    assert not design.constrained
    assert design.penalized.all()
    assert design.violation(weights) == 0
    np.testing.assert_array_equal(design.project(weights), weights)
    np.testing.assert_allclose(
        design.support(weights, 0.0), np.sqrt((weights**2).sum(axis=2)), rtol=1e-14, atol=0
    )


@settings(deadline=None, max_examples=40)
@given(seed=seeds, n_listed=st.integers(0, 12), repeats=st.integers(1, 4))
def test_products_of_listed_blocks(seed, n_listed, repeats):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(7, 5, 3))
    design = ExplicitDesign(features)
    blocks = np.repeat(rng.integers(5, size=n_listed), repeats)
    weights, dual = rng.normal(size=(len(blocks), 3)), rng.normal(size=(7, 2))
    outputs, shares = rng.integers(2, size=len(blocks)), rng.uniform(size=len(blocks))
    A = features[:, blocks]
    np.testing.assert_allclose(
        design.block_outputs(blocks, weights), np.einsum("nbd,bd->bn", A, weights), atol=1e-13
    )
    np.testing.assert_allclose(
        design.block_gradients(blocks, dual, outputs),
        np.einsum("nbd,nb->bd", A, dual[:, outputs]),
        atol=1e-13,
    )
    np.testing.assert_allclose(
        design.gram(blocks, shares), np.einsum("b,nbd,mbd->nm", shares, A, A), atol=1e-12
    )
    part = design.restrict(blocks)
    np.testing.assert_array_equal(part.features().toarray(), A.reshape(7, -1))


def test_products_large_enough_for_threads():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(211, 600, 7))
    design = ExplicitDesign(features)
    weights, dual = rng.normal(size=(2, 600, 7)), rng.normal(size=(211, 2))
    blocks, outputs = np.sort(rng.integers(600, size=900)), rng.integers(2, size=900)
    rows = rng.normal(size=(900, 7))
    A = features[:, blocks]
    for got, expected in (
        (design.forward(weights), np.einsum("npd,kpd->nk", features, weights)),
        (design.adjoint(dual), np.einsum("npd,nk->kpd", features, dual)),
        (design.block_outputs(blocks, rows), np.einsum("nbd,bd->bn", A, rows)),
        (design.block_gradients(blocks, dual, outputs), np.einsum("nbd,nb->bd", A, dual[:, outputs])),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, d=st.integers(1, 4), shrinkage=st.floats(0.0, 2.0))
def test_shrinking_solves_its_problem_and_has_the_stated_derivative(seed, d, shrinkage):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(6, d)) * rng.uniform(0, 3, size=(6, 1))
    shrunk = group_shrink(points, shrinkage)
    sizes = np.linalg.norm(shrunk, axis=1)
    kept = sizes > 1e-2
    # Stationarity: p - u is shrinkage times a subgradient of the norm.
    pulled = points - shrunk
    np.testing.assert_allclose(pulled[kept], shrinkage * shrunk[kept] / sizes[kept, None], atol=1e-12)
    assert (np.linalg.norm(pulled, axis=1) <= shrinkage + 1e-12).all()

    counts, rows = group_derivative_factors(shrunk[kept], shrinkage)
    assert (counts == d).all()
    factors = rows.reshape(-1, d, d)
    derivative = np.einsum("jab,jac->jbc", factors, factors)
    step = 1e-6 * rng.normal(size=(int(kept.sum()), d))
    change = group_shrink(points[kept] + step, shrinkage) - group_shrink(points[kept] - step, shrinkage)
    np.testing.assert_allclose(change / 2, np.einsum("jbc,jc->jb", derivative, step), atol=1e-9)


@pytest.mark.parametrize(("loss", "solver"), BOTH)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum_is_that_of_the_group_lasso(loss, solver, fit_intercept):
    pytest.importorskip("cvxpy")
    program = draw_program(1, loss=loss, fit_intercept=fit_intercept)
    result = solve(program, solver=solver, tol=1e-8)
    optimum = group_lasso(program, program.design.features().toarray().reshape(9, 5, 3))
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(optimum, rel=1e-6)
    assert result.dual_objective == pytest.approx(optimum, rel=1e-6)
    assert result.dual_objective <= result.objective


@pytest.mark.parametrize("solver", ["native", "clarabel", "ecos", "scs", "cvxpy"])
def test_every_backend_takes_it(solver):
    pytest.importorskip("clarabel" if solver == "native" else solver)
    program = draw_program(2, d=2)
    # Tighter than the comparison, and reached by the splitting code too.
    result = solve(program, solver=solver, tol=1e-6)
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(solve(program, tol=1e-10).objective, rel=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "hinge"])
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_gap_encloses_the_optimum_on_degenerate_features(loss, data):
    pytest.importorskip("cvxpy")
    kinds = data.draw(st.lists(st.sampled_from(["zero", "duplicate", "opposite", "rank"]), max_size=4))
    program = draw_program(
        data.draw(seeds),
        loss=loss,
        d=data.draw(st.integers(1, 3)),
        P=data.draw(st.integers(1, 6)),
        alpha=data.draw(st.sampled_from([0.1, 1.0, 100.0])),
        kinds=kinds,
    )
    shape = (program.design.n_samples, program.design.n_blocks, program.design.n_features)
    optimum = group_lasso(program, program.design.features().toarray().reshape(shape))
    slack = 1e-6 * optimum + 1e-8
    for tol in (1e-1, 1e-8):
        result = solve(program, tol=tol)
        assert result.status is Status.CONVERGED
        assert result.dual_objective - slack <= optimum <= result.objective + slack
        assert result.objective == program.objective(result.blocks, result.intercept)


def test_more_blocks_than_a_working_set_and_orthonormal_features():
    # Orthonormal columns of all blocks: each block is shrunk on its own.
    rng = np.random.default_rng(3)
    columns = np.linalg.qr(rng.normal(size=(200, 160)))[0]
    target = rng.normal(size=(200, 1))
    program = ConvexProgram(
        ExplicitDesign(columns.reshape(200, 80, 2)), target, LOSSES["squared_error"], 1.2, np.ones(200), False
    )
    result = solve(program, tol=1e-10)
    expected = group_shrink((columns.T @ target).reshape(80, 2), 1.2)
    assert 0 < expected.any(axis=1).sum() < 80
    np.testing.assert_allclose(result.blocks[0, 0], expected, atol=1e-6)


def test_no_blocks_leave_the_constant():
    program = draw_program(4, P=0)
    result = solve(program)
    assert result.blocks.shape == (1, 1, 0, 3)
    assert result.status is Status.CONVERGED
    mean = np.average(program.targets[:, 0], weights=program.sample_weight)
    assert result.intercept[0] == pytest.approx(mean)


def test_matrices_without_blocks_are_refused():
    with pytest.raises(ValueError, match="must have the shape"):
        ExplicitDesign(np.ones((4, 2)))
