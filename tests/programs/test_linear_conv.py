"""Linear convolutional networks: programs against each other and CVXPY, weights against their formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.patches import PatchGeometry
from convexnn.programs.linear_conv import (
    PatchMatrices,
    circular_blocks,
    circular_program,
    circular_weights,
    is_circular,
    linear_conv_blocks,
    linear_conv_program,
    linear_conv_weights,
)
from convexnn_solvers import Status, solve, solve_spectral
from convexnn_solvers.spectral import operator_norm
from program_cases import LOSSES, draw_targets

seeds = st.integers(0, 2**32 - 1)
SHAPES = [(8, 1), (7, 2), (1, 3), (2, 1), (4, 3, 1), (4, 4, 2), (5, 1, 1), (3, 5, 2)]


def shifts(images):
    """All circular shifts as stacked patches: position ``p`` has ``x[p + e - (size - 1) // 2]`` at ``e``."""
    n, *extents, channels = images.shape
    patches = []
    for p in np.ndindex(*extents):
        rows = np.empty((n, *extents, channels))
        for e in np.ndindex(*extents):
            source = tuple((a + b - (size - 1) // 2) % size for a, b, size in zip(p, e, extents, strict=True))
            rows[(slice(None), *e)] = images[(slice(None), *source)]
        patches.append(rows.reshape(n, -1))
    return np.stack(patches, axis=1)


def outputs(patches, hidden_weights, output_weights, intercept):
    """``f`` from its formula, neuron after neuron."""
    total = np.tile(intercept, (len(patches), 1))
    for u, a in zip(hidden_weights.T, output_weights, strict=True):
        for k, weights in enumerate(a):
            total += np.outer(patches[:, k] @ u, weights)
    return total


def objective(program, patches, hidden_weights, output_weights, intercept):
    f = outputs(patches, hidden_weights, output_weights, intercept)
    norms = (hidden_weights**2).sum() + (output_weights**2).sum()
    return program.loss.value(f, program.targets, program.sample_weight) + program.alpha / 2 * norms


@pytest.mark.parametrize("loss", ["squared_error", "softmax", "huber", "hinge"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_networks_have_the_outputs_and_the_objective_of_the_program(loss, fit_intercept):
    rng = np.random.default_rng(0)
    patches = np.concatenate([rng.normal(size=(15, 6, 4)), np.ones((15, 6, 1))], axis=2)
    y = rng.integers(3, size=15) if loss == "softmax" else draw_targets(LOSSES[loss], rng, 15, 1)
    y = np.eye(3)[y] if loss == "softmax" else y
    program = linear_conv_program(
        patches, y, alpha=2.0, loss=loss, sample_weight=rng.uniform(0.5, 2, 15), fit_intercept=fit_intercept
    )
    result = solve_spectral(program, tol=1e-8)
    assert result.status is Status.CONVERGED
    hidden, output = linear_conv_weights(program, result.blocks)
    assert hidden.shape[0] == 5
    assert output.shape == (hidden.shape[1], 6, program.n_outputs)
    assert 0 < hidden.shape[1] < 5
    f = program.outputs(result.blocks, result.intercept)
    np.testing.assert_allclose(outputs(patches, hidden, output, result.intercept), f, atol=1e-12)
    value = objective(program, patches, hidden, output, result.intercept)
    assert value == pytest.approx(result.objective, rel=1e-12)
    # Neurons are balanced, and the way back leads to the point.
    np.testing.assert_allclose((hidden**2).sum(axis=0), (output**2).sum(axis=(1, 2)), rtol=1e-12)
    np.testing.assert_allclose(linear_conv_blocks(hidden, output), result.blocks, atol=1e-13)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, n_neurons=st.integers(1, 6), n_outputs=st.integers(1, 3))
def test_no_network_is_better_than_its_point_of_the_program(seed, n_neurons, n_outputs):
    rng = np.random.default_rng(seed)
    patches, y = rng.normal(size=(8, 5, 3)), rng.normal(size=(8, n_outputs))
    program = linear_conv_program(patches, y, alpha=0.7)
    hidden, output = rng.normal(size=(3, n_neurons)), rng.normal(size=(n_neurons, 5, n_outputs))
    intercept = rng.normal(size=n_outputs)
    blocks = linear_conv_blocks(hidden, output)
    np.testing.assert_allclose(
        program.outputs(blocks, intercept), outputs(patches, hidden, output, intercept), atol=1e-11
    )
    value = objective(program, patches, hidden, output, intercept)
    assert program.objective(blocks, intercept) <= value * (1 + 1e-12)
    assert solve_spectral(program, tol=1e-6).dual_objective <= value


def test_descent_from_many_starts_stays_above_the_bound():
    from scipy.optimize import minimize

    rng = np.random.default_rng(1)
    patches, y = rng.normal(size=(12, 5, 3)), rng.normal(size=(12, 1))
    program = linear_conv_program(patches, y, alpha=1.0, fit_intercept=False)
    result = solve_spectral(program, tol=1e-9)

    def loss(flat):
        hidden, output = flat[:12].reshape(3, 4), flat[12:].reshape(4, 5)
        residual = np.einsum("nkd,dj,jk->n", patches, hidden, output) - y[:, 0]
        on_hidden = np.einsum("n,nkd,jk->dj", residual, patches, output) + hidden
        on_output = np.einsum("n,nkd,dj->jk", residual, patches, hidden) + output
        value = 0.5 * residual @ residual + 0.5 * flat @ flat
        return value, np.concatenate([on_hidden.ravel(), on_output.ravel()])

    values = [minimize(loss, rng.normal(size=32), jac=True, method="BFGS").fun for _ in range(10)]
    assert min(values) == pytest.approx(result.objective, rel=1e-6)
    assert min(values) >= result.dual_objective


@pytest.mark.parametrize("shape", SHAPES)
def test_circular_program_is_the_nuclear_one_of_all_shifts(shape):
    rng = np.random.default_rng(2)
    images, y = rng.normal(size=(11, *shape)), rng.normal(size=11)
    patches = shifts(images)
    weight = rng.uniform(0.5, 2.0, 11)
    nuclear = solve_spectral(linear_conv_program(patches, y, alpha=1.0, sample_weight=weight), tol=1e-9)
    program = circular_program(images, y, alpha=1.0, sample_weight=weight)
    fourier = solve(program, tol=1e-9)
    assert nuclear.status is fourier.status is Status.CONVERGED
    assert fourier.objective == pytest.approx(nuclear.objective, rel=1e-8)

    hidden, output = circular_weights(shape, fourier.blocks)
    f = program.outputs(fourier.blocks, fourier.intercept)
    np.testing.assert_allclose(outputs(patches, hidden, output, fourier.intercept), f, atol=1e-10)
    value = objective(program, patches, hidden, output, fourier.intercept)
    assert value == pytest.approx(fourier.objective, rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@settings(deadline=None, max_examples=10)
@given(seed=seeds, n_outputs=st.integers(1, 3))
def test_circular_weights_of_any_point(shape, seed, n_outputs):
    rng = np.random.default_rng(seed)
    images, y = rng.normal(size=(5, *shape)), rng.normal(size=(5, n_outputs))
    program = circular_program(images, y, alpha=1.0)
    blocks = rng.normal(size=program.block_shape) * (rng.uniform(size=(*program.block_shape[:3], 1)) < 0.6)
    channels = shape[-1]
    # Where a frequency is its own conjugate its imaginary part does nothing, and no optimum has one.
    dead = ~program.design.features().toarray().reshape(5, -1, 2 * channels).any(axis=0)
    blocks = np.where(dead, 0.0, blocks)
    hidden, output = circular_weights(shape, blocks)
    zero = np.zeros(n_outputs)
    np.testing.assert_allclose(
        outputs(shifts(images), hidden, output, zero), program.outputs(blocks, zero), atol=1e-10
    )
    sizes = np.linalg.norm(blocks, axis=-1)
    sizes = np.sort(sizes[sizes > 0])
    # One neuron for each block, that feeds one output and has the block's norm for cost.
    np.testing.assert_allclose(np.sort((hidden**2).sum(axis=0)), sizes, rtol=1e-10)
    np.testing.assert_allclose(np.sort((output**2).sum(axis=(1, 2))), sizes, rtol=1e-10)
    assert (output.any(axis=1).sum(axis=1) == 1).all()


@pytest.mark.parametrize("length", [6, 7])
def test_circular_program_is_the_dense_one_of_circulant_weights(length):
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(9, length)), rng.normal(size=9)
    w = cp.Variable(length)
    shift = np.roll(np.eye(length), 1, axis=0)
    circulant = cp.vstack([np.linalg.matrix_power(shift, k) @ w for k in range(length)])
    cost = 0.5 * cp.sum_squares(X @ w - y) + 0.8 / length * cp.normNuc(circulant)
    problem = cp.Problem(cp.Minimize(cost))
    problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    result = solve(circular_program(X[:, :, None], y, alpha=0.8, fit_intercept=False), tol=1e-10)
    assert result.objective == pytest.approx(problem.value, rel=1e-8)
    frequencies = np.abs(np.fft.fft(w.value, norm="ortho"))
    penalty = 0.8 / np.sqrt(length) * frequencies.sum()
    assert 0.8 * np.linalg.norm(result.blocks, axis=-1).sum() == pytest.approx(penalty, rel=1e-4)


@pytest.mark.parametrize("loss", ["log_loss", "softmax", "huber", "hinge"])
def test_circular_program_takes_every_loss(loss):
    rng = np.random.default_rng(4)
    images = rng.normal(size=(20, 4, 4, 1))
    y = draw_targets(LOSSES[loss], rng, 20, 3 if loss == "softmax" else 1)
    program = circular_program(images, y, alpha=0.5, loss=loss)
    result = solve(program, tol=1e-7)
    assert result.status is Status.CONVERGED
    if loss != "softmax":
        nuclear = solve_spectral(linear_conv_program(shifts(images), y, alpha=0.5, loss=loss), tol=1e-7)
        assert result.objective == pytest.approx(nuclear.objective, rel=1e-6)


def test_patches_of_a_circular_geometry_are_the_shifts():
    rng = np.random.default_rng(5)
    for shape in SHAPES:
        geometry = PatchGeometry.of(shape, shape[:-1], 1, "circular")
        assert is_circular(geometry)
        images = rng.normal(size=(3, *shape))
        rows = geometry.rows(images, bias=False).reshape(3, geometry.n_positions, -1)
        np.testing.assert_array_equal(rows, shifts(images))
    assert not is_circular(PatchGeometry.of((4, 4, 1), 3, 1, "circular"))
    assert not is_circular(PatchGeometry.of((4, 4, 1), 4, 2, "circular"))
    assert not is_circular(PatchGeometry.of((4, 4, 1), 4, 1, "zero"))


def test_no_neurons_above_the_largest_alpha():
    rng = np.random.default_rng(6)
    images, y = rng.normal(size=(9, 5, 2)), rng.normal(size=9)
    patches = shifts(images)
    constant = y.mean()
    largest = operator_norm(np.einsum("nkd,n->kd", patches, y - constant))
    nuclear = linear_conv_program(patches, y, alpha=largest * (1 + 1e-9))
    fourier = circular_program(images, y, alpha=largest * (1 + 1e-9))
    first, second = solve_spectral(nuclear, tol=1e-9), solve(fourier, tol=1e-9)
    hidden, output = linear_conv_weights(nuclear, first.blocks)
    assert hidden.shape == (10, 0)
    assert output.shape == (0, 5, 1)
    hidden, output = circular_weights((5, 2), second.blocks)
    assert hidden.shape == (10, 0)
    assert output.shape == (0, 5, 1)
    assert first.intercept[0] == pytest.approx(constant)
    below = circular_program(images, y, alpha=largest * (1 - 1e-3))
    assert solve(below, tol=1e-9).blocks.any()


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="patches must have the shape"):
        PatchMatrices(np.ones((3, 4)))
    with pytest.raises(ValueError, match="images must have the shape"):
        circular_program(np.ones((3, 4)), np.ones(3), alpha=1.0)
    with pytest.raises(ValueError, match="alpha must be positive"):
        linear_conv_program(np.ones((3, 2, 2)), np.ones(3), alpha=0.0)


@pytest.mark.parametrize("image_shape", [(7, 1), (8, 2), (4, 5, 1), (4, 4, 2)])
def test_circular_networks_and_blocks_map_to_each_other(image_shape):
    rng = np.random.default_rng(len(image_shape))
    geometry = PatchGeometry.of(image_shape, image_shape[:-1], 1, "circular")
    images = rng.normal(size=(5, *image_shape))
    program = circular_program(images, rng.normal(size=5), alpha=1.0)
    raw = rng.normal(size=program.block_shape)
    real = ~program.design.features().toarray().any(axis=0)  # imaginary parts that do not exist
    raw.reshape(-1)[real] = 0.0
    back = circular_blocks(geometry, *circular_weights(image_shape, raw))
    np.testing.assert_allclose(back, raw, atol=1e-12)
