"""Selections of patches against linear programs, loops and the patterns of single rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.exceptions import PatternBudgetError
from convexnn.patterns import PatternSet, enumerate_patterns, pack_bits
from convexnn.patterns.selection import chosen_patches, enumerate_selections, selection_patterns
from selection_oracles import (
    KINDS,
    brute_force_selections,
    cone_rows,
    draw_patches,
    linear_map,
    max_pooled,
    unit_rows,
)

seeds = st.integers(0, 2**32 - 1)
degeneracies = st.lists(st.sampled_from(KINDS), max_size=5)
shapes = st.sampled_from([(3, 2, 1), (3, 2, 2), (3, 2, 3), (2, 3, 2), (2, 3, 3), (5, 1, 2), (1, 4, 3)])


def selections(patterns):
    return {tuple(row) for row in patterns.to_dense().tolist()}


def assert_witnessed(patterns, rows, positions):
    """Witnesses are inside of their cones, on which the layer is the selection's linear map."""
    for selection, witness in zip(patterns.to_dense(), patterns.generators, strict=True):
        cone = cone_rows(rows, positions, selection)
        assert (cone[cone.any(axis=1)] @ witness > 0).all()
        layer = linear_map(rows, positions, selection) @ witness
        expected = max_pooled(rows, positions, witness)
        size = np.abs(rows).max() * np.abs(witness).max()
        np.testing.assert_allclose(layer, expected, rtol=0, atol=1e-14 * size)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=degeneracies, shape=shapes)
def test_all_selections_are_those_that_linear_programs_find(seed, kinds, shape):
    n, positions, d = shape
    rows = draw_patches(np.random.default_rng(seed), n, positions, d, kinds, integers=True)
    patterns = enumerate_selections(rows, positions)
    assert len(selections(patterns)) == len(patterns)
    assert selections(patterns) == brute_force_selections(rows, positions)
    assert_witnessed(patterns, rows, positions)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, kinds=degeneracies, n=st.integers(1, 6), positions=st.integers(1, 4))
def test_all_selections_in_the_plane_are_those_of_many_directions(seed, kinds, n, positions):
    rows = draw_patches(np.random.default_rng(seed), n, positions, 2, kinds, integers=True)
    angles = np.linspace(0.01, 0.01 + 2 * np.pi, 4000)
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    assert selections(enumerate_selections(rows, positions)) == selections(
        selection_patterns(rows, positions, directions)
    )


@settings(deadline=None, max_examples=40)
@given(seed=seeds, kinds=degeneracies, positions=st.integers(1, 5), d=st.integers(1, 4))
def test_weights_inside_of_cells_stay_witnesses(seed, kinds, positions, d):
    rng = np.random.default_rng(seed)
    rows, weights = draw_patches(rng, 6, positions, d, kinds), rng.normal(size=(20, d))
    patterns = selection_patterns(rows, positions, weights)
    assert_witnessed(patterns, rows, positions)
    every = {tuple(w) for w in weights.tolist()}
    assert {tuple(w) for w in patterns.generators.tolist()} <= every
    for u in weights:
        fits = [
            np.allclose(linear_map(rows, positions, s) @ u, max_pooled(rows, positions, u), atol=1e-12)
            and (cone_rows(rows, positions, s) @ u >= 0).all()
            for s in patterns.to_dense()
        ]
        assert sum(fits) == 1


@settings(deadline=None, max_examples=40)
@given(
    seed=seeds,
    kinds=degeneracies,
    positions=st.integers(1, 4),
    d=st.integers(1, 3),
    integers=st.booleans(),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
)
def test_weights_between_cells_move_into_one_next_to_them(seed, kinds, positions, d, integers, scale):
    rng = np.random.default_rng(seed)
    rows = draw_patches(rng, 5, positions, d, kinds, integers=integers)
    # Orthogonal to as many rows and differences of patches as there can be, or to fewer.
    walls = np.concatenate([rows, rows - np.roll(rows, 1, axis=0)])
    weights = rng.normal(size=(6, d))
    for p, u in enumerate(weights):
        chosen = walls[rng.integers(len(walls), size=p % d)]
        weights[p] = u - np.linalg.pinv(chosen) @ (chosen @ u)
    weights = weights[np.linalg.norm(weights, axis=1) > 1e-6]
    for u in weights:
        patterns = selection_patterns(scale * rows, positions, u[None])
        assert len(patterns) == 1
        assert_witnessed(patterns, scale * rows, positions)
        cone = unit_rows(cone_rows(rows, positions, patterns.to_dense()[0]))
        assert (cone @ u).min() >= -1e-12


def test_the_random_state_decides_between_cells():
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    weights = np.array([[1.0, 1.0], [-1.0, 0.0]])
    found = [selection_patterns(rows, 2, weights, random_state=seed) for seed in range(20)]
    assert found[0] == selection_patterns(rows, 2, weights, random_state=0)
    taken = {tuple(row) for patterns in found for row in patterns.to_dense().tolist()}
    assert taken == {(True, False), (False, True), (False, False)}


def test_of_equal_patches_the_first_is_taken_and_of_zero_patches_none():
    x, zero = [1.0, 2.0], [0.0, 0.0]
    rows = np.array([zero, x, x, zero])
    patterns = enumerate_selections(rows, 4)
    assert selections(patterns) == {(False, True, False, False), (False,) * 4}
    constant = enumerate_selections(np.zeros((4, 3)), 2)
    assert selections(constant) == {(False,) * 4}


def test_nearly_equal_patches_are_told_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3))
    rows = np.stack([x, x * (1 + 1e-12 * rng.normal(size=x.shape))], axis=1).reshape(16, 3)
    patterns = selection_patterns(rows, 2, rng.normal(size=(200, 3)))
    # Either of a pair is taken at times.
    assert patterns.to_dense().any(axis=0).all()
    assert_witnessed(patterns, rows, 2)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, kinds=degeneracies, d=st.integers(1, 3))
def test_one_patch_for_each_sample_gives_the_patterns_of_the_rows(seed, kinds, d):
    rng = np.random.default_rng(seed)
    rows = draw_patches(rng, 7, 1, d, kinds)
    some = rows.any(axis=1)
    mine, theirs = enumerate_selections(rows, 1).to_dense(), enumerate_patterns(rows).to_dense()
    assert not mine[:, ~some].any()
    np.testing.assert_array_equal(mine[:, some], theirs[:, some])
    weights = rng.normal(size=(9, d))
    mine, theirs = selection_patterns(rows, 1, weights), PatternSet.from_weights(rows, weights)
    np.testing.assert_array_equal(mine.to_dense()[:, some], theirs.to_dense()[:, some])


def test_more_weights_than_fit_in_memory_at_a_time(monkeypatch):
    rng = np.random.default_rng(1)
    rows, weights = rng.normal(size=(40, 3)), rng.normal(size=(300, 3))
    whole = selection_patterns(rows, 4, weights)
    monkeypatch.setattr("convexnn.patterns.selection._PRODUCTS", 7 * 40)
    assert selection_patterns(rows, 4, weights) == whole
    assert len(selection_patterns(rows, 4, weights[:0])) == 0


def test_which_patches_are_taken():
    dense = np.array([[0, 0, 1, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0, 1]], dtype=bool)
    patterns = PatternSet(pack_bits(dense), np.ones((2, 1)), 9)
    assert chosen_patches(patterns, 3).tolist() == [[2, -1, 0], [-1, 1, 2]]
    assert chosen_patches(patterns, 1).tolist() == np.where(dense, 0, -1).tolist()
    with pytest.raises(ValueError, match="several bits for a sample"):
        chosen_patches(patterns, 9)


@pytest.mark.parametrize(
    ("rows", "positions", "weights", "message"),
    [
        (np.ones((5, 2)), 2, np.ones((1, 2)), "5 rows for positions=2"),
        (np.ones((4, 2)), 0, np.ones((1, 2)), "positions=0"),
        (np.full((4, 2), np.nan), 2, np.ones((1, 2)), "finite"),
        (np.ones((4, 2)), 2, np.ones((1, 3)), r"shape \(P, 2\)"),
        (np.ones((4, 2)), 2, np.ones(2), r"shape \(P, 2\)"),
        (np.ones((4, 2)), 2, np.zeros((1, 2)), "non-zero"),
        (np.ones((4, 2)), 2, np.full((1, 2), np.inf), "finite"),
    ],
)
def test_what_does_not_fit_is_refused(rows, positions, weights, message):
    with pytest.raises(ValueError, match=message):
        selection_patterns(rows, positions, weights)


def test_weights_that_cannot_be_moved_take_a_patch_that_ties(monkeypatch):
    monkeypatch.setattr("convexnn.patterns.selection._MOVES", 0)
    patterns = selection_patterns(np.eye(2), 2, [[1.0, 1.0]])
    assert chosen_patches(patterns, 2).ravel().tolist() in ([0], [1])
    assert (patterns.generators == 1.0).all()


def test_the_budget_is_that_of_the_arrangement():
    rows = np.random.default_rng(2).normal(size=(20, 3))
    with pytest.raises(PatternBudgetError, match="max_patterns=100"):
        enumerate_selections(rows, 4, max_patterns=100)
