"""Cone solvers leave a vertex: at most as many blocks as samples, of the same outputs and no larger norms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn_solvers import Clock, Status, solve
from convexnn_solvers.vertices import fewer_blocks
from program_cases import LAYERS, draw_case, random_point

seeds = st.integers(0, 2**32 - 1)


def n_used(blocks):
    """Blocks that are not zero, for each output."""
    return blocks.any(axis=-1).sum(axis=(0, 2))


@settings(deadline=None, max_examples=25)
@given(
    seed=seeds,
    activation=st.sampled_from(sorted(LAYERS)),
    hidden_bias=st.sampled_from(["penalized", "none", "free"]),
    n_outputs=st.integers(1, 2),
)
def test_outputs_stay_and_norms_do_not_grow(seed, activation, hidden_bias, n_outputs):
    if LAYERS[activation].gated and hidden_bias == "free":
        return
    program = draw_case(
        seed, activation=activation, hidden_bias=hidden_bias, n=6, n_patterns=30, n_outputs=n_outputs
    ).program()
    blocks = program.design.project(random_point(program, np.random.default_rng(seed)))
    fewer = fewer_blocks(program, blocks, Clock())
    zero = np.zeros(n_outputs)
    before, after = program.outputs(blocks, zero), program.outputs(fewer, zero)
    size = np.abs(program.outputs(np.abs(blocks), zero)).max() + np.abs(before).max()
    np.testing.assert_allclose(after, before, atol=1e-9 * size)
    assert program.block_norms(fewer).sum() <= program.block_norms(blocks).sum() * (1 + 1e-9)
    assert (n_used(fewer) <= program.design.n_samples).all()
    # Scaled blocks stay in their cones.
    assert program.design.violation(fewer) <= 1e-15
    used = blocks.any(axis=-1)
    assert not fewer[~used].any()


def test_few_blocks_and_no_time_leave_them_as_they_are():
    program = draw_case(0, n=12, n_patterns=20).program()
    blocks = program.design.project(random_point(program, np.random.default_rng(0)))
    moments = iter([0.0, *[5.0] * 100])
    assert fewer_blocks(program, blocks, Clock(1.0, now=lambda: next(moments))) is blocks
    blocks[:, :, 5:] = 0.0
    assert fewer_blocks(program, blocks, Clock()) is blocks


@pytest.mark.parametrize("loss", ["hinge", "absolute_error", "squared_error", "softmax"])
@pytest.mark.parametrize("alpha", [1e-3, 0.05])
def test_solutions_of_interior_points_are_sparse(loss, alpha):
    # Many patterns and strong fits: prices of hundreds of blocks equal alpha.
    program = draw_case(1, loss=loss, n=10, d=2, n_patterns=90, alpha=alpha, weighted=False).program()
    result = solve(program, solver="clarabel", tol=1e-6, working_set=False)
    assert result.status is Status.CONVERGED
    assert (n_used(result.blocks) <= 10).all()
    assert program.objective(result.blocks, result.intercept) == result.objective
