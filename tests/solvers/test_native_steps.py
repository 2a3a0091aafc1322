"""The native solver's pieces: loss models, block lists, proximal steps and Newton directions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn_solvers import solve
from convexnn_solvers.clock import Clock
from convexnn_solvers.measure import measure
from convexnn_solvers.native import blocks as native_blocks
from convexnn_solvers.native import factors, newton
from convexnn_solvers.native.blocks import BlockList, OutOfTimeError
from convexnn_solvers.native.finish import Faces
from convexnn_solvers.native.model import LossModel
from convexnn_solvers.native.subproblem import Subproblem
from program_cases import LOSSES, draw_case, random_point

SMOOTH = [name for name, loss in LOSSES.items() if loss.is_smooth]
MODES = [
    ("relu", "penalized", True),
    ("relu", "penalized", False),
    ("leaky_relu", "free", True),
    ("absolute_value", "none", False),
    ("gated_relu", "penalized", True),
]
seeds = st.integers(0, 2**32 - 1)


def draw_program(seed, loss, mode, *, n=8, n_patterns=5, n_outputs=None):
    activation, hidden_bias, fit_intercept = mode
    return draw_case(
        seed,
        loss=loss,
        activation=activation,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n=n,
        n_patterns=n_patterns,
        n_outputs=n_outputs,
        alpha=0.2,
    ).program()


def draw_list(program, rng, share=0.7):
    """Some of the program's blocks in any order."""
    n_slots = int(np.prod(program.block_shape[:3]))
    return BlockList(program, rng.permutation(n_slots)[: max(1, int(share * n_slots))])


def draw_step(program, rng, *, step=0.5, share=0.7):
    """A proximal step from a feasible point in which some blocks are zero."""
    blocks = draw_list(program, rng, share)
    weights = blocks.gather(program.design.project(random_point(program, rng, 0.3)))
    intercept = rng.normal(size=program.n_outputs) * program.fit_intercept
    outputs = blocks.forward(weights) + intercept
    return Subproblem(blocks, LossModel(program, outputs), weights, intercept, outputs, step, 0.7 * step)


def draw_dual(step, rng, scale=0.5):
    return scale * rng.normal(size=step.outputs.shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_block_lists_are_parts_of_the_whole_program(mode, n_outputs):
    rng = np.random.default_rng(0)
    program = draw_program(0, "squared_error", mode, n_outputs=n_outputs)
    blocks = draw_list(program, rng)
    weights = rng.normal(size=(len(blocks.slots), program.design.n_features))
    weights[::3] = 0.0
    whole = blocks.scatter(weights)
    assert whole.shape == program.block_shape
    np.testing.assert_array_equal(blocks.gather(whole), weights)
    assert np.count_nonzero(whole) == np.count_nonzero(weights)
    zero = np.zeros(program.n_outputs)
    np.testing.assert_allclose(blocks.forward(weights), program.outputs(whole, zero), atol=1e-12)
    signs, outputs, patterns = np.unravel_index(blocks.slots, program.block_shape[:3])
    feeds = np.array([1.0, -1.0])[signs, None] * np.eye(program.n_outputs)[outputs]
    np.testing.assert_array_equal(blocks.feeds, feeds)
    np.testing.assert_array_equal(blocks.patterns, patterns)
    np.testing.assert_allclose(blocks.norms(weights), program.block_norms(whole)[signs, outputs, patterns])
    # <A u, theta> = <u, A' theta>
    dual = rng.normal(size=program.targets.shape)
    assert (blocks.forward(weights) * dual).sum() == pytest.approx((weights * blocks.adjoint(dual)).sum())


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_models_have_the_derivatives_of_the_loss(loss, n_outputs):
    n_outputs = max(n_outputs, 2) if loss == "softmax" else n_outputs
    rng = np.random.default_rng(1)
    program = draw_program(1, loss, ("relu", "penalized", True), n_outputs=n_outputs)
    outputs, h = rng.normal(size=program.targets.shape), 1e-5
    model = LossModel(program, outputs, with_slack=False)
    assert model.coupled == (loss == "softmax")
    assert model.slack is None
    for _ in range(5):
        e, other = rng.normal(size=(2, *outputs.shape))
        ahead, behind = (
            program.loss.gradient(outputs + sign * h * e, program.targets, program.sample_weight)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(model.spread(model.weigh(e)), (ahead - behind) / (2 * h), atol=1e-6)
        values = [
            program.loss.value(outputs + sign * h * e, program.targets, program.sample_weight)
            for sign in (1, -1)
        ]
        assert (model.gradient * e).sum() == pytest.approx((values[0] - values[1]) / (2 * h), abs=1e-6)
        # S and S' are adjoint.
        assert (model.spread(other) * e).sum() == pytest.approx((other * model.weigh(e)).sum())


def price_of_slack(program, slack):
    """``sum_i s_i psi(e_i)``, infinite where a slack is not allowed."""
    if program.loss.name == "huber":
        return program.loss.delta * float(program.sample_weight @ np.abs(slack).sum(axis=1))
    assert program.loss.name == "squared_hinge"
    return 0.0 if (program.targets * slack <= 0).all() else np.inf


def quadratic_part(program, outputs):
    """``Q``, the squared error whose curvature is the largest of the loss's."""
    squares = ((outputs - program.targets) ** 2).sum(axis=1)
    return 0.5 * program.loss.smoothness * float(program.sample_weight @ squares)


@pytest.mark.parametrize("loss", ["huber", "squared_hinge"])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_models_with_slack_are_the_loss_at_the_best_slack(loss, n_outputs):
    rng = np.random.default_rng(1)
    program = draw_program(1, loss, ("relu", "penalized", True), n_outputs=n_outputs)
    outputs = 2.0 * rng.normal(size=program.targets.shape)
    model = LossModel(program, outputs)
    assert not model.coupled
    assert (model.slack != 0).any()
    assert (model.slack == 0).any()
    value = program.loss.value(outputs, program.targets, program.sample_weight)
    best = quadratic_part(program, outputs + model.slack) + price_of_slack(program, model.slack)
    assert best == pytest.approx(value, rel=1e-12)
    for _ in range(20):
        e = 0.1 * rng.normal(size=outputs.shape)
        other = np.where(program.targets * (model.slack + e) <= 0, model.slack + e, 0.0)
        assert quadratic_part(program, outputs + other) + price_of_slack(program, other) >= value * (
            1 - 1e-12
        )
        # The quadratic part is its own model.
        change = quadratic_part(program, outputs + model.slack + e) - quadratic_part(
            program, outputs + model.slack
        )
        expected = (model.gradient * e).sum() + 0.5 * (model.weigh(e) ** 2).sum()
        assert change == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=3)
@given(seed=seeds)
def test_gradients_of_the_dual_function_are_its_differences(loss, mode, seed):
    rng = np.random.default_rng(seed)
    step = draw_step(draw_program(seed, loss, mode), rng)
    dual, h = draw_dual(step, rng), 1e-6
    gradient = step.evaluate(dual).gradient
    for _ in range(4):
        e = rng.normal(size=dual.shape)
        ahead, behind = (step.evaluate(dual + sign * h * e).value for sign in (1, -1))
        # The function is once differentiable: differences are off by curvature times h at a kink.
        assert (gradient * e).sum() == pytest.approx((ahead - behind) / (2 * h), rel=1e-4, abs=1e-3)


def slack_of(step, dual):
    """Slack at a dual point, and the centre's."""
    centre, program = step.model.slack, step.blocks.program
    if centre is None:
        return np.zeros_like(dual), np.zeros_like(dual)
    theta = -(step.model.gradient + step.model.spread(dual))
    weight = step.slack_step * program.sample_weight[:, None]
    return program.loss.shrink_slack(centre + step.slack_step * theta, program.targets, weight), centre


def primal_value(step, at):
    """``<g, e> + 1/2 |S' e|^2 + alpha sum_j |u_j| + |u - z|^2 / (2 sigma)``, intercept and slack likewise."""
    slack, centre = slack_of(step, at.dual)
    e = at.outputs - step.outputs + slack - centre
    value = (step.model.gradient * e).sum() + 0.5 * (step.model.weigh(e) ** 2).sum()
    value += step.blocks.program.alpha * step.blocks.norms(at.weights).sum()
    value += ((at.weights - step.weights) ** 2).sum() / (2 * step.step)
    if step.intercept_step > 0:
        value += ((at.intercept - step.intercept) ** 2).sum() / (2 * step.intercept_step)
    if step.model.slack is not None:
        value += ((slack - centre) ** 2).sum() / (2 * step.slack_step)
        value += price_of_slack(step.blocks.program, slack)
    return value


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=5)
@given(seed=seeds, length=st.sampled_from([0.05, 1.0, 20.0]), scale=st.sampled_from([0.0, 0.3, 3.0]))
def test_duality_gap_of_a_step_is_half_the_squared_gradient(loss, mode, seed, length, scale):
    rng = np.random.default_rng(seed)
    step = draw_step(draw_program(seed, loss, mode), rng, step=length)
    at = step.evaluate(draw_dual(step, rng, scale))
    # The dual function is the negative of the dual's value up to what the centre contributes.
    centre = (step.weights**2).sum() / (2 * length)
    if step.intercept_step > 0:
        centre += (step.intercept**2).sum() / (2 * step.intercept_step)
    if step.model.slack is not None:
        centre += (step.model.slack**2).sum() / (2 * step.slack_step)
    gap = primal_value(step, at) + at.value - centre
    assert gap == pytest.approx(0.5 * (at.gradient**2).sum(), rel=1e-9, abs=1e-9 * (1 + abs(at.value)))
    # The primal points of the step are feasible and carry the outputs that are said to be theirs.
    assert step.blocks.program.design.violation(step.blocks.scatter(at.weights)) <= 1e-12
    np.testing.assert_allclose(at.outputs, step.blocks.forward(at.weights) + at.intercept, atol=1e-12)


def hessian(step, dual, h=1e-6):
    """One-sided differences of the dual function's gradient, both ways; shape (2, n K, n K)."""
    here, columns = step.evaluate(dual).gradient.ravel(), []
    for sign in (1.0, -1.0):
        moved = []
        for i in range(dual.size):
            e = np.zeros(dual.size)
            e[i] = sign * h
            moved.append((step.evaluate(dual + e.reshape(dual.shape)).gradient.ravel() - here) / (sign * h))
        columns.append(np.stack(moved, axis=1))
    return columns


def assert_newton(step, rng):
    """The direction solves the Newton system; returns whether the point was smooth, so that there was one."""
    dual = draw_dual(step, rng)
    ahead, behind = hessian(step, dual)
    if np.abs(ahead - behind).max() > 1e-4 * np.abs(ahead).max():
        return False
    at = step.evaluate(dual)
    direction = newton.newton_direction(step, at)
    expected = np.linalg.solve(0.5 * (ahead + behind), -at.gradient.ravel())
    np.testing.assert_allclose(direction.ravel(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    return True


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [9, 20])
def test_newton_directions_solve_the_linear_system(loss, mode, n):
    # Few samples and many rows, and the other way round.
    rng = np.random.default_rng(n)
    program = draw_program(n, loss, mode, n=n, n_patterns=14 if n == 9 else 3)
    step = draw_step(program, rng)
    assert sum(assert_newton(step, rng) for _ in range(4)) >= 1


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_both_ways_without_cones_solve_the_linear_system(monkeypatch, across, fit_intercept, n_outputs):
    monkeypatch.setattr(newton, "_across_is_cheaper", lambda *of: across)
    rng = np.random.default_rng(2)
    mode = ("gated_relu", "penalized", fit_intercept)
    program = draw_program(2, "log_loss", mode, n=9, n_patterns=12, n_outputs=n_outputs)
    step = draw_step(program, rng, share=1.0)
    assert sum(assert_newton(step, rng) for _ in range(4)) >= 1


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "softmax"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("few_coordinates", [0, np.inf])
@pytest.mark.parametrize("preconditioned", [True, False])
def test_conjugate_gradients_solve_the_linear_system_to_their_tolerance(
    monkeypatch, loss, mode, few_coordinates, preconditioned
):
    monkeypatch.setattr(newton, "_dense_cost", lambda *of: np.inf)
    monkeypatch.setattr(newton, "_stiff_cost", lambda *of: 0.0 if preconditioned else np.inf)
    monkeypatch.setattr(factors, "_FEW_COORDINATES", few_coordinates)
    rng = np.random.default_rng(3)
    program = draw_program(3, loss, mode, n=10)
    n_smooth = 0
    for scale in (1.0, 1e-3):
        step = draw_step(program, rng)
        # The nearer to the solution of the step, the smaller the gradient and the tolerance.
        dual = scale * draw_dual(step, rng)
        for _ in range(12 if scale < 1 else 0):
            at = step.evaluate(dual)
            dual = dual + newton.newton_direction(step, at)
        ahead, behind = hessian(step, dual)
        if np.abs(ahead - behind).max() > 1e-4 * np.abs(ahead).max():
            continue
        n_smooth += 1
        at = step.evaluate(dual)
        size = np.linalg.norm(at.gradient)
        direction = newton.newton_direction(step, at).ravel()
        residual = 0.5 * (ahead + behind) @ direction + at.gradient.ravel()
        tolerance = min(0.1, size**0.5) * size
        assert np.linalg.norm(residual) <= tolerance + 1e-4 * np.linalg.norm(direction)
    assert n_smooth >= 1


@pytest.mark.parametrize("mode", MODES)
def test_the_stiff_part_is_exact_along_weights_and_free_coordinates_and_no_larger(mode):
    rng = np.random.default_rng(5)
    program = draw_program(5, "softmax", mode, n=12)
    step = draw_step(program, rng)
    at = step.evaluate(draw_dual(step, rng))
    whole = factors.Factors.of(step, at, Clock())
    stiff = whole.stiff(at.weights)
    assert len(stiff.rows) == whole.n_stiff
    free = np.flatnonzero(~program.design.penalized)
    for j, weights in enumerate(at.weights[at.weights.any(axis=1)]):
        derivative, part = (own.rows[own.owners == j].T @ own.rows[own.owners == j] for own in (whole, stiff))
        for vector in (weights, *np.eye(len(weights))[free]):
            size = np.linalg.norm(vector)
            np.testing.assert_allclose(part @ vector, derivative @ vector, rtol=0, atol=1e-5 * size)
        assert np.linalg.eigvalsh(derivative - part).min() >= -1e-5


def test_newton_directions_where_all_blocks_are_zero():
    # Without intercept the generalised Hessian is the identity.
    program = replace(draw_program(4, "squared_error", ("relu", "penalized", False)), alpha=1e3)
    rng = np.random.default_rng(4)
    blocks = draw_list(program, rng)
    zeros = np.zeros((len(blocks.slots), program.design.n_features))
    outputs = np.zeros_like(program.targets)
    step = Subproblem(blocks, LossModel(program, outputs), zeros, np.zeros(1), outputs, 1.0, 1.0)
    at = step.evaluate(rng.normal(size=outputs.shape))
    assert not at.weights.any()
    np.testing.assert_array_equal(newton.newton_direction(step, at), -at.gradient)


@pytest.mark.parametrize("mode", MODES)
def test_faces_of_large_blocks_are_found_piece_by_piece_or_not_at_all(monkeypatch, mode):
    monkeypatch.setattr(native_blocks, "_QUICK_FACTORS", 0.0)
    rng = np.random.default_rng(6)
    step = draw_step(draw_program(6, "log_loss", mode, n=12, n_patterns=9), rng)
    at = step.evaluate(draw_dual(step, rng))
    assert at.weights.any(axis=1).sum() > 5
    whole = newton.newton_direction(step, at)
    np.testing.assert_array_equal(newton.newton_direction(step, at, Clock(60.0)), whole)
    # Each look at this clock takes a second.
    seconds = iter(range(10**6))
    with pytest.raises(OutOfTimeError):
        newton.newton_direction(step, at, Clock(4.0, now=lambda: float(next(seconds))))


@pytest.mark.parametrize("loss", ["squared_error", "huber", "squared_hinge", "log_loss", "softmax"])
@pytest.mark.parametrize("mode", [("relu", "penalized", True), ("leaky_relu", "free", True)])
def test_newton_steps_on_the_faces_of_a_near_optimum_reach_it(loss, mode):
    program = draw_case(
        1, loss=loss, activation=mode[0], hidden_bias=mode[1], n=14, d=2, n_patterns=12, alpha=0.3
    ).program()
    near = solve(program, solver="clarabel", tol=1e-5)
    blocks = BlockList(program, np.flatnonzero(near.blocks.any(axis=-1)))
    outputs = program.outputs(near.blocks, near.intercept)
    theta = -program.loss.gradient(outputs, program.targets, program.sample_weight)
    n_slots = int(np.prod(program.block_shape[:3]))
    points = blocks.gather(near.blocks) + 0.1 * blocks.adjoint(theta)
    weights = program.design.shrink(blocks.slots, points, 0.1 * program.alpha, n_slots)
    faces, intercept = Faces(blocks, weights), near.intercept
    for _ in range(3):
        model = LossModel(program, program.outputs(blocks.scatter(weights), intercept), with_slack=False)
        weights, intercept = faces.newton_step(model, weights, intercept)
    point = measure(program, blocks.scatter(weights), intercept)
    assert point.objective - point.dual_objective <= 1e-9 * point.objective


@pytest.mark.parametrize("loss", SMOOTH)
@pytest.mark.parametrize("each_feeds_one", [True, False])
def test_curvature_in_coordinates_is_the_sum_over_samples(loss, each_feeds_one):
    rng = np.random.default_rng(5)
    program = draw_program(5, loss, MODES[0], n_outputs=None if loss == "log_loss" else 3)
    n, n_outputs = program.targets.shape
    model = LossModel(program, rng.normal(size=(n, n_outputs)), with_slack=False)
    rows, sizes = rng.normal(size=(9, n)), [3, 1, 4, 1]
    feeds = np.eye(n_outputs)[[0, n_outputs - 1, 0, 0]] if each_feeds_one else rng.normal(size=(4, n_outputs))
    feeds = np.repeat(feeds, sizes, axis=0)
    changes = rows[:, :, None] * feeds[:, None, :]
    weighed = np.array([model.weigh(change) for change in changes])
    np.testing.assert_allclose(
        model.gram(rows, feeds), np.einsum("pnk,qnk->pq", weighed, weighed), rtol=1e-10, atol=1e-12
    )
