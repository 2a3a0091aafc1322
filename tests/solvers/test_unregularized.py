"""alpha = 0: bounds that hold in exact arithmetic, and targets that are interpolated."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import linalg

from convexnn.designs import ExplicitDesign
from convexnn.losses import AbsoluteError
from convexnn.patterns import enumerate_patterns
from convexnn.patterns.witnesses import ResolutionError
from convexnn.problem import augment
from convexnn_solvers import Clock, ConvexProgram, Status, solve
from convexnn_solvers.dual import dual_bound
from convexnn_solvers.exact_rank import rank_modulo_prime
from convexnn_solvers.unregularized import interpolated, orthogonal_bound
from program_cases import LOSSES, draw_case

seeds = st.integers(0, 2**32 - 1)


def exact_least_squares(features, y, weight):
    """``min_w 1/2 sum_i s_i (features w - y)_i^2`` in exact arithmetic, of floats as the numbers they are."""
    rows = [[Fraction(float(a)) for a in row] for row in features]
    target = [Fraction(float(t)) for t in y]
    s = [Fraction(float(w)) for w in weight]
    m = len(rows[0])
    normal = [
        [sum(w * r[i] * r[j] for w, r in zip(s, rows, strict=True)) for j in range(m)] for i in range(m)
    ]
    right = [sum(w * r[i] * t for w, r, t in zip(s, rows, target, strict=True)) for i in range(m)]
    solution = [Fraction(0)] * m
    free, pivots = list(range(m)), []
    for column in range(m):
        pivot = next((i for i in free if normal[i][column] != 0), None)
        if pivot is None:
            continue
        free.remove(pivot)
        pivots.append((pivot, column))
        for i in range(m):
            if i != pivot and normal[i][column] != 0:
                factor = normal[i][column] / normal[pivot][column]
                normal[i] = [a - factor * b for a, b in zip(normal[i], normal[pivot], strict=True)]
                right[i] -= factor * right[pivot]
    for pivot, column in pivots:
        solution[column] = right[pivot] / normal[pivot][column]
    residuals = [
        sum(a * w for a, w in zip(r, solution, strict=True)) - t for r, t in zip(rows, target, strict=True)
    ]
    return sum(w * r * r for w, r in zip(s, residuals, strict=True)) / 2


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_bounds_hold_in_exact_arithmetic(data):
    seed = data.draw(seeds)
    hidden_bias = data.draw(st.sampled_from(["penalized", "none"]))
    n_patterns = data.draw(st.integers(1, 4))
    case = draw_case(
        seed,
        n=data.draw(st.integers(4, 9)),
        hidden_bias=hidden_bias,
        fit_intercept=data.draw(st.booleans()),
        weighted=data.draw(st.booleans()),
        alpha=0.0,
        n_patterns=n_patterns,
    )
    X = case.X * 10.0 ** np.array(data.draw(st.lists(st.integers(-8, 8), min_size=2, max_size=2)))
    X = X + data.draw(st.sampled_from([0.0, 0.0, 1e3]))
    try:
        every = enumerate_patterns(augment(X, hidden_bias))
    except ResolutionError:
        reject()
    patterns = every.take(np.random.default_rng(seed).permutation(len(every))[:n_patterns])
    program = case.but(X=X, y=10.0 ** data.draw(st.integers(-8, 8)) * case.y, patterns=patterns).program()
    features = program.design.features().toarray()
    if program.fit_intercept:
        features = np.hstack([features, np.ones((len(features), 1))])
    exact = exact_least_squares(features, program.targets[:, 0], program.sample_weight)
    result = solve(program, tol=1e-6)
    assert Fraction(result.dual_objective) <= exact
    # Guesses of any quality.
    for guess in (program.targets, np.random.default_rng(seed).normal(size=program.targets.shape)):
        theta, value = dual_bound(program, guess)
        assert Fraction(value) <= exact
        assert np.isfinite(theta).all()


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error", "squared_hinge"])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_bounds_are_tight_where_features_leave_something(loss, hidden_bias):
    # Features that depend on each other, by complementary patterns, and on the intercept.
    case = draw_case(
        9, loss=loss, hidden_bias=hidden_bias, n=14, d=1, alpha=0.0, n_patterns=3, weighted=False
    )
    result = solve(case.program(), tol=1e-6)
    assert result.status is Status.CONVERGED
    assert result.objective > 1e-3
    assert result.relative_gap <= 1e-6


def test_features_that_depend_to_rounding_only_have_the_trivial_bound():
    rng = np.random.default_rng(0)
    first, target = rng.normal(size=6), rng.normal(size=(6, 1))
    for error, proved in ((0.0, True), (2.0**-52, False)):
        second = 2.0 * first
        second[3] *= 1 + error
        design = ExplicitDesign(np.stack([first, second], axis=1)[:, :, None])
        program = ConvexProgram(design, target, LOSSES["squared_error"], 0.0, np.ones(6), fit_intercept=False)
        _, value = orthogonal_bound(program, target, Clock())
        # Huge weights of opposite signs fit the fourth target if the features differ there at all.
        assert (value > 0.01) is proved


def test_coordinates_at_the_ends_of_the_domain_stay_close():
    # Two copies with different targets: theta = (-1, 1) is the only optimal dual point.
    design = ExplicitDesign(np.ones((2, 1, 1)))
    program = ConvexProgram(
        design, np.array([[0.0], [2.0]]), AbsoluteError(), 0.0, np.ones(2), fit_intercept=True
    )
    theta, value = orthogonal_bound(program, np.array([[-1.0], [1.0]]), Clock())
    np.testing.assert_allclose(theta, [[-1.0], [1.0]], rtol=1e-12)
    assert value == pytest.approx(2.0, rel=1e-12)
    assert value <= 2.0


def test_no_time_leaves_the_trivial_bound():
    program = draw_case(9, n=14, d=1, alpha=0.0, n_patterns=3).program()
    moments = iter([0.0, *[5.0] * 100])
    clock = Clock(1.0, now=lambda: next(moments))
    _, value = orthogonal_bound(program, program.targets, clock)
    assert value == 0.0


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_interpolated_targets_are_zero_to_rounding_and_say_so(loss, scale, n_outputs):
    case = draw_case(2, loss=loss, n=7, alpha=0.0, n_patterns=30, n_outputs=n_outputs)
    program = case.but(y=scale * case.y).program()
    result = solve(program)
    assert result.status is Status.CONVERGED
    assert "zero up to the rounding" in result.message or result.objective == 0
    residual = program.outputs(result.blocks, result.intercept) - program.targets
    assert np.abs(residual[program.sample_weight > 0]).max() <= 1e-11 * scale
    assert program.design.violation(result.blocks) <= 1e-15


def test_interpolation_changes_blocks_in_use_only():
    program = draw_case(3, n=5, alpha=0.0, n_patterns=20).program()
    blocks = program.zeros()
    blocks[:, :, :8] = 10 * program.design.patterns.generators[:8]
    changed, intercept = interpolated(program, blocks, np.zeros(1))
    counts = program.sample_weight > 0
    assert not counts.all()
    residual = program.outputs(changed, intercept) - program.targets
    np.testing.assert_allclose(residual[counts], 0.0, atol=1e-9)
    assert not changed[:, :, 8:].any()
    # Least norm: the halves of a pair change alike, with opposite signs.
    np.testing.assert_allclose((changed - blocks)[0], -(changed - blocks)[1], atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (6, 6)])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_exact_ranks(shape, rank):
    rng = np.random.default_rng(rank)
    factors = [rng.integers(-9, 10, size=size) for size in ((shape[0], rank), (rank, shape[1]))]
    matrix = (factors[0] @ factors[1]).astype(float)
    assert rank_modulo_prime(matrix * 2.0 ** rng.integers(-40, 40, size=shape[1])) == np.linalg.matrix_rank(
        matrix
    )


def test_exact_ranks_see_what_rounding_hides():
    matrix = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-52]])
    assert np.linalg.matrix_rank(matrix) == 1
    assert rank_modulo_prime(matrix) == 2
    third = np.array([[1.0, 3.0], [1 / 3, 3 * (1 / 3)]])
    exact = Fraction(1) * Fraction(3 * (1 / 3)) == Fraction(3.0) * Fraction(1 / 3)
    assert rank_modulo_prime(third) == (1 if exact else 2)
    hilbert = linalg.hilbert(9)
    assert rank_modulo_prime(hilbert) == 9
