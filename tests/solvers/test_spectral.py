"""Programs with a nuclear norm against CVXPY, closed forms and their own optimality conditions."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.losses import SquaredError
from convexnn.programs.linear_conv import PatchMatrices
from convexnn_solvers import ConvexProgram, SpectralProgram, Status, UnsupportedProgramError, solve_spectral
from convexnn_solvers.dual import dual_value
from convexnn_solvers.options import SolveOptions
from convexnn_solvers.spectral.backend import Spectral
from convexnn_solvers.spectral.envelope import Envelope
from convexnn_solvers.spectral.factored import FactoredModel, Factors, balanced
from convexnn_solvers.spectral.solver import SpectralSolver
from program_cases import LOSSES, draw_targets

seeds = st.integers(0, 2**32 - 1)
SMOOTH = [name for name, loss in LOSSES.items() if loss.is_smooth]
KINDS = ["zero", "duplicate", "opposite", "rank", "zero position", "unused"]


def draw_program(
    seed,
    *,
    loss="squared_error",
    n=12,
    m=4,
    h=3,
    n_outputs=1,
    share=0.2,
    fit_intercept=True,
    kinds=(),
    cond=1.0,
):
    """Random data, some of them degenerate; `share` is that of alpha in the one where all weights vanish."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(n, m, h)) * np.logspace(0.0, -np.log10(cond), h)
    weight = rng.uniform(0.2, 2.0, n)
    for kind in kinds:
        i, j = rng.integers(n, size=2)
        if kind == "rank":
            patches[:, :, -1] = patches[:, :, 0]
        elif kind == "zero position":
            patches[:, rng.integers(m)] = 0.0
        elif kind == "unused":
            weight[i] = 0.0
        else:
            patches[i] = {"zero": 0.0, "duplicate": patches[j], "opposite": -patches[j]}[kind]
    targets = draw_targets(LOSSES[loss], rng, n, 3 if loss == "softmax" else n_outputs)
    program = SpectralProgram(PatchMatrices(patches), targets, LOSSES[loss], 1.0, weight, fit_intercept)
    largest = largest_alpha(program, patches)
    # Equal samples may leave nothing but rounding of it.
    alpha = share * largest if largest > 1e-12 else 1.0
    return SpectralProgram(program.design, targets, LOSSES[loss], alpha, weight, fit_intercept)


def largest_alpha(program, patches):
    """Norm of the gradient at the best constant."""
    constant = np.zeros_like(program.targets)
    if program.fit_intercept:
        constant = constant + program.loss.optimal_intercept(constant, program.targets, program.sample_weight)
    gradient = program.loss.gradient(constant, program.targets, program.sample_weight)
    sums = np.einsum("nmh,no->omh", patches, gradient)
    return np.linalg.norm(sums.reshape(-1, patches.shape[2]), 2)


def restated_optimum(program):
    """Optimum of the program written out in CVXPY."""
    import cvxpy as cp

    from restatement import loss_of

    patches = program.design.matrices
    n, m, h = patches.shape
    matrices = [cp.Variable((m, h)) for _ in range(program.n_outputs)]
    columns = [
        cp.hstack([cp.sum(cp.multiply(patches[i], Z)) for i in range(n)])
        + (cp.Variable() if program.fit_intercept else 0.0)
        for Z in matrices
    ]
    losses = loss_of(
        program.loss.name, cp.vstack(columns).T, program.targets, getattr(program.loss, "delta", 1.0)
    )
    cost = program.sample_weight @ losses + program.alpha * cp.normNuc(cp.vstack(matrices))
    problem = cp.Problem(cp.Minimize(cost))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    assert problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
    return float(problem.value)


def assert_dual_feasible(program, result):
    theta = result.dual_point
    sums = np.einsum("nmh,no->omh", program.design.matrices, theta)
    norm = np.linalg.norm(sums.reshape(program.matrix_shape), 2)
    assert norm <= program.alpha * (1 + 1e-12)
    assert result.dual_objective == dual_value(program, theta)
    if program.fit_intercept:
        assert (np.abs(theta.sum(axis=0)) <= 1e-12 * (1 + np.abs(theta).sum(axis=0))).all()


def objective(program, result):
    """The objective from its formula."""
    patches = program.design.matrices
    matrices = result.blocks.reshape(program.n_outputs, *patches.shape[1:])
    outputs = np.einsum("nmh,omh->no", patches, matrices) + result.intercept
    norm = np.linalg.norm(matrices.reshape(-1, patches.shape[2]), "nuc")
    return program.loss.value(outputs, program.targets, program.sample_weight) + program.alpha * norm


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_optimum_is_that_of_the_restatement(loss, fit_intercept, n_outputs):
    pytest.importorskip("cvxpy")
    program = draw_program(n_outputs, loss=loss, fit_intercept=fit_intercept, n_outputs=n_outputs)
    result = solve_spectral(program, tol=1e-8)
    optimum = restated_optimum(program)
    assert result.status is Status.CONVERGED, result.message
    assert result.objective == pytest.approx(optimum, rel=1e-6)
    assert result.dual_objective == pytest.approx(optimum, rel=1e-6)
    assert result.objective == pytest.approx(objective(program, result), rel=1e-12)
    assert_dual_feasible(program, result)


@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "absolute_error"])
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_gap_encloses_the_optimum_on_degenerate_data(loss, data):
    pytest.importorskip("cvxpy")
    program = draw_program(
        data.draw(seeds),
        loss=loss,
        # Both classes are needed for an optimum.
        n=data.draw(st.integers(4 if loss == "log_loss" else 1, 9)),
        m=data.draw(st.integers(1, 4)),
        h=data.draw(st.integers(1, 3)),
        share=data.draw(st.sampled_from([0.01, 0.3, 0.999, 1.0, 3.0])),
        kinds=data.draw(st.lists(st.sampled_from(KINDS), max_size=4, unique=True)),
    )
    optimum = restated_optimum(program)
    slack = 1e-6 * optimum + 1e-7
    for tol in (1e-1, 1e-7):
        result = solve_spectral(program, tol=tol)
        assert result.status is Status.CONVERGED, result.message
        assert result.dual_objective - slack <= optimum <= result.objective + slack
        assert_dual_feasible(program, result)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, n_outputs=st.integers(1, 3), m=st.integers(1, 5), h=st.integers(1, 4))
def test_orthonormal_data_shrink_singular_values(seed, n_outputs, m, h):
    # <X_i, Z> = (Q z)_i with orthonormal columns: the proximal point of the nuclear norm at Q' y.
    rng = np.random.default_rng(seed)
    columns = np.linalg.qr(rng.normal(size=(m * h + 3, m * h)))[0]
    y = rng.normal(size=(len(columns), n_outputs))
    U, s, Vt = np.linalg.svd((columns.T @ y).T.reshape(-1, h), full_matrices=False)
    alpha = float(np.median(s)) + 1e-3
    program = SpectralProgram(
        PatchMatrices(columns.reshape(-1, m, h)), y, SquaredError(), alpha, np.ones(len(y)), False
    )
    result = solve_spectral(program, tol=1e-12)
    expected = (U * np.maximum(s - alpha, 0.0)) @ Vt
    np.testing.assert_allclose(program.matrix(result.blocks), expected, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_above_the_largest_alpha_and_rank_one_below(loss):
    above = draw_program(3, loss=loss, share=1.0 + 1e-9)
    result = solve_spectral(above, tol=1e-9)
    assert result.status is Status.CONVERGED
    if LOSSES[loss].is_smooth:
        # Otherwise the gradient at the constant is one of many.
        assert not result.blocks.any()
        below = draw_program(3, loss=loss, share=0.99)
        matrix = below.matrix(solve_spectral(below, tol=1e-9).blocks)
        assert np.linalg.matrix_rank(matrix) == 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("share", [0.3, 1e-3])
@pytest.mark.parametrize("cond", [1.0, pytest.param(1e3, marks=pytest.mark.slow)])
def test_high_accuracy(loss, share, cond):
    # Losses with kinks take many programs where hardly a sample is off its kink.
    cond = cond if LOSSES[loss].is_smooth else min(cond, 10.0)
    program = draw_program(4, loss=loss, n=20, m=6, h=4, share=share, cond=cond)
    result = solve_spectral(program, tol=1e-10)
    assert result.status is Status.CONVERGED, result
    assert_dual_feasible(program, result)
    # A tighter solve ends with no more neurons than a loose one needs.
    rank = np.linalg.matrix_rank(program.matrix(result.blocks))
    assert rank <= np.linalg.matrix_rank(program.matrix(solve_spectral(program, tol=1e-3).blocks)) + 2


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error"])
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scales_of_data_and_targets(loss, scale):
    plain = draw_program(5, loss=loss, n=15)
    if loss == "huber":
        scaled_targets, factor = plain.targets, 1.0
    else:
        scaled_targets, factor = scale * plain.targets, scale ** (2 if loss == "squared_error" else 1)
    # Z / data_scale gives the same outputs, so that alpha must make up for its norm.
    data_scale = 1.0 / scale
    outputs_scale = 1.0 if loss == "huber" else scale
    scaled = SpectralProgram(
        PatchMatrices(data_scale * plain.design.matrices),
        scaled_targets,
        plain.loss,
        plain.alpha * factor * data_scale / outputs_scale,
        plain.sample_weight,
        True,
    )
    result = solve_spectral(scaled, tol=1e-9)
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(factor * solve_spectral(plain, tol=1e-9).objective, rel=1e-8)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, loss=st.sampled_from(["squared_error", "log_loss", "softmax"]), rank=st.integers(1, 3))
def test_hessian_is_the_derivative_of_the_gradient(seed, loss, rank):
    program = draw_program(seed, loss=loss, n=7, n_outputs=2)
    rng = np.random.default_rng(seed)
    height, width = program.matrix_shape

    def draw(size):
        return Factors(
            size * rng.normal(size=(height, rank)),
            size * rng.normal(size=(width, rank)),
            size * rng.normal(size=program.n_outputs),
        )

    at, step = draw(0.3), draw(1.0)
    model = FactoredModel(program, at)
    ahead, behind = (FactoredModel(program, at.moved(step, t)).gradient.flat() for t in (1e-5, -1e-5))
    # The shift acts on the factors alone; it is the excess of the gradient's norm over alpha.
    shift = max(program.alpha, np.linalg.norm(model._slope, 2)) - program.alpha
    shifted = Factors(shift * step.left, shift * step.right, 0.0 * step.intercept).flat()
    expected = (ahead - behind) / 2e-5
    np.testing.assert_allclose(
        model.product(step).flat() - shifted, expected, atol=1e-5 * (1 + np.abs(expected).max())
    )
    # Convex along every direction.
    assert step.flat() @ model.product(step).flat() >= -1e-9 * np.abs(expected).max()


def test_factors_are_balanced():
    rng = np.random.default_rng(6)
    matrix = rng.normal(size=(7, 2)) @ rng.normal(size=(2, 4))
    factors = balanced(matrix, np.zeros(1))
    assert factors.left.shape == (7, 2)
    np.testing.assert_allclose(factors.left @ factors.right.T, matrix, atol=1e-13)
    np.testing.assert_allclose(factors.left.T @ factors.left, factors.right.T @ factors.right, atol=1e-13)


@pytest.mark.parametrize("loss", ["absolute_error", "hinge"])
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_envelopes(loss, seed):
    rng = np.random.default_rng(seed)
    n, n_outputs = 6, 2
    inner = LOSSES[loss]
    targets = draw_targets(inner, rng, n, n_outputs)
    weight = rng.uniform(0.2, 2.0, n)
    weight[rng.integers(n)] = 0.0
    rho = float(rng.uniform(0.5, 5.0))
    multipliers = inner.project_dual(rng.normal(size=(n, n_outputs)), targets, weight)
    envelope = Envelope(inner, rho, multipliers)
    outputs = 2.0 * rng.normal(size=(n, n_outputs))

    # The value is the least over a grid of inner points that has the kink, sample by sample.
    total = 0.0
    for i, o in np.ndindex(outputs.shape):
        if weight[i] > 0:
            y = targets[i, o]
            inside = np.append(np.linspace(-12.0, 12.0, 20001), y)
            losses = np.abs(inside - y) if loss == "absolute_error" else np.maximum(0, 1 - y * inside)
            apart = inside - outputs[i, o] - multipliers[i, o] / (weight[i] * rho)
            total += weight[i] * (losses + 0.5 * rho * apart**2).min()
    assert envelope.value(outputs, targets, weight) == pytest.approx(total, abs=1e-5)

    step = 1e-6
    for i, o in np.ndindex(outputs.shape):
        moved = [
            outputs + t * (np.arange(n)[:, None] == i) * (np.arange(n_outputs) == o) for t in (step, -step)
        ]
        slope = (envelope.value(moved[0], targets, weight) - envelope.value(moved[1], targets, weight)) / (
            2 * step
        )
        gradient = envelope.gradient(outputs, targets, weight)
        assert gradient[i, o] == pytest.approx(slope, abs=1e-5)
    # Fenchel's equality at the gradient.
    fenchel = envelope.value(outputs, targets, weight) + envelope.conjugate(gradient, targets, weight)
    assert fenchel == pytest.approx(float((gradient * outputs).sum()), abs=1e-10)
    intercept = envelope.optimal_intercept(outputs, targets, weight)
    sums = envelope.gradient(outputs + intercept, targets, weight).sum(axis=0)
    np.testing.assert_allclose(sums, 0.0, atol=1e-10)


@pytest.mark.parametrize("loss", ["squared_error", "hinge"])
def test_limits_and_warm_starts(loss):
    program = draw_program(7, loss=loss, n=40, m=12, h=6, share=1e-2)
    few = solve_spectral(program, tol=1e-10, max_iter=3)
    assert few.status is Status.ITERATION_LIMIT
    assert few.n_iter == 3
    assert few.dual_objective <= few.objective
    brief = solve_spectral(program, tol=1e-10, time_limit=1e-4)
    assert brief.status is Status.TIME_LIMIT
    best = solve_spectral(program, tol=1e-8)
    again = solve_spectral(program, tol=1e-6, start=(best.blocks, best.intercept))
    assert again.objective <= best.objective * (1 + 1e-12)
    if loss == "squared_error":
        # The bound of a loss with kinks needs more than the point.
        assert again.n_iter == 0


@pytest.mark.parametrize("loss", ["squared_error", "hinge"])
def test_interrupt_keeps_the_best_point(loss, monkeypatch):
    program = draw_program(8, loss=loss, n=40, m=12, h=6, share=1e-2)
    steps = SpectralSolver._proximal_step
    calls = []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return steps(self, *arguments)

    monkeypatch.setattr(SpectralSolver, "_proximal_step", interrupted)
    result = solve_spectral(program, tol=1e-10)
    assert result.status is Status.INTERRUPTED
    zero = program.objective(program.zeros(), np.zeros(1))
    assert result.objective < zero
    assert result.objective == pytest.approx(objective(program, result), rel=1e-12)


def test_verbose_prints_progress(capsys):
    for loss in ("squared_error", "hinge"):
        solve_spectral(draw_program(9, loss=loss), verbose=1)
        assert "relative gap" in capsys.readouterr().out


def test_refusals():
    program = draw_program(10)
    backend = Spectral()
    plain = ConvexProgram(
        program.design, program.targets, program.loss, program.alpha, program.sample_weight, True
    )
    with pytest.raises(UnsupportedProgramError, match="nuclear norms only"):
        backend.check(plain, SolveOptions())
    with pytest.raises(UnsupportedProgramError, match="no settings"):
        backend.check(program, SolveOptions(native={"eps": 1}))
    with pytest.raises(ValueError, match="alpha must be positive"):
        SpectralProgram(program.design, program.targets, program.loss, 0.0, program.sample_weight, True)
    unknown = SimpleNamespace(name="quantile", smoothness=np.inf, kink_at_target=False)
    other = SpectralProgram(program.design, program.targets, unknown, 1.0, program.sample_weight, True)
    with pytest.raises(UnsupportedProgramError, match="quantile"):
        solve_spectral(other)
    with pytest.raises(ValueError, match="tol must be positive"):
        solve_spectral(program, tol=0.0)
