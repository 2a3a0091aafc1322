"""The conic form: shapes, equivalence of its rewritings, and data of extreme scale."""

from itertools import pairwise

import clarabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from convexnn.patterns import enumerate_patterns
from convexnn.problem import augment
from convexnn_solvers import Status, solve
from convexnn_solvers.conic.assemble import assemble
from convexnn_solvers.conic.form import ConicForm, condition, without_quadratic
from convexnn_solvers.conic.model import QuadraticModel
from program_cases import BIASES, LAYERS, LOSSES, draw_case, random_point

seeds = st.integers(0, 2**32 - 1)


def minimised(form):
    """Primal and dual point of a form, straight from Clarabel."""
    cones = [clarabel.ZeroConeT(form.n_zero), clarabel.NonnegativeConeT(form.n_nonneg)]
    cones += [clarabel.SecondOrderConeT(int(size)) for size in form.second_order]
    cones += [clarabel.ExponentialConeT() for _ in range(form.n_exponential)]
    settings_ = clarabel.DefaultSettings()
    settings_.verbose = False
    solution = clarabel.DefaultSolver(
        sparse.triu(form.quadratic, format="csc"), form.linear, form.matrix, form.rhs, cones, settings_
    ).solve()
    assert str(solution.status) in ("Solved", "AlmostSolved")
    return np.asarray(solution.x), np.asarray(solution.z)


def cost(form, x):
    return 0.5 * float(x @ (form.quadratic @ x)) + float(form.linear @ x)


def dual_cost(form, x, z):
    return -0.5 * float(x @ (form.quadratic @ x)) - float(form.rhs @ z)


def count_cone_rows(form):
    return form.n_zero + form.n_nonneg + int(form.second_order.sum()) + 3 * form.n_exponential


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIASES)
def test_shapes(loss, activation, hidden_bias, fit_intercept):
    case = draw_case(
        0,
        loss=loss,
        activation=activation,
        hidden_bias="penalized" if activation == "gated_relu" else hidden_bias,
        fit_intercept=fit_intercept,
    )
    program = case.program()
    form = assemble(program).form
    n_signs, n_outputs, n_blocks, d = program.block_shape
    n = program.design.n_samples
    n_all = n_signs * n_outputs * n_blocks
    n_extra = {
        "squared_error": 0,
        "absolute_error": n,
        "huber": 2 * n,
        "hinge": n,
        "squared_hinge": n,
        "log_loss": 3 * n,
        "softmax": n * (1 + n_outputs),
    }[loss]
    # One of the intercepts of softmax is redundant.
    n_intercepts = (n_outputs - (loss == "softmax")) * fit_intercept
    n_variables = n * n_outputs + n_extra + n_intercepts + n_all * (d + 1)
    assert form.matrix.shape == (count_cone_rows(form), n_variables)
    assert form.quadratic.shape == (n_variables, n_variables)
    assert form.linear.shape == (n_variables,)
    assert form.rhs.shape == (count_cone_rows(form),)
    assert form.n_zero == n * n_outputs
    np.testing.assert_array_equal(form.second_order, np.full(n_all, 1 + program.design.penalized.sum()))
    assert form.matrix.has_canonical_format or not form.matrix.copy().sum_duplicates()
    assert np.isfinite(form.matrix.data).all()
    assert form.second_order.size == n_all


def test_entries_grow_with_the_features_not_with_their_square():
    case = draw_case(1, n=10, d=3, n_patterns=8, weighted=False)
    program = case.program()
    form = assemble(program).form
    features = np.count_nonzero(program.design.features().toarray())
    cones = np.count_nonzero(program.design.cones().toarray())
    d, blocks = program.design.n_features, 2 * program.design.n_blocks
    # Variables (v - w, w): features once, cones of v in both, of w in one, norms alike, plus r, c and heads.
    norms = 3 * (blocks // 2) * d + blocks
    assert np.count_nonzero(form.matrix.toarray()) == 10 + 10 + features + 3 * cones + norms


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["leaky_relu", "gated_relu"])
def test_the_form_has_the_optimum_of_the_program(loss, activation):
    case = draw_case(2, loss=loss, activation=activation)
    program = case.program()
    conic = assemble(program)
    x, z = minimised(conic.form)
    blocks, intercept, theta = conic.decode(x, z)
    optimum = solve(program, tol=1e-8).objective
    assert cost(conic.form, x) == pytest.approx(optimum, rel=1e-5)
    assert dual_cost(conic.form, x, z) == pytest.approx(optimum, rel=1e-5)
    assert blocks.shape == program.block_shape
    assert program.design.violation(blocks) <= 1e-5
    assert program.objective(blocks, intercept) == pytest.approx(optimum, rel=1e-5)
    # The equalities' multipliers are the dual point: minus the loss's gradient where there is one.
    if np.isfinite(program.loss.smoothness):
        gradient = program.loss.gradient(
            program.outputs(blocks, intercept), program.targets, program.sample_weight
        )
        np.testing.assert_allclose(theta, -gradient, atol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("columns", [(1.0, 1.0), (1e4, 1e-3), (1e5, 1.0)])
def test_conditioning_preserves_the_optimum(loss, columns):
    case = draw_case(3, loss=loss, hidden_bias="none")
    program = case.but(X=case.X * columns, patterns=enumerate_patterns(case.X * columns)).program()
    form = assemble(program).form
    scaled, scaling = condition(form)
    # An exact change of variables: any point has the same cost and slacks up to the cones' scalings.
    rng = np.random.default_rng(3)
    point = rng.normal(size=form.linear.size)
    original = scaling.primal(point)
    assert cost(scaled, point) == pytest.approx(scaling.cost * cost(form, original), rel=1e-9)
    slack, scaled_slack = form.rhs - form.matrix @ original, scaled.rhs - scaled.matrix @ point
    np.testing.assert_allclose(scaled_slack, slack / scaling.size, rtol=1e-7, atol=1e-9)
    assert scaling.size > 0
    # And any dual point leaves the same residual of stationarity up to the scales.
    dual = rng.normal(size=form.rhs.size)
    residual = form.quadratic @ original + form.linear + form.matrix.T @ scaling.dual(dual)
    scaled_residual = scaled.quadratic @ point + scaled.linear + scaled.matrix.T @ dual
    expected = scaling.cost * scaling.size * residual
    np.testing.assert_allclose(scaled_residual, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
    x, _ = minimised(scaled)
    assert cost(form, scaling.primal(x)) == pytest.approx(solve(program, tol=1e-7).objective, rel=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "squared_hinge"])
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e2])
def test_removing_the_quadratic_preserves_the_optimum(loss, size):
    program = draw_case(4, loss=loss).program()
    form = assemble(program).form
    linear = without_quadratic(form, size)
    assert linear.quadratic.nnz == 0
    assert linear.matrix.shape[1] == form.matrix.shape[1] + 1
    assert linear.matrix.shape[0] == count_cone_rows(linear)
    x, _ = minimised(form)
    widened, _ = minimised(linear)
    assert cost(linear, widened) == pytest.approx(cost(form, x), rel=1e-5)
    assert cost(form, widened[:-1]) == pytest.approx(cost(form, x), rel=1e-5)
    # The last variable bounds the quadratic term from above, at the optimum exactly.
    assert widened[-1] == pytest.approx(cost(form, widened[:-1]) - form.linear @ widened[:-1], rel=1e-4)


def test_forms_without_a_quadratic_are_left_alone():
    form = assemble(draw_case(5, loss="hinge").program()).form
    assert without_quadratic(form, 1.0) is form


def test_only_diagonal_quadratics_are_rewritten():
    form = assemble(draw_case(5).program()).form
    dense = form.quadratic.tolil()
    dense[0, 1] = dense[1, 0] = 0.5
    mixed = ConicForm(
        dense.tocsc(), form.linear, form.matrix, form.rhs, form.n_zero, form.n_nonneg, form.second_order, 0
    )
    with pytest.raises(ValueError, match="diagonal"):
        without_quadratic(mixed, 1.0)


def test_a_quadratic_model_is_minimised_by_its_own_form():
    program = draw_case(6, loss="softmax").program()
    rng = np.random.default_rng(6)
    factor = rng.normal(size=(8, 3, 3))
    model = QuadraticModel(
        center=rng.normal(size=(8, 3)),
        slope=rng.normal(size=(8, 3)),
        curvature=factor @ factor.transpose(0, 2, 1),
    )
    conic = assemble(program, model)
    x, z = minimised(conic.form)
    blocks, intercept, _ = conic.decode(x, z)

    def value(blocks, intercept):
        step = program.outputs(blocks, intercept) - model.center
        bend = sum(step[i] @ model.curvature[i] @ step[i] for i in range(8))
        return float(
            (model.slope * step).sum() + 0.5 * bend + program.alpha * program.block_norms(blocks).sum()
        )

    best = value(program.design.project(blocks), intercept)
    assert cost(conic.form, x) == pytest.approx(best, abs=1e-5)
    for scale in (1e-3, 1e-1, 1.0):
        other = program.design.project(blocks + random_point(program, rng, scale))
        assert value(other, intercept + scale * rng.normal(size=3)) >= best - 1e-6


SCALES = [1e-8, 1e-4, 1e-2, 1e2, 1e4, 1e8]


@pytest.mark.parametrize("loss", ["squared_error", "huber", "hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("hidden_bias", ["none", "free"])
@pytest.mark.parametrize("scale", SCALES)
def test_scale_of_the_data_is_absorbed_by_alpha(loss, hidden_bias, scale):
    # Slopes v / scale on scale * X have the same outputs, and scale * alpha the same penalty.
    case = draw_case(7, loss=loss, hidden_bias=hidden_bias, n=10, alpha=0.1)
    plain, other = (
        solve(c.program(), solver="clarabel", tol=1e-5) for c in (case, with_scaled_data(case, scale))
    )
    assert plain.blocks.any()
    assert other.status is Status.CONVERGED, other
    assert other.objective == pytest.approx(plain.objective, rel=2e-5)


def with_scaled_data(case, scale):
    """The case with scaled data and alpha; the patterns are the same, their witnesses are not."""
    data = scale * case.X
    every = enumerate_patterns(augment(data, case.hidden_bias))
    positions = every.positions(case.patterns.bits)
    assert (positions >= 0).all()
    return case.but(X=data, patterns=every.take(positions), alpha=scale * case.alpha)


@pytest.mark.parametrize(
    ("activation", "hidden_bias"),
    [("relu", "none"), ("relu", "penalized"), ("relu", "free"), ("gated_relu", "penalized")],
)
@pytest.mark.parametrize("scale", SCALES)
def test_scale_of_the_targets_squares_the_objective(hidden_bias, activation, scale):
    case = draw_case(8, hidden_bias=hidden_bias, activation=activation, n=10, alpha=0.1)
    scaled = case.but(y=scale * case.y, alpha=scale * case.alpha)
    plain, other = (solve(c.program(), solver="clarabel", tol=1e-6) for c in (case, scaled))
    assert other.status is Status.CONVERGED, other
    assert other.objective == pytest.approx(scale**2 * plain.objective, rel=2e-6)


@pytest.mark.parametrize("solver", ["clarabel", "ecos", "scs"])
@pytest.mark.parametrize(("data", "targets"), [(1e8, 1e-8), (1e-8, 1e8), (1e8, 1e8), (1e-8, 1e-8)])
def test_scales_of_data_and_targets_together(solver, data, targets):
    pytest.importorskip(solver)
    case = draw_case(9, hidden_bias="none", n=10, alpha=0.1)
    scaled = with_scaled_data(case.but(y=targets * case.y, alpha=targets * case.alpha), data)
    tol = {"scs": 1e-4}.get(solver, 1e-5)  # a splitting method; it stalls near 1e-5 on this problem
    plain = solve(case.program(), solver="clarabel", tol=tol)
    other = solve(scaled.program(), solver=solver, tol=tol)
    assert other.status is Status.CONVERGED, other
    assert other.objective == pytest.approx(targets**2 * plain.objective, rel=2 * tol)


@pytest.mark.parametrize("loss", ["squared_error", "hinge"])
@pytest.mark.parametrize("scale", SCALES)
def test_weights_of_every_scale(loss, scale):
    case = draw_case(10, loss=loss, n=10, alpha=0.1)
    scaled = case.but(sample_weight=scale * case.sample_weight, alpha=scale * case.alpha)
    plain, other = (solve(c.program(), solver="clarabel", tol=1e-6) for c in (case, scaled))
    assert other.status is Status.CONVERGED, other
    assert other.objective == pytest.approx(scale * plain.objective, rel=2e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", pytest.param("gated_relu", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("hidden_bias", "n_outputs"), [("penalized", None), ("none", 2)])
def test_working_sets_and_whole_programs_agree(loss, activation, hidden_bias, n_outputs):
    case = draw_case(
        12,
        loss=loss,
        activation=activation,
        hidden_bias=hidden_bias,
        n_outputs=n_outputs,
        n=12,
        n_patterns=120,
        d=3 if hidden_bias == "none" else 2,
        alpha=0.1,
    )
    program = case.program()
    assert program.design.n_blocks == 120
    parts, whole = (
        solve(program, solver="clarabel", tol=1e-6, working_set=chosen) for chosen in (True, False)
    )
    assert parts.status is whole.status is Status.CONVERGED
    assert "round" in parts.message
    assert "round" not in whole.message
    assert parts.objective == pytest.approx(whole.objective, rel=2e-6)
    # Bounds of both are over all of the blocks.
    assert parts.dual_objective <= whole.objective
    assert whole.dual_objective <= parts.objective
    prices = program.design.support(program.design.adjoint(parts.dual_point), program.alpha)
    assert prices.max() <= program.alpha * (1 + 1e-9)


@settings(deadline=None, max_examples=8)
@given(seed=seeds, activation=st.sampled_from(sorted(LAYERS)))
def test_working_sets_on_random_programs(seed, activation):
    case = draw_case(seed, activation=activation, n=12, d=2, n_patterns=80, alpha=0.05)
    program = case.program()
    parts, whole = (
        solve(program, solver="clarabel", tol=1e-7, working_set=chosen) for chosen in (True, False)
    )
    assert parts.status is Status.CONVERGED
    assert parts.objective == pytest.approx(whole.objective, rel=1e-6)


def test_more_patterns_never_raise_the_optimum():
    case = draw_case(13, n=11, alpha=0.1)
    every = enumerate_patterns(augment(case.X, "penalized"))
    results = [
        solve(case.but(patterns=every.take(np.arange(size))).program(), solver="clarabel", tol=1e-8)
        for size in (2, 8, 32, len(every))
    ]
    for fewer, more in pairwise(results):
        assert more.dual_objective <= fewer.objective
        assert more.objective <= fewer.objective * (1 + 1e-8)
